"""Lock-outs, shared and alone, by a clock that is set by hand."""

import pytest
from pydantic import SecretStr

from relayer.limits.lockout import LockoutRule, Lockouts
from relayer.limits.policy import MICROSECONDS
from relayer.limits.store import SharedStore
from relayer.settings import RedisSettings

RULE = LockoutRule("guesses", failures=3)
NOBODY = "redis://127.0.0.1:1/0"


class Hand:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000

    def __call__(self) -> int:
        return self.seconds * MICROSECONDS


@pytest.mark.parametrize("alone", [False, True])
async def test_failures_within_a_window_lock_for_a_while(valkey_url: str, alone: bool) -> None:
    clock = Hand()
    async with SharedStore(RedisSettings(url=SecretStr(NOBODY if alone else valkey_url))) as store:
        lockouts = Lockouts(store, RULE, clock=clock)

        async def fail(times: int) -> list[int]:
            return [await lockouts.failed("a") for _ in range(times)]

        assert await fail(2) == [0, 0]
        # The window slides: of those two none counts any more.
        clock.seconds += 61
        assert await fail(2) == [0, 0]
        assert await lockouts.locked("a") == 0
        assert await fail(1) == [0]
        assert await lockouts.locked("a") == RULE.hold
        assert await lockouts.locked("b") == 0
        clock.seconds += 899
        assert await fail(2) == [MICROSECONDS] * 2
        clock.seconds += 1
        assert await lockouts.locked("a") == 0
        # What failed while it was locked does not count again.
        assert await fail(2) == [0, 0]
        assert await lockouts.locked("a") == 0
        assert await fail(1) == [0]
        # A clock that is set back makes no lock longer than it is.
        clock.seconds -= 86_400
        assert await lockouts.locked("a") == RULE.hold
