"""The registry is upgraded while batches are on their way."""

from collections.abc import Callable
from pathlib import Path

from chaos import judge
from chaos.process import LOOPS
from chaos.world import FINAL_AFTER, Connections, World, begin
from ground import Ground

from relayer.chain.node import Node
from relayer.chain.registry_view import view_registry


async def turns(world: World, count: int) -> None:
    for _ in range(count):
        await world.pass_block()
        for loop in reversed(LOOPS):
            await world.leader.run(loop)


async def states(world: World) -> list[tuple[str, str | None]]:
    return await world.rows("SELECT state, reason FROM batches ORDER BY sealed_at, id")


async def code_hash(world: World) -> bytes:
    node = Node(world.connections.direct)
    head = (await node.account(world.ground.ours)).latest
    return (await view_registry(node, world.ground.registry, world.ground.ours, head)).code_hash


async def test_what_has_no_nonce_is_held_until_an_operator_has_accepted_the_code(
    deployed: Ground, opened: Connections, tmp_path: Path, empty: Callable[[], None]
) -> None:
    empty()
    world = await begin(deployed, opened, tmp_path, 0)
    await world.leader.run("indexer")
    await world.finish_jobs(4)
    await world.leader.run("batcher")
    await world.leader.run("sender")
    await world.finish_jobs(4)
    await world.leader.run("batcher")
    assert await states(world) == [("sending", None), ("sealed", None)]

    before = await code_hash(world)
    await world.chain.upgrade()
    await turns(world, FINAL_AFTER + 2)
    assert await code_hash(world) != before
    await world.finish_jobs(4)
    await turns(world, 2)
    assert await states(world) == [("final", None), ("held", "code_changed"), ("held", "code_changed")]
    assert await world.rows("SELECT nonce FROM chain_txs") == [(0,)]

    world.accepts_code = True
    await world.operate()
    await turns(world, FINAL_AFTER + 8)
    assert await judge.at_rest(world)
    assert await judge.flaws(world, frozenset()) == []
    assert await states(world) == [("final", None)] * 3
    accepted = await world.rows("SELECT count(*) FROM audit_events WHERE action = 'registry.code_accepted'")
    assert accepted == [(1,)]
