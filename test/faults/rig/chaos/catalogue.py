"""Every fault that a run may meet."""

from importlib import import_module

from chaos.trouble import TROUBLES as CATALOGUE

__all__ = ["CATALOGUE"]

# Each puts its own on the list.
for _name in ("processes", "answers", "mempool", "blocks", "sockets", "contract", "signer"):
    import_module(f"chaos.troubles.{_name}")
