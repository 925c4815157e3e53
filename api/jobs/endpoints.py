"""The REST surface of jobs."""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from api.auth import JobReader, JobWriter
from api.bodies import json_response, read_json, validate
from api.errors import Code, ProblemError
from api.idempotency import required_idempotency_key
from api.jobs.schemas import ID_PREFIX, JobBody, JobPage, ListQuery, SubmitBody, job_body
from api.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from api.schemas import problems
from api.services import Services, ServicesDep
from relayer.jobs.records import Job
from relayer.jobs.submission import Submission
from relayer.model.ids import from_public, to_public
from relayer.model.lifecycle import JobState
from relayer.seal.receipt import MEDIA_TYPE as RECEIPT_MEDIA_TYPE
from relayer.seal.strict_json import canonical_json

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

# How long a client had best wait before it asks again, in seconds.
_POLL_RUNNING_S = 1
_POLL_CONFIRMING_S = 5

_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": SubmitBody.model_json_schema()}},
    },
    "parameters": [
        {"name": "Idempotency-Key", "in": "header", "required": True, "schema": {"type": "string"}},
    ],
}


@router.post(
    "",
    status_code=202,
    summary="Submit a job",
    responses={202: {"model": JobBody}, **problems(400, 413, 415, 422)},
    openapi_extra=_REQUEST_BODY,
)
async def submit(request: Request, principal: JobWriter, services: ServicesDep) -> Response:
    """Take a job and give its ticket; the same key and body again give the same job."""
    key = required_idempotency_key(request)
    value = await read_json(request, services.max_body_bytes)
    body = validate(SubmitBody, value)
    submitted = await services.jobs.submit(
        principal.tenant_id,
        Submission(
            kind=body.kind,
            input=value["input"],
            metadata=body.metadata,
            idempotency_key=key,
            fingerprint=hashlib.sha256(canonical_json(value)).digest(),
        ),
    )
    headers = {"Location": f"/v1/jobs/{to_public(ID_PREFIX, submitted.job.id)}"} | _retry_after(submitted.job)
    if submitted.replayed:
        headers["Idempotency-Replayed"] = "true"
    return json_response(job_body(submitted.job), 202, headers)


@router.get("", summary="List jobs, newest first", responses={200: {"model": JobPage}, **problems(400)})
async def list_jobs(
    query: Annotated[ListQuery, Query()], principal: JobReader, services: ServicesDep
) -> Response:
    """Give a page of the tenant's jobs."""
    filters = {"state": query.state and query.state.value, "kind": query.kind}
    before = None
    if query.page_token is not None:
        before = services.page_tokens.read(query.page_token, tenant=principal.tenant_id, filters=filters)
    size = min(query.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    jobs = await services.jobs.list(principal.tenant_id, query.state, query.kind, before, size + 1)
    page: dict[str, Any] = {"data": [job_body(job) for job in jobs[:size]]}
    if len(jobs) > size:
        page["next_page_token"] = services.page_tokens.write(
            jobs[size - 1].id, tenant=principal.tenant_id, filters=filters
        )
    return json_response(page)


@router.get("/{job_id}", summary="Read a job", responses={200: {"model": JobBody}, **problems(404)})
async def read(request: Request, job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give a job as it stands; `If-None-Match` with its `ETag` gives 304 while nothing changed."""
    job = await _job(services, principal.tenant_id, job_id)
    body = job_body(job)
    # The hint of inclusion changes without the state, so the tag is made from the whole body.
    tag = hashlib.sha256(orjson.dumps(body)).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"} | _retry_after(job)
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if headers["ETag"] in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return json_response(body, headers=headers)


@router.get(
    "/{job_id}/output",
    summary="Read the output of a job",
    response_class=Response,
    responses={200: {"description": "The bytes that were hashed", "content": {"*/*": {}}}, **problems(404)},
)
async def output(job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Stream exactly the bytes whose SHA-256 is the job's `output_hash`."""
    job = await _job(services, principal.tenant_id, job_id)
    found = await services.jobs.output(principal.tenant_id, job.id)
    if found is None:
        raise _not_ready(job, Code.OUTPUT_NOT_READY, Code.OUTPUT_ABSENT)
    media_type, size, chunks = found
    # The first chunk is read before the answer begins, so that a missing blob is a problem document.
    first = await anext(chunks, b"")
    return StreamingResponse(
        _from_first(first, chunks),
        headers={
            "Content-Length": str(size),
            "Content-Type": media_type,
            "Content-Disposition": "attachment",
        },
    )


@router.get(
    "/{job_id}/receipt",
    summary="Read the receipt of a confirmed job",
    response_class=Response,
    responses={200: {"description": "The receipt", "content": {RECEIPT_MEDIA_TYPE: {}}}, **problems(404)},
)
async def receipt(job_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give the receipt, which anybody can check against the chain alone."""
    job = await _job(services, principal.tenant_id, job_id)
    found = await services.receipts.receipt(principal.tenant_id, job.id)
    if found is None:
        raise _not_ready(job, Code.RECEIPT_NOT_READY, Code.RECEIPT_ABSENT)
    return Response(found.to_json(), media_type=RECEIPT_MEDIA_TYPE)


async def _job(services: Services, tenant: UUID, text: str) -> Job:
    """Find a job; one that is malformed, unknown or another tenant's gives the same answer."""
    job_id = from_public(ID_PREFIX, text)
    job = None if job_id is None else await services.jobs.get(tenant, job_id)
    if job is None:
        raise ProblemError(Code.JOB_NOT_FOUND, "no job of this tenant has this id")
    return job


def _not_ready(job: Job, not_yet: Code, never: Code) -> ProblemError:
    if job.state.is_terminal:
        return ProblemError(never, f"the job is {job.state}", meta={"state": job.state})
    return ProblemError(
        not_yet, f"the job is {job.state}; ask again", meta={"state": job.state}, headers=_retry_after(job)
    )


def _retry_after(job: Job) -> dict[str, str]:
    if job.state.is_terminal:
        return {}
    running = job.state in {JobState.CREATED, JobState.PROCESSING}
    return {"Retry-After": str(_POLL_RUNNING_S if running else _POLL_CONFIRMING_S)}


async def _from_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
