"""Who leads does its passes at their pace."""

import asyncio
import time
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from relayer.leading import Leader, Loop, Pace, epochs_in
from relayer.store.database import Database


def test_a_few_passes_follow_each_other_and_then_one_a_while() -> None:
    pace = Pace(timedelta(seconds=2), burst=3)
    begun = []
    now = 100.0
    for _ in range(6):
        now += pace.wait(now)
        pace.begin(now)
        begun.append(now)
    assert begun == [100, 100, 100, 102, 104, 106]
    # A rest earns the few again, and no more.
    now = 1_000.0
    for _ in range(4):
        now += pace.wait(now)
        pace.begin(now)
    assert now == 1_002


def test_no_pace_waits_for_nothing() -> None:
    pace = Pace(timedelta(0))
    for _ in range(100):
        assert pace.wait(5.0) == 0
        pace.begin(5.0)


async def test_a_bell_that_rings_for_ever_gives_no_more_passes_than_the_pace(relayer_db: Database) -> None:
    rings = asyncio.Event()
    stopping, enough = asyncio.Event(), asyncio.Event()
    begun: list[float] = []

    async def run_pass(_: int) -> int:
        begun.append(time.monotonic())
        rings.set()
        if len(begun) == 30:
            enough.set()
        return 1

    loop = Loop("test", run_pass, timedelta(seconds=60), bell=rings, pace=timedelta(milliseconds=20))
    shown = CollectorRegistry()
    leader = Leader(loop, relayer_db, "test", stopping, epochs_in(shown))
    leading = asyncio.create_task(leader.lead())
    await enough.wait()
    assert shown.get_sample_value("jobseal_loop_epoch", {"loop": "test"}) == 1
    stopping.set()
    await leading
    # The first, eight more at once, and each of the others no earlier than its time.
    assert begun[29] - begun[0] >= (30 - 9) * 0.02


async def test_what_breaks_every_pass_is_told_once_and_no_bell_hurries_it(
    relayer_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayer.leading._FAILURE_WAIT_S", 0.1)
    rings, stopping, enough = asyncio.Event(), asyncio.Event(), asyncio.Event()
    begun: list[float] = []

    async def run_pass(_: int) -> int:
        rings.set()
        begun.append(time.monotonic())
        if len(begun) == 4:
            enough.set()
        raise ZeroDivisionError("by what")

    loop = Loop("test", run_pass, timedelta(0), bell=rings)
    leader = Leader(loop, relayer_db, "test", stopping, epochs_in(CollectorRegistry()))
    with capture_logs() as said:
        leading = asyncio.create_task(leader.lead())
        await enough.wait()
        stopping.set()
        await leading
    assert begun[3] - begun[0] >= 0.3
    assert [one["event"] for one in said] == ["leads", "pass_failed"]


async def test_a_process_of_another_role_says_so_and_stops_in_order(api_db: Database) -> None:
    async def run_pass(_: int) -> int:
        raise AssertionError("nobody leads")

    stopping = asyncio.Event()
    loop = Loop("test", run_pass, timedelta(0))
    leader = Leader(loop, api_db, "test", stopping, epochs_in(CollectorRegistry()))
    with capture_logs() as said:
        await leader._step()
        stopping.set()
        await leader.lead()
    assert [(one["event"], one["reason"]) for one in said] == [
        ("stopped_by", "permission denied for table leases")
    ]
