"""The engine as its tests drive it: the API's service, the relayer's loops turned by hand, and real worker pools."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor

from relayer.jobs.canceller import LEASE as CANCELLER
from relayer.jobs.canceller import Canceller
from relayer.jobs.dispatcher import LEASE as DISPATCHER
from relayer.jobs.dispatcher import Dispatcher
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.queue import JobQueue
from relayer.jobs.reaper import LEASE as REAPER
from relayer.jobs.reaper import Reaper
from relayer.jobs.records import Job
from relayer.jobs.service import JobService
from relayer.jobs.submission import Options, Submission
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import DispatcherSettings, ReaperSettings
from relayer.store import leases
from relayer.store.database import Database

_LIMIT_S = 90.0


@dataclass
class Time:
    """A clock that the test puts ahead."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@dataclass(frozen=True)
class Platform:
    """The engine of a test, and the settings that its workers get."""

    service: JobService
    db: Database
    queue: JobQueue
    handlers: Handlers
    settings: DispatcherSettings
    environment: Mapping[str, str]
    reaping: ReaperSettings = field(default_factory=ReaperSettings)

    async def submit(self, tenant: UUID, kind: str, value: Any, **options: Any) -> Job:
        submission = Submission(kind, value, {}, None, bytes(32), Options(**options))
        return (await self.service.submit(tenant, submission)).job

    async def dispatch(self) -> int:
        """Run passes until there is nothing to push."""
        dispatcher, epoch, pushed = self.dispatcher(), await self._lead(DISPATCHER), 0
        while just_pushed := await dispatcher.run_pass(epoch):
            pushed += just_pushed
        return pushed

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.db, self.queue, self.handlers, self.settings, utc_now)

    async def reap(self) -> int:
        return await Reaper(self.db, self.reaping, utc_now).run_pass(await self._lead(REAPER))

    async def carry_out_cancellations(self) -> int:
        canceller = Canceller(self.db, self.queue, self.reaping, utc_now)
        return await canceller.run_pass(await self._lead(CANCELLER))

    async def turn(self) -> None:
        """Turn every loop once; a store that is away is met again with the next turn."""
        for one in (self.dispatch, self.reap, self.carry_out_cancellations):
            with suppress(UnavailableError):
                await one()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Turn the loops until something holds."""
        deadline = time.monotonic() + _LIMIT_S
        while not await condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            await self.turn()
            await asyncio.sleep(0.05)

    async def finished(self, tenant: UUID, jobs: list[Job]) -> list[Job]:
        """Turn the loops until all of the jobs have come to an end, and give them as they are then."""

        async def all_ended() -> bool:
            return all(job.state not in {"created", "processing"} for job in await self.seen(tenant, jobs))

        await self.until(all_ended)
        return await self.seen(tenant, jobs)

    async def end_of(self, tenant: UUID, kind: str, value: Any, **options: Any) -> Job:
        """Submit one job, and give it as it is in the end."""
        job = await self.submit(tenant, kind, value, **options)
        (ended,) = await self.finished(tenant, [job])
        return ended

    async def seen(self, tenant: UUID, jobs: list[Job]) -> list[Job]:
        found = [await self.service.get(tenant, job.id) for job in jobs]
        return [job for job in found if job is not None]

    async def output(self, tenant: UUID, job: Job) -> bytes:
        output = await self.service.output(tenant, job.id)
        assert output is not None
        return b"".join([chunk async for chunk in output[2]])

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.db.transaction() as conn:
            return await (await conn.execute(query.encode(), values)).fetchall()

    async def attempts(self, job: Job) -> list[str]:
        """Give the states of a job's attempts, in order."""
        rows = await self.rows("SELECT state FROM attempts WHERE job_id = %s ORDER BY number", job.id)
        return [row[0] for row in rows]

    async def usage(self) -> int:
        ((count,),) = await self.rows("SELECT count(*) FROM usage_events WHERE meter = 'job_completed'")
        return int(count)

    async def runner_of(self, job: Job) -> int:
        """Give the process that runs a job: an inline worker, or a work-horse."""
        ((worker,),) = await self.rows(
            "SELECT worker FROM attempts WHERE job_id = %s AND state = 'running'", job.id
        )
        return int(worker.rpartition("/")[2])

    def workers(
        self, inline: int, isolated: int, **settings: str
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run a pool; `settings` are more variables of its environment."""
        return pool({**self.environment, **settings}, inline, isolated)

    def relayer(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run the loops as a process, at the platform's own settings, instead of turning them by hand."""
        loops = [part for name in (DISPATCHER, REAPER, CANCELLER) for part in ("--only", name)]
        return command(self.environment, "relayer", *loops)

    async def _lead(self, name: str) -> int:
        async with self.db.transaction() as conn:
            epoch = await leases.acquire(conn, name, "test", timedelta(minutes=1))
        assert epoch is not None
        return epoch


def pool(
    environment: Mapping[str, str], inline: int, isolated: int
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run `jobseal worker`."""
    counts = {"JOBSEAL_WORKER_INLINE": str(inline), "JOBSEAL_WORKER_ISOLATED": str(isolated)}
    return command({**environment, **counts}, "worker")


@contextmanager
def command(environment: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `jobseal …`; stopped at the end where it was not before. It says what it has to say afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "relayer.cli.main", *arguments],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        assert process.stderr is not None
        sys.stderr.write(process.stderr.read().decode())
        process.stderr.close()


async def pages_of(conn: AsyncConnection[Any] | AsyncCursor[Any], query: str, values: Any) -> int:
    """Give how many pages a query reads: what it costs, on any machine."""
    cursor = await conn.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}".encode(), values)
    ((plans,),) = await cursor.fetchall()
    plan = plans[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@contextmanager
def dying(*arguments: str) -> Iterator[Callable[[int], str]]:
    """Do a piece of work in a child that dies at a line; give how the child ended."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("dying.py")), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def run(number: int) -> str:
        stdin.write(f"{number}\n")
        stdin.flush()
        return stdout.readline().strip()

    try:
        yield run
    finally:
        stdin.close()
        stdout.close()
        process.wait()


def has_line(path: Path, line: str) -> bool:
    """Whether a handler has written a line."""
    return path.exists() and line in path.read_text().splitlines()


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def gone(*pids: int) -> None:
    """Wait until processes have ended."""
    deadline = time.monotonic() + _LIMIT_S
    while any(map(lives, pids)):
        assert time.monotonic() < deadline, "they live on"
        await asyncio.sleep(0.02)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
