"""The REST surface of jobs."""

import hashlib
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.auth import JobReader, JobWriter
from api.bodies import json_response, read_json
from api.errors import Code, ProblemError
from api.etags import is_known
from api.idempotency import required_idempotency_key
from api.jobs.lookup import find_job, retry_after, submitted_headers
from api.jobs.schemas import JobBody, JobPage, ListQuery, job_body
from api.jobs.submission import SUBMISSION_PROBLEMS, SubmitBody, read_submission
from api.pagination import LIST_PROBLEMS, Listing, read_page
from api.schemas import headers, links, problems, request_body
from api.services import ServicesDep
from api.streams import attachment
from relayer.jobs.records import Job
from relayer.seal.receipt import MEDIA_TYPE as RECEIPT_MEDIA_TYPE

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LINKS = links(
    job=("get_job", "job_id", "$response.body#/id"),
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
        202: {"model": JobBody, **headers("Location", "Retry-After", "Idempotency-Replayed"), **_LINKS},
        **problems(*SUBMISSION_PROBLEMS),
    },
    openapi_extra=request_body(SubmitBody, key=True),
)
async def submit(request: Request, principal: JobWriter, services: ServicesDep) -> Response:
    """Take a job and give its ticket; the same key and body again give the same job."""
    key = required_idempotency_key(request)
    value = await read_json(request, services.max_body_bytes)
    submitted = await services.jobs.submit(principal.tenant_id, read_submission(value, key))
    return json_response(job_body(submitted.job), 202, submitted_headers(submitted))


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs, newest first",
    responses={200: {"model": JobPage}, **problems(*LIST_PROBLEMS)},
)
async def list_jobs(
    query: Annotated[ListQuery, Query()], principal: JobReader, services: ServicesDep
) -> Response:
    """Give a page of the tenant's jobs."""
    tenant, state = principal.tenant_id, query.state

    async def fetch(after: bytes | None, limit: int) -> list[Job]:
        before = None if after is None else UUID(bytes=after)
        return await services.jobs.list(tenant, state, query.kind, before, limit)

    page = await read_page(
        services.page_tokens,
        Listing(tenant, "/v1/jobs", {"state": state and state.value, "kind": query.kind}),
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
        200: {"model": JobBody, **headers("ETag", "Cache-Control", "Retry-After")},
        304: {"description": "It is as it was", **headers("ETag")},
        **problems(Code.JOB_NOT_FOUND),
    },
    openapi_extra=request_body(None, headers=["If-None-Match"]),
)
async def read(request: Request, job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give a job as it stands; `If-None-Match` with its `ETag` gives 304 while nothing changed."""
    generation = services.finished.generation
    job = await find_job(services, principal.tenant_id, job_id)
    answer = json_response(job_body(job))
    # The hint of inclusion and the progress change without the state, so the tag is made from the whole body.
    tag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    services.finished.keep(job, tag, bytes(answer.body), generation)
    told = {"ETag": tag, "Cache-Control": "private, no-cache"} | retry_after(job)
    if is_known(request, tag):
        return Response(status_code=304, headers=told)
    answer.headers.update(told)
    return answer


@router.get(
    "/{job_id}/output",
    operation_id="get_job_output",
    summary="Read the output of a job",
    response_class=Response,
    responses={
        200: {"description": "The bytes that were hashed", "content": {"*/*": {}}},
        **problems(Code.JOB_NOT_FOUND, Code.OUTPUT_NOT_READY, Code.OUTPUT_ABSENT, Code.OUTPUT_DELETED),
    },
)
async def output(job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Stream exactly the bytes whose SHA-256 is the job's `output_hash`."""
    job = await find_job(services, principal.tenant_id, job_id)
    found = await services.jobs.output(principal.tenant_id, job.id)
    if found is None:
        raise _not_ready(job, Code.OUTPUT_NOT_READY, Code.OUTPUT_ABSENT)
    media_type, size, chunks = found
    return await attachment(media_type, size, services.streams.counted(principal.tenant_id, chunks))


@router.get(
    "/{job_id}/receipt",
    operation_id="get_job_receipt",
    summary="Read the receipt of a confirmed job",
    response_class=Response,
    responses={
        200: {"description": "The receipt", "content": {RECEIPT_MEDIA_TYPE: {}}},
        **problems(Code.JOB_NOT_FOUND, Code.RECEIPT_NOT_READY, Code.RECEIPT_ABSENT),
    },
)
async def receipt(job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give the receipt, which anybody can check against the chain alone."""
    job = await find_job(services, principal.tenant_id, job_id)
    found = await services.receipts.receipt(principal.tenant_id, job.id)
    if found is None:
        raise _not_ready(job, Code.RECEIPT_NOT_READY, Code.RECEIPT_ABSENT)
    return Response(found.to_json(), media_type=RECEIPT_MEDIA_TYPE)


def _not_ready(job: Job, not_yet: Code, never: Code) -> ProblemError:
    if job.state.is_terminal:
        return ProblemError(never, f"the job is {job.state}", meta={"state": job.state})
    return ProblemError(
        not_yet, f"the job is {job.state}; ask again", meta={"state": job.state}, headers=retry_after(job)
    )
