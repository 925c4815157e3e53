"""Reading the audit log, and checking that it is what was once written."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from relayer.store.database import Database
from relayer.tenants import audit_repository
from relayer.tenants.audit_chain import GENESIS, ChainBrokenError, Head, follow
from relayer.tenants.audit_repository import AuditFilter, AuditRow

_STRETCH = 1_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checking a chain came to: its end, or the first event that does not fit; tenant None: the platform's own."""

    tenant_id: UUID | None
    head: Head
    broken: ChainBrokenError | None = None


class AuditLog:
    """Reads in the role of the API, which sees one tenant, or in that of administration, which sees all."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(self, wanted: AuditFilter, before: UUID | None, limit: int) -> Sequence[AuditRow]:
        """Give up to `limit` events, the newest first, from behind an id."""
        async with self._db.transaction(wanted.tenant_id) as conn:
            return await audit_repository.listed(conn, wanted, before, limit)

    async def verify(self, tenant: UUID | None, known: Sequence[Head] = ()) -> Head:
        """Recompute a tenant's whole chain (None: the platform's); give its end.

        `known` are ends of earlier times, kept where the database cannot reach: against whoever can write the whole
        chain anew they are the only help.

        Raises:
            ChainBrokenError: an event is altered, missing or moved, or a known end is none of this chain.

        """
        async with self._db.statement() as conn:
            end, last = await audit_repository.head(conn, tenant)
        if end.seq != last:
            raise ChainBrokenError(min(end.seq, last) + 1, "is missing at the end of the chain")
        wanted = {head.seq: head.hash for head in known}
        head = GENESIS
        while head.seq < end.seq:
            async with self._db.statement() as conn:
                links = await audit_repository.links(conn, tenant, head.seq, end.seq, _STRETCH)
            if not links:
                raise ChainBrokenError(head.seq + 1, "is missing")
            head = follow(tenant, links, head)
            for link in links:
                if wanted.pop(link.seq, link.hash) != link.hash:
                    raise ChainBrokenError(link.seq, "is not the one that was known")
        if head != end:
            raise ChainBrokenError(head.seq, "is not the end that was written")
        if wanted:
            raise ChainBrokenError(min(wanted), "was known and is missing")
        return head

    async def judge(self, tenant: UUID | None, known: Sequence[Head] = ()) -> Verdict:
        """Check a chain as `verify` does, without raising."""
        try:
            return Verdict(tenant, await self.verify(tenant, known))
        except ChainBrokenError as error:
            return Verdict(tenant, GENESIS, error)

    async def verify_all(
        self, known: Mapping[UUID | None, Sequence[Head]] | None = None
    ) -> AsyncIterator[Verdict]:
        """Check every chain, one after the other, those included of which only an earlier end is known."""
        known = known or {}
        async with self._db.statement() as conn:
            tenants = await audit_repository.tenants(conn)
        for tenant in dict.fromkeys([*tenants, *known]):
            yield await self.judge(tenant, known.get(tenant, ()))
