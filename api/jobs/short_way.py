"""The short way to the answers of finished jobs, past routing and middleware, which take most of a quick read's time.

It asks what the long one asks: key, address, rate, scope, tenant. Only the job is not read again. Nothing on it waits for
longer than a store may be silent, so it needs no deadline.
"""

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.auth import READ_JOBS
from api.caching import REVALIDATE, is_known
from api.errors import ProblemError
from api.handlers import problem_of
from api.jobs.finished import FinishedAnswers
from api.jobs.lookup import find_job, job_not_found
from api.requests import common_headers, new_request_id
from api.services import Services
from relayer.model.errors import JobsealError

_REVALIDATE = (b"cache-control", REVALIDATE.encode())
_JSON = (b"content-type", b"application/json")


class ShortWay:
    """Answers plain reads of jobs whose answer is kept."""

    def __init__(self, answers: FinishedAnswers) -> None:
        self._answers = answers

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a request, if its answer is kept; say whether that was so."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"]:
            return False
        # As it was sent: an escaped path may mean another resource.
        answer = self._answers.find(scope["raw_path"].decode("ascii", "replace"))
        if answer is None or any(name == b"prefer" for name, _ in scope["headers"]):
            return False
        # As uvicorn gives it, or as a client of the tests does not.
        scope.setdefault("state", {})
        request = Request(scope, receive)
        request_id = request.state.request_id = new_request_id()
        try:
            principal = await READ_JOBS(request)
            if principal.tenant_id != answer.tenant_id:
                # What an absent job costs, so that nobody learns by the time that this one is there.
                services: Services = request.app.state.services
                await find_job(services, principal.tenant_id, scope["path"].rpartition("/")[2])
                raise job_not_found()
        except (ProblemError, JobsealError) as error:
            problem = error if isinstance(error, ProblemError) else problem_of(error)
            refusal = problem.response(request)
            refusal.raw_headers += common_headers(request_id, scope)
            await refusal(scope, receive, send)
            return True
        headers = [(b"etag", answer.etag.encode()), _REVALIDATE, *common_headers(request_id, scope)]
        status, body = 200, answer.body
        if is_known(request, answer.etag):
            status, body = 304, b""
        else:
            headers += [(b"content-length", b"%d" % len(body)), _JSON]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return True
