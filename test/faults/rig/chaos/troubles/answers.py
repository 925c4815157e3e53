"""D, G: what nodes answer to those who send and read."""

from collections.abc import Callable, Sequence

from faultproxy.answers import SEND, THROTTLE, FalseError, FalseSuccess, Lose, OtherChain, Refuse
from faultproxy.calls import Fault, Loss
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
from faultproxy.view import Lag

from chaos.trouble import Stop, trouble
from chaos.world import World
from relayer.batches import desk


def _at_nodes(
    kind: str, name: str, make: Callable[[World], Fault], nodes: slice = slice(None), *asks: str
) -> None:
    @trouble(kind, name, *asks)
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


@trouble("D sending", "a node's own cap on fees, until an operator has raised it")
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


@trouble("D sending", "no funds")
async def _no_funds(world: World) -> Stop:
    await world.chain.set_balance(world.ground.ours, 1)

    async def stop() -> None:
        await world.chain.set_balance(world.ground.ours, 100 * 10**18)

    return stop


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
