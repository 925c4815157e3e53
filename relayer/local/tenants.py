"""The tenants of a platform on one machine, the platform's own among them, and a living key for each."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from relayer.local.process import write_private
from relayer.settings import DatabaseSettings, KeySettings
from relayer.store.database import Database
from relayer.tenants.bootstrap import OPERATOR
from relayer.tenants.scopes import EVERY_SCOPE, Scope
from relayer.tenants.service import TenantService

# A key is renewed this long before its end, so that a running platform never outlives the keys it printed.
_RENEW = timedelta(days=7)
_KEY_NAME = "local platform"


@dataclass(frozen=True)
class LocalKeys:
    """The secrets: one for each tenant, by its name, and the operator's."""

    tenants: dict[str, str]
    operator: str


def prepare_tenants(
    database: DatabaseSettings, keys: KeySettings, kept: Path, names: Sequence[str]
) -> LocalKeys:
    """Make what is missing, in the role of administration.

    Args:
        database: as that role.
        keys: the pepper of the platform.
        kept: the file that remembers the secrets, readable by its owner alone.
        names: of the tenants beside the platform's own.

    """
    known: dict[str, dict[str, str]] = json.loads(kept.read_text()) if kept.exists() else {}

    async def prepare() -> None:
        async with Database(database) as db:
            service = TenantService(db, keys)
            for name in (*names, OPERATOR):
                scopes = sorted(Scope) if name == OPERATOR else sorted(EVERY_SCOPE)
                # A key of an earlier version may lack a scope.
                if not _is_good(known.get(name), scopes):
                    known[name] = await _new_key(service, name, scopes)
                    write_private(kept, json.dumps(known))

    asyncio.run(prepare())
    return LocalKeys({name: known[name]["secret"] for name in names}, known[OPERATOR]["secret"])


async def _new_key(service: TenantService, name: str, scopes: Sequence[Scope]) -> dict[str, str]:
    tenant = await service.find_tenant(name)
    if tenant is None:
        tenant = await service.create_tenant(name, is_operator=name == OPERATOR)
    key = await service.create_key(tenant, _KEY_NAME, scopes)
    until = (key.expires_at - _RENEW).isoformat()
    return {"secret": key.secret, "until": until, "scopes": " ".join(scopes)}


def _is_good(key: dict[str, str] | None, scopes: Sequence[str]) -> bool:
    if key is None or key["scopes"] != " ".join(scopes):
        return False
    return datetime.fromisoformat(key["until"]) > datetime.now(UTC)
