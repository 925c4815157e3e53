"""How tickets are drawn: by lane and class of expected duration, each once, and past what a lost database handed out."""

import asyncio
from collections import Counter

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.batches.tickets import CLASSES, duration_class, ticket_of
from relayer.seal.commitment import lane, word
from relayer.store import registries, ticket_repository
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.store.ticket_repository import MARGIN
from relayer.tenants.audit import PLATFORM
from relayer.tenants.kind_lanes import KindLanes


async def _draw(db: Database, registry: RegistryRow, count: int, lane: int = 0, class_: int = 0) -> list[int]:
    async with db.transaction() as conn:
        cursor = await conn.execute(
            "SELECT next_ticket(%s::smallint, %s::smallint, %s) FROM generate_series(1, %s)",
            [registry.id, lane, class_, count],
        )
        return [ticket for (ticket,) in await cursor.fetchall()]


async def _open(db: Database, registry: RegistryRow, lane: int) -> None:
    async with db.transaction() as conn:
        await conn.execute("SELECT open_ticket_lane(%s::smallint, %s::smallint)", [registry.id, lane])


async def test_tickets_count_up_within_their_lane(
    api_db: Database, owner_db: Database, registry_row: RegistryRow
) -> None:
    await _open(owner_db, registry_row, 3)
    assert await _draw(api_db, registry_row, 2) == [0, 1]
    assert await _draw(api_db, registry_row, 1, lane=3) == [3 << 56]


async def test_a_word_belongs_to_one_class(api_db: Database, registry_row: RegistryRow) -> None:
    words = {
        class_: {word(ticket) for ticket in await _draw(api_db, registry_row, 600, class_=class_)}
        for class_ in range(CLASSES)
    }
    assert words == {class_: {class_, class_ + CLASSES, class_ + 2 * CLASSES} for class_ in range(CLASSES)}


async def test_the_simulation_draws_as_the_database_does(api_db: Database, registry_row: RegistryRow) -> None:
    for class_ in (0, 7, 31):
        drawn = await _draw(api_db, registry_row, 700, class_=class_)
        assert drawn == [ticket_of(class_, place) for place in range(700)]
    seconds = [None, 0.0, 0.3, 9.999, 10.0, 13.7, 60.0, 61.0, 3_600.0, 86_399.0, 86_400.0, 1e9]
    async with api_db.transaction() as conn:
        cursor = await conn.execute("SELECT duration_class(s) FROM unnest(%s::float8[]) s", [seconds])
        assert [class_ for (class_,) in await cursor.fetchall()] == [duration_class(one) for one in seconds]


async def test_nobody_draws_what_another_draws_or_has_drawn(
    api_db: Database, registry_row: RegistryRow
) -> None:
    async def draw_and_undo() -> list[int]:
        async with api_db.transaction() as conn, conn.transaction(force_rollback=True):
            await conn.execute("SELECT next_ticket(%s::smallint, 0::smallint, 1)", [registry_row.id])
        return []

    drawn = await asyncio.gather(
        *(_draw(api_db, registry_row, 100, class_=number % 3) for number in range(12)),
        *(draw_and_undo() for _ in range(4)),
    )
    counts = Counter(ticket for some in drawn for ticket in some)
    assert len(counts) == 1_200
    assert set(counts.values()) == {1}


async def test_every_registry_has_the_lanes_of_all_kinds_whichever_came_first(
    api_db: Database, owner_db: Database, admin_db: Database, registry_row: RegistryRow
) -> None:
    async def register(number: int) -> RegistryRow:
        async with owner_db.transaction() as conn:
            return await registries.register(conn, 1, bytes([number]) * 20, 0)

    async def give() -> None:
        await KindLanes(admin_db).set("digest", 5, PLATFORM)

    before = await register(1)
    given, beside = await asyncio.gather(give(), register(2))
    assert given is None
    for registry in (registry_row, before, beside, await register(3)):
        assert await _draw(api_db, registry, 1, lane=5, class_=31) == [5 << 56 | 31 << 8]


async def test_lanes_that_never_confirm_hand_out_no_tickets(
    owner_db: Database, registry_row: RegistryRow
) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="lane 32 can never be confirmed"):
        async with owner_db.transaction() as conn:
            await conn.execute("SELECT open_ticket_lane(%s::smallint, 32::smallint)", [registry_row.id])


async def test_after_a_jump_every_ticket_of_the_lane_is_new(
    api_db: Database, owner_db: Database, admin_db: Database, registry_row: RegistryRow
) -> None:
    await _open(owner_db, registry_row, 3)
    highest = max(await _draw(api_db, registry_row, 5_000, class_=4))
    before = [(await _draw(api_db, registry_row, 1, class_=class_))[0] for class_ in range(CLASSES)]
    async with admin_db.transaction() as conn:
        await ticket_repository.jump_past(conn, registry_row.id, 0, highest)
    after = [(await _draw(api_db, registry_row, 1, class_=class_))[0] for class_ in range(CLASSES)]
    assert min(after) > highest + MARGIN
    assert len({*before, *after}) == 2 * CLASSES
    assert await _draw(api_db, registry_row, 1, lane=3) == [3 << 56]


async def test_a_jump_never_goes_back(
    api_db: Database, admin_db: Database, registry_row: RegistryRow
) -> None:
    async with admin_db.transaction() as conn:
        await ticket_repository.jump_past(conn, registry_row.id, 0, 1 << 40)
    (first,) = await _draw(api_db, registry_row, 1)
    async with admin_db.transaction() as conn:
        await ticket_repository.jump_past(conn, registry_row.id, 0, 7)
        await ticket_repository.jump_past(conn, registry_row.id, 0, 1 << 40)
    assert await _draw(api_db, registry_row, 1) == [first + 1]


async def test_who_draws_during_a_jump_gets_what_lies_beyond_it(
    api_db: Database, admin_db: Database, registry_row: RegistryRow
) -> None:
    async with admin_db.transaction() as conn:
        await ticket_repository.jump_past(conn, registry_row.id, 0, 1 << 30)
        drawing = asyncio.create_task(_draw(api_db, registry_row, 1))
        done, _ = await asyncio.wait([drawing], timeout=0.2)
        assert not done
    assert (await drawing)[0] > 1 << 30


async def test_a_lane_without_tickets_left_says_so(admin_db: Database, registry_row: RegistryRow) -> None:
    for ticket in ((1 << 56) - 1, 1 << 56):
        with pytest.raises(ValueError, match="no ticket of lane 0 lies 1048576 beyond"):
            async with admin_db.transaction() as conn:
                await ticket_repository.jump_past(conn, registry_row.id, 0, ticket)


async def test_the_api_may_not_jump(api_db: Database, registry_row: RegistryRow) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with api_db.transaction() as conn:
            await ticket_repository.jump_past(conn, registry_row.id, 0, 7)


@given(st.integers(0, CLASSES - 1), st.integers(0, (1 << 51) - 1))
def test_every_place_of_every_class_is_a_ticket_of_the_lane(class_: int, place: int) -> None:
    ticket = ticket_of(class_, place)
    assert lane(ticket) == 0
    assert word(ticket) % CLASSES == class_
    assert (word(ticket) // CLASSES) << 8 | ticket & 255 == place
