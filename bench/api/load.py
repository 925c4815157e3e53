"""A load generator that costs little: one event loop, keep-alive connections, requests given as bytes.

Closed loop: every connection asks again as soon as it is answered, which shows throughput. Open loop: requests come at
their times whether or not others are answered, and are measured from then, so that no wait is left out.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "

MakeRequest = Callable[[], bytes]


@dataclass
class Load:
    """What came of a load: milliseconds by the kind of request, and how many answers had which status."""

    seconds: float = 0.0
    ms: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """The rate of answers."""
        return sum(self.statuses.values()) / self.seconds

    def percentile(self, share: float, kind: str) -> float:
        """What a share of the requests of a kind, 0 to 1, did not exceed, in milliseconds."""
        ordered = sorted(self.ms[kind])
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Ask:
    """A request about to be sent: its kind, its bytes, and when it was due."""

    kind: str
    content: bytes
    due: float


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time; answers have a Content-Length."""

    def __init__(self, load: Load, idle: Callable[["_Connection"], None]) -> None:
        self._load = load
        self._idle = idle
        self._answer = b""
        self._ask: Ask | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no common class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ask is not None:
            self._load.statuses[0] += 1

    def send(self, ask: Ask) -> None:
        """Send; `idle` is called when it is answered."""
        assert self._transport is not None
        self._ask = ask
        self._transport.write(ask.content)

    def close(self) -> None:
        """End the connection."""
        self._ask = None
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(_HEAD_END)
        if not end:
            return
        lower = head.lower()
        at = lower.find(_LENGTH)
        length = 0 if at < 0 else int(lower[at + len(_LENGTH) :].partition(b"\r\n")[0])
        if len(body) < length:
            return
        ask, self._ask, self._answer = self._ask, None, b""
        assert ask is not None
        self._load.ms.setdefault(ask.kind, []).append((time.perf_counter() - ask.due) * 1e3)
        self._load.statuses[int(head[9:12])] += 1
        self._idle(self)


async def closed_loop(port: int, kind: str, make: MakeRequest, *, connections: int, seconds: float) -> Load:
    """Ask from so many connections for so long."""
    load = Load()
    end = 0.0

    def ask(connection: _Connection) -> None:
        now = time.perf_counter()
        if now < end:
            connection.send(Ask(kind, make(), now))

    opened = await _open(port, connections, load, ask)
    start = time.perf_counter()
    end = start + seconds
    for one in opened:
        ask(one)
    await asyncio.sleep(end - time.perf_counter())
    load.seconds = time.perf_counter() - start
    # What is on its way is answered, and counts for nothing.
    counted = Load(load.seconds, {name: list(ms) for name, ms in load.ms.items()}, Counter(load.statuses))
    await asyncio.sleep(0.5)
    for one in opened:
        one.close()
    return counted


async def open_loop(
    port: int, requests: Iterator[tuple[str, bytes]], *, per_second: float, connections: int, seconds: float
) -> Load:
    """Send requests at a steady rate, over as many connections as are free."""
    load = Load()
    waiting: deque[Ask] = deque()
    free: deque[_Connection] = deque()

    def idle(connection: _Connection) -> None:
        if waiting:
            connection.send(waiting.popleft())
        else:
            free.append(connection)

    opened = await _open(port, connections, load, idle)
    free.extend(opened)
    start = time.perf_counter()
    for number in range(int(per_second * seconds)):
        due = start + number / per_second
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        one = Ask(*next(requests), due)
        if free:
            free.popleft().send(one)
        else:
            waiting.append(one)
    load.seconds = time.perf_counter() - start
    # What is on its way is answered within a request's deadline.
    for _ in range(600):
        if len(free) == connections:
            break
        await asyncio.sleep(0.05)
    for connection in opened:
        connection.close()
    return load


async def _open(port: int, count: int, load: Load, idle: Callable[[_Connection], None]) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(count):
        _, protocol = await loop.create_connection(lambda: _Connection(load, idle), "127.0.0.1", port)
        opened.append(protocol)
    return opened
