"""The steps of a job as server-sent events (WHATWG HTML, 9.2)."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import suppress

from fastapi import APIRouter, Request, Response

from api.auth import JobReader, authenticate
from api.bodies import to_json
from api.errors import Code, Fault, ProblemError
from api.jobs.examples import EVENT
from api.jobs.lookup import find_job
from api.jobs.schemas import event_body
from api.schemas import headers, problems, request_body
from api.services import Services, ServicesDep
from api.streams import begun
from relayer.jobs.records import Job
from relayer.model.errors import JobsealError, UnavailableError
from relayer.model.lifecycle import JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MEDIA_TYPE = "text/event-stream"

_RETRY_MS = 2_000
_PAGE = 100
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_EXAMPLE = f"retry: {_RETRY_MS}\n\nid: 2\ndata: {to_json(EVENT).decode()}\n\n"


@router.get(
    "/{job_id}/events",
    operation_id="stream_job_events",
    summary="Follow the steps of a job",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events",
            "content": {MEDIA_TYPE: {"example": _EXAMPLE}},
            **headers("Cache-Control"),
        },
        204: {"description": "The job has ended and every step was seen; do not come back"},
        **problems(Code.INVALID_PARAMETER, Code.JOB_NOT_FOUND, Code.TOO_MANY_STREAMS),
    },
    openapi_extra=request_body(None, headers=["Last-Event-ID"]),
)
async def stream(request: Request, job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Send each step as an event whose `id` is its `seq` and whose data is what the history has of it.

    Steps that were taken before are sent first. The stream ends with the job, or after a while: a client that comes
    back with `Last-Event-ID`, as browsers do, misses nothing.
    """
    last = _last_event_id(request)
    job = await find_job(services, principal.tenant_id, job_id)
    if job.state.is_terminal and last >= job.state_version:
        # What keeps an EventSource from coming back.
        return Response(status_code=204)
    events = _events(request, services, job, min(last, job.state_version))
    return await begun(
        services.streams.counted(job.tenant_id, events),
        {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(request: Request, services: Services, job: Job, seen: int) -> AsyncGenerator[bytes, None]:
    yield f"retry: {_RETRY_MS}\n\n".encode()
    # Whoever is cut off because a part is away comes back, and is told then.
    with suppress(UnavailableError):
        now = asyncio.get_running_loop().time
        every = services.stream_ping.total_seconds()
        next_ping, end = now() + every, now() + services.stream_age.total_seconds()
        while now() < end:
            steps = await services.jobs.history(job.tenant_id, job.id, seen, _PAGE)
            for step in steps or ():
                yield f"id: {step.seq}\ndata: {to_json(event_body(step)).decode()}\n\n".encode()
                seen = step.seq
            if steps is None or (steps and JobState(steps[-1].to_state).is_terminal):
                return
            await services.watcher.wait(job.tenant_id, job.id, seen, min(next_ping, end) - now())
            if now() >= next_ping:
                if not await _may_go_on(request, services):
                    return
                yield b": ping\n\n"
                next_ping = now() + every


async def _may_go_on(request: Request, services: Services) -> bool:
    """Whether the key that opened the stream still holds; where that cannot be told, its client is told when it comes back."""
    try:
        await authenticate(request, services)
    except (ProblemError, JobsealError):
        return False
    return True


def _last_event_id(request: Request) -> int:
    text = request.headers.get("last-event-id", "")
    if text and not _NUMBER.fullmatch(text):
        detail = "send the id of an event of this stream, or leave the header out"
        raise ProblemError(
            Code.INVALID_PARAMETER, detail, [Fault("malformed", detail, parameter="Last-Event-ID")]
        )
    return int(text or 0)
