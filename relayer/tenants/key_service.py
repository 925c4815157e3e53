"""A tenant's API keys: made, listed, rotated, revoked.

Whoever makes a key can give it no more than he has himself: neither a scope, nor an address to use it from.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from relayer.model.clock import Clock, utc_now
from relayer.model.ids import new_id
from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants import key_repository, repository
from relayer.tenants.addresses import MAX_NETWORKS, Network, outside
from relayer.tenants.administration_errors import TenantNotFoundError
from relayer.tenants.audit import PLATFORM, Event, Origin, fingerprint, instant, record
from relayer.tenants.errors import KeyEndedError, KeyLimitError, KeyNotFoundError, PrivilegeError, TenantError
from relayer.tenants.key_repository import ApiKey, Connection
from relayer.tenants.keys import Peppers, generate_key
from relayer.tenants.principal import Mode, Principal
from relayer.tenants.request_key_repository import RequestKey
from relayer.tenants.request_keys import claim
from relayer.tenants.scopes import EVERY_SCOPE, grantable

DEFAULT_LIFETIME = timedelta(days=90)
MAX_LIFETIME = timedelta(days=365)
MAX_OVERLAP = timedelta(days=7)
MAX_LIVE_KEYS = 100

_NAME = re.compile(r"[ -~]{1,64}")


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A key to be made; it ends after 90 days where `expires_at` says nothing else."""

    name: str
    scopes: Sequence[str] = tuple(sorted(EVERY_SCOPE))
    expires_at: datetime | None = None
    mode: Mode = Mode.LIVE
    allowed_addresses: Sequence[Network] = ()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `secret` is shown once and kept nowhere."""

    key: ApiKey
    secret: str

    @property
    def id(self) -> UUID:
        """The key's id."""
        return self.key.id

    @property
    def expires_at(self) -> datetime:
        """When the key ends."""
        return self.key.expires_at


class KeyService:
    """Makes and ends keys, in the role of the API or of whoever administers.

    `maker` is who asks; None is whoever administers the platform, who is bound by the tenant alone. `origin` is what
    the audit log says of it. `request` makes it repeatable: a secret is kept nowhere, so a repeated request ends with
    `RepeatedRequestError`, which names the key that the first one made.
    """

    def __init__(self, db: Database, settings: KeySettings, clock: Clock = utc_now) -> None:
        self._db = db
        self._peppers = Peppers(settings)
        self._clock = clock

    async def create(
        self,
        tenant_id: UUID,
        wanted: KeyRequest,
        maker: Principal | None = None,
        *,
        origin: Origin = PLATFORM,
        request: RequestKey | None = None,
    ) -> NewKey:
        """Add a key.

        Raises:
            RepeatedRequestError: an earlier request made it.
            IdempotencyKeyReusedError: the request's key stands for another one.
            TenantError: the tenant is unknown, or name, scopes, end or addresses are out of range.
            PrivilegeError: it would allow more than its maker may do.
            KeyLimitError: the tenant has as many live keys as it may.

        """
        key_id, now = new_id(), self._clock()
        async with self._db.transaction(tenant_id) as conn:
            await claim(conn, request, key_id, now)
            key = _drafted(key_id, tenant_id, wanted, maker, now)
            await self._require_grantable(conn, key)
            await key_repository.lock_keys(conn, tenant_id)
            new = await self._insert(conn, key)
            await self._record(conn, "api_key.created", None, new.key, origin)
            return new

    async def get(self, tenant_id: UUID, key_id: UUID) -> ApiKey:
        """Give a key.

        Raises:
            KeyNotFoundError: the tenant has none with this id.

        """
        async with self._db.transaction(tenant_id) as conn:
            return await _found(conn, tenant_id, key_id)

    async def list(self, tenant_id: UUID, before: UUID | None, limit: int) -> list[ApiKey]:
        """Give keys of a tenant, ended ones included, newest first, from below the id `before`."""
        async with self._db.transaction(tenant_id) as conn:
            return await key_repository.list_keys(conn, tenant_id, before, limit)

    async def rotate(
        self,
        tenant_id: UUID,
        key_id: UUID,
        *,
        overlap: timedelta,
        expires_at: datetime | None = None,
        maker: Principal | None = None,
        origin: Origin = PLATFORM,
        request: RequestKey | None = None,
    ) -> NewKey:
        """Make a key that is as another one, which ends after the overlap, and never later than it would have.

        Raises:
            RepeatedRequestError: an earlier request made it.
            IdempotencyKeyReusedError: the request's key stands for another one.
            TenantError: the overlap is not of 0 to 7 days, or the new end is out of range.
            KeyNotFoundError: the tenant has no key with this id.
            KeyEndedError: the key has expired or is revoked.
            PrivilegeError: the key allows more than who asks may do.
            KeyLimitError: the tenant has as many live keys as it may.

        """
        if not timedelta(0) <= overlap <= MAX_OVERLAP:
            raise TenantError(
                f"the overlap of two keys is of 0 to {MAX_OVERLAP.days} days", "overlap_seconds"
            )
        successor, now = new_id(), self._clock()
        async with self._db.transaction(tenant_id) as conn:
            await claim(conn, request, successor, now)
            await key_repository.lock_keys(conn, tenant_id)
            old = await _found(conn, tenant_id, key_id)
            if not old.is_live(now):
                raise KeyEndedError
            # Whoever shows a token may do less than the key that it was issued through.
            if maker is not None:
                _require_within(maker, old.scopes, old.allowed_addresses)
            await self._require_grantable(conn, old)
            end = _end(now, expires_at)
            await key_repository.shorten_key(conn, tenant_id, old.id, now + overlap)
            new = await self._insert(
                conn,
                replace(
                    old, id=successor, created_at=now, expires_at=end, last_used_at=None, rotated_from=old.id
                ),
            )
            await self._record(conn, "api_key.rotated", old, new.key, origin)
            return new

    async def tenant_of(self, key_id: UUID) -> UUID:
        """Whose key it is, for whoever administers.

        Raises:
            KeyNotFoundError: no tenant has a key with this id.

        """
        async with self._db.statement() as conn:
            found = await key_repository.find_tenant_of(conn, key_id)
        if found is None:
            raise KeyNotFoundError
        return found

    async def revoke(self, tenant_id: UUID, key_id: UUID, *, origin: Origin = PLATFORM) -> None:
        """End a key, and with it every token that was issued through it; once more changes nothing.

        A key may end itself, and the last key of its tenant: whoever administers can make another.

        Raises:
            KeyNotFoundError: the tenant has none with this id.

        """
        async with self._db.transaction(tenant_id) as conn:
            key = await _found(conn, tenant_id, key_id)
            now = self._clock()
            if await key_repository.revoke_key(conn, tenant_id, key.id, now):
                await self._record(conn, "api_key.revoked", key, replace(key, revoked_at=now), origin)

    async def _record(
        self, conn: Connection, action: str, before: ApiKey | None, after: ApiKey, origin: Origin
    ) -> None:
        """Write on record what became of a key: of its secret nothing, of the rest hashes and its rights."""
        targets = [after.target()]
        if before is not None and before.id != after.id:
            targets.append(before.target())
        event = Event(
            tenant_id=after.tenant_id,
            action=action,
            origin=origin,
            occurred_at=self._clock(),
            targets=targets,
            before_hash=fingerprint(None if before is None else before.to_document()),
            after_hash=fingerprint(after.to_document()),
            metadata={
                "scopes": [str(scope) for scope in after.scopes],
                "mode": after.mode.value,
                "expires_at": instant(after.expires_at),
            },
        )
        await record(conn, event)

    async def _insert(self, conn: Connection, key: ApiKey) -> NewKey:
        if await key_repository.count_live(conn, key.tenant_id, key.created_at) >= MAX_LIVE_KEYS:
            raise KeyLimitError(MAX_LIVE_KEYS)
        secret = generate_key(key.mode)
        key = replace(key, last4=secret[-4:])
        await key_repository.insert_key(conn, key, self._peppers.digest(secret), self._peppers.version)
        return NewKey(key, secret)

    async def _require_grantable(self, conn: Connection, key: ApiKey) -> None:
        is_operator = await repository.tenant_is_operator(conn, key.tenant_id)
        if is_operator is None:
            raise TenantNotFoundError
        allowed = grantable(is_operator=is_operator)
        if not key.scopes or not allowed.issuperset(key.scopes):
            raise TenantError(
                f"a key of this tenant needs one or more of the scopes {', '.join(sorted(allowed))}", "scopes"
            )


def _drafted(
    key_id: UUID, tenant_id: UUID, wanted: KeyRequest, maker: Principal | None, now: datetime
) -> ApiKey:
    """Give a key as it was asked for, without a secret yet."""
    addresses = wanted.allowed_addresses
    if maker is not None:
        # Left out means as the maker has it, not anywhere.
        addresses = addresses or maker.addresses
        _require_within(maker, wanted.scopes, addresses)
    key = ApiKey(
        id=key_id,
        tenant_id=tenant_id,
        name=wanted.name,
        mode=wanted.mode,
        last4="",
        scopes=sorted(set(wanted.scopes)),
        allowed_addresses=list(dict.fromkeys(addresses)),
        created_at=now,
        expires_at=_end(now, wanted.expires_at),
    )
    if not _NAME.fullmatch(key.name):
        raise TenantError("a key's name has 1 to 64 printable ASCII characters", "name")
    if len(key.allowed_addresses) > MAX_NETWORKS:
        raise TenantError(
            f"a key has at most {MAX_NETWORKS} allowed addresses; name networks instead",
            "allowed_addresses",
        )
    return key


def _end(now: datetime, wanted: datetime | None) -> datetime:
    end = wanted or now + DEFAULT_LIFETIME
    if not now < end <= now + MAX_LIFETIME:
        raise TenantError(f"a key must end in the future and within {MAX_LIFETIME.days} days", "expires_at")
    return end


def _require_within(maker: Principal, scopes: Iterable[str], addresses: Sequence[Network]) -> None:
    wider = [(position, str(scope)) for position, scope in enumerate(scopes) if scope not in maker.scopes]
    if wider:
        raise PrivilegeError("scopes", wider)
    # No network at all is anywhere.
    if maker.addresses and not addresses:
        raise PrivilegeError("allowed_addresses", [(0, "anywhere")])
    beyond = [(position, str(addresses[position])) for position in outside(addresses, maker.addresses)]
    if beyond:
        raise PrivilegeError("allowed_addresses", beyond)


async def _found(conn: Connection, tenant_id: UUID, key_id: UUID) -> ApiKey:
    key = await key_repository.find_key(conn, tenant_id, key_id)
    if key is None:
        raise KeyNotFoundError
    return key
