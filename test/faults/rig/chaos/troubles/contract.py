"""I: the contract."""

from eth_hash.backends.pysha3 import keccak256
from faultproxy.chain import CONFIRMER_ROLE

from chaos.trouble import Stop, trouble
from chaos.world import World
from relayer.chain.registry import RegistryClient
from relayer.seal.tree import Word


@trouble("I contract", "paused")
async def _paused(world: World) -> Stop:
    world.pauses += 1
    await world.chain.administer("pause()")

    async def stop() -> None:
        world.pauses -= 1

    return stop


@trouble("I contract", "role revoked and granted again", "role")
async def _role(world: World) -> Stop:
    world.revocations += 1
    account = f"0x{world.ground.ours.hex()}"
    await world.chain.administer("revokeRole(bytes32,address)", CONFIRMER_ROLE, account)

    async def stop() -> None:
        world.revocations -= 1

    return stop


@trouble("I contract", "upgraded, until an operator has accepted the code")
async def _upgraded(world: World) -> Stop:
    await world.chain.upgrade()

    async def stop() -> None:
        world.accepts_code = True

    return stop


@trouble("I contract", "another confirms our root")
async def _our_root(world: World) -> None:
    batches = await world.unconfirmed()
    if batches:
        await world.chain.transact(
            world.ground.theirs,
            RegistryClient.encode_confirm_batch(batches[-1]),
            target=world.ground.registry,
        )


@trouble("I contract", "another spends our tickets", "integrity")
async def _our_tickets(world: World) -> None:
    batches = await world.unconfirmed()
    if not batches:
        return
    stolen = batches[-1][0]
    mask = stolen.mask & -stolen.mask
    word = Word(stolen.index, mask, keccak256(stolen.root))
    await world.chain.transact(
        world.ground.theirs, RegistryClient.encode_confirm_batch([word]), target=world.ground.registry
    )
