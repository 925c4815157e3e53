"""The REST surface of dead letters."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.auth import JobReader, JobRedriver
from api.bodies import BODY_PROBLEMS, json_response, read_json, validate
from api.dead_letters.schemas import (
    ID_PREFIX,
    DeadLettersQuery,
    DryRunBody,
    RedriveBody,
    RedriveRequest,
    redrive_body,
)
from api.errors import Code, ProblemError
from api.idempotency import REPLAYED, idempotency_key
from api.jobs.schemas import JobPage, job_body
from api.pagination import LIST_PROBLEMS, Listing, read_page
from api.schemas import headers, links, problems, request_body
from api.services import ServicesDep
from relayer.jobs.records import Job
from relayer.model.ids import from_public, to_public
from relayer.seal.strict_json import canonical_json

router = APIRouter(tags=["dead letters"])

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME_BYTES = 8


@router.get(
    "/v1/dead-letters",
    operation_id="list_dead_letters",
    summary="List failed jobs, the last to fail first",
    responses={200: {"model": JobPage}, **problems(*LIST_PROBLEMS)},
)
async def list_dead_letters(
    query: Annotated[DeadLettersQuery, Query()], principal: JobReader, services: ServicesDep
) -> Response:
    """Give a page of the tenant's failed jobs."""
    wanted = query.of(principal.tenant_id)

    async def fetch(after: bytes | None, limit: int) -> Sequence[Job]:
        return await services.dead_letters.list(wanted, None if after is None else _time_and_id(after), limit)

    filters = {
        "kind": wanted.kind,
        "error_code": wanted.error_code,
        "failed_from": _text(wanted.failed_from),
        "failed_to": _text(wanted.failed_to),
    }
    page = await read_page(
        services.page_tokens,
        Listing(principal.tenant_id, "/v1/dead-letters", filters),
        query,
        fetch=fetch,
        position=_position,
        body=job_body,
    )
    return json_response(page)


@router.post(
    "/v1/dead-letters:redrive",
    status_code=202,
    operation_id="redrive_dead_letters",
    summary="Give failed jobs another turn",
    responses={
        200: {"model": DryRunBody, "description": "A dry run"},
        202: {
            "model": RedriveBody,
            **headers("Location", "Idempotency-Replayed"),
            **links(redrive=("get_redrive", "redrive_id", "$response.body#/id")),
        },
        **problems(*BODY_PROBLEMS, Code.INVALID_IDEMPOTENCY_KEY, Code.IDEMPOTENCY_KEY_REUSED),
    },
    openapi_extra=request_body(RedriveRequest, key=False),
)
async def redrive(request: Request, principal: JobRedriver, services: ServicesDep) -> Response:
    """Redrive what the filter names and has failed by now, spread over time; or only count it."""
    key = idempotency_key(request)
    value = await read_json(request, services.max_body_bytes)
    body = validate(RedriveRequest, value)
    wanted = body.filter.of(principal.tenant_id)
    if body.dry_run:
        return json_response({"dry_run": True, "matched": await services.dead_letters.count(wanted)})
    asked = await services.dead_letters.redrive(
        wanted,
        actor=to_public("key", principal.key_id),
        rate=body.rate,
        idempotency_key=key,
        fingerprint=hashlib.sha256(canonical_json(value)).digest(),
    )
    told = {"Location": f"/v1/dead-letters/redrives/{to_public(ID_PREFIX, asked.redrive.id)}"}
    return json_response(redrive_body(asked.redrive), 202, told | (REPLAYED if asked.replayed else {}))


@router.get(
    "/v1/dead-letters/redrives/{redrive_id}",
    operation_id="get_redrive",
    summary="Read a redrive",
    responses={200: {"model": RedriveBody}, **problems(Code.REDRIVE_NOT_FOUND)},
)
async def read_redrive(redrive_id: str, principal: JobReader, services: ServicesDep) -> Response:
    """Give what was asked and how far it got."""
    wanted = from_public(ID_PREFIX, redrive_id)
    found = None if wanted is None else await services.dead_letters.get_redrive(principal.tenant_id, wanted)
    if found is None:
        raise ProblemError(Code.REDRIVE_NOT_FOUND, "no redrive of this tenant has this id")
    return json_response(redrive_body(found))


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _position(job: Job) -> bytes:
    assert job.finished_at is not None
    return ((job.finished_at - _EPOCH) // _MICROSECOND).to_bytes(_TIME_BYTES) + job.id.bytes


def _time_and_id(position: bytes) -> tuple[datetime, UUID]:
    since = int.from_bytes(position[:_TIME_BYTES]) * _MICROSECOND
    return _EPOCH + since, UUID(bytes=position[_TIME_BYTES:])
