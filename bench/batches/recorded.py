"""Durations that were recorded."""

from bench.batches.mixes import Mix

RECORDED: tuple[Mix, ...] = ()
