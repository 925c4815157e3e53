"""What is done to a job: cancel it, run it again."""

from fastapi import APIRouter, Request, Response

from api.auth import JobCanceller, JobWriter
from api.bodies import json_response
from api.errors import Code
from api.idempotency import idempotency_key
from api.jobs.lookup import SUBMITTED_HEADERS, job_id_of, job_not_found, retry_after, submitted_headers
from api.jobs.schemas import JobBody, job_body
from api.schemas import headers, problems, request_body
from api.services import ServicesDep

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    operation_id="cancel_job",
    summary="Cancel a job",
    responses={
        202: {"model": JobBody, **headers("Retry-After")},
        **problems(Code.JOB_NOT_FOUND, Code.JOB_ALREADY_ENDED),
    },
)
async def cancel(job_id: str, principal: JobCanceller, services: ServicesDep) -> Response:
    """Ask for the job to be cancelled, which happens unless it ends by itself first; asking again changes nothing."""
    job = await services.jobs.cancel(principal.tenant_id, job_id_of(job_id))
    if job is None:
        raise job_not_found()
    return json_response(job_body(job), 202, retry_after(job))


@router.post(
    "/{job_id}/rerun",
    status_code=202,
    operation_id="rerun_job",
    summary="Run a job again",
    responses={
        202: {"model": JobBody, **headers(*SUBMITTED_HEADERS)},
        **problems(
            Code.INVALID_IDEMPOTENCY_KEY,
            Code.JOB_NOT_FOUND,
            Code.JOB_NOT_ENDED,
            Code.UNKNOWN_KIND,
            Code.INVALID_INPUT,
            Code.UNKNOWN_BLOB,
            Code.IDEMPOTENCY_KEY_REUSED,
            Code.WAITING_CAP_REACHED,
            Code.QUOTA_EXCEEDED,
        ),
    },
    openapi_extra=request_body(None, key=False),
)
async def rerun(request: Request, job_id: str, principal: JobWriter, services: ServicesDep) -> Response:
    """Make a new job, with a ticket of its own, of the input and the options of one that has come to an end."""
    key = idempotency_key(request)
    submitted = await services.jobs.rerun(principal.tenant_id, job_id_of(job_id), key)
    if submitted is None:
        raise job_not_found()
    return json_response(job_body(submitted.job), 202, submitted_headers(submitted))
