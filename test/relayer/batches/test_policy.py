import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayer.batches.policy import (
    BATCH_GAS,
    FRESH_WORD_GAS,
    TOUCHED_WORD_GAS,
    WORDS_PER_BATCH,
    Policy,
    Waiting,
    WaitingWord,
    choose,
    may_be_due,
)
from relayer.seal.tree import MAX_WORDS

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
GWEI = 10**9
POLICY = Policy(max_jobs=1_000, max_age=timedelta(seconds=60), second_price=GWEI)
RECORDED = Path(__file__).parents[2] / "contracts" / "gas" / "registry.json"


def word(index: int, jobs: int, age: float, *, waited: float | None = None, more: bool = True) -> WaitingWord:
    """A word whose oldest job is `age` seconds old."""
    return WaitingWord(
        jobs=jobs,
        oldest=NOON - timedelta(seconds=age),
        waited=jobs * age if waited is None else waited,
        index=index,
        newest=NOON,
        more_to_come=more,
    )


def indices(words: list[WaitingWord], price: int | None = None, policy: Policy = POLICY) -> list[int]:
    return [one.index for one in choose(words, policy, NOON, price)]


def all_of(words: list[WaitingWord]) -> Waiting:
    return Waiting(
        sum(one.jobs for one in words), min(one.oldest for one in words), sum(one.waited for one in words)
    )


def test_what_gas_costs_is_what_was_recorded_of_the_registry() -> None:
    recorded = {name: int(gas) for name, gas in json.loads(RECORDED.read_text()).items()}
    for name, fresh, touched in (
        ("confirm dense, 256 jobs", 1, 0),
        ("confirm dense, 4096 jobs", 16, 0),
        ("confirm dense, 131072 jobs", 512, 0),
        ("confirm 256 jobs over 16 touched words", 0, 16),
        ("confirm 256 jobs over 64 touched words", 0, 64),
        ("confirm 256 jobs over 64 fresh words", 64, 0),
    ):
        expected = BATCH_GAS + fresh * FRESH_WORD_GAS + touched * TOUCHED_WORD_GAS
        assert expected == pytest.approx(recorded[name], rel=0.02), name


def test_the_fullest_batch_fits_a_transaction() -> None:
    assert WORDS_PER_BATCH == MAX_WORDS
    assert (BATCH_GAS + WORDS_PER_BATCH * FRESH_WORD_GAS) * 6 / 5 < 1 << 24


def test_nothing_is_sealed_while_all_may_wait() -> None:
    assert indices([word(1, 999, 56.2)]) == []


def test_a_job_near_its_limit_takes_all_along() -> None:
    assert indices([word(1, 1, 3), word(2, 1, 56.3), word(3, 200, 5, more=False)]) == [2, 3, 1]


def test_a_full_batch_leaves_the_thinnest_words() -> None:
    words = [word(1, 20, 50), word(2, 500, 2), word(3, 520, 2, more=False)]
    assert indices(words) == [3, 2]
    # What must not wait goes first all the same.
    assert indices([word(4, 1, 57), *words]) == [4, 3, 2]


def test_no_batch_has_more_words_than_it_may() -> None:
    assert indices([word(index, 1, 57 + index / 1_000) for index in range(600)]) == list(range(599, 87, -1))


def test_jobs_wait_until_their_time_is_worth_a_batch() -> None:
    enough = BATCH_GAS * 10
    complete = word(1, 900, 30, waited=enough, more=False)
    assert indices([complete], 10 * GWEI) == [1]
    assert indices([replace(complete, waited=enough - 1)], 10 * GWEI) == []
    assert indices([complete], 10 * GWEI + 1) == []
    assert indices([complete], None) == []
    assert indices([complete], 10 * GWEI, replace(POLICY, second_price=0)) == []


def test_a_thin_word_waits_for_its_jobs_until_their_time_is_worth_a_touch() -> None:
    full = word(1, 256, 9, waited=BATCH_GAS, more=False)
    thin = word(2, 3, 9, waited=TOUCHED_WORD_GAS - 1)
    assert indices([full, thin], GWEI) == [1]
    assert indices([full, replace(thin, waited=TOUCHED_WORD_GAS)], GWEI) == [1, 2]
    assert indices([full, replace(thin, more_to_come=False)], GWEI) == [1, 2]


WORDS = st.lists(
    st.builds(
        word,
        st.integers(0, (1 << 48) - 1),
        st.integers(1, 256),
        st.floats(0, 120),
        waited=st.floats(0, 1e7),
        more=st.booleans(),
    ),
    min_size=1,
    max_size=700,
    unique_by=lambda one: one.index,
)
PRICES = st.none() | st.integers(0, 1_000 * GWEI)


@given(WORDS, PRICES, st.sampled_from([1, 100, 4_096, 131_072]))
def test_whatever_waits_no_rule_is_broken(words: list[WaitingWord], price: int | None, max_jobs: int) -> None:
    policy = replace(POLICY, max_jobs=max_jobs)
    chosen = choose(words, policy, NOON, price)
    due = [one for one in words if policy.is_due(one.oldest, NOON)]
    assert len({one.index for one in chosen}) == len(chosen) <= WORDS_PER_BATCH
    # All but the last fit; the last is cut.
    assert sum(one.jobs for one in chosen[:-1]) < max_jobs
    if due:
        assert chosen
        urgent = [one for one in chosen if one in due]
        assert chosen[: len(urgent)] == urgent
        assert len(urgent) == len(due) or len(urgent) == len(chosen)
    if chosen:
        # So the cheap look, which comes first, never keeps the batcher from looking closer.
        assert may_be_due(all_of(words), policy, NOON, price)
