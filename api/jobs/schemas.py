"""Jobs as JSON: what a client sends, and what it gets."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.pagination import DEFAULT_PAGE_SIZE
from relayer.jobs.records import Job
from relayer.model.ids import to_public
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import ticket_hex

ID_PREFIX = "job"


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("the character U+0000 cannot be stored")
    return text


_Kind = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_no_nul)]
_MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_no_nul)]
_MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(_no_nul)]


class SubmitBody(BaseModel):
    """A job to be done. `input` is hashed exactly as sent; its shape belongs to the kind."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: _Kind
    input: Any
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=32)] = {}


class ListQuery(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(extra="forbid")

    state: JobState | None = None
    kind: _Kind | None = None
    page_size: Annotated[int, Field(ge=0)] = DEFAULT_PAGE_SIZE
    page_token: Annotated[str, StringConstraints(max_length=128)] | None = None


class OutputBody(BaseModel):
    """What GET /v1/jobs/{id}/output gives."""

    size: int
    media_type: str


class InclusionBody(BaseModel):
    """The transaction that carries the job's batch: a hint until the job is confirmed."""

    transaction_hash: str
    block_number: int


class JobBody(BaseModel):
    """A job; a field is null until what it tells has come to be. Hashes are 0x-hex, times RFC 3339 in UTC."""

    id: str
    ticket: str
    kind: str
    state: JobState
    status_reason: str | None
    state_version: int
    input_hash: str
    metadata: dict[str, str]
    created_at: datetime
    result_ready_at: datetime | None
    confirmed_at: datetime | None
    output_hash: str | None
    output: OutputBody | None
    batch_root: str | None
    inclusion: InclusionBody | None
    error: dict[str, Any] | None


class JobPage(BaseModel):
    """A page of jobs, newest first; the last page is the one without `next_page_token`."""

    data: list[JobBody]
    next_page_token: str | None = None


def job_body(job: Job) -> dict[str, Any]:
    """Write a job as `JobBody` describes it."""
    output = None
    if job.output_hash is not None:
        output = {"size": job.output_size, "media_type": job.output_media_type}
    inclusion = None
    if job.transaction_hash is not None:
        inclusion = {"transaction_hash": _hex(job.transaction_hash), "block_number": job.block_number}
    return {
        "id": to_public(ID_PREFIX, job.id),
        "ticket": ticket_hex(job.ticket),
        "kind": job.kind,
        "state": job.state.value,
        "status_reason": job.status_reason,
        "state_version": job.state_version,
        "input_hash": _hex(job.input_hash),
        "metadata": job.metadata,
        "created_at": _utc(job.created_at),
        "result_ready_at": _utc(job.result_ready_at),
        "confirmed_at": _utc(job.confirmed_at),
        "output_hash": _hex(job.output_hash),
        "output": output,
        "batch_root": _hex(job.batch_root),
        "inclusion": inclusion,
        "error": job.error,
    }


def _hex(value: bytes | None) -> str | None:
    return None if value is None else f"0x{value.hex()}"


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)
