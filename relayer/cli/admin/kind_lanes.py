"""`jobseal admin kind-lane …`: in which lane of the registry the jobs of a kind are confirmed."""

from collections.abc import Sequence
from typing import Annotated

import typer

from relayer.cli.admin.session import Session, administer
from relayer.cli.admin.show import Json, say, show_json, show_table
from relayer.cli.errors import one_line_errors
from relayer.tenants.kind_lane_repository import KindLane

app = typer.Typer(
    help="In which lane of the registry the jobs of a kind are confirmed.", no_args_is_help=True
)


@app.command("set")
@one_line_errors
def set_lane(
    kind: Annotated[str, typer.Argument(help="The kind of jobs; it need not be installed.")],
    lane: Annotated[
        int, typer.Argument(help="0, the standard lane, or 1 to 31, whose quorum the registry's admin sets.")
    ],
) -> None:
    """Give a kind a lane, for the jobs that are submitted from now on."""

    async def work(session: Session) -> KindLane:
        return await session.kind_lanes.set(kind, lane, session.origin)

    say(f"new jobs of '{kind}' are confirmed in lane {administer(work).lane}")


@app.command("list")
@one_line_errors
def list_lanes(*, as_json: Json = False) -> None:
    """List the kinds that have another than the standard lane."""

    async def work(session: Session) -> Sequence[KindLane]:
        return await session.kind_lanes.all()

    documents = [one.to_document() for one in administer(work)]
    if as_json:
        show_json(documents)
        return
    show_table(("kind", "lane"), [list(document.values()) for document in documents])
