"""E: the mempool."""

from faultproxy.answers import SEND
from faultproxy.calls import Answer, Call, Forward
from faultproxy.transactions import Transaction, read
from ground import ETHER

from chaos.trouble import Stop, trouble
from chaos.world import World
from relayer.chain.fee import GWEI, DynamicFee
from relayer.chain.transaction import TransactionFields
from relayer.local.anvil import CHAIN_ID


@trouble("E mempool", "everything in it is dropped")
async def dropped(world: World) -> None:
    for pool in world.pools:
        pool.forget()
    await world.chain.drop_transactions()


def _base_fee(name: str, fee: int) -> None:
    @trouble("E mempool", name)
    async def start(world: World) -> Stop:
        before = await world.chain.base_fee()
        await world.chain.set_base_fee(fee)

        async def stop() -> None:
            await world.chain.set_base_fee(before)

        return stop


_base_fee("base fee x50 and back", 50 * GWEI)
_base_fee("base fee above the cap and back", 900 * GWEI)


@trouble("E mempool", "our key used elsewhere", "foreign_nonce")
async def _foreign_nonce(world: World) -> None:
    if await world.chain.balance(world.ground.ours) < ETHER:
        return  # Whoever has the key cannot pay either.
    nonce = await world.nonce()
    await dropped(world)
    await world.chain.transact(world.ground.ours, b"", target=world.ground.ours)
    await world.chain.mine()
    world.foreign_nonces.add(nonce)


class _Competitor:
    """Offers the nodes a transaction with our key when we send our next one: before it or after it.

    It pays so many hundredths of what ours does, and takes our nonce or one above.
    """

    def __init__(self, world: World, *, first: bool, pays: int, ahead: int) -> None:
        self._world = world
        self._first = first
        self._pays = pays
        self._ahead = ahead
        self._waits = True

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if call.method != SEND or not self._waits:
            return await forward(call)
        self._waits = False
        if self._first:
            await self._compete(read(call.params[0]))
        answer = await forward(call)
        if not self._first:
            await self._compete(read(call.params[0]))
        return answer

    async def _compete(self, ours: Transaction) -> None:
        world, nonce = self._world, ours.nonce + self._ahead
        fee = DynamicFee(ours.max_fee * self._pays // 100, ours.max_tip * self._pays // 100)
        fields = TransactionFields(CHAIN_ID, nonce, world.ground.ours, b"", 21_000, fee)
        raw = f"0x{(await world.ground.signer().sign(fields)).hex()}"
        for pool in world.pools:
            await pool(Call(SEND, (raw,)), pool._node)
        world.foreign_nonces.add(nonce)


def _competing(name: str, *, first: bool, pays: int, ahead: int = 0) -> None:
    @trouble("E mempool", f"our key used elsewhere: {name}", "foreign_nonce")
    async def start(world: World) -> Stop:
        proxy = world.connections.proxies[0]
        competitor = _Competitor(world, first=first, pays=pays, ahead=ahead)
        proxy.faults.insert(0, competitor)

        async def stop() -> None:
            proxy.faults.remove(competitor)

        return stop


_competing("it pays more and replaces ours", first=False, pays=150)
_competing("it was there first and pays more", first=True, pays=150)
_competing("it was there first and pays less", first=True, pays=50)
_competing("it waits two nonces ahead", first=True, pays=300, ahead=2)
