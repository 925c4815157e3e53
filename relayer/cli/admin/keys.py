"""`jobseal admin key …` and `bootstrap`: API keys of any tenant."""

import sys
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import typer

from relayer.cli.admin.session import Session, SessionError, administer
from relayer.cli.admin.show import Json, say, show_json, show_table
from relayer.cli.admin.tenants import TenantName
from relayer.cli.errors import one_line_errors
from relayer.model.clock import utc_now
from relayer.model.ids import from_public, to_public
from relayer.tenants.addresses import parse_network
from relayer.tenants.bootstrap import OPERATOR
from relayer.tenants.bootstrap import bootstrap as make_first_key
from relayer.tenants.key_repository import ApiKey
from relayer.tenants.key_service import KeyRequest, NewKey
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.principal import Mode
from relayer.tenants.scopes import EVERY_SCOPE

app = typer.Typer(help="API keys of any tenant.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, key_…")]
_PAGE = 200


@app.command()
@one_line_errors
def create(
    tenant: TenantName,
    name: Annotated[str, typer.Argument(help="What the key is for, so that people can tell keys apart.")],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"May be given more than once; by default {', '.join(sorted(EVERY_SCOPE))}."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="How long it lives.")] = 90,
    mode: Annotated[Mode, typer.Option(help="What it is for; both may do the same.")] = Mode.LIVE,
    address: Annotated[
        list[str] | None,
        typer.Option(help="An address or network (CIDR) it may be used from; may be given more than once."),
    ] = None,
) -> None:
    """Make a key; print its secret, this once and nowhere else, alone on standard output."""
    try:
        networks = [parse_network(text) for text in address or ()]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--address") from None
    wanted = KeyRequest(name, scope or sorted(EVERY_SCOPE), utc_now() + timedelta(days=days), mode, networks)

    async def work(session: Session) -> NewKey:
        found = await session.tenant(tenant)
        return await session.keys.create(found.id, wanted, origin=session.origin)

    _tell(administer(work))


@app.command("list")
@one_line_errors
def list_keys(tenant: TenantName, *, as_json: Json = False) -> None:
    """List a tenant's keys, newest first, those that have ended included."""

    async def work(session: Session) -> list[ApiKey]:
        whose = (await session.tenant(tenant)).id
        found: list[ApiKey] = []
        while page := await session.keys.list(whose, found[-1].id if found else None, _PAGE):
            found.extend(page)
        return found

    documents = [_document(key) for key in administer(work)]
    if as_json:
        show_json(documents)
        return
    shown = ("name", "id", "state", "mode", "last4", "scopes", "allowed_addresses", "expires_at")
    show_table(shown, [[document[column] for column in shown] for document in documents])


@app.command()
@one_line_errors
def rotate(
    key: KeyId,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=168, help="How long the old key lives on beside the new one.")
    ] = 24,
) -> None:
    """Make a key with another secret and the same rights; print the secret as `create` does."""

    async def work(session: Session) -> NewKey:
        wanted = _id(key)
        whose = await session.keys.tenant_of(wanted)
        overlap = timedelta(hours=overlap_hours)
        return await session.keys.rotate(whose, wanted, overlap=overlap, origin=session.origin)

    _tell(administer(work))


@app.command()
@one_line_errors
def revoke(key: KeyId) -> None:
    """End a key and every access token that was issued through it, everywhere within a minute."""

    async def work(session: Session) -> None:
        wanted = _id(key)
        await session.keys.revoke(await session.keys.tenant_of(wanted), wanted, origin=session.origin)

    administer(work)
    say(f"{key} is revoked")


@one_line_errors
def bootstrap(
    name: Annotated[str, typer.Option(help="What the platform's own tenant is called.")] = OPERATOR,
) -> None:
    """Make the platform's own tenant and the first key of administration; print its secret as `key create` does."""

    async def work(session: Session) -> NewKey:
        return await make_first_key(
            session.administration, session.keys, utc_now(), name=name, origin=session.origin
        )

    _tell(administer(work))


def _id(text: str) -> UUID:
    wanted = from_public(KEY_PREFIX, text)
    if wanted is None:
        raise SessionError(f"'{text}' is no id of a key, key_…; `jobseal admin key list` shows them")
    return wanted


def _document(key: ApiKey) -> dict[str, Any]:
    ended = "expired" if key.revoked_at is None else "revoked"
    return key.to_document() | {"state": "live" if key.is_live(utc_now()) else ended}


def _tell(new: NewKey) -> None:
    say(
        f"{to_public(KEY_PREFIX, new.id)}, until {new.key.to_document()['expires_at']}; the secret is shown once"
    )
    sys.stdout.write(f"{new.secret}\n")
