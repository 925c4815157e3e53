"""What bounds every request: the size of its header, the pace of its body, and the time until its answer.

The deadline counts what the platform does. While a body arrives its pace is judged instead, and the deadline begins anew
with every part that came; once the answer has begun, no part of it may be longer in coming, or in being taken, than a
stream may stand still.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.alarm import Alarm
from api.errors import Code, ProblemError
from relayer.settings import ApiSettings

LONGEST_WAIT = timedelta(seconds=30)
"""How long a request may ask to wait for a change."""

_RETRY_AFTER_S = 2
_STATE = "deadline"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a request: sizes in bytes, times in seconds."""

    header_bytes: int
    deadline: float
    body_grace: float
    body_bytes_per_second: int
    stream_stall: float

    @classmethod
    def of(cls, settings: ApiSettings) -> "Bounds":
        """Read them from the settings."""
        return cls(
            header_bytes=settings.max_header_bytes,
            deadline=settings.deadline.total_seconds(),
            body_grace=settings.body_grace.total_seconds(),
            body_bytes_per_second=settings.body_bytes_per_second,
            stream_stall=settings.stream_stall.total_seconds(),
        )


def extend_deadline(request: Request, wait: timedelta) -> None:
    """Let a request that waits for a change do so, for `LONGEST_WAIT` at most; the usual deadline follows it."""
    bounded: _BoundedRequest | None = request.scope.get("state", {}).get(_STATE)
    if bounded is not None:
        bounded.extend(min(wait, LONGEST_WAIT).total_seconds())


class DeadlineMiddleware:
    """Answers requests that are too large in the header, 431, come too slowly, 408, or take too long, 503."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app = app
        self._bounds = bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._bounds.header_bytes:
            await _headers_too_large(self._bounds.header_bytes).response(Request(scope))(scope, receive, send)
            return
        alarm = Alarm(asyncio.get_running_loop().time() + self._bounds.deadline)
        request = _BoundedRequest(self._bounds, alarm, receive, send)
        scope.setdefault("state", {})[_STATE] = request
        try:
            await self._app(scope, request.receive, request.send)
        except asyncio.CancelledError:
            if not alarm.was_it():
                raise
            state = scope["state"]
            _log.warning(
                "deadline", path=scope["path"], request_id=state["request_id"], begun=request.has_begun()
            )
            if request.has_begun():
                # What has begun can only be cut off.
                raise ClientDisconnect from None
            await _deadline_exceeded().response(Request(scope))(scope, receive, send)
        finally:
            alarm.stop()


class _BoundedRequest:
    """One request's clock."""

    def __init__(self, bounds: Bounds, alarm: Alarm, receive: Receive, send: Send) -> None:
        self._begun = False
        self._bounds = bounds
        self._alarm = alarm
        self._receive = receive
        self._send = send
        self._now = asyncio.get_running_loop().time
        self._patient_until = self._now() + bounds.body_grace
        self._extended_until = 0.0
        self._whole = False

    def has_begun(self) -> bool:
        """Whether a part of the answer was sent."""
        return self._begun

    def extend(self, seconds: float) -> None:
        """Begin the deadline anew after so many seconds."""
        self._extended_until = self._now() + seconds + self._bounds.deadline
        self._alarm.move(self._extended_until)

    async def receive(self) -> Message:
        """Give the next part of the body, if it comes in time."""
        if self._whole or self.has_begun():
            return await self._receive()
        self._alarm.move(self._patient_until)
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            # Who answers without the body listens for the client's leaving alone.
            if not self.has_begun() and self._alarm.was_it():
                raise _too_slow() from None
            raise
        finally:
            if not self.has_begun():
                # Whoever waits for a change listens for the client's leaving meanwhile.
                self._alarm.move(max(self._now() + self._bounds.deadline, self._extended_until))
        self._whole = not message.get("more_body", False)
        self._patient_until += len(message.get("body", b"")) / self._bounds.body_bytes_per_second
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer, which has to be taken in time, as the next one has to come."""
        self._begun = True
        self._alarm.move(self._now() + self._bounds.stream_stall)
        await self._send(message)
        self._alarm.move(self._now() + self._bounds.stream_stall)


def _headers_too_large(max_bytes: int) -> ProblemError:
    return ProblemError(
        Code.HEADERS_TOO_LARGE, f"the header is larger than {max_bytes} bytes", meta={"max_bytes": max_bytes}
    )


def _too_slow() -> ProblemError:
    return ProblemError(
        Code.REQUEST_TIMEOUT,
        "the body came too slowly; send it again over a faster connection, or in smaller requests",
        # What may still come of it is not read.
        headers={"Connection": "close"},
    )


def _deadline_exceeded() -> ProblemError:
    return ProblemError(
        Code.DEADLINE_EXCEEDED,
        "the answer took too long; send the request again, with the same Idempotency-Key",
        headers={"Retry-After": str(_RETRY_AFTER_S)},
    )
