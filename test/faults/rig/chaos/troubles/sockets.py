"""H: the lines that tell of new blocks."""

from chaos.trouble import Stop, trouble
from chaos.world import World


@trouble("H sockets", "cut")
async def _cut_sockets(world: World) -> None:
    world.sockets.drop()


@trouble("H sockets", "those that are open fall silent for good")
async def _stalled_sockets(world: World) -> None:
    world.sockets.stall()


@trouble("H sockets", "silent")
async def _silent_sockets(world: World) -> Stop:
    world.sockets.silent = True

    async def stop() -> None:
        world.sockets.silent = False

    return stop


@trouble("H sockets", "cut and refused")
async def _refused_sockets(world: World) -> Stop:
    world.sockets.refusing = True
    world.sockets.drop()

    async def stop() -> None:
        world.sockets.refusing = False

    return stop


@trouble("H sockets", "every message twice")
async def _doubled_sockets(world: World) -> Stop:
    world.sockets.doubling = True

    async def stop() -> None:
        world.sockets.doubling = False

    return stop
