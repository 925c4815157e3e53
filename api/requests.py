"""What surrounds every request: its id, and the last net under it."""

import traceback

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.handlers import internal_error
from relayer.model.ids import new_id, to_public

REQUEST_ID_HEADER = "Request-Id"

_log = structlog.get_logger(__name__)


class RequestMiddleware:
    """Gives each request an id, answers it with the `Request-Id` header, and lets no exception out as text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request_id = to_public("req", new_id())
        request.state.request_id = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.update(scope["state"].get("rate_headers", {}))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            _log.info("client_disconnected", request_id=request_id, path=request.url.path)
        except Exception as error:
            # As text: a renderer of tracebacks might show local variables, and with them API keys.
            trace = "".join(traceback.format_exception(error))
            _log.error("request_failed", request_id=request_id, path=request.url.path, traceback=trace)
            # An answer that has begun can only be cut off: the client sees that it is not whole.
            if started:
                raise
            await internal_error().response(request)(scope, receive, send_with_id)
