"""The proxy: a list of faults between the client and the node, and the frames of WebSockets."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import orjson

from faultproxy.calls import Answer, Call, Fault, Forward, Loss, LostError
from faultproxy.sockets import SocketServer
from faultproxy.wire import HttpClient, HttpServer

_UPSTREAM_S = 30


class FaultProxy:
    """One node as its clients see it.

    `faults` stand before the node, the first of them nearest to the client; `calls` are those that the client made.

    Args:
        upstream: http address of the node behind.

    """

    def __init__(self, upstream: str) -> None:
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.sockets = SocketServer(upstream.replace("http", "ws", 1))
        self._http = HttpServer(self._handle)
        self._client = HttpClient(upstream)

    @property
    def url(self) -> str:
        """Its http address."""
        return f"http://127.0.0.1:{self._http.port}"

    async def __aenter__(self) -> Self:
        await self._http.start()
        await self.sockets.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.stop()
        await self.sockets.stop()
        self._client.close()

    @contextmanager
    def suffering(self, *faults: Fault) -> Iterator[None]:
        """Put faults before the node, in front of those that are there, and take them away again."""
        self.faults[:0] = faults
        try:
            yield
        finally:
            for fault in faults:
                self.faults.remove(fault)

    async def down(self) -> None:
        """Refuse every connection until `up`."""
        await self._http.stop()
        self.sockets.drop()
        self.sockets.refusing = True

    async def up(self) -> None:
        """Answer again, at the same address."""
        await self._http.start()
        self.sockets.refusing = False

    async def call(self, method: str, *params: Any) -> Any:
        """Ask the node itself, past all faults."""
        answer = await self._node(Call(method, params))
        if "error" in answer:
            raise RuntimeError(f"the node refused {method}: {answer['error']}")
        return answer["result"]

    async def _handle(self, body: bytes) -> tuple[bytes, Loss | None]:
        """Answer a call or a batch of them. A loss is one of the whole exchange, after all of it was carried out."""
        request = orjson.loads(body)
        losses: list[Loss] = []
        answers = [
            await self._answer(one, losses) for one in (request if isinstance(request, list) else [request])
        ]
        reply = orjson.dumps(answers if isinstance(request, list) else answers[0])
        return reply, losses[0] if losses else None

    async def _answer(self, request: dict[str, Any], losses: list[Loss]) -> dict[str, Any]:
        call = Call(request["method"], tuple(request.get("params") or ()))
        self.calls.append(call)
        forward: Forward = self._node
        for fault in reversed(self.faults):
            forward = _through(fault, forward)
        try:
            answer = await forward(call)
        except LostError as lost:
            losses.append(lost.loss)
            answer = {"result": None}
        return {"jsonrpc": "2.0", "id": request["id"], **answer}

    async def _node(self, call: Call) -> Answer:
        request = {"jsonrpc": "2.0", "id": 1, "method": call.method, "params": list(call.params)}
        async with asyncio.timeout(_UPSTREAM_S):
            answer = orjson.loads(await self._client.post(orjson.dumps(request)))
        return {name: answer[name] for name in ("result", "error") if name in answer}


def _through(fault: Fault, forward: Forward) -> Forward:
    async def struck(call: Call) -> Answer:
        return await fault(call, forward)

    return struck
