"""What became of a job: its steps and its attempts."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Response

from api.auth import JobReader
from api.bodies import json_response
from api.errors import Code
from api.jobs.lookup import job_id_of, job_not_found
from api.jobs.schemas import AttemptPage, EventPage, attempt_body, event_body
from api.pagination import LIST_PROBLEMS, Listing, PageQuery, read_page
from api.schemas import problems
from api.services import Services, ServicesDep
from relayer.tenants.principal import Principal

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_NUMBER_BYTES = 4

Part = TypeVar("Part")
PageOf = Annotated[PageQuery, Query()]


@router.get(
    "/{job_id}/history",
    operation_id="get_job_history",
    summary="Read the steps of a job, oldest first",
    responses={200: {"model": EventPage}, **problems(*LIST_PROBLEMS, Code.JOB_NOT_FOUND)},
)
async def history(query: PageOf, job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give a page of the states that a job went through, with who moved it, when and why."""
    return await _page(
        services,
        principal,
        query,
        f"/v1/jobs/{job_id}/history",
        read=lambda after, limit: services.jobs.history(principal.tenant_id, job_id_of(job_id), after, limit),
        number=lambda event: event.seq,
        body=event_body,
    )


@router.get(
    "/{job_id}/attempts",
    operation_id="get_job_attempts",
    summary="Read the attempts of a job, in order",
    responses={200: {"model": AttemptPage}, **problems(*LIST_PROBLEMS, Code.JOB_NOT_FOUND)},
)
async def attempts(query: PageOf, job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give a page of the attempts at a job, with how each ended."""
    return await _page(
        services,
        principal,
        query,
        f"/v1/jobs/{job_id}/attempts",
        read=lambda after, limit: services.jobs.attempts(
            principal.tenant_id, job_id_of(job_id), after, limit
        ),
        number=lambda attempt: attempt.number,
        body=attempt_body,
    )


async def _page(
    services: Services,
    principal: Principal,
    query: PageQuery,
    path: str,
    *,
    read: Callable[[int, int], Awaitable[Sequence[Part] | None]],
    number: Callable[[Part], int],
    body: Callable[[Part], dict[str, Any]],
) -> Response:
    """Answer with a page of what a job has in the order of its numbers."""

    async def fetch(after: bytes | None, limit: int) -> Sequence[Part]:
        parts = await read(0 if after is None else int.from_bytes(after), limit)
        if parts is None:
            raise job_not_found()
        return parts

    page = await read_page(
        services.page_tokens,
        Listing(principal.tenant_id, path),
        query,
        fetch=fetch,
        position=lambda part: number(part).to_bytes(_NUMBER_BYTES),
        body=body,
    )
    return json_response(page)
