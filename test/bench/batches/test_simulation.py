"""The policy over time, in simulation: what must hold in every mix, and that drawing by duration saves gas."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.batches.floor import TooShortError, least_gas_a_job
from bench.batches.mixes import SYNTHETIC, Mix, submissions
from bench.batches.simulation import Batch, Result, Sealing, Simulation, Tickets
from relayer.batches.mix import MixJob
from relayer.batches.policy import BATCH_GAS, FRESH_WORD_GAS, TOUCHED_WORD_GAS, Policy
from relayer.seal.tree import MAX_WORDS

MAX_AGE = timedelta(seconds=60)
GWEI = 10**9
POLICY = Policy(max_jobs=2_000, max_age=MAX_AGE, second_price=GWEI)

SECONDS = st.sampled_from([0.0, 0.1, 5.0, 61.0, 700.0]) | st.floats(0, 1_000)
JOBS = st.lists(
    st.builds(
        MixJob,
        at=st.floats(0, 300),
        kind=st.sampled_from(["a", "b", "c"]),
        delay=st.sampled_from([0.0, 100.0]),
        ended=SECONDS,
        ran=SECONDS,
    ),
    min_size=1,
    max_size=300,
).map(lambda jobs: sorted(jobs, key=lambda job: job.at))


@settings(max_examples=30, deadline=None)
@given(
    JOBS,
    st.sampled_from(Tickets),
    st.sampled_from([None, 0, GWEI // 100, GWEI, 100 * GWEI]),
    st.sampled_from([1, 7, 100, 131_072]),
)
def test_every_job_is_sealed_once_and_in_time(
    jobs: list[MixJob], tickets: Tickets, price: int | None, max_jobs: int
) -> None:
    policy = Policy(max_jobs, MAX_AGE, GWEI)
    batches = Simulation(policy, tickets=tickets, sealing=Sealing.POLICY, gas_price=price).run(jobs)
    sealed = Counter(ticket for batch in batches for ticket in batch.ready_at)
    assert len(sealed) == len(jobs)
    assert set(sealed.values()) == {1}
    for batch in batches:
        assert len(batch.words) <= MAX_WORDS
        assert len(batch.waits) <= max_jobs
        assert all(0 <= wait <= MAX_AGE.total_seconds() for wait in batch.waits)


def test_jobs_without_a_result_are_in_no_batch() -> None:
    jobs = [
        MixJob(0.0, "a", 0.0, 1.0, 0.5),
        MixJob(0.0, "a", 0.0, 2.0, None),
        MixJob(0.0, "a", 0.0, None, None),
    ]
    (batch,) = Simulation(POLICY, tickets=Tickets.BY_DURATION, sealing=Sealing.POLICY).run(jobs)
    assert batch.ready_at == {0: 1.0}


def test_what_begins_later_shares_words_with_what_runs_for_longer() -> None:
    known = [MixJob(0.0, "a", 0.0, 1.0, 1.0), MixJob(0.0, "b", 0.0, 600.0, 600.0)]
    later = [MixJob(700.0, "b", 0.0, 600.0, 600.0), MixJob(700.0, "a", 600.0, 601.0, 1.0)]
    batches = Simulation(POLICY, tickets=Tickets.BY_DURATION, sealing=Sealing.POLICY).run(known + later)
    assert [sorted(batch.words.values()) for batch in batches] == [[1], [1], [2]]


def _gas(batches: list[Batch]) -> float:
    return Result.of(batches, MAX_AGE).gas_a_job


def test_no_policy_pays_less_than_the_floor() -> None:
    two_words = {0: 0.0, 1: 59.0, 2: 61.0, 3: 200.0, 256: 30.0}
    # The first word is confirmed at 60, 121 and 260 s, the second one at 90; any of both at 60, 121 and 260.
    gas = 2 * FRESH_WORD_GAS + 2 * TOUCHED_WORD_GAS + 3 * BATCH_GAS
    assert least_gas_a_job(two_words, MAX_AGE, 0, 300) == gas / 5
    assert least_gas_a_job(two_words, MAX_AGE, 100, 200) == TOUCHED_WORD_GAS + BATCH_GAS


@pytest.mark.parametrize("mix", SYNTHETIC, ids=lambda mix: mix.name)
def test_the_policy_pays_no_less_than_the_floor(mix: Mix) -> None:
    batches = Simulation(POLICY, tickets=Tickets.BY_DURATION, sealing=Sealing.POLICY).run(
        submissions(mix, 600, 6, 1)
    )
    result = Result.of(batches, MAX_AGE)
    assert result.gas_a_job > result.least_gas_a_job


def test_drawing_by_duration_saves_gas_where_kinds_differ() -> None:
    mix = next(one for one in SYNTHETIC if one.name == "short and long")
    gas = {}
    for tickets in Tickets:
        simulation = Simulation(POLICY, tickets=tickets, sealing=Sealing.POLICY)
        batches = simulation.run(submissions(mix, 1_500, 14, 1), until=60.0 * 14)
        # After the first jobs of both kinds the database knows how long each takes.
        gas[tickets] = _gas([one for one in batches if one.at > 60 * 12])
    assert gas[Tickets.BY_DURATION] < 0.8 * gas[Tickets.ONE_SEQUENCE]


def test_cheap_gas_shortens_waits() -> None:
    mix = SYNTHETIC[0]
    waits = []
    for price in (None, 10 * GWEI, GWEI // 100):
        simulation = Simulation(POLICY, tickets=Tickets.BY_DURATION, sealing=Sealing.POLICY, gas_price=price)
        batches = simulation.run(submissions(mix, 1_500, 3, 1))
        waits.append(Result.of(batches, MAX_AGE).wait_p50)
    assert waits[0] >= waits[1] > waits[2]
    assert waits[2] < 6


def test_of_a_mix_that_ends_too_soon_nothing_is_said() -> None:
    with pytest.raises(TooShortError):
        Result.of([], MAX_AGE)
    jobs = [MixJob(at=float(at), kind="a", delay=0.0, ended=1.0, ran=1.0) for at in range(100)]
    simulation = Simulation(POLICY, tickets=Tickets.BY_DURATION, sealing=Sealing.POLICY, gas_price=None)
    batches = simulation.run(jobs, until=200.0)
    assert Result.of(batches, MAX_AGE).jobs == 100
    for since in (batches[-1].at - 1.0, batches[-1].at):
        with pytest.raises(TooShortError):
            Result.of(batches, MAX_AGE, since=since)
