"""The connection to a node against servers that answer too much."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import orjson
import pytest

from relayer.chain.rpc import JsonRpc, RpcOversizedError, RpcUnavailableError
from relayer.model.breaker import BreakerState

_MIB = 1 << 20
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def node(answer: Answer) -> AsyncIterator[JsonRpc]:
    """A connection to a server that answers the body of each request with `answer`, and then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = (
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        try:
            await answer(await reader.readexactly(length), writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, JsonRpc(f"http://127.0.0.1:{port}/key", timedelta(seconds=20)) as rpc:
        yield rpc


def sized(size: int) -> Answer:
    """Answers whose `result` is a text of a size, one for each call."""

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        asked = orjson.loads(body)
        calls = asked if isinstance(asked, list) else [asked]
        answers = [{"jsonrpc": "2.0", "id": call["id"], "result": "x" * size} for call in calls]
        writer.write(_HEAD + b"\r\n" + orjson.dumps(answers if isinstance(asked, list) else answers[0]))
        await writer.drain()

    return answer


async def test_an_answer_without_end_is_read_up_to_its_limit() -> None:
    sent = 0

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(_HEAD + b"\r\n")
        while True:
            writer.write(b" " * 65_536)
            await writer.drain()
            sent += 65_536

    async with node(endless) as rpc:
        for _ in range(3):
            with pytest.raises(
                RpcOversizedError, match=f"{rpc.address}: the answer has more than 1048576 bytes"
            ):
                await rpc.call("eth_chainId")
        assert rpc.breaker.state is BreakerState.OPEN
    # What both ends of the connections hold beside the answers is some megabytes at most.
    assert sent < 3 * 8 * _MIB


@pytest.mark.parametrize(
    ("method", "size", "is_taken"),
    [
        ("eth_call", _MIB - 1_000, True),
        ("eth_call", _MIB, False),
        ("eth_getTransactionReceipt", 8 * _MIB - 1_000, True),
        ("eth_getTransactionReceipt", 8 * _MIB, False),
        ("eth_getLogs", 32 * _MIB - 1_000, True),
        ("eth_getLogs", 32 * _MIB, False),
    ],
)
async def test_what_is_large_by_nature_may_be_larger(method: str, size: int, is_taken: bool) -> None:
    async with node(sized(size)) as rpc:
        if is_taken:
            assert len(await rpc.call(method)) == size
        else:
            with pytest.raises(RpcOversizedError):
                await rpc.call(method)


async def test_an_exchange_may_have_as_much_as_its_calls_together_up_to_a_limit() -> None:
    async with node(sized(_MIB - 1_000)) as rpc:
        assert len(await rpc.batch([("eth_chainId", ())] * 3)) == 3
        with pytest.raises(RpcOversizedError, match=f"more than {32 * _MIB} bytes"):
            await rpc.batch([("eth_chainId", ())] * 40)


async def test_what_is_compressed_unasked_is_not_unpacked() -> None:
    async def bomb(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD + b"content-encoding: gzip\r\n\r\n" + gzip.compress(b" " * 64 * _MIB))
        await writer.drain()

    async with node(bomb) as rpc:
        with pytest.raises(RpcUnavailableError, match="something else than JSON"):
            await rpc.call("eth_chainId")
