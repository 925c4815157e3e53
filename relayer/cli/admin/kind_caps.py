"""`jobseal admin kind-cap …`: how many jobs of a kind may run at once, over all tenants."""

from collections.abc import Sequence
from typing import Annotated

import typer

from relayer.cli.admin.session import Session, administer
from relayer.cli.admin.show import Json, say, show_json, show_table
from relayer.cli.errors import one_line_errors
from relayer.tenants.administration_repository import KindCap

app = typer.Typer(help="How many jobs of a kind may run at once, over all tenants.", no_args_is_help=True)

Kind = Annotated[str, typer.Argument(help="The kind of jobs; it need not be installed.")]


@app.command("set")
@one_line_errors
def set_cap(kind: Kind, running_jobs: Annotated[int, typer.Argument(help="0 lets none begin.")]) -> None:
    """Cap a kind."""

    async def work(session: Session) -> KindCap:
        return await session.administration.set_kind_cap(kind, running_jobs, session.origin)

    say(f"at most {administer(work).running_jobs} of '{kind}' run at once")


@app.command("list")
@one_line_errors
def list_caps(*, as_json: Json = False) -> None:
    """List the kinds that have a cap."""

    async def work(session: Session) -> Sequence[KindCap]:
        return await session.administration.kind_caps()

    documents = [cap.to_document() for cap in administer(work)]
    if as_json:
        show_json(documents)
        return
    show_table(("kind", "running_jobs"), [list(document.values()) for document in documents])


@app.command()
@one_line_errors
def clear(kind: Kind) -> None:
    """Take the cap of a kind away."""

    async def work(session: Session) -> None:
        await session.administration.clear_kind_cap(kind, session.origin)

    administer(work)
    say(f"'{kind}' has no cap of its own")
