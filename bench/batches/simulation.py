"""Simulates the drawing of tickets and the sealing of batches; the policy is the relayer's own."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from statistics import median, quantiles

from bench.batches.floor import TooShortError, least_gas_a_job
from bench.batches.tickets import duration_class, ticket_of
from relayer.batches import policy as rules
from relayer.batches.mix import MixJob
from relayer.batches.policy import BATCH_GAS, FRESH_WORD_GAS, TOUCHED_WORD_GAS, Policy, Waiting, WaitingWord
from relayer.batches.run_time_repository import MEMORY, SAMPLE
from relayer.seal.commitment import word
from relayer.seal.tree import WORD_TICKETS

TICK_S = 0.25
"""How often the batcher looks."""

# Percentiles of fewer are none.
_FEWEST = 2
_START = datetime(2030, 1, 1, tzinfo=UTC)


class Tickets(StrEnum):
    """How tickets are drawn: all from one sequence, or from one of their class of expected duration."""

    ONE_SEQUENCE = "one sequence"
    BY_DURATION = "by duration"


class Sealing(StrEnum):
    """When what is sealed: everything finished as soon as one is due, or what the policy chooses."""

    ALL_FINISHED = "all that is finished"
    POLICY = "policy"


@dataclass(frozen=True)
class Batch:
    """A sealed batch: when, by ticket when its job's result was ready, in seconds, and how many words were fresh."""

    at: float
    ready_at: dict[int, float]
    fresh: int

    @property
    def words(self) -> Counter[int]:
        """How many jobs it has of each word."""
        return Counter(word(ticket) for ticket in self.ready_at)

    @property
    def waits(self) -> list[float]:
        """How long each of its jobs waited, in seconds."""
        return [self.at - ready for ready in self.ready_at.values()]

    @property
    def gas(self) -> int:
        """What its confirmation costs."""
        return BATCH_GAS + self.fresh * FRESH_WORD_GAS + (len(self.words) - self.fresh) * TOUCHED_WORD_GAS


@dataclass
class _Word:
    issued: int = 0
    running: int = 0
    was_touched: bool = False
    finished: list["_Job"] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Job:
    submitted: MixJob
    ticket: int
    ready_at: float


class Simulation:
    """One registry, its tickets, and the jobs that were submitted to it.

    `gas_price` is in wei; None: unknown.
    """

    def __init__(
        self, policy: Policy, *, tickets: Tickets, sealing: Sealing, gas_price: int | None = None
    ) -> None:
        self._policy = policy
        self._tickets = tickets
        self._sealing = sealing
        self._gas_price = gas_price
        self._drawn: Counter[int] = Counter()
        self._run_times: dict[str, tuple[float, int]] = {}
        self._words: defaultdict[int, _Word] = defaultdict(_Word)
        self._running: list[tuple[float, int, _Job]] = []
        # In the order in which their results were ready.
        self._finished: list[_Job] = []
        self._sum_ready_at = 0.0

    def run(self, jobs: Iterable[MixJob], until: float | None = None) -> list[Batch]:
        """Run jobs, given in the order of their submission, until a time, or until all are sealed."""
        batches: list[Batch] = []
        coming = iter(jobs)
        following = next(coming, None)
        now = 0.0
        while until is None or now < until:
            while following is not None and following.at <= now:
                self._submit(following)
                following = next(coming, None)
            self._finish(now)
            while (batch := self._seal(now)) is not None:
                batches.append(batch)
            if following is None and not self._running and not self._finished:
                break
            now += TICK_S
        return batches

    def _submit(self, submitted: MixJob) -> None:
        number = 0
        if self._tickets is Tickets.BY_DURATION:
            known = self._run_times.get(submitted.kind)
            number = duration_class(None if known is None else submitted.delay + known[0])
        place = self._drawn[number]
        self._drawn[number] += 1
        ticket = ticket_of(number, place)
        its_word = self._words[word(ticket)]
        its_word.issued += 1
        its_word.running += 1
        if submitted.ended is not None:
            job = _Job(submitted, ticket, submitted.at + submitted.ended)
            heapq.heappush(self._running, (job.ready_at, ticket, job))

    def _finish(self, now: float) -> None:
        while self._running and self._running[0][0] <= now:
            _, ticket, job = heapq.heappop(self._running)
            its_word = self._words[word(ticket)]
            its_word.running -= 1
            if job.submitted.ran is None:
                continue
            its_word.finished.append(job)
            self._finished.append(job)
            self._sum_ready_at += job.ready_at

    def _seal(self, now: float) -> Batch | None:
        if not self._finished:
            return None
        chosen = self._chosen(now)
        jobs = [job for index in chosen for job in self._words[index].finished][: self._policy.max_jobs]
        if not jobs:
            return None
        self._sum_ready_at -= sum(job.ready_at for job in jobs)
        sealed = set(jobs)
        self._finished = [job for job in self._finished if job not in sealed]
        fresh = 0
        for index, count in Counter(word(job.ticket) for job in jobs).items():
            its_word = self._words[index]
            fresh += not its_word.was_touched
            its_word.was_touched = True
            its_word.finished = its_word.finished[count:]
        self._observe(jobs)
        return Batch(now, {job.ticket: job.ready_at for job in jobs}, fresh)

    def _chosen(self, now: float) -> list[int]:
        at = _time(now)
        waiting = Waiting(
            len(self._finished),
            _time(self._finished[0].ready_at),
            len(self._finished) * now - self._sum_ready_at,
        )
        price = self._gas_price if self._sealing is Sealing.POLICY else None
        if not rules.may_be_due(waiting, self._policy, at, price):
            return []
        if self._sealing is Sealing.ALL_FINISHED:
            return self._oldest()
        return [one.index for one in rules.choose(self._waiting_words(now), self._policy, at, price)]

    def _oldest(self) -> list[int]:
        """The words of the oldest jobs, as many as a batch may have."""
        indices = dict.fromkeys(word(job.ticket) for job in self._finished[: self._policy.max_jobs])
        return list(indices)[: rules.WORDS_PER_BATCH]

    def _waiting_words(self, now: float) -> list[WaitingWord]:
        indices = dict.fromkeys(word(job.ticket) for job in self._finished)
        return [
            WaitingWord(
                jobs=len(one.finished),
                oldest=_time(one.finished[0].ready_at),
                waited=sum(now - job.ready_at for job in one.finished),
                index=index,
                newest=(newest := _time(one.finished[-1].ready_at)),
                more_to_come=newest >= self._policy.news_since(_time(now))
                and (one.running > 0 or one.issued < WORD_TICKETS),
            )
            for index in indices
            for one in (self._words[index],)
        ]

    def _observe(self, jobs: Sequence[_Job]) -> None:
        """Learn from a part of a batch how long jobs of each kind run, as the database does."""
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        for job in jobs[:: -(-len(jobs) // SAMPLE)]:
            assert job.submitted.ran is not None
            seconds[job.submitted.kind].append(job.submitted.ran)
        for kind, ran in seconds.items():
            middle, seen = median(ran), len(ran)
            known, before = self._run_times.get(kind, (middle, 0))
            self._run_times[kind] = (
                known + (middle - known) * seen / (seen + min(before, MEMORY)),
                before + seen,
            )


@dataclass(frozen=True)
class Result:
    """What a simulation came to: totals, waits in seconds, and how many jobs waited longer than they may.

    `least_gas_a_job` is what no policy could do better than, with these tickets.
    """

    jobs: int
    batches: int
    gas_a_job: float
    least_gas_a_job: float
    jobs_a_word: float
    wait_p50: float
    wait_p95: float
    wait_max: float
    late: int

    @classmethod
    def of(cls, batches: Sequence[Batch], max_age: timedelta, since: float = 0.0) -> "Result":
        """Sum up the batches that were sealed after a time.

        Raises:
            TooShortError: too few jobs were.

        """
        if sum(len(batch.waits) for batch in batches if batch.at > since) < _FEWEST:
            raise TooShortError
        every_ready_at = {ticket: ready for batch in batches for ticket, ready in batch.ready_at.items()}
        floor = least_gas_a_job(every_ready_at, max_age, since, batches[-1].at)
        batches = [batch for batch in batches if batch.at > since]
        waits = [wait for batch in batches for wait in batch.waits]
        percentiles = quantiles(waits, n=100, method="inclusive")
        return cls(
            jobs=len(waits),
            batches=len(batches),
            gas_a_job=sum(batch.gas for batch in batches) / len(waits),
            least_gas_a_job=floor,
            jobs_a_word=len(waits) / sum(len(batch.words) for batch in batches),
            wait_p50=percentiles[49],
            wait_p95=percentiles[94],
            wait_max=max(waits),
            late=sum(wait > max_age.total_seconds() for wait in waits),
        )


def _time(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)
