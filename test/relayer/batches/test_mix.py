import asyncio
import io
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner, Result

from relayer.batches.mix import MixJob, MixWriter, read_mix
from relayer.cli.admin.app import app
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.store.registries import RegistryRow

from .conftest import InsertFinished


def test_what_is_written_is_read_again() -> None:
    jobs = [MixJob(0.0, "digest", 0.0, 1.25, 0.5), MixJob(3.5, "a, b", 600.0, None, None)]
    file = io.StringIO()
    writer = MixWriter(file)
    for job in jobs:
        writer.write(job)
    assert file.getvalue() == 'at,kind,delay,ended,ran\n0,digest,0,1.25,0.5\n3.5,"a, b",600,,\n'
    assert list(read_mix(file.getvalue().splitlines())) == jobs


def test_another_file_is_refused() -> None:
    with pytest.raises(ValueError, match="no recorded mix"):
        list(read_mix(["id,kind"]))


def _attempt(superuser: psycopg.Connection[Any], job: UUID, number: int, state: str, *seconds: float) -> None:
    """An attempt that was dispatched, began and ended so many seconds after its job was submitted."""
    superuser.execute(
        """INSERT INTO attempts (id, job_id, tenant_id, kind, priority, number, mode, state, dispatched_at, started_at,
                                 finished_at)
           SELECT %s, id, tenant_id, kind, 1, %s, 'inline', %s, created_at + make_interval(secs => %s),
                  created_at + make_interval(secs => %s), created_at + make_interval(secs => %s)
           FROM jobs WHERE id = %s""",
        [new_id(), number, state, *seconds, job],
    )


async def _export(urls: Any, registry: RegistryRow, *arguments: str) -> Result:
    # A command runs an event loop of its own.
    return await asyncio.to_thread(
        CliRunner().invoke,
        app,
        ["export-mix", *arguments],
        env={
            "JOBSEAL_DATABASE_URL": urls.relayer,
            "JOBSEAL_REGISTRY_CHAIN_ID": str(registry.chain_id),
            "JOBSEAL_REGISTRY_ADDRESS": f"0x{registry.address.hex()}",
        },
    )


async def test_the_jobs_of_a_time_are_exported(
    urls: Any,
    superuser: psycopg.Connection[Any],
    registry_row: RegistryRow,
    insert_finished: InsertFinished,
) -> None:
    now = utc_now()
    plain, retried, running, failed, old = await insert_finished(range(5), ready_at=now)
    for job, seconds in ((plain, 100), (retried, 90), (running, 80), (failed, 70), (old, 3_700)):
        superuser.execute(
            """UPDATE jobs SET created_at = %(now)s - make_interval(secs => %(ago)s),
                               run_at = %(now)s - make_interval(secs => %(ago)s) WHERE id = %(job)s""",
            {"now": now, "ago": seconds, "job": job},
        )
    _attempt(superuser, plain, 1, "succeeded", 0.5, 1, 99)
    # It was to begin after 20 s; the retry has moved that to 60.
    _attempt(superuser, retried, 1, "failed", 20, 21, 30)
    _attempt(superuser, retried, 2, "succeeded", 61, 62, 87.5)
    superuser.execute("UPDATE jobs SET run_at = created_at + interval '60 s' WHERE id = %s", [retried])
    superuser.execute(
        "UPDATE jobs SET state = 'processing', result_ready_at = NULL, output_hash = NULL WHERE id = %s",
        [running],
    )
    superuser.execute(
        """UPDATE jobs SET state = 'failed', finished_at = created_at + interval '7 s', result_ready_at = NULL,
                           output_hash = NULL WHERE id = %s""",
        [failed],
    )
    exported = await _export(urls, registry_row, "--hours", "1")
    assert exported.exit_code == 0, exported.output
    assert exported.stderr == "4 jobs of the last 1 hours\n"
    assert list(read_mix(exported.stdout.splitlines())) == [
        MixJob(0.0, "digest", 0.0, 100.0, 98.0),
        MixJob(10.0, "digest", 20.0, 90.0, 25.5),
        MixJob(20.0, "digest", 0.0, None, None),
        MixJob(30.0, "digest", 0.0, 7.0, None),
    ]


async def test_only_jobs_of_the_registry_are_exported(
    urls: Any, registry_row: RegistryRow, insert_finished: InsertFinished
) -> None:
    await insert_finished([0], ready_at=utc_now() - timedelta(minutes=1))
    other = RegistryRow(registry_row.id, registry_row.chain_id, bytes(20), 0)
    refused = await _export(urls, other)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "is not registered" in refused.stderr
