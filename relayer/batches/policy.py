"""Which finished jobs are sealed now and which may still wait: pure functions of what waits and of what gas costs.

A batch costs the same again each time, and so does a word of tickets that is confirmed in pieces. Waiting costs too. So a
batch is sealed when it is full, when a job has waited as long as it may, or as soon as the time that its jobs have waited
is worth what a batch costs; and a word goes along once it is complete or its jobs' time is worth a touch. Who buys at the
moment when what was spent on renting reaches the price never pays more than twice what the best choice in hindsight would
have cost (the ski rental problem; of acknowledgements that wait to be joined, Dooly, Goldman and Scott, JACM 48, 2001).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from relayer.seal.tree import MAX_WORDS

BATCH_GAS = 58_000
"""What every batch costs before its first word (docs/reference/gas.md)."""
FRESH_WORD_GAS = 25_900
"""What a word costs in which no ticket was confirmed before, its call data and its part of the event included."""
TOUCHED_WORD_GAS = 8_400
"""What a word costs of which other tickets were confirmed before."""

# EIP-7825: no transaction may have more gas; the sender asks for a fifth more than it expects to use.
_USABLE_GAS = (1 << 24) * 5 // 6
WORDS_PER_BATCH = min(MAX_WORDS, (_USABLE_GAS - BATCH_GAS) // FRESH_WORD_GAS)
"""The most words of a batch, were every one of them fresh."""

# The part of the age limit that is kept for sealing itself, so that no job is beyond the limit when it is sealed.
_RESERVE = 1 / 16
# A word that has been quiet for this part of the age limit has only stragglers left.
_NEWS = 1 / 4


@dataclass(frozen=True)
class Policy:
    """What an operator wants.

    Attributes:
        max_jobs: no batch has more.
        max_age: no job waits longer.
        second_price: what it is worth, in wei, that one job is sealed one second sooner.

    """

    max_jobs: int
    max_age: timedelta
    second_price: int

    def is_due(self, oldest: datetime, now: datetime) -> bool:
        """Whether a job whose result was ready at `oldest` must not wait any more."""
        return now - oldest >= self.max_age * (1 - _RESERVE)

    def news_since(self, now: datetime) -> datetime:
        """Since when a word has to have had a result, that another may be expected soon."""
        return now - self.max_age * _NEWS


@dataclass(frozen=True)
class Waiting:
    """Finished jobs that wait.

    Attributes:
        jobs: how many, at least 1.
        oldest: when the result of the first of them was ready.
        waited: how long they have waited, in seconds, all together.

    """

    jobs: int
    oldest: datetime
    waited: float


@dataclass(frozen=True)
class WaitingWord(Waiting):
    """Those of them that share a word.

    Attributes:
        index: of the word.
        newest: when the result of the last of them was ready.
        more_to_come: whether others of it will end; False where the newest is no news (`Policy.news_since`).

    """

    index: int
    newest: datetime
    more_to_come: bool


def may_be_due(waiting: Waiting, policy: Policy, now: datetime, gas_price: int | None) -> bool:
    """Whether `choose` can give anything, at a gas price in wei, or None where none is known."""
    return (
        waiting.jobs >= policy.max_jobs
        or policy.is_due(waiting.oldest, now)
        or _is_worth(waiting.waited, BATCH_GAS, policy, gas_price)
    )


def choose(
    words: Sequence[WaitingWord], policy: Policy, now: datetime, gas_price: int | None
) -> list[WaitingWord]:
    """Choose the words whose jobs are sealed together now, what must not wait first; none where all may wait.

    A batch that has to be sealed takes what else there is: to hold a word back there would make the next batch due earlier,
    and that costs more than a touch (docs/batching.md). One that is full leaves the thinnest words, and one that is sealed
    for the time waited those whose own jobs have not waited for long. The last word may hold more jobs than fit.
    """
    is_full = sum(word.jobs for word in words) >= policy.max_jobs
    if not is_full and not any(policy.is_due(word.oldest, now) for word in words):
        words = [word for word in words if _is_ripe(word, policy, gas_price)]
        if not _is_worth(sum(word.waited for word in words), BATCH_GAS, policy, gas_price):
            return []
    return _fitting(sorted(words, key=lambda word: _precedence(word, policy, now)), policy.max_jobs)


def _is_ripe(word: WaitingWord, policy: Policy, gas_price: int | None) -> bool:
    """Whether a word is complete, as far as is known, or its jobs have waited for what another touch of it costs."""
    return not word.more_to_come or _is_worth(word.waited, TOUCHED_WORD_GAS, policy, gas_price)


def _precedence(word: WaitingWord, policy: Policy, now: datetime) -> tuple[bool, datetime, bool, int]:
    """What must not wait first, oldest first; then words that are complete, and fuller ones."""
    if policy.is_due(word.oldest, now):
        return False, word.oldest, False, 0
    return True, now, word.more_to_come, -word.jobs


def _is_worth(waited: float, gas: int, policy: Policy, gas_price: int | None) -> bool:
    return gas_price is not None and waited * policy.second_price >= gas * gas_price


def _fitting(words: Sequence[WaitingWord], max_jobs: int) -> list[WaitingWord]:
    chosen: list[WaitingWord] = []
    for word in words:
        if max_jobs <= 0 or len(chosen) == WORDS_PER_BATCH:
            break
        chosen.append(word)
        max_jobs -= word.jobs
    return chosen
