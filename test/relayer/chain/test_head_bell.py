"""The bell of new blocks, on a real node and on lines that break or fall silent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from websockets.asyncio.server import ServerConnection, serve

from relayer.chain.head_bell import HeadBell
from relayer.chain.rpc import JsonRpc
from relayer.local.anvil import Anvil

LONG_S = 60


@asynccontextmanager
async def listening(bell: HeadBell) -> AsyncIterator[None]:
    task = asyncio.create_task(bell.listen())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def rings(rung: asyncio.Event) -> None:
    async with asyncio.timeout(LONG_S):
        await rung.wait()
    rung.clear()


async def test_a_new_block_rings(make_anvil: Callable[..., Anvil]) -> None:
    anvil = make_anvil("manual")
    rung = asyncio.Event()
    async with (
        JsonRpc(anvil.rpc_url, timedelta(seconds=30)) as rpc,
        listening(HeadBell(anvil.rpc_url.replace("http", "ws"), rung)),
    ):
        # The answer to the subscription rings too: blocks may have come before it.
        await rings(rung)
        await rpc.call("anvil_mine", ["0x1"])
        await rings(rung)


async def test_a_line_that_breaks_or_falls_silent_is_made_anew() -> None:
    rung = asyncio.Event()
    lines: list[ServerConnection] = []

    async def serve_one(connection: ServerConnection) -> None:
        lines.append(connection)
        await connection.recv()
        await connection.send('{"jsonrpc": "2.0", "id": 1, "result": "0x1"}')
        if len(lines) > 1:
            await connection.wait_closed()

    async with serve(serve_one, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        bell = HeadBell(f"ws://127.0.0.1:{port}", rung, silence=0)
        async with listening(bell):
            # The first line breaks right after its answer; the second stays, and says nothing more.
            for _ in range(2):
                await rings(rung)
            assert len(lines) == 2
            await bell.found(0)
            await bell.found(3)
            await rings(rung)
            assert len(lines) == 3


def test_what_is_no_websocket_is_refused_by_the_name_of_its_setting() -> None:
    for url in ("", "http://127.0.0.1:8545", "ws://"):
        with pytest.raises(ValueError, match="JOBSEAL_CHAIN_WS_URLS"):
            HeadBell(url, asyncio.Event())
    assert HeadBell("wss://user:secret@host/v3/key", asyncio.Event()).address == "wss://host"
