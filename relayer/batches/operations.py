"""What operators do about batches and registries, each with its entry in the audit log, in one transaction."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import desk, nonce_desk, registry_state
from relayer.batches.desk import DeskError
from relayer.batches.desk_repository import WaitingBatch
from relayer.batches.nonce_desk import RefusedNonce
from relayer.chain.rpc import JsonRpc
from relayer.model.clock import Clock
from relayer.store import registries
from relayer.store.database import Database
from relayer.tenants import audit
from relayer.tenants.audit import Event, Origin, Target

_LONGEST_REASON = 200

_Action = Callable[[AsyncConnection[TupleRow]], Awaitable[WaitingBatch]]


@dataclass(frozen=True)
class Operations:
    """The desk as one operator uses it: `origin` is whose doing everything is, `reason` why, in a line."""

    db: Database
    clock: Clock
    origin: Origin
    reason: str

    def __post_init__(self) -> None:
        if not (0 < len(self.reason) <= _LONGEST_REASON and self.reason.isprintable()):
            raise DeskError(f"reason: say why, in 1 to {_LONGEST_REASON} printable characters")

    async def retry(self, batch_id: UUID) -> WaitingBatch:
        """Let a batch go on, as `desk.retry` does; give it as it is now."""
        return await self._do("batch.retried", batch_id, lambda conn: desk.retry(conn, batch_id))

    async def retry_nonce(self, slot_id: UUID) -> RefusedNonce:
        """Let what was signed for a nonce be sent again, as `nonce_desk.retry` does; give it as it was."""
        async with self.db.transaction() as conn:
            refused = await nonce_desk.retry(conn, slot_id)
            slot, newest = refused.slot, refused.slot.newest
            before = {"class": newest and newest.last_class, "refusals": newest and newest.refusals}
            await audit.record(
                conn,
                self._event(
                    "nonce.retried",
                    Target("nonce", str(slot_id)),
                    before=before,
                    after={"class": None, "refusals": 0},
                    facts={
                        "chain_id": refused.account.chain_id,
                        "sender": f"0x{refused.account.address.hex()}",
                        "nonce": slot.nonce,
                        "was": before["class"],
                    },
                ),
            )
        return refused

    async def cancel(self, batch_id: UUID) -> WaitingBatch:
        """Stop a batch, as `desk.cancel` does; give it as it is now."""
        return await self._do(
            "batch.cancelled", batch_id, lambda conn: desk.cancel(conn, batch_id, self.clock())
        )

    async def release(self, batch_id: UUID, rpc: JsonRpc) -> WaitingBatch:
        """Give the jobs of a batch back, as `desk.release` does; give it as it is now."""
        async with self.db.transaction() as conn:
            batch = (await desk.explain(conn, batch_id)).batch
        sight = await desk.look(rpc, batch)
        return await self._do("batch.released", batch_id, lambda conn: desk.release(conn, batch_id, sight))

    async def accept_code(self, chain_id: int, registry: bytes, code_hash: bytes) -> None:
        """Trust the code that a registry runs, if it is the one with this hash.

        Raises:
            DeskError: the registry is not known, nobody has looked at it yet, or it runs other code.

        """
        shown = f"0x{registry.hex()}"
        async with self.db.transaction() as conn:
            row = await registries.find(conn, chain_id, registry)
            if row is None:
                raise DeskError(f"the registry {shown} on chain {chain_id} is not registered")
            before = (await registry_state.read(conn, row.id)).accepted_hash
            running = await registry_state.accept_code(conn, row.id)
            if running is None:
                raise DeskError(f"nobody has looked at the registry {shown} yet; start a relayer first")
            if running != code_hash:
                raise DeskError(
                    f"the registry {shown} runs code with the hash 0x{running.hex()}; nothing was accepted"
                )
            after = {"code_hash": f"0x{running.hex()}"}
            await audit.record(
                conn,
                self._event(
                    "registry.code_accepted",
                    Target("registry", shown),
                    before=None if before is None else {"code_hash": f"0x{before.hex()}"},
                    after=after,
                    facts={"chain_id": chain_id} | after,
                ),
            )

    async def _do(self, action: str, batch_id: UUID, act: _Action) -> WaitingBatch:
        async with self.db.transaction() as conn:
            before = await act(conn)
            after = (await desk.explain(conn, batch_id)).batch
            await audit.record(
                conn,
                self._event(
                    action,
                    Target("batch", str(batch_id)),
                    before=_document(before),
                    after=_document(after),
                    facts={
                        "chain_id": before.chain_id,
                        "root": f"0x{before.root.hex()}",
                        "was": before.state if before.reason is None else f"{before.state}: {before.reason}",
                    },
                ),
            )
        return after

    def _event(
        self,
        action: str,
        target: Target,
        *,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> Event:
        return Event(
            tenant_id=None,
            action=action,
            origin=self.origin,
            occurred_at=self.clock(),
            targets=(target,),
            before_hash=audit.fingerprint(before),
            after_hash=audit.fingerprint(after),
            metadata={"reason": self.reason, **facts},
        )


def _document(batch: WaitingBatch) -> dict[str, Any]:
    """What of a batch an action may change."""
    return {
        "id": str(batch.id),
        "state": batch.state,
        "reason": batch.reason,
        "nonce": batch.nonce,
        "purpose": batch.slot_purpose,
    }
