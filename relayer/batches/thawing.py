"""Letting a frozen registry go on, on record."""

from relayer.batches import registry_state
from relayer.model.clock import Clock, utc_now
from relayer.model.errors import JobsealError
from relayer.store import registries
from relayer.store.database import Database
from relayer.tenants import audit
from relayer.tenants.audit import Event, Origin, Target


class RegistryUnknownError(JobsealError):
    """There is no such registry."""


async def thaw_registry(
    db: Database, chain_id: int, address: bytes, *, reason: str, origin: Origin, clock: Clock = utc_now
) -> str | None:
    """Take the freeze of a registry back, in the role of administration; its batches go on with the next observation.

    Args:
        db: in the role of administration.
        chain_id: EIP-155 chain id.
        address: 20 bytes, the proxy's.
        reason: what was found and done, for the audit log.
        origin: whose doing it is.
        clock: the time of the audit event.

    Returns:
        What it was frozen for; None where it was not.

    Raises:
        RegistryUnknownError: no such registry is registered.

    """
    async with db.transaction() as conn:
        registry = await registries.find(conn, chain_id, address)
        if registry is None:
            raise RegistryUnknownError(
                f"the registry 0x{address.hex()} on chain {chain_id} is not registered; "
                "correct JOBSEAL_REGISTRY_CHAIN_ID and JOBSEAL_REGISTRY_ADDRESS"
            )
        frozen_for = (await registry_state.read(conn, registry.id)).frozen_reason
        if frozen_for is None or not await registry_state.thaw(conn, registry.id):
            return None
        event = Event(
            tenant_id=None,
            action="registry.thawed",
            origin=origin,
            occurred_at=clock(),
            targets=(Target("registry", f"0x{address.hex()}"),),
            metadata={"chain_id": chain_id, "frozen_for": frozen_for, "reason": reason},
        )
        await audit.record(conn, event)
    return frozen_for
