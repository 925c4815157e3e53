"""Making a deployed registry known, on record."""

from relayer.model.clock import Clock, utc_now
from relayer.store import registries
from relayer.store.database import Database
from relayer.tenants import audit
from relayer.tenants.audit import Event, Origin, Target


async def register_registry(
    owner_db: Database,
    chain_id: int,
    address: bytes,
    first_block: int,
    *,
    origin: Origin,
    clock: Clock = utc_now,
) -> bool:
    """Add a registry, as the owner of the database, and open its tickets; False where it is known already.

    Args:
        owner_db: the owner's connection.
        chain_id: EIP-155 chain id.
        address: 20 bytes, the proxy's.
        first_block: no event of the registry lies in an earlier block.
        origin: whose doing it is.
        clock: the time of the audit event.

    """
    async with owner_db.transaction() as conn:
        is_new = await registries.find(conn, chain_id, address) is None
        row = await registries.register(conn, chain_id, address, first_block)
        if is_new:
            shown = f"0x{address.hex()}"
            document = {"chain_id": chain_id, "address": shown, "first_block": row.first_block}
            event = Event(
                tenant_id=None,
                action="registry.registered",
                origin=origin,
                occurred_at=clock(),
                targets=(Target("registry", shown),),
                after_hash=audit.fingerprint(document),
                metadata=document,
            )
            await audit.record(conn, event)
    return is_new
