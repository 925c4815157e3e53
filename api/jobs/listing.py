"""Which jobs a list is to have, as its query says it."""

from typing import Any
from uuid import UUID

from fastapi import Request
from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator

from api.errors import Code, Fault, ProblemError
from api.fields import Instant, Kind, MetadataName, MetadataValue
from api.pagination import PageQuery
from relayer.jobs.listing_repository import MAX_PAIRS, JobFilter
from relayer.model.lifecycle import JobState

_PREFIX = "metadata."
_NAME: TypeAdapter[str] = TypeAdapter(MetadataName)
_VALUE: TypeAdapter[str] = TypeAdapter(MetadataValue)

METADATA_PARAMETER: dict[str, Any] = {
    "name": "metadata",
    "in": "query",
    "required": False,
    "description": "`metadata.<name>=<value>`: those whose metadata has exactly this value under this name; "
    f"{MAX_PAIRS} such pairs at most.",
    "style": "form",
    "explode": True,
    "schema": {
        "type": "object",
        "patternProperties": {r"^metadata\.[^\x00]{1,64}$": {"type": "string", "maxLength": 512}},
        "additionalProperties": False,
        "maxProperties": MAX_PAIRS,
    },
    "example": {"metadata.order": "17"},
}


class ListQuery(PageQuery):
    """Which jobs to list: those to which everything that is given applies."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    state: JobState | None = None
    """Those in this state."""
    kind: Kind | None = None
    """Those of this kind."""
    created_after: Instant | None = None
    """Those that were submitted then or later."""
    created_before: Instant | None = None
    """Those that were submitted before then."""

    @model_validator(mode="before")
    @classmethod
    def _without_metadata(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Leave the pairs, whose names are the client's own, to `metadata_of`."""
        return {name: value for name, value in given.items() if not name.startswith(_PREFIX)}

    def of(self, tenant: UUID, metadata: dict[str, str]) -> JobFilter:
        """Give the filter over a tenant's jobs."""
        return JobFilter(tenant, self.state, self.kind, self.created_after, self.created_before, metadata)


def metadata_of(request: Request) -> dict[str, str]:
    """Read the pairs of metadata that a list is narrowed by.

    Raises:
        ProblemError: one is malformed, or there are too many.

    """
    pairs: dict[str, str] = {}
    for parameter, value in request.query_params.multi_items():
        if not parameter.startswith(_PREFIX):
            continue
        try:
            name = _NAME.validate_python(parameter.removeprefix(_PREFIX))
            pair = name, _VALUE.validate_python(value)
        except ValidationError as error:
            raise _refused(parameter, error.errors()[0]["msg"]) from None
        pairs |= [pair]
        if len(pairs) > MAX_PAIRS:
            raise _refused(parameter, f"give {MAX_PAIRS} pairs of metadata at most")
    return pairs


def filters_of(wanted: JobFilter) -> dict[str, str | None]:
    """Give the filter as what a page token is bound to."""
    return {
        "state": wanted.state and wanted.state.value,
        "kind": wanted.kind,
        "created_after": None if wanted.created_after is None else wanted.created_after.isoformat(),
        "created_before": None if wanted.created_before is None else wanted.created_before.isoformat(),
    } | {f"{_PREFIX}{name}": value for name, value in wanted.metadata.items()}


def _refused(parameter: str, detail: str) -> ProblemError:
    fault = Fault("invalid", detail, parameter=parameter)
    return ProblemError(Code.INVALID_PARAMETER, f"invalid: {parameter}", [fault])
