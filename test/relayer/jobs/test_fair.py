"""The deal between tenants, as a pure function."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from relayer.jobs.fair import Deal, Turn, Waiting, deal, share

START = datetime(2030, 1, 1, tzinfo=UTC)
MANY = 10_000


def tenant(number: int) -> UUID:
    return UUID(int=number)


def backlog(owner: int, count: int, kinds: int = 1, priority: int = 1) -> list[Waiting]:
    return [
        Waiting(
            tenant(owner),
            f"kind-{number % kinds}",
            priority,
            UUID(int=owner * 1_000_000 + priority * 100_000 + number),
            START + timedelta(seconds=number),
        )
        for number in range(count)
    ]


def turns(*weights: int, allowance: int = MANY) -> list[Turn]:
    return [Turn(tenant(number), weight, 0, allowance) for number, weight in enumerate(weights)]


def of_tenants(dealt: Deal) -> list[int]:
    return [one.tenant_id.int for one in dealt.chosen]


def after(ring: list[Turn], dealt: Deal) -> list[Turn]:
    """The ring as the next deal finds it."""
    known = {
        turn.tenant_id: replace(turn, deficit=dealt.deficits.get(turn.tenant_id, turn.deficit))
        for turn in ring
    }
    kept = [turn.tenant_id for turn in ring if turn.tenant_id not in dealt.moved]
    return [known[one] for one in [*kept, *dealt.moved]]


def test_one_job_beside_a_flood_is_among_the_first_two() -> None:
    dealt = deal(turns(1, 1), backlog(0, 5_000) + backlog(1, 1), 200, {})
    assert of_tenants(dealt)[:3] == [0, 1, 0]


def test_a_flood_spread_over_kinds_gains_nothing() -> None:
    dealt = deal(turns(1, 1), backlog(0, 5_000, kinds=50) + backlog(1, 5_000), 100, {})
    assert Counter(of_tenants(dealt)) == {0: 50, 1: 50}


def test_weights_divide_the_room() -> None:
    dealt = deal(turns(3, 1), backlog(0, 500) + backlog(1, 500), 100, {})
    assert Counter(of_tenants(dealt)) == {0: 75, 1: 25}


def test_a_tenants_own_high_jobs_go_first_and_gain_nothing_over_others() -> None:
    mine = backlog(0, 50) + backlog(0, 50, priority=0)
    dealt = deal(turns(1, 1), mine + backlog(1, 100), 40, {})
    assert Counter(of_tenants(dealt)) == {0: 20, 1: 20}
    assert {one.priority for one in dealt.chosen if one.tenant_id == tenant(0)} == {0}


def test_a_full_kind_holds_up_neither_its_tenants_other_kinds_nor_others() -> None:
    dealt = deal(turns(1, 1), backlog(0, 10, kinds=2) + backlog(1, 10), 20, {"kind-0": 3})
    assert Counter(one.kind for one in dealt.chosen) == {"kind-0": 3, "kind-1": 5}


def test_a_quantum_that_is_cut_short_is_finished_first() -> None:
    ring, waiting = turns(5, 5), backlog(0, 20) + backlog(1, 20)
    first = deal(ring, waiting, 3, {})
    assert of_tenants(first) == [0, 0, 0]
    assert (first.moved, first.deficits) == ([], {tenant(0): 2})
    left = [one for one in waiting if one not in first.chosen]
    second = deal(after(ring, first), left, 7, {})
    assert of_tenants(second) == [0, 0, 1, 1, 1, 1, 1]


@given(
    weights=st.lists(st.integers(1, 7), min_size=1, max_size=8),
    rooms=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_over_many_deals_nobody_is_further_from_its_share_than_a_quantum(
    weights: list[int], rooms: list[int]
) -> None:
    ring = turns(*weights)
    waiting = {number: backlog(number, 1_000) for number in range(len(weights))}
    got: Counter[int] = Counter()
    for room in rooms:
        dealt = deal(ring, [one for jobs in waiting.values() for one in jobs[:60]], room, {})
        assert len(dealt.chosen) == room
        for one in dealt.chosen:
            waiting[one.tenant_id.int].remove(one)
        got.update(of_tenants(dealt))
        ring = after(ring, dealt)
        # Rounds of service, as fractions: with every tenant backlogged they differ by one at most.
        rounds = [got[number] / weight for number, weight in enumerate(weights)]
        assert max(rounds) - min(rounds) <= 1


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    allowances=st.lists(st.integers(1, 30), min_size=8, max_size=8),
    room=st.integers(1, 100),
    kind_room=st.dictionaries(st.sampled_from(["kind-0", "kind-1"]), st.integers(0, 10)),
)
def test_caps_hold_and_no_room_is_wasted(
    counts: list[int], allowances: list[int], room: int, kind_room: dict[str, int]
) -> None:
    ring = [Turn(tenant(number), 2, 0, allowances[number]) for number in range(len(counts))]
    waiting = [one for number, count in enumerate(counts) for one in backlog(number, count, kinds=3)]
    dealt = deal(ring, waiting, room, kind_room)
    by_tenant, by_kind = Counter(of_tenants(dealt)), Counter(one.kind for one in dealt.chosen)
    assert len({one.job_id for one in dealt.chosen}) == len(dealt.chosen) <= room
    assert all(by_tenant[number] <= allowances[number] for number in range(len(counts)))
    assert all(by_kind[kind] <= left for kind, left in kind_room.items())
    if len(dealt.chosen) < room:
        chosen = {one.job_id for one in dealt.chosen}
        for one in waiting:
            has_room = by_tenant[one.tenant_id.int] < allowances[one.tenant_id.int]
            assert one.job_id in chosen or not has_room or by_kind[one.kind] == kind_room.get(one.kind)


@given(weights=st.lists(st.integers(1, 100), min_size=1, max_size=50), room=st.integers(1, 400))
def test_shares_are_enough_for_a_full_deal(weights: list[int], room: int) -> None:
    quotas = share(turns(*weights), room)
    assert sum(quotas) >= room
    assert all(quota >= weight for quota, weight in zip(quotas, weights, strict=True))
