"""The script against an exact model, and what a clock that jumps does to it."""

import asyncio
from collections.abc import AsyncIterator
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from relayer.limits.limiter import Limiter
from relayer.limits.local import LocalLimiter
from relayer.limits.policy import MICROSECONDS, Charge, Policy
from relayer.limits.store import SharedStore
from relayer.settings import RedisSettings

HOUR = 3600 * MICROSECONDS


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[SharedStore]:
    async with SharedStore(RedisSettings(url=SecretStr(valkey_url))) as store:
        yield store


class Hand:
    """A clock that is set by hand."""

    def __init__(self, now: int = 1_800_000_000 * MICROSECONDS) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Bucket:
    """An exact token bucket: `level` units are free, one more every `interval`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.level = Fraction(policy.burst)

    def refill(self, passed: int) -> None:
        self.level = min(Fraction(self.policy.burst), self.level + Fraction(passed, self.policy.interval))


policies = st.builds(
    Policy, st.just("p"), st.integers(1, 90_000_000), st.integers(1, 300), st.sampled_from([0, 500])
)
units = st.integers(0, 20) | st.sampled_from([300, 500])
pairs = st.tuples(policies, policies)
together = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def charges_of(pair: tuple[Policy, Policy], wanted: tuple[int, int]) -> list[Charge]:
    return [
        Charge(policy, subject, min(number, max(policy.burst, policy.most)))
        for policy, subject, number in zip(pair, ("a", "b"), wanted, strict=True)
    ]


@together
@given(
    pair=pairs, steps=st.lists(st.tuples(st.integers(0, 200_000_000) | st.just(0), units, units), max_size=40)
)
async def test_verdicts_are_those_of_an_exact_model(
    store: SharedStore, pair: tuple[Policy, Policy], steps: list[tuple[int, int, int]]
) -> None:
    clock = Hand()
    await store.ask(lambda redis: redis.flushall())
    limiter = Limiter(store, clock=clock)
    buckets = [Bucket(policy) for policy in pair]
    for passed, *wanted in steps:
        clock.now += passed
        charges = charges_of(pair, (wanted[0], wanted[1]))
        for bucket in buckets:
            bucket.refill(passed)
        expected = [bucket.level >= charge.needs for bucket, charge in zip(buckets, charges, strict=True)]
        if all(expected):
            for bucket, charge in zip(buckets, charges, strict=True):
                bucket.level -= charge.units

        verdict = await limiter.check(charges)
        assert not verdict.is_local
        assert [one.allowed for one in verdict.standings] == expected
        for bucket, one in zip(buckets, verdict.standings, strict=True):
            interval = bucket.policy.interval
            assert one.remaining == max(0, bucket.level // 1)
            assert one.reset == (bucket.policy.burst - bucket.level) * interval
            assert one.retry_after == (0 if one.allowed else (one.charge.needs - bucket.level) * interval)


@together
@given(pair=pairs, steps=st.lists(st.tuples(st.integers(-HOUR, HOUR), units, units), max_size=30))
async def test_whatever_the_clock_does_the_wait_that_is_told_is_enough(
    store: SharedStore, pair: tuple[Policy, Policy], steps: list[tuple[int, int, int]]
) -> None:
    clock = Hand()
    await store.ask(lambda redis: redis.flushall())
    limiter, local = Limiter(store, clock=clock), LocalLimiter(clock)
    for passed, *wanted in steps:
        clock.now += passed
        charges = charges_of(pair, (wanted[0], wanted[1]))
        wait = 0
        for _ in range(2):
            clock.now += wait
            verdict = await limiter.check(charges)
            assert local.check(charges).standings == verdict.standings
            assert all(0 <= one.ahead <= one.charge.policy.furthest for one in verdict.standings)
            wait = verdict.retry_after
            if verdict.allowed:
                break
        assert wait == 0


async def test_exactly_the_burst_is_allowed_of_a_hundred_at_once(store: SharedStore) -> None:
    limiter = Limiter(store)
    charge = Charge(Policy.per_minute("slow", 1, 20), "acme")
    verdicts = await asyncio.gather(*(limiter.check([charge]) for _ in range(100)))
    assert sum(one.allowed for one in verdicts) == 20
    refused = next(one for one in verdicts if not one.allowed)
    assert 0 < refused.retry_after <= 60 * MICROSECONDS
    # Other processes share the numbers.
    others = [Limiter(store) for _ in range(3)]
    assert not any(one.allowed for one in await asyncio.gather(*(other.check([charge]) for other in others)))


async def test_a_request_whose_asker_left_is_charged_all_the_same(store: SharedStore) -> None:
    limiter = Limiter(store, clock=Hand())
    charge = Charge(Policy("few", MICROSECONDS, 3), "acme")
    asked = [asyncio.create_task(limiter.check([charge])) for _ in range(3)]
    # All three wait by now, none has been sent.
    await asyncio.sleep(0)
    asked[1].cancel()
    verdicts = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(verdicts[1], asyncio.CancelledError)
    assert not (await limiter.check([charge])).allowed


async def test_nothing_is_used_of_any_policy_where_one_refuses(store: SharedStore) -> None:
    limiter = Limiter(store, clock=Hand())
    wide, narrow = Policy("wide", MICROSECONDS, 10), Policy("narrow", MICROSECONDS, 1)
    assert (await limiter.check([Charge(wide, "a"), Charge(narrow, "a")])).allowed
    for _ in range(3):
        verdict = await limiter.check([Charge(wide, "a"), Charge(narrow, "a")])
        assert [one.charge.policy.name for one in verdict.violated] == ["narrow"]
        assert [one.remaining for one in verdict.standings] == [9, 0]
    (looked,) = (await limiter.check([Charge(narrow, "a", 0)])).standings
    assert (looked.allowed, looked.retry_after) == (False, MICROSECONDS)


async def test_the_server_keeps_a_subject_no_longer_than_it_owes(store: SharedStore) -> None:
    limiter = Limiter(store)
    charge = Charge(Policy("p", MICROSECONDS, 5), "a", 3)
    await limiter.check([charge])
    ttl = await store.ask(lambda redis: redis.pttl(charge.key))
    assert ttl is not None
    assert 12_000 < ttl <= 13_001


@pytest.mark.parametrize("jump", [-HOUR * 24 * 365, HOUR * 24 * 365])
async def test_a_clock_that_jumps_costs_or_gives_one_burst_at_most(store: SharedStore, jump: int) -> None:
    clock = Hand()
    limiter = Limiter(store, clock=clock)
    charge = Charge(Policy("p", MICROSECONDS, 10), "a")
    for _ in range(5):
        assert (await limiter.check([charge])).allowed
    clock.now += jump
    after = [await limiter.check([charge]) for _ in range(12)]
    assert sum(one.allowed for one in after) == (0 if jump < 0 else 10)
    assert after[-1].retry_after <= MICROSECONDS
    clock.now += MICROSECONDS
    assert (await limiter.check([charge])).allowed


async def test_a_server_that_lost_the_script_is_given_it_again(store: SharedStore) -> None:
    limiter = Limiter(store)
    charge = Charge(Policy("p", MICROSECONDS, 10), "a")
    assert (await limiter.check([charge])).allowed
    await store.ask(lambda redis: redis.script_flush())
    assert not (await limiter.check([charge])).is_local


async def test_many_requests_are_judged_in_their_order(store: SharedStore) -> None:
    limiter = Limiter(store, clock=Hand())
    policy = Policy("p", MICROSECONDS, 3)
    verdicts = await limiter.check_many(
        [[Charge(policy, "a", 2)], [Charge(policy, "a", 2)], [Charge(policy, "a")]]
    )
    assert [one.allowed for one in verdicts] == [True, False, True]


@pytest.mark.parametrize(("interval", "burst"), [(0, 1), (1, 0)])
def test_a_policy_without_a_rate_or_a_burst_is_refused(interval: int, burst: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Policy("p", interval, burst)
