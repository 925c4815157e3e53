"""The short way to the answers of finished jobs.

It asks what the long one asks: key, address, rate, scope, tenant. Only the job is not read again.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import READ_JOBS
from api.caching import REVALIDATE, is_known
from api.errors import ProblemError
from api.handlers import problem_of
from api.jobs.finished import FinishedAnswers
from api.jobs.lookup import job_not_found
from relayer.model.errors import JobsealError


class ShortWay:
    """Answers a plain read of a finished job before routing begins, which takes most of its time otherwise."""

    def __init__(self, app: ASGIApp, answers: FinishedAnswers) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        answer = None
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            answer = self._answers.find(scope["path"])
        if answer is None or any(name == b"prefer" for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            principal = await READ_JOBS(request)
            if principal.tenant_id != answer.tenant_id:
                raise job_not_found()
        except ProblemError as problem:
            await problem.response(request)(scope, receive, send)
            return
        except JobsealError as error:
            await problem_of(error).response(request)(scope, receive, send)
            return
        headers = [
            (b"etag", answer.etag.encode()),
            (b"cache-control", REVALIDATE.encode()),
        ]
        status, body = 200, answer.body
        if is_known(request, answer.etag):
            status, body = 304, b""
        else:
            headers += [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
