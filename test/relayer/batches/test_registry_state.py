"""What a registry was seen to be holds its batches, and lets them go on."""

from dataclasses import replace

from relayer.batches import registry_state
from relayer.chain.registry_view import RegistryView
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import NOON, SealJobs

GOOD = RegistryView(
    paused=False,
    confirmer_role=True,
    implementation=b"\x01" * 20,
    code_hash=b"\x02" * 32,
    block_number=7,
    block_hash=b"\x03" * 32,
)


async def observe(db: Database, registry: RegistryRow, view: RegistryView) -> str | None:
    async with db.transaction() as conn:
        return (await registry_state.observe(conn, registry.id, view, NOON)).hold


async def batches(db: Database) -> list[tuple[str, str | None]]:
    async with db.transaction() as conn:
        cursor = await conn.execute("SELECT state, reason FROM batches ORDER BY sealed_at, id")
        return [(state, reason) for state, reason in await cursor.fetchall()]


async def test_nobody_has_looked_and_nothing_is_held(relayer_db: Database, registry_row: RegistryRow) -> None:
    async with relayer_db.transaction() as conn:
        state = await registry_state.read(conn, registry_row.id)
    assert (state.observed, state.hold) == (None, None)


async def test_each_trouble_holds_what_is_sealed_until_it_is_over(
    relayer_db: Database, registry_row: RegistryRow, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    assert await observe(relayer_db, registry_row, GOOD) is None
    for trouble, view in {
        "paused": replace(GOOD, paused=True),
        "role_lost": replace(GOOD, confirmer_role=False),
        "code_changed": replace(GOOD, code_hash=b"\x09" * 32, paused=True),
    }.items():
        assert await observe(relayer_db, registry_row, view) == trouble
        assert await batches(relayer_db) == [("held", trouble)]
    assert await observe(relayer_db, registry_row, GOOD) is None
    assert await batches(relayer_db) == [("sealed", None)]


async def test_other_code_is_held_until_an_operator_accepts_it(
    relayer_db: Database, registry_row: RegistryRow, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    other = replace(GOOD, implementation=b"\x05" * 20, code_hash=b"\x06" * 32)
    await observe(relayer_db, registry_row, GOOD)
    assert await observe(relayer_db, registry_row, other) == "code_changed"
    async with relayer_db.transaction() as conn:
        assert await registry_state.accept_code(conn, registry_row.id) == other.code_hash
    assert await observe(relayer_db, registry_row, other) is None
    assert await batches(relayer_db) == [("sealed", None)]


async def test_a_freeze_outlives_what_is_observed_until_it_is_thawed(
    relayer_db: Database, registry_row: RegistryRow, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    async with relayer_db.transaction() as conn:
        await registry_state.freeze(conn, registry_row.id, "the database claims more than the chain")
        await registry_state.freeze(conn, registry_row.id, "a second finding")
    assert await batches(relayer_db) == [("held", "frozen")]
    assert await observe(relayer_db, registry_row, GOOD) == "frozen"
    async with relayer_db.transaction() as conn:
        state = await registry_state.read(conn, registry_row.id)
        assert state.frozen_reason == "the database claims more than the chain"
        assert await registry_state.thaw(conn, registry_row.id)
        assert not await registry_state.thaw(conn, registry_row.id)
    assert await observe(relayer_db, registry_row, GOOD) is None
    assert await batches(relayer_db) == [("sealed", None)]
