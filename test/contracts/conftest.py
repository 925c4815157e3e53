"""Keeps the ape suite out of plain pytest runs: it needs ape's plugin, which starts a chain (`make test-ape`)."""

collect_ignore = ["ape"]
