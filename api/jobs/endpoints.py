"""The REST surface of jobs."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.auth import JobReader, JobWriter
from api.bodies import json_response, read_json_as, to_json
from api.caching import KEEP, NOT_MODIFIED, REVALIDATE, conditional, is_known, tag_of
from api.errors import Code, ProblemError
from api.idempotency import required_idempotency_key
from api.jobs.listing import METADATA_PARAMETER, ListQuery, filters_of, metadata_of
from api.jobs.lookup import SUBMITTED_HEADERS, find_job, retry_after, submitted_headers
from api.jobs.schemas import JobBody, JobPage, ValidatedBody, job_body, validated_body
from api.jobs.submission import SUBMISSION_PROBLEMS, SubmitBody, SubmitQuery, read_submission
from api.jobs.waiting import wait_for_job
from api.lean import LeanRoute
from api.pagination import LIST_PROBLEMS, Listing, read_page
from api.preferences import applied, wait_preference
from api.schemas import headers, links, problems, request_body
from api.services import ServicesDep
from api.streams import attachment
from relayer.jobs.records import Job
from relayer.model.errors import JobsealError
from relayer.seal.receipt import MEDIA_TYPE as RECEIPT_MEDIA_TYPE

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=LeanRoute)

_LINKS = links(
    job=("get_job", "job_id", "$response.body#/id"),
    events=("stream_job_events", "job_id", "$response.body#/id"),
    history=("get_job_history", "job_id", "$response.body#/id"),
    attempts=("get_job_attempts", "job_id", "$response.body#/id"),
    output=("get_job_output", "job_id", "$response.body#/id"),
    receipt=("get_job_receipt", "job_id", "$response.body#/id"),
    cancel=("cancel_job", "job_id", "$response.body#/id"),
    rerun=("rerun_job", "job_id", "$response.body#/id"),
)


@router.post(
    "",
    status_code=202,
    operation_id="submit_job",
    summary="Submit a job",
    responses={
        200: {"model": ValidatedBody, "description": "With `validate_only`: it would be accepted"},
        202: {"model": JobBody, **headers(*SUBMITTED_HEADERS, "Preference-Applied"), **_LINKS},
        **problems(*SUBMISSION_PROBLEMS, Code.TOO_MANY_STREAMS),
    },
    openapi_extra=request_body(SubmitBody, key=True, headers=["Prefer"]),
)
async def submit(
    request: Request, query: Annotated[SubmitQuery, Query()], principal: JobWriter, services: ServicesDep
) -> Response:
    """Take a job and give its ticket; the same key and body again give the same job.

    With `Prefer: wait=N` the answer comes when the result is ready or the job has ended, at the latest after N seconds;
    it is 202 all the same, with the job as it stands then. With `validate_only` nothing is written, and the key stays
    free.
    """
    key = required_idempotency_key(request)
    wait = wait_preference(request, services.max_wait_s)
    submission = await read_json_as(
        request, services.max_body_bytes, lambda value: read_submission(value, key)
    )
    if query.validate_only:
        (checked,) = await services.jobs.validate_many(principal.tenant_id, [submission])
        if isinstance(checked, JobsealError):
            raise checked
        return json_response(validated_body(checked.new))
    # Held before anything is written, so that who may not wait is told before there is a job.
    with services.streams.hold(principal.tenant_id) if wait else nullcontext():
        submitted = await services.jobs.submit(principal.tenant_id, submission)
        if wait:
            job = await wait_for_job(request, services, submitted.job, wait, _has_result)
            submitted = replace(submitted, job=job)
    return json_response(job_body(submitted.job), 202, submitted_headers(submitted) | applied(wait))


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs, newest first",
    responses={200: {"model": JobPage}, **problems(*LIST_PROBLEMS)},
    openapi_extra={"parameters": [METADATA_PARAMETER]},
)
async def list_jobs(
    request: Request, query: Annotated[ListQuery, Query()], principal: JobReader, services: ServicesDep
) -> Response:
    """Give a page of the tenant's jobs."""
    wanted = query.of(principal.tenant_id, metadata_of(request))

    async def fetch(after: bytes | None, limit: int) -> list[Job]:
        before = None if after is None else UUID(bytes=after)
        return await services.jobs.list(wanted, before, limit)

    page = await read_page(
        services.page_tokens,
        Listing(principal.tenant_id, "/v1/jobs", filters_of(wanted)),
        query,
        fetch=fetch,
        position=lambda job: job.id.bytes,
        body=job_body,
    )
    return json_response(page)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Read a job",
    responses={
        200: {
            "model": JobBody,
            **headers("ETag", "Cache-Control", "Retry-After", "Preference-Applied"),
        },
        304: NOT_MODIFIED,
        **problems(Code.JOB_NOT_FOUND, Code.TOO_MANY_STREAMS),
    },
    openapi_extra=request_body(None, headers=["If-None-Match", "Prefer"]),
)
async def read(request: Request, job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give a job as it stands; `If-None-Match` with its `ETag` gives 304 while nothing changed.

    With `Prefer: wait=N` the answer comes when its state changes from what the client knows by `If-None-Match`, or else
    from what it is now; at the latest after N seconds.
    """
    generation = services.finished.generation
    job = await find_job(services, principal.tenant_id, job_id)
    wait = wait_preference(request, services.max_wait_s)
    if wait and ("if-none-match" not in request.headers or is_known(request, _representation(job)[0])):
        version = job.state_version
        with services.streams.hold(principal.tenant_id):
            job = await wait_for_job(request, services, job, wait, lambda one: one.state_version != version)
    tag, content = _representation(job)
    services.finished.keep(job, tag, content, generation)
    return conditional(
        request,
        tag,
        REVALIDATE,
        lambda: Response(content, media_type="application/json"),
        retry_after(job) | applied(wait),
    )


@router.get(
    "/{job_id}/output",
    operation_id="get_job_output",
    summary="Read the output of a job",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes that were hashed",
            "content": {"*/*": {}},
            **headers("ETag", "Cache-Control"),
        },
        304: NOT_MODIFIED,
        **problems(
            Code.JOB_NOT_FOUND,
            Code.OUTPUT_NOT_READY,
            Code.OUTPUT_ABSENT,
            Code.OUTPUT_DELETED,
            Code.TOO_MANY_STREAMS,
        ),
    },
    openapi_extra=request_body(None, headers=["If-None-Match"]),
)
async def output(request: Request, job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Stream exactly the bytes whose SHA-256 is the job's `output_hash`, which is also their `ETag`."""
    job = await find_job(services, principal.tenant_id, job_id)
    found = await services.jobs.output(principal.tenant_id, job.id)
    if found is None:
        raise _not_ready(job, Code.OUTPUT_NOT_READY, Code.OUTPUT_ABSENT)
    media_type, size, chunks = found
    assert job.output_hash is not None
    counted = services.streams.counted(principal.tenant_id, chunks)
    return await attachment(request, job.output_hash, media_type, size, counted)


@router.get(
    "/{job_id}/receipt",
    operation_id="get_job_receipt",
    summary="Read the receipt of a confirmed job",
    response_class=Response,
    responses={
        200: {
            "description": "The receipt",
            "content": {RECEIPT_MEDIA_TYPE: {}},
            **headers("ETag", "Cache-Control"),
        },
        304: NOT_MODIFIED,
        **problems(Code.JOB_NOT_FOUND, Code.RECEIPT_NOT_READY, Code.RECEIPT_ABSENT),
    },
    openapi_extra=request_body(None, headers=["If-None-Match"]),
)
async def receipt(request: Request, job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give the receipt, which anybody can check against the chain alone; it never changes."""
    job = await find_job(services, principal.tenant_id, job_id)
    found = await services.receipts.receipt(principal.tenant_id, job.id)
    if found is None:
        raise _not_ready(job, Code.RECEIPT_NOT_READY, Code.RECEIPT_ABSENT)
    content = found.to_json()
    return conditional(
        request, tag_of(content), KEEP, lambda: Response(content, media_type=RECEIPT_MEDIA_TYPE)
    )


def _representation(job: Job) -> tuple[str, bytes]:
    """Give a job's entity tag and its JSON.

    The hint of inclusion and the progress change without the state, so the tag is made from the whole body; but for the place
    in the queue, of which a weak tag says nothing: whoever waits for news would have it with every job that goes before.
    """
    content = to_json(job_body(job))
    if job.queue_position is None:
        return tag_of(content), content
    return f"W/{tag_of(to_json(job_body(replace(job, queue_position=None))))}", content


def _has_result(job: Job) -> bool:
    return job.result_ready_at is not None


def _not_ready(job: Job, not_yet: Code, never: Code) -> ProblemError:
    if job.state.is_terminal:
        return ProblemError(never, f"the job is {job.state}", meta={"state": job.state})
    return ProblemError(
        not_yet, f"the job is {job.state}; ask again", meta={"state": job.state}, headers=retry_after(job)
    )
