"""Tenants, plans and caps as JSON."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.pagination import PageQuery
from relayer.tenants.administration import MAX_CAP, MAX_WEIGHT, TenantChange
from relayer.tenants.administration_repository import TenantFilter
from relayer.tenants.plans import BOUNDS

Plan = Literal["free", "standard"]
State = Literal["active", "suspended"]


def _within(name: str) -> Any:
    least, most = BOUNDS[name]
    return Field(default=None, ge=least, le=most)


class LimitsPatch(BaseModel):
    """Limits to be changed; null: as the plan has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

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
    """What to change of a tenant (RFC 7396). A plan brings all its numbers; `limits` are changed after that.

    `"limits": null` gives back every number of the plan.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    plan: Plan = "standard"
    weight: Annotated[int, Field(ge=1, le=MAX_WEIGHT)] = 1
    limits: LimitsPatch | None = None

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
    """A tenant to be made; what is left out is as the plan has it."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class SuspensionRequest(BaseModel):
    """Why a tenant is suspended; its users are shown this."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TenantsQuery(PageQuery):
    """Which tenants to list: those to which everything that is given applies; `name` is a part of the name."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")] | None = None
    plan: Plan | None = None
    state: State | None = None

    def of(self) -> TenantFilter:
        """Give the filter."""
        return TenantFilter(self.name, self.plan, None if self.state is None else self.state == "suspended")


class LimitsBody(BaseModel):
    """What a tenant may use: rates a minute and bursts, quotas of the UTC day and month, caps at every moment."""

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
    """A tenant; `limits_beside_plan` names the limits that differ from its plan's."""

    id: str
    name: str
    state: State
    plan: str
    weight: int
    limits: LimitsBody
    limits_beside_plan: list[str]
    is_operator: bool
    suspended_at: datetime | None
    suspension_reason: str | None
    version: int
    created_at: datetime


class TenantPage(BaseModel):
    """A page of tenants; the list ends where `next_page_token` is absent."""

    data: list[TenantBody]
    next_page_token: str | None = None


class UsageBody(BaseModel):
    """How much a tenant has of what its caps count, at this moment."""

    storage_bytes: int
    running_jobs: int
    waiting_jobs: int


class PlanBody(BaseModel):
    """A plan: what it writes onto a tenant when it is assigned."""

    name: str
    limits: LimitsBody


class PlanList(BaseModel):
    """Every plan."""

    data: list[PlanBody]


class KindCapRequest(BaseModel):
    """How many attempts of the kind may run at once, over all tenants; 0 lets none begin."""

    model_config = ConfigDict(extra="forbid", strict=True)

    running_jobs: Annotated[int, Field(ge=0, le=MAX_CAP)]


class KindCapBody(BaseModel):
    """A kind's cap over all tenants."""

    kind: str
    running_jobs: int


class KindCapList(BaseModel):
    """Every kind that has a cap."""

    data: list[KindCapBody]
