"""Whoever works on jobs may be killed before any line: the others bring every job to one end, and it leaves one trace."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from support import Platform, Time, dying

from relayer.jobs import canceller, dispatcher, reaper
from relayer.jobs.canceller import Canceller
from relayer.jobs.dispatcher import Dispatcher
from relayer.jobs.execution import Execution, Result
from relayer.jobs.handlers.base import Mode
from relayer.jobs.reaper import Reaper
from relayer.jobs.transition import Change, JobOutput, transition
from relayer.model.clock import utc_now
from relayer.model.lifecycle import JobState
from relayer.store import leases
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database

ENDS = {"completed", "failed", "rejected", "cancelled"}


@dataclass
class Engine:
    """All that works on jobs, in one process, with a clock that runs ahead."""

    platform: Platform
    tenant: UUID
    owner_db: Database
    blobs: LocalBlobStore
    redis_url: str

    async def submit(self, kind: str = "digest", **options: Any) -> UUID:
        value = {"text": "a"} if kind == "digest" else {"seconds": 0.0}
        return (await self.platform.submit(self.tenant, kind, value, **options)).id

    async def cancel(self, job: UUID) -> None:
        await self.platform.service.cancel(self.tenant, job)

    async def execute(self, query: str) -> None:
        async with self.owner_db.transaction() as conn:
            await conn.execute(query.encode())

    def forget_queue(self) -> None:
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()

    async def queued(self) -> set[UUID]:
        """Give the attempts that lie in the queue, opened or not."""
        waiting = [one for mode in Mode for one in await self.platform.queue.waiting(mode)]
        rows = await self.platform.rows("SELECT id FROM attempts WHERE queue_job_id = ANY(%s)", waiting)
        return {row[0] for row in rows}

    async def open(self, time: Time | None = None, lease: timedelta = timedelta(minutes=1)) -> list[Result]:
        """Open what lies in the queue; give the success of each."""
        worker = self.worker(time or Time(), lease)
        data = b"a"
        output = JobOutput(hashlib.sha256(data).digest(), len(data), "text/plain", data)
        return [Result(one, output) for one in await worker.open(await self.queued())]

    def worker(self, time: Time, lease: timedelta = timedelta(minutes=1)) -> Execution:
        return Execution(self.platform.db, "worker", lease, time, self.blobs)

    async def come_to_rest(self) -> None:
        """Turn everything, ten minutes a turn, until nothing is left to do."""
        time, one = Time(), self.platform
        for _ in range(20):
            time.ahead += timedelta(minutes=10)
            await self.execute("UPDATE leases SET expires_at = '-infinity'")
            await Reaper(one.db, one.reaping, time).run_pass(await self.lead(reaper.LEASE))
            await Canceller(one.db, one.queue, one.reaping, time).run_pass(await self.lead(canceller.LEASE))
            dispatching = Dispatcher(one.db, one.queue, one.handlers, one.settings, time)
            while await dispatching.run_pass(await self.lead(dispatcher.LEASE)):
                pass
            await self.worker(time).finish(await self.open(time))
            if not await one.rows(
                """SELECT FROM jobs WHERE state IN ('created', 'processing')
                   UNION ALL SELECT FROM attempts WHERE state IN ('dispatched', 'running')"""
            ):
                return
        pytest.fail("it does not come to rest")

    async def lead(self, name: str) -> int:
        async with self.platform.db.transaction() as conn:
            epoch = await leases.acquire(conn, name, "test", timedelta(minutes=1))
        assert epoch is not None
        return epoch

    async def require_sound(self, jobs: list[UUID]) -> list[str]:
        """Look at the traces of jobs; give their states."""
        states = []
        for job in jobs:
            ((state, version),) = await self.platform.rows(
                "SELECT state, state_version FROM jobs WHERE id = %s", job
            )
            steps = await self.platform.rows(
                "SELECT seq, from_state, to_state FROM job_events WHERE job_id = %s ORDER BY seq", job
            )
            path = [to for _, _, to in steps]
            assert steps == [
                (seq, before, to) for seq, before, to in zip(count(1), [None, *path], path, strict=False)
            ]
            assert (len(path), path[-1]) == (version, state)
            attempts = await self.platform.rows(
                "SELECT number, state FROM attempts WHERE job_id = %s ORDER BY number", job
            )
            assert [number for number, _ in attempts] == [*range(1, len(attempts) + 1)]
            tries = [one for _, one in attempts]
            completed = int(state == "completed")
            assert (path.count("completed"), tries.count("succeeded")) == (completed, completed)
            assert tries.count("dispatched") + tries.count("running") <= 1
            usage = await self.platform.rows(
                "SELECT meter FROM usage_events WHERE job_id = %s AND meter = 'job_completed'", job
            )
            assert usage == [("job_completed",)] * completed
            news = await self.platform.rows("SELECT topic FROM outbox WHERE job_id = %s", job)
            assert news == ([(f"job.{state}",)] if state in ENDS else [])
            states.append(state)
        return states

    async def scene(self, jobs: list[UUID]) -> tuple[object, ...]:
        """Give what a death left behind: the states of jobs and attempts, and whose ids are in the queue."""
        attempts = await self.platform.rows(
            "SELECT job_id, state, id FROM attempts WHERE job_id = ANY(%s) ORDER BY job_id, number", jobs
        )
        queued = await self.queued()
        states = await self.require_sound(jobs)
        return (*states, *((jobs.index(job), state, id_ in queued) for job, state, id_ in attempts))


@pytest.fixture
def engine(
    platform: Platform, tenants: list[UUID], owner_db: Database, valkey_url: str, tmp_path: Path
) -> Engine:
    return Engine(platform, tenants[0], owner_db, LocalBlobStore(tmp_path), valkey_url)


async def before_dispatch(engine: Engine) -> list[UUID]:
    """Pushes of both modes were lost, and more jobs wait."""
    jobs = [await engine.submit(kind) for kind in ("digest", "digest", "test.sleep")]
    assert await engine.platform.dispatch() == 3
    engine.forget_queue()
    await engine.execute("UPDATE attempts SET pushed_at = pushed_at - interval '1 h'")
    return jobs + [await engine.submit(kind) for kind in ("digest", "digest", "test.sleep")]


async def before_open(engine: Engine) -> list[UUID]:
    """One of the jobs has moved on although its attempt lies in the queue."""
    jobs = [await engine.submit() for _ in range(4)]
    assert await engine.platform.dispatch() == 4
    gone = Change(jobs[0], 1, JobState.CREATED, JobState.CANCELLED, actor="test")
    async with engine.platform.db.transaction() as conn:
        assert await transition(conn, [gone], utc_now()) == {jobs[0]}
    return jobs


async def before_finish(engine: Engine) -> list[UUID]:
    jobs = [await engine.submit() for _ in range(7)]
    assert await engine.platform.dispatch() == 7
    return jobs


async def before_reap(engine: Engine) -> list[UUID]:
    """Two attempts have lost their worker, and a job in the queue has waited too long."""
    jobs = [await engine.submit(), await engine.submit("test.sleep")]
    assert await engine.platform.dispatch() == 2
    assert len(await engine.open(lease=timedelta(0))) == 2
    jobs.append(await engine.submit(queue_limit=timedelta(hours=1)))
    assert await engine.platform.dispatch() == 1
    await engine.execute("UPDATE jobs SET expires_at = now() WHERE state = 'created'")
    return jobs


async def before_cancel(engine: Engine) -> list[UUID]:
    """Of the jobs to be cancelled one waits, one lies in the queue, and two run."""
    jobs = [await engine.submit(), await engine.submit("test.sleep")]
    assert await engine.platform.dispatch() == 2
    assert len(await engine.open()) == 2
    jobs.append(await engine.submit())
    assert await engine.platform.dispatch() == 1
    jobs.append(await engine.submit())
    for job in jobs:
        await engine.cancel(job)
    return jobs


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.campaign), 101])
@pytest.mark.parametrize(
    ("work", "prepare", "scenes", "ends"),
    [
        ("dispatch", before_dispatch, 5, [{"completed"}] * 6),
        ("open", before_open, 3, [{"cancelled"}, *[{"completed"}] * 3]),
        (
            "finish",
            before_finish,
            2,
            [
                *[{"completed"}] * 3,
                {"completed", "failed"},
                {"completed", "rejected"},
                {"completed"},
                {"completed", "cancelled"},
            ],
        ),
        ("reap", before_reap, 3, [*[{"completed", "failed"}] * 2, {"failed"}]),
        ("cancel", before_cancel, 2, [{"cancelled"}] * 4),
    ],
    ids=["dispatch", "open", "finish", "reap", "cancel"],
)
async def test_a_process_may_be_killed_at_every_line(
    engine: Engine,
    urls: Any,
    tmp_path: Path,
    work: str,
    prepare: Callable[[Engine], Awaitable[list[UUID]]],
    scenes: int,
    ends: list[set[str]],
    stride: int,
) -> None:
    """What one transaction writes is there as a whole or not at all, wherever the death lay: so few scenes are met."""
    met: set[tuple[object, ...]] = set()
    killed = 0
    with dying(work, urls.relayer, str(tmp_path), engine.redis_url) as run:
        for line in count(min(stride, 30), stride):
            jobs = await prepare(engine)
            await engine.execute("UPDATE leases SET expires_at = '-infinity'")
            outcome = await asyncio.to_thread(run, line)
            met.add(await engine.scene(jobs))
            await engine.come_to_rest()
            states = await engine.require_sound(jobs)
            assert all(state in allowed for state, allowed in zip(states, ends, strict=True))
            engine.forget_queue()
            if outcome == "done":
                break
            assert outcome == "killed"
            killed += 1
    assert killed > 0
    if stride == 1:
        assert killed > 30
        assert len(met) == scenes
