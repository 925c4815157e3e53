"""Jobs whose tickets are spent for somebody else fail, and run again as new ones."""

from relayer.batches import burnt_repository
from relayer.batches.burnt import run_anew
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import HeldClock, SealJobs


async def test_a_sealed_job_fails_by_itself_and_a_new_one_takes_its_place(
    relayer_db: Database, registry_row: RegistryRow, seal_jobs: SealJobs, clock: HeldClock
) -> None:
    burnt, other = await seal_jobs([3, 4])
    async with relayer_db.transaction() as conn:
        jobs = await burnt_repository.jobs_by_ticket(conn, registry_row.id, [3])
        await run_anew(conn, jobs, actor="rebuild", at=clock())
    async with relayer_db.transaction() as conn:

        async def rows(query: str) -> list[tuple[object, ...]]:
            return await (await conn.execute(query.encode())).fetchall()

        states = "SELECT id, state, finished_at IS NOT NULL FROM jobs WHERE rerun_of IS NULL ORDER BY ticket"
        assert await rows(states) == [(burnt, "failed", True), (other, "confirming", False)]
        moves = "SELECT from_state, reason, actor FROM job_events WHERE to_state = 'failed'"
        assert await rows(moves) == [("confirming", "ticket_spent", "rebuild")]
        assert await rows("SELECT job_id FROM outbox WHERE topic = 'job.failed'") == [(burnt,)]
        again = """SELECT n.rerun_of, n.state, n.input = o.input, n.input_hash = o.input_hash, n.salt <> o.salt,
                          n.ticket <> o.ticket, n.output_hash, n.batch_id
                   FROM jobs n JOIN jobs o ON o.id = n.rerun_of"""
        assert await rows(again) == [(burnt, "created", True, True, True, True, None, None)]
        assert await rows("SELECT kind FROM active_queues") == [("digest",)]
