"""`jobseal up`: the platform in the foreground."""

import signal
import threading
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from relayer.local.platform import Platform

BATCH_AGE = timedelta(seconds=5)


def run_up(home: Path) -> None:
    """Start everything, print where it is, and keep it running until SIGINT or SIGTERM."""
    console = Console(highlight=False, soft_wrap=True)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    platform = Platform(home, console.print, batch_age=BATCH_AGE)
    with platform.running() as addresses:
        tenant, key = next(iter(addresses.api_keys.items()))
        console.print(
            f"\n[bold]Jobseal is up.[/bold] All of this is in {home / 'up.json'}:\n"
            f"  API       {addresses.api_url}\n"
            f"  RPC       {addresses.rpc_url}  (chain {addresses.chain_id})\n"
            f"  registry  {addresses.registry}\n"
            f"  API key   {key}  (tenant {tenant})\n"
            "Ctrl-C stops all of it; started again, it goes on with the same data and the same chain.\n"
        )
        platform.watch(stopping.is_set)
        console.print("stopping")
