"""Many jobs in one request, each with its own outcome."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import JobBatchWriter
from api.bodies import BODY_PROBLEMS, json_response, read_json_list, validate
from api.body_size import too_large
from api.errors import Code, Fault, ProblemError
from api.handlers import problem_of
from api.idempotency import is_key
from api.jobs.examples import JOB
from api.jobs.schemas import JobBody, ValidatedBody, job_body, validated_body
from api.jobs.submission import SubmitBody, SubmitQuery, read_submission
from api.limits import MOST_ITEMS
from api.schemas import ProblemBody, headers, problems, request_body
from api.services import Services, ServicesDep
from relayer.jobs.intake import Submitted
from relayer.jobs.submission import Prepared, Submission
from relayer.model.errors import JobsealError
from relayer.seal.strict_json import canonical_json

router = APIRouter(tags=["jobs"])

_KEY = "idempotency_key"

_Outcome = Submitted | Prepared | JobsealError | ProblemError


class BatchItem(SubmitBody):
    """A job to be done, with the key that a request for it alone has in its header."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"idempotency_key": "order-18", "kind": "digest", "input": {"text": "hello"}}]
        }
    )

    idempotency_key: Annotated[str, Field(min_length=1, max_length=255)]


class BatchBody(BaseModel):
    """Jobs to be done; an item that does not fit is refused alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    jobs: Annotated[list[Any], Field(min_length=1, max_length=MOST_ITEMS)]


class BatchRequest(BatchBody):
    """Jobs to be done, as they should be."""

    jobs: Annotated[list[BatchItem], Field(min_length=1, max_length=MOST_ITEMS)]


class OutcomeBody(BaseModel):
    """What became of an item: its job, or its problem, as the answer to a request for it alone would have it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": 202, "job": JOB, "replayed": False}]},
    )

    status: int
    job: JobBody | None = None
    replayed: bool | None = None
    validated: ValidatedBody | None = None
    problem: ProblemBody | None = None


class BatchResult(BaseModel):
    """What became of each item, in their order."""

    results: list[OutcomeBody]


@router.post(
    "/v1/jobs:batch",
    status_code=207,
    operation_id="submit_jobs",
    summary="Submit up to 500 jobs",
    responses={
        207: {"model": BatchResult, **headers("Retry-After")},
        **problems(
            Code.INVALID_PARAMETER,
            *BODY_PROBLEMS,
        ),
    },
    openapi_extra=request_body(BatchRequest),
)
async def submit_batch(
    request: Request, query: Annotated[SubmitQuery, Query()], principal: JobBatchWriter, services: ServicesDep
) -> Response:
    """Take each job as `POST /v1/jobs` would; what is wrong with one does not touch the others.

    With `validate_only` each outcome says what would become of the item, and nothing is written.
    """
    value, flaws = await read_json_list(request, services.max_batch_bytes, "jobs")
    submissions: dict[int, Submission] = {}
    outcomes: dict[int, _Outcome] = {**flaws}
    items = validate(BatchBody, value).jobs
    await services.admission.submit(request, principal, len(items))
    for number, item in enumerate(items):
        if number in flaws:
            continue
        try:
            submissions[number] = _submission(item, services.max_body_bytes)
        except ProblemError as problem:
            outcomes[number] = problem
        # An item takes as long as a request of its own; others get their turns between.
        await asyncio.sleep(0)
    if submissions:
        outcomes |= await _outcomes(services, principal.tenant_id, submissions, query)
    answers = [_answer(outcomes[number]) for number in range(len(outcomes))]
    waits = [int(one.headers.get("Retry-After", 0)) for one in answers if isinstance(one, ProblemError)]
    told = {"Retry-After": str(max(waits))} if any(waits) else {}
    return json_response({"results": [_result(one, request) for one in answers]}, 207, told)


def _submission(item: Any, max_bytes: int) -> Submission:
    """Read an item as a request for it alone: its key, then its size, then its shape."""
    if not isinstance(item, dict):
        validate(SubmitBody, item)
    key = item.pop(_KEY, None)
    if key is None:
        detail = f"give each job an {_KEY} of its own, so that a repeated request cannot make a second job"
        fault = Fault("missing", detail, pointer=f"/{_KEY}")
        raise ProblemError(Code.IDEMPOTENCY_KEY_REQUIRED, detail, [fault])
    if not is_key(key):
        detail = f"give an {_KEY} of 1 to 255 printable ASCII characters"
        fault = Fault("malformed", detail, pointer=f"/{_KEY}")
        raise ProblemError(Code.INVALID_IDEMPOTENCY_KEY, detail, [fault])
    canonical = canonical_json(item)
    if len(canonical) > max_bytes:
        raise too_large(max_bytes)
    return read_submission(item, key, canonical)


async def _outcomes(
    services: Services, tenant: UUID, submissions: dict[int, Submission], query: SubmitQuery
) -> dict[int, _Outcome]:
    given = [*submissions.values()]
    if query.validate_only:
        return dict(zip(submissions, await services.jobs.validate_many(tenant, given), strict=True))
    return dict(zip(submissions, await services.jobs.submit_many(tenant, given), strict=True))


def _answer(outcome: _Outcome) -> Submitted | Prepared | ProblemError:
    return problem_of(outcome) if isinstance(outcome, JobsealError) else outcome


def _result(answer: Submitted | Prepared | ProblemError, request: Request) -> dict[str, Any]:
    if isinstance(answer, ProblemError):
        return {"status": answer.status, "problem": answer.body(request)}
    if isinstance(answer, Prepared):
        return {"status": 200, "validated": validated_body(answer.new)}
    return {"status": 202, "job": job_body(answer.job), "replayed": answer.replayed}
