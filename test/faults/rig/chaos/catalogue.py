"""Every fault that a run may meet, by the letters of its class."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from eth_hash.backends.pysha3 import keccak256
from faultproxy.answers import SEND, THROTTLE, FalseError, FalseSuccess, Lose, OtherChain, Refuse
from faultproxy.calls import Fault, Loss
from faultproxy.chain import CONFIRMER_ROLE
from faultproxy.logs import (
    DIALECTS,
    DOUBLED_LOGS,
    EMPTY_LOGS,
    PARTIAL_LOGS,
    SHUFFLED_LOGS,
    NoReceipts,
    RangeLimit,
    WrongBlockHash,
)
from faultproxy.proxy import FaultProxy
from faultproxy.scope import Only
from faultproxy.signing import AlteredRequest, HighS, OtherKey
from faultproxy.view import Lag
from ground import ETHER, THEIRS

from chaos.world import FINAL_AFTER, World
from relayer.batches import desk
from relayer.chain.fee import GWEI
from relayer.chain.registry import RegistryClient
from relayer.seal.tree import Word

Stop = Callable[[], Awaitable[None]]
Start = Callable[[World], Awaitable[Stop | None]]
DEEP = 66
"""How deep finality lies where a reorganisation goes 64 blocks deep."""


@dataclass(frozen=True)
class Trouble:
    """A fault of a run.

    Attributes:
        kind: its class: what it happens to.
        name: what happens.
        start: lets it happen; gives what ends it, or None where it ends by itself.
        asks: the reasons for which batches may wait for a human because of it.
        depth: how many blocks finality has to lie behind the head for the whole run.

    """

    kind: str
    name: str
    start: Start
    asks: frozenset[str] = frozenset()
    depth: int = FINAL_AFTER


CATALOGUE: list[Trouble] = []


def _trouble(kind: str, name: str, *asks: str, depth: int = FINAL_AFTER) -> Callable[[Start], Start]:
    def add(start: Start) -> Start:
        CATALOGUE.append(Trouble(kind, name, start, frozenset(asks), depth))
        return start

    return add


# --- A, B, C: processes and their database -----------------------------------------------------------------


@_trouble("A crash", "killed after one of its next effects")
async def _killed(world: World) -> None:
    world.leader.life.die(world.random.randint(1, 8))


@_trouble("A crash", "killed again and again")
async def _killed_often(world: World) -> None:
    async def die_again() -> None:
        world.leader.life.die(world.random.randint(1, 3))

    for after in (2, 4, 7):
        world.leader.life.strike(after, die_again)


@_trouble("B database", "connection cut in a transaction")
async def _cut(world: World) -> None:
    world.leader.life.break_database(
        world.random.randint(1, 9), "SELECT pg_terminate_backend(pg_backend_pid())"
    )


@_trouble("B database", "serialization failures at commit")
async def _serialization(world: World) -> None:
    for _ in range(3):
        world.leader.life.break_database(
            world.random.randint(1, 12), "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"
        )


@_trouble("C leaders", "another leads in the middle of a pass")
async def _overtaken(world: World) -> None:
    async def overtake() -> None:
        old = world.leader
        world.processes.reverse()
        await world.leader.lead()
        for loop in ("sender", "indexer", "batcher"):
            await world.leader.run(loop)
        assert world.leader is not old

    world.leader.life.strike(world.random.randint(1, 6), overtake)


@_trouble("C leaders", "an old leader wakes up")
async def _old_leader(world: World) -> Stop:
    world.processes.reverse()
    await world.leader.lead()
    old = world.processes[-1]

    async def wake() -> None:
        for loop in ("sender", "indexer", "batcher"):
            assert await old.run(loop) == "LeaseLostError", "an old leader went on"

    return wake


# --- D, G: answers of the nodes ----------------------------------------------------------------------------


def _at_nodes(
    kind: str, name: str, make: Callable[[World], Fault], nodes: slice = slice(None), *asks: str
) -> None:
    @_trouble(kind, name, *asks)
    async def start(world: World) -> Stop:
        proxies: Sequence[FaultProxy] = world.connections.proxies
        struck = [(proxy, make(world)) for proxy in proxies[nodes]]
        for proxy, fault in struck:
            proxy.faults.insert(0, fault)

        async def stop() -> None:
            for proxy, fault in struck:
                proxy.faults.remove(fault)

        return stop


ONE = slice(1)


def _sending(name: str, fault: Fault, nodes: slice = slice(None)) -> None:
    _at_nodes("D sending", name, lambda _: Only(fault, SEND), nodes)


for _loss in (Loss.CLOSED, Loss.BAD_GATEWAY, Loss.GARBAGE, Loss.TRUNCATED):
    _sending(f"taken, reply lost: {_loss}", Lose(_loss))
_at_nodes("D sending", "taken, reply lost: silent", lambda _: Only(Lose(Loss.SILENT), SEND, times=1))
_sending("not taken, reply lost", Lose(Loss.CLOSED, before=True))
_sending("false success", FalseSuccess())
_sending("false error", FalseError("internal error", -32603))
_sending("one node refuses, the other takes it", Refuse("txpool is full"), ONE)
for _text in (
    "txpool is full",
    "nonce too high",
    "nonce too low",
    "transaction underpriced",
    "replacement transaction underpriced",
    "already reserved",
):
    _sending(f"refused: {_text[:32]}", Refuse(_text))


_at_nodes(
    "D sending",
    "refused: words that nobody knows",
    lambda _: Only(Refuse("the moon is in the wrong house"), SEND),
    slice(None),
    "unknown_answer",
)


@_trouble("D sending", "a node's own cap on fees, until an operator has raised it")
async def _node_cap(world: World) -> Stop:
    fault = Only(Refuse("tx fee (1.20 ether) exceeds the configured cap (1.00 ether)"), SEND)
    for proxy in world.connections.proxies:
        proxy.faults.insert(0, fault)

    async def stop() -> None:
        for proxy in world.connections.proxies:
            proxy.faults.remove(fault)
        waiting = await world.rows(
            "SELECT id FROM batches WHERE state = 'needs_human' AND reason = 'node_limit' ORDER BY sealed_at"
        )
        async with world.connections.owner.transaction() as conn:
            for (batch,) in waiting:
                await desk.retry(conn, batch)

    return stop


@_trouble("D sending", "no funds")
async def _no_funds(world: World) -> Stop:
    await world.chain.set_balance(world.ground.ours, 1)

    async def stop() -> None:
        await world.chain.set_balance(world.ground.ours, 100 * 10**18)

    return stop


# --- E: the mempool ----------------------------------------------------------------------------------------


@_trouble("E mempool", "everything in it is dropped")
async def _dropped(world: World) -> None:
    for pool in world.pools:
        pool.forget()
    await world.chain.drop_transactions()


def _base_fee(name: str, fee: int) -> None:
    @_trouble("E mempool", name)
    async def start(world: World) -> Stop:
        before = await world.chain.base_fee()
        await world.chain.set_base_fee(fee)

        async def stop() -> None:
            await world.chain.set_base_fee(before)

        return stop


_base_fee("base fee x50 and back", 50 * GWEI)
_base_fee("base fee above the cap and back", 900 * GWEI)


@_trouble("E mempool", "our key used elsewhere", "foreign_nonce")
async def _foreign_nonce(world: World) -> None:
    if await world.chain.balance(world.ground.ours) < ETHER:
        return  # Whoever has the key cannot pay either.
    nonce = await world.nonce()
    for pool in world.pools:
        pool.forget()
    await world.chain.drop_transactions()
    await world.chain.transact(world.ground.ours, b"", target=world.ground.ours)
    await world.chain.mine()
    world.foreign_nonces.add(nonce)


# --- F: blocks ---------------------------------------------------------------------------------------------


def _reorganisation(depth: int) -> None:
    @_trouble("F blocks", f"reorg {depth} deep", depth=DEEP if depth > FINAL_AFTER else FINAL_AFTER)
    async def start(world: World) -> None:
        await world.chain.reorganise(depth)


for _depth in (1, 3, 64):
    _reorganisation(_depth)


@_trouble("F blocks", "reorg: ours dropped for good")
async def _reorg_dropped(world: World) -> None:
    await world.chain.reorganise(3)
    await _dropped(world)


@_trouble("F blocks", "reorg: ours in another block")
async def _reorg_moved(world: World) -> None:
    nonce = await world.nonce()
    await world.chain.reorganise(3)
    freed = await world.nonce()
    ours = [one for one in world.pools[0].held if freed <= one.nonce < nonce]
    for one in sorted(ours, key=lambda one: one.nonce):
        await world.connections.direct.call(SEND, (one.raw,))
    await world.chain.mine()


@_trouble("F blocks", "reorg: ours reverts instead")
async def _reorg_reverted(world: World) -> Stop:
    await world.chain.reorganise(3)
    await world.chain.administer("pause()")
    await world.chain.mine()

    async def stop() -> None:
        await world.chain.administer("unpause()")

    return stop


@_trouble("F blocks", "the chain stands still")
async def _halted(world: World) -> Stop:
    world.halted = True

    async def stop() -> None:
        world.halted = False

    return stop


@_trouble("F blocks", "twenty blocks at once")
async def _burst(world: World) -> None:
    await world.chain.mine(20)


@_trouble("F blocks", "time on the chain runs an hour ahead")
async def _skewed(world: World) -> None:
    await world.chain.skew(3_600)


@_trouble("F blocks", "finality stalls")
async def _finality_stalls(world: World) -> Stop:
    height = await world.chain.height()
    for one in world.finality:
        one.ceiling = height - one.depth

    async def stop() -> None:
        for one in world.finality:
            one.ceiling = None

    return stop


@_trouble("F blocks", "finality goes back at one node")
async def _finality_back(world: World) -> Stop:
    world.finality[0].depth += 3

    async def stop() -> None:
        world.finality[0].depth -= 3

    return stop


# --- G: reads ----------------------------------------------------------------------------------------------


def _reading(name: str, fault: Fault, nodes: slice = ONE) -> None:
    _at_nodes("G reading", name, lambda _: fault, nodes)


_reading("a node lags by 5", Lag(5))
_reading("a node lags by 1", Lag(1))
_reading("all nodes lag by 2", Lag(2), slice(None))
_reading("receipts are not indexed yet", NoReceipts(), slice(None))
_reading("no logs", EMPTY_LOGS)
_reading("half of the logs", PARTIAL_LOGS)
_reading("logs twice", DOUBLED_LOGS)
_reading("logs in reverse", SHUFFLED_LOGS, slice(None))
_reading("wrong block hashes", WrongBlockHash())
_reading("throttled: 429", Lose(Loss.THROTTLED, before=True))
_reading("throttled: -32005", THROTTLE)
_reading("garbage", Lose(Loss.GARBAGE))
_reading("half an answer", Lose(Loss.TRUNCATED))
_reading("an answer without end", Lose(Loss.ENDLESS))
_reading("no answers", Lose(Loss.CLOSED, before=True))
_reading("another chain", OtherChain(1))
for _dialect in DIALECTS:
    _reading(f"one block of logs at once, as {_dialect} says it", RangeLimit(1, _dialect), slice(None))


# --- H: the lines that tell of new blocks -----------------------------------------------------------------


@_trouble("H sockets", "cut")
async def _cut_sockets(world: World) -> None:
    world.sockets.drop()


@_trouble("H sockets", "those that are open fall silent for good")
async def _stalled_sockets(world: World) -> None:
    world.sockets.stall()


@_trouble("H sockets", "silent")
async def _silent_sockets(world: World) -> Stop:
    world.sockets.silent = True

    async def stop() -> None:
        world.sockets.silent = False

    return stop


@_trouble("H sockets", "cut and refused")
async def _refused_sockets(world: World) -> Stop:
    world.sockets.refusing = True
    world.sockets.drop()

    async def stop() -> None:
        world.sockets.refusing = False

    return stop


@_trouble("H sockets", "every message twice")
async def _doubled_sockets(world: World) -> Stop:
    world.sockets.doubling = True

    async def stop() -> None:
        world.sockets.doubling = False

    return stop


# --- I: the contract ---------------------------------------------------------------------------------------


@_trouble("I contract", "paused")
async def _paused(world: World) -> Stop:
    await world.chain.administer("pause()")

    async def stop() -> None:
        await world.chain.administer("unpause()")

    return stop


@_trouble("I contract", "role revoked and granted again", "role")
async def _role(world: World) -> Stop:
    account = f"0x{world.ground.ours.hex()}"
    await world.chain.administer("revokeRole(bytes32,address)", CONFIRMER_ROLE, account)

    async def stop() -> None:
        await world.chain.administer("grantRole(bytes32,address)", CONFIRMER_ROLE, account)

    return stop


@_trouble("I contract", "another confirms our root")
async def _our_root(world: World) -> None:
    batches = await world.unconfirmed()
    if batches:
        await world.chain.transact(
            world.ground.theirs,
            RegistryClient.encode_confirm_batch(batches[-1]),
            target=world.ground.registry,
        )


@_trouble("I contract", "another spends our tickets", "integrity")
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


# --- J: the signer -----------------------------------------------------------------------------------------


def _signing(name: str, fault: Fault) -> None:
    @_trouble("J signer", name)
    async def start(world: World) -> Stop:
        world.connections.signing.faults.append(fault)

        async def stop() -> None:
            world.connections.signing.faults.remove(fault)

        return stop


_signing("does not answer", Lose(Loss.CLOSED, before=True))
_signing("does not answer in time", Only(Lose(Loss.SILENT), "eth_signTransaction", times=1))
_signing("throttles", THROTTLE)
_signing("signs other fields", AlteredRequest(gas="0x5208"))
_signing("signs for another nonce", AlteredRequest(nonce="0x40"))
_signing("signs with another key", OtherKey(f"0x{THEIRS.hex()}"))
_signing("signs with a high s", HighS())
