"""`jobseal admin export-mix`: what batching has to do with, for simulations."""

import sys
from datetime import timedelta
from typing import Annotated

import typer

from relayer.batches import mix_repository
from relayer.batches.mix import MixWriter
from relayer.cli.admin.session import known_registry, with_database
from relayer.cli.admin.show import say
from relayer.cli.errors import one_line_errors
from relayer.model.clock import utc_now
from relayer.settings import DatabaseSettings
from relayer.store.database import Database


@one_line_errors
def export_mix(
    hours: Annotated[float, typer.Option(min=0, help="How far to go back from now.")] = 24.0,
) -> None:
    """Write as CSV of which kinds jobs were and how long they took: neither tenants nor anything of what was in them.

    `make simulate-batches ARGS="--recorded FILE"` shows what batching costs with it. With JOBSEAL_DATABASE_URL in the
    relayer's role, and JOBSEAL_REGISTRY_….
    """

    async def work(db: Database) -> int:
        registry = await known_registry(db)
        until = utc_now()
        count = 0
        async with db.transaction() as conn:
            writer = MixWriter(sys.stdout)
            async for job in mix_repository.mix(conn, registry.id, until - timedelta(hours=hours), until):
                writer.write(job)
                count += 1
        return count

    say(f"{with_database(DatabaseSettings(), work)} jobs of the last {hours:g} hours")
