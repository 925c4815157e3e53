"""A, B, C: processes and their database."""

from chaos.trouble import Stop, trouble
from chaos.world import World


@trouble("A crash", "killed after one of its next effects")
async def _killed(world: World) -> None:
    world.leader.life.die(world.random.randint(1, 8))


@trouble("A crash", "killed again and again")
async def _killed_often(world: World) -> None:
    async def die_again() -> None:
        world.leader.life.die(world.random.randint(1, 3))

    for after in (2, 4, 7):
        world.leader.life.strike(after, die_again)


@trouble("B database", "connection cut in a transaction")
async def _cut(world: World) -> None:
    world.leader.life.break_database(
        world.random.randint(1, 9), "SELECT pg_terminate_backend(pg_backend_pid())"
    )


@trouble("B database", "serialization failures at commit")
async def _serialization(world: World) -> None:
    for _ in range(3):
        world.leader.life.break_database(
            world.random.randint(1, 12), "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"
        )


@trouble("C leaders", "another leads in the middle of a pass")
async def _overtaken(world: World) -> None:
    async def overtake() -> None:
        old = world.leader
        world.processes.reverse()
        await world.leader.lead()
        for loop in ("sender", "indexer", "batcher"):
            await world.leader.run(loop)
        assert world.leader is not old

    world.leader.life.strike(world.random.randint(1, 6), overtake)


@trouble("C leaders", "an old leader wakes up")
async def _old_leader(world: World) -> Stop:
    world.processes.reverse()
    await world.leader.lead()
    old = world.processes[-1]

    async def wake() -> None:
        for loop in ("sender", "indexer", "batcher"):
            assert await old.run(loop) == "LeaseLostError", "an old leader went on"

    return wake
