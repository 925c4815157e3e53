"""Lives of a batch that lead through every effect of batcher, sender and indexer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.process import LOOPS
from chaos.world import FINAL_AFTER, World

from relayer.chain.registry import RegistryClient

Scene = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Play:
    """A scene; afterwards batches may wait for a human for the reasons that it `asks` for."""

    scene: Scene
    asks: frozenset[str] = frozenset()


async def turn(world: World, *loops: str) -> None:
    """Let the leader do these passes, and a block pass."""
    for loop in loops or LOOPS:
        await world.leader.run(loop)
    await world.pass_block()


async def sealed(world: World) -> None:
    await world.finish_jobs(4)
    await world.leader.run("batcher")


async def settle(world: World) -> None:
    """Let blocks pass until what is included is final and applied."""
    for _ in range(FINAL_AFTER + 2):
        await turn(world, "sender", "indexer")


async def plain(world: World) -> None:
    await sealed(world)
    await turn(world, "sender")
    await settle(world)


async def stuck(world: World) -> None:
    """The chain stands still until the transaction is replaced by one that pays more."""
    await sealed(world)
    world.halted = True
    for _ in range(6):
        await turn(world, "sender")
    world.halted = False
    await settle(world)


async def reorganised(world: World) -> None:
    await sealed(world)
    await turn(world, "sender")
    await turn(world, "sender")
    await world.chain.reorganise(2)
    await turn(world, "sender")
    await settle(world)


async def paused(world: World) -> None:
    await sealed(world)
    await world.chain.administer("pause()")
    await world.pass_block()
    await turn(world)
    await world.chain.administer("unpause()")
    await world.pass_block()
    await turn(world)
    await settle(world)


async def reverted(world: World) -> None:
    """The pause comes before the transaction, in its block."""
    await sealed(world)
    await world.chain.administer("pause()")
    await turn(world, "sender")
    await world.chain.administer("unpause()")
    await settle(world)
    await settle(world)


async def confirmed_by_another(world: World) -> None:
    await sealed(world)
    (words,) = await world.unconfirmed()
    await world.chain.transact(
        world.ground.theirs, RegistryClient.encode_confirm_batch(words), target=world.ground.registry
    )
    await world.pass_block()
    await settle(world)


async def key_used_elsewhere(world: World) -> None:
    await sealed(world)
    await world.leader.run("sender")
    for pool in world.pools:
        pool.forget()
    await world.chain.drop_transactions()
    await world.chain.transact(world.ground.ours, b"", target=world.ground.ours)
    await world.chain.mine()
    await settle(world)


PLAYS = {
    "plain": Play(plain),
    "stuck": Play(stuck),
    "reorganised": Play(reorganised),
    "paused": Play(paused),
    "reverted": Play(reverted),
    "confirmed by another": Play(confirmed_by_another),
    "key used elsewhere": Play(key_used_elsewhere, frozenset({"foreign_nonce"})),
}
