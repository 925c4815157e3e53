"""Dead letters as JSON: which are meant, and what was asked to be done with them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.fields import ErrorCode, Instant, Kind
from api.jobs.schemas import ID_PREFIX as JOB_PREFIX
from api.jobs.schemas import in_utc
from api.pagination import PageQuery
from relayer.jobs.dead_letter_repository import DeadLetterFilter, Redrive
from relayer.model.ids import from_public, to_public

ID_PREFIX = "rdr"

_EXAMPLE: dict[str, Any] = {
    "id": "rdr_01970000-0000-7000-8000-000000000000",
    "state": "open",
    "actor": "key_01970000-0000-7000-8000-000000000001",
    "filter": {
        "kind": None,
        "error_code": "handler_error",
        "failed_from": None,
        "failed_to": "2030-01-31T12:00:00Z",
        "job_ids": None,
    },
    "rate": 20,
    "matched": 3,
    "redriven": 0,
    "created_at": "2030-01-31T12:00:00Z",
    "finished_at": None,
}


_NARROWING = ("kind", "error_code", "failed_from", "failed_to", "job_ids")


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _job_id(text: str) -> str:
    if from_public(JOB_PREFIX, text) is None:
        raise PydanticCustomError("job_id", "this is no id of a job")
    return text


class DeadLettersQuery(PageQuery):
    """Which dead letters to list: those to which everything that is given applies; both times are included."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: Kind | None = None
    """Those of this kind."""
    error_code: ErrorCode | None = None
    """Those whose `error` has this code."""
    failed_from: Instant | None = None
    """Those that failed then or later."""
    failed_to: Instant | None = None
    """Those that failed then or before."""

    def of(self, tenant: UUID) -> DeadLetterFilter:
        """Give the filter over a tenant's failed jobs."""
        return DeadLetterFilter(tenant, self.kind, self.error_code, self.failed_from, self.failed_to)


class FilterBody(BaseModel):
    """Which dead letters are meant: those to which everything that is given applies, or `all`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": [
                {"required": ["all"], "properties": {"all": {"const": True}}, "maxProperties": 1},
                {"properties": {"all": {"const": False}}, "anyOf": [_given(name) for name in _NARROWING]},
            ]
        },
    )

    kind: Kind | None = None
    error_code: ErrorCode | None = None
    failed_from: Instant | None = None
    failed_to: Instant | None = None
    job_ids: (
        Annotated[list[Annotated[str, AfterValidator(_job_id)]], Field(min_length=1, max_length=1000)] | None
    ) = None
    all: bool = False

    @model_validator(mode="after")
    def _says_what(self) -> "FilterBody":
        """A slip must not redrive everything."""
        if self.all == any(getattr(self, name) is not None for name in _NARROWING):
            raise PydanticCustomError(
                "empty_filter" if not self.all else "contradiction",
                'name at least one of kind, error_code, failed_from, failed_to and job_ids, or say "all": true alone',
            )
        return self

    def of(self, tenant: UUID) -> DeadLetterFilter:
        """Give the filter over a tenant's failed jobs."""
        ids = None if self.job_ids is None else {from_public(JOB_PREFIX, text) for text in self.job_ids}
        return DeadLetterFilter(
            tenant,
            self.kind,
            self.error_code,
            self.failed_from,
            self.failed_to,
            None if ids is None else {job_id for job_id in ids if job_id is not None},
        )


class RedriveRequest(BaseModel):
    """What to redrive, and how many jobs a second; a dry run only counts."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"filter": {"error_code": "handler_error"}, "rate": 20}]},
    )

    filter: FilterBody
    dry_run: bool = False
    rate: Annotated[int, Field(ge=1, le=1000)] = 50


class DryRunBody(BaseModel):
    """How many dead letters a redrive would name by now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True, "matched": 3}]})

    dry_run: Literal[True]
    matched: int


class RedriveFilterBody(BaseModel):
    """Which dead letters a redrive names; those that failed after it was asked are never among them."""

    kind: str | None
    error_code: str | None
    failed_from: datetime | None
    failed_to: datetime
    job_ids: list[str] | None


class RedriveBody(BaseModel):
    """A redrive: who asked what, how many jobs it named when it was asked, and how many have got their turn."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    state: Literal["open", "finished"]
    actor: str
    filter: RedriveFilterBody
    rate: int
    matched: int
    redriven: int
    created_at: datetime
    finished_at: datetime | None


def redrive_body(redrive: Redrive) -> dict[str, Any]:
    """Write a redrive as `RedriveBody` describes it."""
    return {
        "id": to_public(ID_PREFIX, redrive.id),
        "state": "open" if redrive.finished_at is None else "finished",
        "actor": redrive.actor,
        "filter": {
            "kind": redrive.kind,
            "error_code": redrive.error_code,
            "failed_from": in_utc(redrive.failed_from),
            "failed_to": in_utc(redrive.failed_to),
            "job_ids": _public(redrive.job_ids),
        },
        "rate": redrive.rate,
        "matched": redrive.matched,
        "redriven": redrive.redriven,
        "created_at": in_utc(redrive.created_at),
        "finished_at": in_utc(redrive.finished_at),
    }


def _public(ids: Sequence[UUID] | None) -> list[str] | None:
    return None if ids is None else [to_public(JOB_PREFIX, job_id) for job_id in ids]
