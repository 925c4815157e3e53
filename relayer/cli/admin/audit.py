"""`jobseal admin audit …`: who changed what, and whether the log still says what was written."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from relayer.cli.admin.session import Session, SessionError, administer
from relayer.cli.admin.show import Json, show_json, show_table
from relayer.cli.errors import one_line_errors
from relayer.model.ids import from_public, to_public
from relayer.tenants.audit_chain import TENANT_PREFIX, Head
from relayer.tenants.audit_log import Verdict
from relayer.tenants.audit_repository import AuditFilter, AuditRow

app = typer.Typer(help="Who changed what, and whether the log still says so.", no_args_is_help=True)

PLATFORM = "platform"
BROKEN = 1

Whose = Annotated[
    str | None,
    typer.Option(
        "--tenant", help=f"A tenant's name or id, or {PLATFORM} for what concerns none; all by default."
    ),
]


@app.command("list")
@one_line_errors
def list_events(
    *,
    tenant: Whose = None,
    action: Annotated[str | None, typer.Option(help="For example tenant.changed.")] = None,
    target: Annotated[str | None, typer.Option(help="The id of what was acted on: tnt_…, key_…")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List audit events, newest first."""

    async def work(session: Session) -> Sequence[AuditRow]:
        whose = None if tenant in {None, PLATFORM} else (await session.tenant(str(tenant))).id
        wanted = AuditFilter(whose, platform=tenant == PLATFORM, action=action, target=target)
        return await session.audit.list(wanted, None, limit)

    rows = administer(work)
    events = [{"seq": row.seq, "hash": f"0x{row.hash.hex()}"} | json.loads(row.event) for row in rows]
    if as_json:
        show_json(events)
        return
    columns = ("occurred_at", "tenant", "action", "target", "by", "outcome")
    show_table(columns, [_line(event) for event in events])


@app.command()
@one_line_errors
def verify(
    *,
    tenant: Whose = None,
    known: Annotated[
        Path | None,
        typer.Option(
            help="Ends of chains of an earlier time: what `verify --json` printed then, kept elsewhere."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute the chains of hashes; exit with 1 where one is broken.

    Whoever owns the database could write a whole chain anew; --known finds that too.
    """
    heads = {} if known is None else _read_known(known)

    async def work(session: Session) -> list[Verdict]:
        if tenant is None:
            return [verdict async for verdict in session.audit.verify_all(heads)]
        whose = None if tenant == PLATFORM else (await session.tenant(tenant)).id
        return [await session.audit.judge(whose, heads.get(whose, ()))]

    verdicts = administer(work)
    documents = [_verdict(verdict) for verdict in verdicts]
    if as_json:
        show_json(documents)
    else:
        columns = ("tenant", "verdict", "seq", "hash")
        show_table(columns, [[document[name] for name in columns] for document in documents])
    if any(verdict.broken for verdict in verdicts):
        raise typer.Exit(BROKEN)


def _line(event: dict[str, Any]) -> list[object]:
    targets = ", ".join(str(target["name"] or target["id"]) for target in event["targets"])
    return [
        event["occurred_at"],
        event["tenant_id"] or PLATFORM,
        event["action"],
        targets,
        event["actor"]["id"],
        event["outcome"],
    ]


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "tenant": _shown(verdict.tenant_id),
        "verdict": "intact" if verdict.broken is None else f"broken: {verdict.broken}",
        "seq": verdict.head.seq,
        "hash": f"0x{verdict.head.hash.hex()}",
    }


def _shown(tenant: UUID | None) -> str:
    return PLATFORM if tenant is None else to_public(TENANT_PREFIX, tenant)


def _read_known(path: Path) -> dict[UUID | None, list[Head]]:
    """Read what `verify --json` printed."""
    try:
        heads: dict[UUID | None, list[Head]] = {}
        for entry in json.loads(path.read_text()):
            tenant = None if entry["tenant"] == PLATFORM else from_public(TENANT_PREFIX, entry["tenant"])
            if tenant is None and entry["tenant"] != PLATFORM:
                raise ValueError  # noqa: TRY301 - told below like every other fault
            if not re.fullmatch(r"0x[0-9a-f]{64}", entry["hash"]):
                raise ValueError  # noqa: TRY301
            if entry["verdict"] == "intact":
                heads.setdefault(tenant, []).append(Head(int(entry["seq"]), bytes.fromhex(entry["hash"][2:])))
    except OSError as error:
        raise SessionError(f"--known: {path} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SessionError(
            f"--known: {path} is not what `jobseal admin audit verify --json` prints"
        ) from None
    return heads
