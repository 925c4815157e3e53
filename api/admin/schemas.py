"""Tenants, plans and caps as JSON."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.pagination import NextPageToken, PageQuery
from relayer.seal.tree import MAX_LANE
from relayer.tenants.administration import MAX_CAP, MAX_WEIGHT, TenantChange
from relayer.tenants.administration_repository import TenantFilter
from relayer.tenants.plans import BOUNDS, PLANS

Plan = Literal["free", "standard"]
State = Literal["active", "suspended"]

_LIMITS: dict[str, Any] = {**PLANS["standard"].to_document()}
_TENANT: dict[str, Any] = {
    "id": "tnt_01970000-0000-7000-8000-000000000000",
    "name": "acme",
    "state": "active",
    "plan": "standard",
    "weight": 2,
    "limits": _LIMITS | {"jobs_per_day": 5_000_000},
    "limits_beside_plan": ["jobs_per_day"],
    "is_operator": False,
    "suspended_at": None,
    "suspension_reason": None,
    "version": 3,
    "created_at": "2030-01-31T12:00:00Z",
}


def _patch(example: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Give a schema its example, and take its defaults away: what a patch leaves out stays as it is."""

    def change(schema: dict[str, Any]) -> None:
        for part in schema["properties"].values():
            part.pop("default", None)
        schema["examples"] = [example]

    return change


def _within(name: str) -> Any:
    least, most = BOUNDS[name]
    return Field(default=None, ge=least, le=most)


class LimitsPatch(BaseModel):
    """Limits to be changed; null: as the plan has it."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra=_patch({"jobs_per_day": 5_000_000})
    )

    submissions_per_minute: int | None = _within("submissions_per_minute")
    submissions_burst: int | None = _within("submissions_burst")
    reads_per_minute: int | None = _within("reads_per_minute")
    reads_burst: int | None = _within("reads_burst")
    jobs_per_day: int | None = _within("jobs_per_day")
    compute_seconds_per_month: int | None = _within("compute_seconds_per_month")
    storage_bytes: int | None = _within("storage_bytes")
    running_jobs: int | None = _within("running_jobs")
    waiting_jobs: int | None = _within("waiting_jobs")


class TenantPatch(BaseModel):
    """What to change of a tenant (RFC 7396); what is left out stays."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra=_patch({"weight": 2, "limits": {"jobs_per_day": 5_000_000}}),
    )

    plan: Plan = "standard"
    """Writes all its numbers onto the tenant, those that were changed one by one included."""
    weight: Annotated[int, Field(ge=1, le=MAX_WEIGHT)] = 1
    """The tenant's share of the workers beside others'."""
    limits: LimitsPatch | None = None
    """Numbers to be changed, after those of the plan; null gives back every number of the plan."""

    def change(self) -> TenantChange:
        """Give the change: what the body does not mention stays."""
        said = self.model_fields_set
        limits: dict[str, int | None] = {}
        if "limits" in said:
            limits = (
                dict.fromkeys(BOUNDS) if self.limits is None else self.limits.model_dump(exclude_unset=True)
            )
        return TenantChange(
            plan=self.plan if "plan" in said else None,
            weight=self.weight if "weight" in said else None,
            limits=limits,
        )


class TenantRequest(TenantPatch):
    """A tenant to be made; without a plan it gets `standard`, and what else is left out is as the plan has it."""

    model_config = ConfigDict(json_schema_extra=_patch({"name": "acme", "plan": "free"}))

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """What people know it by; no two tenants have the same."""


class SuspensionRequest(BaseModel):
    """Why a tenant is suspended; its users are shown this."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"reason": "the invoice of May is open"}]},
    )

    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TenantsQuery(PageQuery):
    """Which tenants to list: those to which everything that is given applies."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")] | None = None
    """Those with this in their name."""
    plan: Plan | None = None
    """Those with this plan."""
    state: State | None = None
    """Those in this state."""

    def of(self) -> TenantFilter:
        """Give the filter."""
        return TenantFilter(self.name, self.plan, None if self.state is None else self.state == "suspended")


class TenantLimitsBody(BaseModel):
    """What a tenant may use: rates a minute and bursts, quotas of the UTC day and month, caps at every moment."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LIMITS]})

    submissions_per_minute: int
    submissions_burst: int
    reads_per_minute: int
    reads_burst: int
    jobs_per_day: int
    compute_seconds_per_month: int
    storage_bytes: int
    running_jobs: int
    waiting_jobs: int


class TenantBody(BaseModel):
    """A tenant."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra={"examples": [_TENANT]})

    id: str
    """`tnt_` and a UUIDv7."""
    name: str
    """What people know it by."""
    state: State
    """Whether its keys open anything."""
    plan: str
    """Whose numbers were written onto it last."""
    weight: int
    """Its share of the workers beside others'."""
    limits: TenantLimitsBody
    """What it may use."""
    limits_beside_plan: list[str]
    """The limits that differ from its plan's."""
    is_operator: bool
    """Whether it is the platform's own, and its keys may administer."""
    suspended_at: datetime | None
    """Since when it is suspended."""
    suspension_reason: str | None
    """Why."""
    version: int
    """Rises with every change; its `ETag`."""
    created_at: datetime
    """When it was made."""


class TenantPage(BaseModel):
    """A page of tenants; the list ends where `next_page_token` is absent."""

    data: list[TenantBody]
    next_page_token: NextPageToken = None


class TenantUsageBody(BaseModel):
    """How much a tenant has of what its caps count, at this moment."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"storage_bytes": 120, "running_jobs": 2, "waiting_jobs": 17}]}
    )

    storage_bytes: int
    running_jobs: int
    waiting_jobs: int


class PlanBody(BaseModel):
    """A plan: what it writes onto a tenant when it is assigned."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "standard", "limits": _LIMITS}]})

    name: str
    limits: TenantLimitsBody


class PlanList(BaseModel):
    """Every plan."""

    data: list[PlanBody]


class KindCapRequest(BaseModel):
    """How many attempts of the kind may run at once, over all tenants; 0 lets none begin."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"running_jobs": 20}]}
    )

    running_jobs: Annotated[int, Field(ge=0, le=MAX_CAP)]


class KindCapBody(BaseModel):
    """A kind's cap over all tenants."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "digest", "running_jobs": 20}]})

    kind: str
    running_jobs: int


class KindCapList(BaseModel):
    """Every kind that has a cap."""

    data: list[KindCapBody]


class KindLaneRequest(BaseModel):
    """The lane in which new jobs of the kind are confirmed; 0 is the standard lane."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"lane": 1}]})

    lane: Annotated[int, Field(ge=0, le=MAX_LANE)]


class KindLaneBody(BaseModel):
    """A kind's lane."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "digest", "lane": 1}]})

    kind: str
    lane: int


class KindLaneList(BaseModel):
    """Every kind that has another than the standard lane."""

    data: list[KindLaneBody]
