"""The one function that moves jobs, against a model of a job's life."""

from dataclasses import dataclass, replace
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relayer.jobs.records import Job
from relayer.jobs.service import JobService
from relayer.jobs.submission import Submission
from relayer.jobs.transition import Change, JobOutput, transition
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState, may_move
from relayer.store.database import Database
from relayer.store.registries import RegistryRow


async def new_job(service: JobService, tenant: UUID) -> Job:
    return (await service.submit(tenant, Submission("digest", {"text": "a"}, {}, None, bytes(32)))).job


def step(job_id: UUID, version: int, source: JobState, target: JobState, batch: UUID) -> Change:
    made = (source, target) == (JobState.PROCESSING, JobState.COMPLETED)
    return Change(
        job_id,
        version,
        source,
        target,
        actor="test",
        output=JobOutput(bytes(32), 1, "text/plain") if made else None,
        error={"code": "test"} if target is JobState.FAILED else None,
        batch_id=batch if target is JobState.CONFIRMING else None,
    )


@pytest.fixture
async def batch(owner_db: Database, registry_row: RegistryRow) -> UUID:
    batch_id = new_id()
    async with owner_db.transaction() as conn:
        await conn.execute(
            "INSERT INTO batches (id, registry_id, lane, root, state, leaf_count, sealed_at)"
            " VALUES (%s, %s, 0, %s, 'sealed', 1, now())",
            [batch_id, registry_row.id, bytes(32)],
        )
    return batch_id


@dataclass(frozen=True)
class Try:
    """A try to move: to one of the allowed states, or where `is_wild` to any, from a version that is off by `late`."""

    pick: int
    is_wild: bool
    late: int

    def target(self, source: JobState) -> JobState:
        allowed = [state for state in JobState if may_move(source, state)]
        choice = list(JobState) if self.is_wild or not allowed else allowed
        return choice[self.pick % len(choice)]


TRIES = st.builds(
    Try, st.integers(0, 7), st.sampled_from([False, False, True]), st.sampled_from([0, 0, 0, -1, 1])
)


@given(tries=st.lists(TRIES, max_size=12))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_job_follows_its_life_and_leaves_a_trace_of_every_step(
    service: JobService, tenants: list[UUID], relayer_db: Database, batch: UUID, tries: list[Try]
) -> None:
    """The batch is one that was released, from which a job may go back."""
    async with relayer_db.transaction() as conn:
        await conn.execute(
            """UPDATE batches SET state = 'released', released_number = 1, released_hash = sha256(''),
                      released_block_time = now() WHERE id = %s""",
            [batch],
        )
    job = await new_job(service, tenants[0])
    path = [JobState.CREATED]
    for one in tries:
        target = one.target(path[-1])
        change = step(job.id, len(path) + one.late, path[-1], target, batch)
        async with relayer_db.transaction() as conn:
            if not may_move(path[-1], target):
                with pytest.raises(ValueError, match="no job moves"):
                    await transition(conn, [change], utc_now())
                continue
            moved = await transition(conn, [change], utc_now())
        assert moved == (frozenset() if one.late else {job.id})
        if moved:
            path.append(target)
    seen = await service.get(tenants[0], job.id)
    assert seen is not None
    assert (seen.state, seen.state_version) == (path[-1], len(path))
    async with relayer_db.transaction() as conn:
        cursor = await conn.execute(
            "SELECT seq, from_state, to_state FROM job_events WHERE job_id = %s ORDER BY seq", [job.id]
        )
        sources = [None, *path]
        assert await cursor.fetchall() == [
            (seq, sources[seq - 1], state) for seq, state in enumerate(path, start=1)
        ]
        cursor = await conn.execute("SELECT count(*) FROM usage_events WHERE job_id = %s", [job.id])
        assert await cursor.fetchone() == (int(JobState.COMPLETED in path),)
        cursor = await conn.execute("SELECT topic FROM outbox WHERE job_id = %s ORDER BY id", [job.id])
        told = [
            f"job.{state}"
            for before, state in pairwise(path)
            if state in {"failed", "rejected", "cancelled", "confirmed"}
            or (before, state) == ("processing", "completed")
        ]
        assert [row[0] for row in await cursor.fetchall()] == told


async def test_many_jobs_move_in_one_statement_and_late_ones_stay(
    service: JobService, tenants: list[UUID], relayer_db: Database
) -> None:
    jobs = [await new_job(service, tenants[0]) for _ in range(5)]
    changes = [step(job.id, 1, JobState.CREATED, JobState.PROCESSING, new_id()) for job in jobs]
    async with relayer_db.transaction() as conn:
        assert await transition(conn, changes[:2], utc_now()) == {job.id for job in jobs[:2]}
    async with relayer_db.transaction() as conn:
        assert await transition(conn, changes, utc_now()) == {job.id for job in jobs[2:]}
        assert await transition(conn, [], utc_now()) == frozenset()


@pytest.mark.parametrize(
    "flaw",
    [{"output": JobOutput(bytes(32), 1, "a/b")}, {"batch_id": new_id()}, {"run_at": utc_now()}],
)
async def test_a_step_that_brings_what_it_must_not_is_refused(
    relayer_db: Database, flaw: dict[str, object]
) -> None:
    sound = step(new_id(), 1, JobState.CREATED, JobState.PROCESSING, new_id())
    async with relayer_db.transaction() as conn:
        with pytest.raises(ValueError, match=r"created -> processing|waiting"):
            await transition(conn, [replace(sound, **flaw)], utc_now())  # type: ignore[arg-type]  # one field at a time
        with pytest.raises(ValueError, match="one step"):
            await transition(conn, [sound, sound], utc_now())
