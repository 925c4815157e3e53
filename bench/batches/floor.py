"""The least that any policy could pay for jobs with the tickets that they have."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from relayer.batches.policy import BATCH_GAS, FRESH_WORD_GAS, TOUCHED_WORD_GAS
from relayer.seal.commitment import word


class TooShortError(Exception):
    """Too little is sealed in the time that counts to say anything of it."""


def least_gas_a_job(ready_at: Mapping[int, float], max_age: timedelta, since: float, until: float) -> float:
    """Give the gas a job, were every word confirmed at the best moments for it alone, and batches made only as often as jobs need.

    More is always paid: those moments are others for each word, and a batch for each of them would cost more.

    Args:
        ready_at: by ticket when its job's result was ready, in seconds; of the time before `since` too.
        max_age: how long a job may wait.
        since: confirmations after this count.
        until: up to this.

    Raises:
        TooShortError: no job has to be confirmed between them.

    """
    words: defaultdict[int, list[float]] = defaultdict(list)
    for ticket, ready in ready_at.items():
        words[word(ticket)].append(ready)
    gas = jobs = 0
    for sealed_at, _ in _fewest_confirmations(ready_at.values(), max_age):
        gas += BATCH_GAS if since < sealed_at <= until else 0
    for results in words.values():
        price = FRESH_WORD_GAS
        for sealed_at, joined in _fewest_confirmations(results, max_age):
            if since < sealed_at <= until:
                gas += price
                jobs += joined
            price = TOUCHED_WORD_GAS
    if not jobs:
        raise TooShortError
    return gas / jobs


def _fewest_confirmations(results: Iterable[float], max_age: timedelta) -> Iterator[tuple[float, int]]:
    """Give when confirmations are needed and how many jobs each has: always as late as the first that is left can wait."""
    sealed_at, joined = float("-inf"), 0
    for ready in sorted(results):
        if ready > sealed_at:
            if joined:
                yield sealed_at, joined
            sealed_at, joined = ready + max_age.total_seconds(), 0
        joined += 1
    yield sealed_at, joined
