"""What a registry was last seen to be, and what keeps its batches back: pause, a lost role, other code, a freeze.

Pause and roles are read at the head: a hold that comes a few blocks early costs nothing, one that comes late costs a
nonce. The indexer observes; reconciliation freezes; the sender asks before it takes a nonce.
"""

from dataclasses import dataclass
from datetime import datetime

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import registry_state_repository as repository
from relayer.batches.reasons import HoldReason
from relayer.chain.registry_view import RegistryView

_log = structlog.get_logger(__name__)

HOLDS = (HoldReason.FROZEN, HoldReason.CODE_CHANGED, HoldReason.PAUSED, HoldReason.ROLE_LOST)
"""The reasons for which a registry's state keeps batches back, the gravest first."""


@dataclass(frozen=True)
class RegistryState:
    """A registry as it was last observed; `observed` is None as long as nobody has looked.

    `accepted_hash` is the hash of the code that is trusted: the first that was seen, then what operators accepted.
    """

    observed: RegistryView | None
    accepted_hash: bytes | None
    frozen_reason: str | None

    @property
    def frozen(self) -> bool:
        """Whether an integrity finding stops the registry's batches."""
        return self.frozen_reason is not None

    @property
    def hold(self) -> HoldReason | None:
        """Why no nonce may be taken for the registry, one of `HOLDS`; None where nothing speaks against it."""
        if self.frozen:
            return HoldReason.FROZEN
        if self.observed is None:
            return None
        if self.observed.code_hash != self.accepted_hash:
            return HoldReason.CODE_CHANGED
        if self.observed.paused:
            return HoldReason.PAUSED
        return None if self.observed.confirmer_role else HoldReason.ROLE_LOST


async def read(conn: AsyncConnection[TupleRow], registry_id: int) -> RegistryState:
    """Give the state of a registry as far as it is known."""
    row = await repository.find(conn, registry_id)
    if row is None:
        return RegistryState(None, None, None)
    observed = None
    if row.block_hash is not None:
        assert row.implementation is not None
        assert row.code_hash is not None
        assert row.block_number is not None
        observed = RegistryView(
            row.paused,
            row.confirmer_role,
            row.implementation,
            row.code_hash,
            row.block_number,
            row.block_hash,
        )
    return RegistryState(observed, row.accepted_hash, row.frozen_reason)


async def observe(
    conn: AsyncConnection[TupleRow], registry_id: int, view: RegistryView, at: datetime
) -> RegistryState:
    """Keep what a registry was seen to be, and hold its batches or let them go on accordingly."""
    before = (await read(conn, registry_id)).hold
    await repository.store(conn, registry_id, view=view, at=at)
    state = await read(conn, registry_id)
    if state.hold != before:
        say = _log.info if state.hold is None else _log.error
        say(
            "registry_state",
            registry=registry_id,
            hold=state.hold,
            before=before,
            block=view.block_number,
        )
    await _settle(conn, registry_id, state.hold)
    return state


async def enforce(conn: AsyncConnection[TupleRow], registry_id: int) -> str | None:
    """Hold what was sealed since the registry was looked at, where its state holds batches; give the reason."""
    hold = (await read(conn, registry_id)).hold
    if hold is not None:
        await _settle(conn, registry_id, hold)
    return hold


async def freeze(conn: AsyncConnection[TupleRow], registry_id: int, reason: str) -> None:
    """Stop everything that would write to a registry, until an operator thaws it. The first reason stays."""
    await repository.set_frozen(conn, registry_id, reason)
    _log.critical("registry_frozen", registry=registry_id, reason=reason)
    await _settle(conn, registry_id, HoldReason.FROZEN)


async def thaw(conn: AsyncConnection[TupleRow], registry_id: int) -> bool:
    """Take a freeze back; False where there was none. The next observation lets the batches go on."""
    return await repository.clear_frozen(conn, registry_id)


async def accept_code(conn: AsyncConnection[TupleRow], registry_id: int) -> bytes | None:
    """Trust the code that was last seen; give its hash, None where nobody has looked.

    The next observation lets the batches go on.
    """
    return await repository.accept_code(conn, registry_id)


async def _settle(conn: AsyncConnection[TupleRow], registry_id: int, hold: HoldReason | None) -> None:
    if hold is None:
        await repository.let_go(conn, registry_id, HOLDS)
    else:
        await repository.hold_sealed(conn, registry_id, hold, HOLDS)
