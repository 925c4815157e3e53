"""`jobseal admin migrate` and `register`: what the owner of the database does, `JOBSEAL_OWNER_DATABASE_URL`."""

from typing import Annotated

import typer

from relayer.cli.admin.session import shell_origin, with_database
from relayer.cli.admin.show import say
from relayer.cli.errors import one_line_errors
from relayer.settings import OwnerDatabaseSettings, RegistrySettings
from relayer.store.database import Database
from relayer.tenants.registration import register_registry


@one_line_errors
def migrate() -> None:
    """Bring the schema of the database up to date; does nothing where it is."""
    from relayer.store.migrate import migrate as run  # noqa: PLC0415 - loads SQLAlchemy, which nothing else here needs

    run(OwnerDatabaseSettings().url.get_secret_value())
    say("the schema is up to date")


@one_line_errors
def register(
    first_block: Annotated[
        int, typer.Option(min=0, help="The block of its deployment: no event of it lies in an earlier one.")
    ],
) -> None:
    """Make the registry of JOBSEAL_REGISTRY_CHAIN_ID and JOBSEAL_REGISTRY_ADDRESS known, and open its tickets."""
    registry = RegistrySettings()

    async def work(db: Database) -> bool:
        return await register_registry(
            db, registry.chain_id, registry.address_bytes, first_block, origin=shell_origin()
        )

    is_new = with_database(OwnerDatabaseSettings(), work)
    say(
        f"the registry {registry.address} on chain {registry.chain_id} is {'registered' if is_new else 'known'}"
    )
