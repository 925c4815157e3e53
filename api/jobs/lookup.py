"""What the endpoints of jobs share: finding a job, and saying when to ask for it again."""

from uuid import UUID

from api.errors import Code, ProblemError
from api.idempotency import REPLAYED
from api.jobs.schemas import ID_PREFIX
from api.services import Services
from relayer.jobs.intake import Submitted
from relayer.jobs.records import Job
from relayer.model.ids import from_public, to_public
from relayer.model.lifecycle import JobState

SUBMITTED_HEADERS = ("Location", "Retry-After", "Idempotency-Replayed")
"""Those that `submitted_headers` gives."""

# How long a client had best wait before it asks again, in seconds.
_POLL_RUNNING_S = 1
_POLL_CONFIRMING_S = 5


def job_not_found() -> ProblemError:
    """One answer for an id that is malformed, unknown or another tenant's."""
    return ProblemError(Code.JOB_NOT_FOUND, "no job of this tenant has this id")


def job_id_of(text: str) -> UUID:
    """Read a job's public id.

    Raises:
        ProblemError: no job can have this id.

    """
    job_id = from_public(ID_PREFIX, text)
    if job_id is None:
        raise job_not_found()
    return job_id


async def find_job(services: Services, tenant: UUID, text: str) -> Job:
    """Find a job of a tenant.

    Raises:
        ProblemError: there is none.

    """
    job = await services.jobs.get(tenant, job_id_of(text))
    if job is None:
        raise job_not_found()
    return job


def retry_after(job: Job) -> dict[str, str]:
    """Give the header that says when to ask again, until the job's end."""
    if job.state.is_terminal:
        return {}
    running = job.state in {JobState.CREATED, JobState.PROCESSING}
    return {"Retry-After": str(_POLL_RUNNING_S if running else _POLL_CONFIRMING_S)}


def submitted_headers(submitted: Submitted) -> dict[str, str]:
    """Give the headers of an answer that brings a new job, or one that an earlier request made."""
    headers = {"Location": f"/v1/jobs/{to_public(ID_PREFIX, submitted.job.id)}"} | retry_after(submitted.job)
    return headers | (REPLAYED if submitted.replayed else {})
