"""F: blocks."""

from faultproxy.answers import SEND

from chaos.trouble import DEEP, FAR, Stop, trouble
from chaos.troubles.mempool import dropped
from chaos.world import FINAL_AFTER, World


def _reorganisation(name: str, depth: int) -> None:
    @trouble("F blocks", name, depth=DEEP if depth > FINAL_AFTER else FINAL_AFTER)
    async def start(world: World) -> None:
        await world.chain.reorganise(depth)


_reorganisation("reorg 1 deep", 1)
_reorganisation("reorg 3 deep", 3)
_reorganisation(FAR, 64)


@trouble("F blocks", "reorg: ours dropped for good")
async def _reorg_dropped(world: World) -> None:
    await world.chain.reorganise(3)
    await dropped(world)


@trouble("F blocks", "reorg: ours in another block")
async def _reorg_moved(world: World) -> None:
    nonce = await world.nonce()
    await world.chain.reorganise(3)
    freed = await world.nonce()
    ours = [one for one in world.pools[0].held if freed <= one.nonce < nonce]
    for one in sorted(ours, key=lambda one: one.nonce):
        await world.connections.direct.call(SEND, (one.raw,))
    await world.chain.mine()


@trouble("F blocks", "reorg: ours reverts instead")
async def _reorg_reverted(world: World) -> Stop:
    world.pauses += 1
    await world.chain.reorganise(3)
    await world.chain.administer("pause()")
    await world.chain.mine()

    async def stop() -> None:
        world.pauses -= 1

    return stop


@trouble("F blocks", "the chain stands still")
async def _halted(world: World) -> Stop:
    world.halted = True

    async def stop() -> None:
        world.halted = False

    return stop


@trouble("F blocks", "twenty blocks at once")
async def _burst(world: World) -> None:
    await world.chain.mine(20)


@trouble("F blocks", "time on the chain runs an hour ahead")
async def _skewed(world: World) -> None:
    await world.chain.skew(3_600)


@trouble("F blocks", "finality stalls")
async def _finality_stalls(world: World) -> Stop:
    height = await world.chain.height()
    for one in world.finality:
        one.ceiling = height - one.depth

    async def stop() -> None:
        for one in world.finality:
            one.ceiling = None

    return stop


@trouble("F blocks", "finality goes back at one node")
async def _finality_back(world: World) -> Stop:
    world.finality[0].depth += 3

    async def stop() -> None:
        world.finality[0].depth -= 3

    return stop
