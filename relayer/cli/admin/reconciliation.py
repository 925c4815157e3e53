"""`jobseal admin reconcile`, `thaw` and `rebuild`: whether database and chain agree, and what is done where they did not."""

from typing import Annotated, Any

import typer

from relayer.batches.differences import RULES
from relayer.batches.rebuild import Rebuilt
from relayer.batches.reconciler import Mode, Report
from relayer.batches.thawing import thaw_registry
from relayer.cli.admin.session import Session, administer, known_registry, shell_origin, with_database
from relayer.cli.admin.show import Json, say, show_fields, show_json, show_table
from relayer.cli.errors import one_line_errors
from relayer.settings import DatabaseSettings, OwnerDatabaseSettings, RegistrySettings
from relayer.store.database import Database

DIFFERENT = 1


@one_line_errors
def reconcile(
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Everything, instead of what moved of late and a sample.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the database with the chain now, as the loop does, and mend what can be mended; exit with 1 if they differ.

    With the relayer's settings: JOBSEAL_DATABASE_URL, JOBSEAL_REGISTRY_… and JOBSEAL_CHAIN_….
    """
    from relayer.app import reconciling  # noqa: PLC0415 - loads every loop, which no other command needs

    async def work(db: Database) -> Report:
        async with reconciling(db, await known_registry(db)) as reconciler:
            return await reconciler.run(Mode.FULL if full else Mode.SHALLOW)

    report = with_database(DatabaseSettings(), work)
    if as_json:
        show_json(_document(report))
    else:
        _show(report)
    if report.found:
        raise typer.Exit(DIFFERENT)


@one_line_errors
def thaw(
    reason: Annotated[str, typer.Option(help="What was found and done; it stands in the audit log.", min=1)],
) -> None:
    """Let sealing and sending go on for the registry of JOBSEAL_REGISTRY_CHAIN_ID and JOBSEAL_REGISTRY_ADDRESS."""
    registry = RegistrySettings()

    async def work(session: Session) -> str | None:
        return await thaw_registry(
            session.db, registry.chain_id, registry.address_bytes, reason=reason, origin=session.origin
        )

    was = administer(work)
    say("the registry was not frozen" if was is None else f"the registry is thawed; it was frozen for {was}")


@one_line_errors
def rebuild() -> None:
    """Bring back what the chain has confirmed, from the manifests, into an empty or an older database.

    As the owner, JOBSEAL_OWNER_DATABASE_URL, with JOBSEAL_BLOBS_FOLDER, JOBSEAL_BATCHER_MANIFEST_KEY, JOBSEAL_REGISTRY_… and
    JOBSEAL_CHAIN_…. No `jobseal relayer` may run. A rebuild that was cut short is run again.
    """
    from relayer.app import rebuilding  # noqa: PLC0415 - see above

    async def work(db: Database) -> Rebuilt:
        async with rebuilding(db, await known_registry(db), shell_origin()) as rebuilder:
            return await rebuilder.run()

    rebuilt = with_database(OwnerDatabaseSettings(), work)
    show_fields(vars(rebuilt))
    say("what was confirmed is back; start `jobseal relayer`, then run `jobseal admin reconcile --full`")
    if rebuilt.broken or rebuilt.kept_apart:
        raise typer.Exit(DIFFERENT)


def _document(report: Report) -> dict[str, Any]:
    run = report.run
    return {
        "id": str(run.id),
        "mode": run.mode,
        "block": {"number": run.block_number, "hash": f"0x{run.block_hash.hex()}"},
        "compared": {"batches": run.batches, "words": run.words, "events": run.events},
        "seconds": (run.finished_at - run.started_at).total_seconds(),
        "differences": [
            {
                "class": one.kind.value,
                "subject": one.subject,
                "database": one.database,
                "chain": one.chain,
                "block": one.block,
                "action": one.action.value,
                "outcome": outcome,
            }
            for one, outcome in zip(report.found, report.outcomes, strict=True)
        ],
    }


def _show(report: Report) -> None:
    document = _document(report)
    differences = document.pop("differences")
    show_fields(document)
    if not differences:
        say("database and chain agree")
        return
    columns = ("class", "subject", "database", "chain", "block", "action", "outcome")
    show_table(columns, [[one[name] for name in columns] for one in differences])
    for kind in dict.fromkeys(one.kind for one in report.found):
        say(f"{kind}: {RULES[kind].meaning}")
