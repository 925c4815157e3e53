"""One command's use of the database: opened for it, closed after it, its errors fit for a shell."""

import asyncio
import logging
import os
import pwd
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import psycopg

from relayer.model.clock import utc_now
from relayer.model.errors import JobsealError
from relayer.model.ids import from_public
from relayer.settings import AdminDatabaseSettings, DatabaseSettings, KeySettings, RegistrySettings
from relayer.store import registries
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.telemetry import logs
from relayer.tenants.administration import Administration
from relayer.tenants.audit import Actor, ActorType, Origin
from relayer.tenants.audit_chain import TENANT_PREFIX
from relayer.tenants.audit_log import AuditLog
from relayer.tenants.key_service import KeyService
from relayer.tenants.kind_lanes import KindLanes
from relayer.tenants.records import Tenant

T = TypeVar("T")


class SessionError(JobsealError):
    """A command that cannot be carried out as asked."""


@dataclass(frozen=True)
class Session:
    """The services of administration, and who uses them."""

    db: Database
    administration: Administration
    audit: AuditLog
    origin: Origin

    @property
    def kind_lanes(self) -> KindLanes:
        """The service of the lanes of kinds."""
        return KindLanes(self.db)

    @property
    def keys(self) -> KeyService:
        """The service of keys, for which alone a command needs the pepper."""
        return KeyService(self.db, KeySettings(), utc_now)

    async def tenant(self, named: str) -> Tenant:
        """Find a tenant by its id or its name.

        Raises:
            SessionError: there is none.

        """
        tenant_id = from_public(TENANT_PREFIX, named)
        if tenant_id is not None:
            return await self.administration.get(tenant_id)
        found = await self.administration.find(named)
        if found is None:
            raise SessionError(
                f"there is no tenant '{named}'; `jobseal admin tenant list` shows those there are"
            )
        return found


def administer(work: Callable[[Session], Awaitable[T]]) -> T:
    """Do a piece of work in the role of administration, `JOBSEAL_ADMIN_DATABASE_URL`."""

    async def run(db: Database) -> T:
        return await work(Session(db, Administration(db, utc_now), AuditLog(db), shell_origin()))

    return with_database(AdminDatabaseSettings(), run)


def with_database(settings: DatabaseSettings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Open the database, do the work, close it.

    Raises:
        SessionError: the role may not do this.

    """
    # The pool tells of every try; the command tells of the outcome, once.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

    async def run() -> T:
        async with Database(settings) as db:
            return await work(db)

    try:
        with logs.quiet():
            return asyncio.run(run())
    except psycopg.errors.InsufficientPrivilege as error:
        raise SessionError(
            f"the database refuses this to the role of the URL ({error.diag.message_primary}); "
            "use the role that docs/operate.md names for it"
        ) from None


async def known_registry(db: Database) -> RegistryRow:
    """Find the registry of JOBSEAL_REGISTRY_CHAIN_ID and JOBSEAL_REGISTRY_ADDRESS.

    Raises:
        SessionError: it was never registered.

    """
    registry = RegistrySettings()
    async with db.transaction() as conn:
        row = await registries.find(conn, registry.chain_id, registry.address_bytes)
    if row is None:
        raise SessionError(
            f"the registry {registry.address} on chain {registry.chain_id} is not registered; "
            "run `jobseal admin register` first"
        )
    return row


def shell_origin() -> Origin:
    """Who uses this shell: the user of the process, whatever its environment says, and the machine."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return Origin(Actor(ActorType.CLI, f"cli:{user}@{socket.gethostname()}", user))
