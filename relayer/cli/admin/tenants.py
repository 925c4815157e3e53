"""`jobseal admin tenant …`: tenants, their plans and limits."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from relayer.cli.admin.session import Session, administer
from relayer.cli.admin.show import Json, say, show_fields, show_json, show_table
from relayer.cli.errors import one_line_errors
from relayer.tenants.administration import TenantChange
from relayer.tenants.administration_repository import TenantFilter
from relayer.tenants.plans import BOUNDS, DEFAULT_PLAN, PLANS
from relayer.tenants.records import Tenant

app = typer.Typer(help="Tenants, their plans and limits.", no_args_is_help=True)

TenantName = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name, or its id tnt_…")]
Plan = Annotated[str, typer.Option(help=f"{' or '.join(PLANS)}.")]
Weight = Annotated[int | None, typer.Option(help="Its share of the workers beside others', 1 to 100.")]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=NUMBER",
        help=f"Another number than the plan's; NAME=plan gives the plan's back. Names: {', '.join(BOUNDS)}.",
    ),
]
_PAGE = 200


@app.command()
@one_line_errors
def create(
    name: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9 and '-'.")],
    plan: Plan = DEFAULT_PLAN,
    weight: Weight = None,
    limit: Limit = None,
) -> None:
    """Make a tenant; print its id."""
    wanted = TenantChange(plan=plan, weight=weight, limits=_limits(limit))

    async def work(session: Session) -> Tenant:
        return await session.administration.create(name, session.origin, wanted)

    typer.echo(administer(work).to_document()["id"])


@app.command("list")
@one_line_errors
def list_tenants(
    *,
    name: Annotated[str | None, typer.Option(help="A part of the name.")] = None,
    plan: Annotated[str | None, typer.Option(help=f"{' or '.join(PLANS)}.")] = None,
    suspended: Annotated[
        bool | None, typer.Option("--suspended/--active", help="Only these; both by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List tenants, newest first."""

    async def work(session: Session) -> list[Tenant]:
        wanted = TenantFilter(text=name, plan=plan, is_suspended=suspended)
        found: list[Tenant] = []
        while page := await session.administration.list(wanted, found[-1].id if found else None, _PAGE):
            found.extend(page)
        return found

    documents = [tenant.to_document() for tenant in administer(work)]
    if as_json:
        show_json(documents)
        return
    shown = ("name", "id", "state", "plan", "weight", "limits_beside_plan", "is_operator", "created_at")
    show_table(shown, [[document[column] for column in shown] for document in documents])


@app.command()
@one_line_errors
def show(tenant: TenantName, *, as_json: Json = False) -> None:
    """Show a tenant, and what it has of its caps."""

    async def work(session: Session) -> dict[str, Any]:
        found = await session.tenant(tenant)
        usage = await session.administration.usage(found.id)
        return found.to_document() | {"usage": usage.to_document()}

    document = administer(work)
    (show_json if as_json else show_fields)(document)


@app.command("set")
@one_line_errors
def set_numbers(tenant: TenantName, weight: Weight = None, limit: Limit = None) -> None:
    """Change a tenant's weight or limits."""
    change = TenantChange(weight=weight, limits=_limits(limit))
    if change == TenantChange():
        raise typer.BadParameter("say what to change: --weight or --limit")
    _change(tenant, change)


@app.command()
@one_line_errors
def plan(tenant: TenantName, plan: Annotated[str, typer.Argument(help=f"{' or '.join(PLANS)}.")]) -> None:
    """Assign a plan; it brings all its numbers, those changed one by one included."""
    _change(tenant, TenantChange(plan=plan))


@app.command()
@one_line_errors
def suspend(
    tenant: TenantName, reason: Annotated[str, typer.Option(help="Why; the tenant's users are shown this.")]
) -> None:
    """Refuse every request of a tenant's keys, and let its jobs wait; what runs goes on."""

    async def work(session: Session) -> Tenant:
        found = await session.tenant(tenant)
        return await session.administration.suspend(found.id, reason, session.origin)

    say(f"{administer(work).name} is suspended")


@app.command()
@one_line_errors
def resume(tenant: TenantName) -> None:
    """Lift a suspension."""

    async def work(session: Session) -> Tenant:
        found = await session.tenant(tenant)
        return await session.administration.resume(found.id, session.origin)

    say(f"{administer(work).name} is active")


def _change(tenant: str, change: TenantChange) -> None:
    async def work(session: Session) -> tuple[Tenant, Tenant]:
        found = await session.tenant(tenant)
        return found, await session.administration.change(found.id, change, session.origin)

    before, after = administer(work)
    same = replace(after, version=before.version) == before
    say(f"{after.name} {'was so already' if same else 'is changed'}")


def _limits(given: list[str] | None) -> dict[str, int | None]:
    limits: dict[str, int | None] = {}
    for text in given or ():
        name, _, number = text.partition("=")
        if name not in BOUNDS:
            raise typer.BadParameter(f"'{name}' is no limit; use {', '.join(BOUNDS)}", param_hint="--limit")
        if number != "plan" and not (number.isascii() and number.isdecimal()):
            raise typer.BadParameter(f"'{text}': give NAME=NUMBER, or NAME=plan", param_hint="--limit")
        limits[name] = None if number == "plan" else int(number)
    return limits
