"""What surrounds every request: its id, a URL that is read in one way, HEAD as GET without a body, the last net."""

import re
import traceback
from contextlib import suppress

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from api.handlers import internal_error
from api.strict_url import url_problem

_REQUEST_ID = b"request-id"

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_log = structlog.get_logger(__name__)


def new_request_id() -> str:
    """Make the id of a request."""
    return f"req_{uuid7()}"


def common_headers(request_id: str, scope: Scope) -> list[tuple[bytes, bytes]]:
    """Give the headers that every answer has, and those of the rates that the request was held to."""
    rates: dict[str, str] = scope["state"].get("rate_headers", {})
    return [
        (_REQUEST_ID, request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        *((name.lower().encode(), value.encode()) for name, value in rates.items()),
    ]


class _HeadAnsweredError(Exception):
    """The headers of an answer to HEAD are sent; nothing more is wanted."""


class RequestMiddleware:
    """Gives each request an id, which its answer and its log lines carry, and lets no exception out as text.

    Log lines carry a valid `traceparent` of the client (W3C Trace Context) as well. HEAD is answered as GET would be,
    whose body is not made past its beginning.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request_id = request.state.request_id = new_request_id()
        traceparent = request.headers.get("traceparent", "")
        known = {"traceparent": traceparent} if _TRACEPARENT.fullmatch(traceparent) else {}
        with structlog.contextvars.bound_contextvars(request_id=request_id, **known):
            await self._answer(request, receive, send, request_id)

    async def _answer(self, request: Request, receive: Receive, send: Send, request_id: str) -> None:
        is_head = request.method == "HEAD"
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *common_headers(request_id, scope)]
            elif is_head:
                await send({"type": "http.response.body", "body": b""})
                raise _HeadAnsweredError
            await send(message)

        scope = {**request.scope, "method": "GET"} if is_head else request.scope
        problem = url_problem(scope)
        answer = self._app if problem is None else problem.response(request)
        try:
            await answer(scope, receive, send_with_id)
        except _HeadAnsweredError:
            pass
        except ClientDisconnect:
            _log.info("client_disconnected", path=request.url.path)
        except Exception as error:
            # As text: a renderer of tracebacks might show local variables, and with them API keys.
            trace = "".join(traceback.format_exception(error))
            _log.error("request_failed", path=request.url.path, traceback=trace)
            # An answer that has begun can only be cut off: the client sees that it is not whole.
            if started:
                raise
            with suppress(_HeadAnsweredError):
                await internal_error().response(request)(scope, receive, send_with_id)
