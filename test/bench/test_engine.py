"""The benchmark of the engine counts right: real engines, tiny numbers, no word about speed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from bench.engine import processes
from bench.engine.campaign import Plan, run
from bench.engine.marks import CountError, Marks, mark
from bench.engine.measure import Drain, PickUp, Turn
from bench.engine.report import Report
from bench.engine.repository import Tally, tally
from bench.engine.servers import Stores, describe
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.valkey import EmbeddedValkey


@pytest.fixture
def stores(
    postgres_server: EmbeddedPostgres, urls: object, valkey_server: EmbeddedValkey, valkey_url: str
) -> Stores:
    assert postgres_server.pid is not None
    assert valkey_server.pid is not None
    roles = {f"{role}_url": url for role, url in vars(urls).items()}
    return Stores(
        **roles,
        admin_url=postgres_server.admin_dsn,
        redis_url=valkey_url,
        pids={"postgresql": postgres_server.pid, "valkey": valkey_server.pid},
    )


@pytest.mark.campaign
def test_rq_and_jobseal_do_every_job_once(stores: Stores, tmp_path: Path) -> None:
    told: list[Turn] = []
    turns = run(Plan(rounds=1, lone=3, backlogs={"rq": 30, "jobseal": 40}), stores, tmp_path, told.append)
    assert turns == told
    assert [(turn.contender, turn.drain.jobs, len(turn.pick_up.ms)) for turn in turns] == [
        ("rq", 30, 3),
        ("jobseal", 40, 3),
    ]
    totals = []
    for turn, backlog in zip(turns, (30, 40), strict=True):
        marks = Marks(tmp_path / f"1-{turn.contender}" / "marks").read()
        numbers = sorted(one.number for one in marks)
        warm_up = len(numbers) - backlog - 3
        assert warm_up > 0
        assert warm_up % 100 == 0
        assert numbers == list(range(len(numbers)))
        assert len({one.pid for one in marks}) == 2
        totals.append(len(numbers))
    total = totals[-1]
    with psycopg.connect(stores.owner_url) as connection:
        kept = connection.execute(
            """SELECT (SELECT count(*) FROM jobs WHERE state = 'completed'), (SELECT count(*) FROM usage_events WHERE meter = 'job_completed'),
                      (SELECT count(DISTINCT output_hash) FROM jobs)"""
        ).fetchone()
    assert kept == (total,) * 3
    report = Report(turns, describe(stores))
    found = json.loads(json.dumps(report.as_json()))
    assert found["servers"]["postgresql fsync"] == "off"
    assert set(found["ratios"]) == {"jobseal/rq"}
    assert [goal["met"] is None for goal in found["goals"]] == [False, True, False]
    assert "not measured  drain, times Celery >= 1" in report.as_text()

    # The books are read, not believed: one usage event less, and the same turn is refused.
    asyncio.run(_tally(stores)).require(total)
    with psycopg.connect(stores.owner_url) as connection:
        connection.execute(
            "DELETE FROM usage_events WHERE id = (SELECT min(id) FROM usage_events WHERE meter = 'job_completed')"
        )
    with pytest.raises(CountError, match=f"{total} jobs ran, but .* billed_once={total - 1}"):
        asyncio.run(_tally(stores)).require(total)


async def _tally(stores: Stores) -> Tally:
    async with await psycopg.AsyncConnection.connect(stores.owner_url) as conn:
        cursor = await conn.execute("SELECT id FROM tenants")
        return await tally(conn, [row[0] for row in await cursor.fetchall()])


def test_a_job_that_ran_twice_or_never_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = Marks(tmp_path / "marks")
    monkeypatch.setenv("JOBSEAL_BENCH_MARKS", str(marks.path))
    mark.__globals__["_descriptor"].cache_clear()
    for number in (0, 1, 2):
        mark(number)
    marks.require_each_once(3)
    assert [one.pid for one in marks.read(after=1)] == [os.getpid()] * 2
    with pytest.raises(CountError, match="of 4 jobs 1 never ran, 0 ran again and 0 are unknown"):
        marks.require_each_once(4)
    with pytest.raises(CountError, match="of 2 jobs 0 never ran, 0 ran again and 1 are unknown"):
        marks.require_each_once(2)
    mark(1)
    with pytest.raises(CountError, match="of 3 jobs 0 never ran, 1 ran again and 0 are unknown"):
        marks.require_each_once(3)


def test_ratios_are_taken_within_a_round() -> None:
    def turn(contender: str, number: int, rate: int) -> Turn:
        pick_up = PickUp([1.0, 2.0, 3.0, float(rate)])
        return Turn(contender, number, {}, pick_up, Drain(rate, 1.0, {"workers": 1.0}, 0.0))

    rates = {"rq": (10, 100, 20), "celery": (60, 300, 50), "jobseal": (50, 400, 110)}
    turns = [turn(name, number, rate) for name, all_ in rates.items() for number, rate in enumerate(all_)]
    report = Report(turns, {}).as_json()
    assert report["ratios"]["jobseal/rq"] == [5.0, 4.0, 5.5]
    assert [(goal["value"], goal["met"]) for goal in report["goals"]] == [
        (5.0, True),
        (400 / 300, True),
        (2.5, True),
    ]
    assert report["medians"]["jobseal"]["pick_up_p95_ms"] == 110.0


def test_a_held_process_and_its_children_do_nothing_until_resumed() -> None:
    code = """
import subprocess, sys
child = "while True: pass"
print("up", flush=True)
subprocess.run([sys.executable, "-c", child])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            parts = {"busy": [process.pid]}

            def burns() -> bool:
                before = processes.cpu_seconds(parts)["busy"]
                deadline = time.monotonic() + 0.3
                while time.monotonic() < deadline:
                    pass
                return processes.cpu_seconds(parts)["busy"] > before

            assert any(burns() for _ in range(20))
            processes.hold([process.pid])
            time.sleep(0.2)
            assert not burns()
            processes.resume([process.pid])
            assert any(burns() for _ in range(20))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
