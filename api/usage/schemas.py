"""What a tenant uses, as the API shows it."""

from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from api.limits import policies_of
from relayer.jobs.quotas import CurrentUsage
from relayer.tenants.plans import Limits

_DAY = {"start": "2030-01-31T00:00:00Z", "end": "2030-02-01T00:00:00Z"}
_EXAMPLE: dict[str, Any] = {
    "plan": "standard",
    "measured_at": "2030-01-31T12:00:00Z",
    "quotas": [
        {"meter": "jobs", "used": 1200, "limit": 1_000_000, "period": _DAY},
        {"meter": "running_jobs", "used": 7, "limit": 50, "period": None},
    ],
    "rates": [{"policy": "tenant-submit", "quota": 200, "window_seconds": 2}],
}


class PeriodBody(BaseModel):
    """From when, and until when, something is counted."""

    start: datetime
    end: datetime


class QuotaBody(BaseModel):
    """What is used of a quota."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    meter: Literal["jobs", "compute_seconds", "storage_bytes", "running_jobs", "waiting_jobs"]
    """What is counted."""
    used: int
    """How much of it there is, rounded up."""
    limit: int
    """How much there may be."""
    period: PeriodBody | None
    """What it is counted over; null where the limit holds at every moment."""


class RateBody(BaseModel):
    """A rate, as `RateLimit-Policy` names it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    policy: str
    """Its name."""
    quota: int
    """How many units may be used at once."""
    window_seconds: int
    """In how many seconds they are whole again."""


class UsageBody(BaseModel):
    """What a tenant uses, and what it may."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra={"examples": [_EXAMPLE]})

    plan: str
    """Whose numbers hold, where none was changed for this tenant."""
    measured_at: datetime
    """When this was so."""
    quotas: list[QuotaBody]
    """How much may be used."""
    rates: list[RateBody]
    """How fast."""


def usage_body(current: CurrentUsage, limits: Limits) -> dict[str, Any]:
    """Write where a tenant stands; compute is rounded up to whole seconds."""
    stands = current.standing
    day, month = _period(*current.day), _period(*current.month)
    return {
        "plan": stands.plan,
        "measured_at": current.at,
        "quotas": [
            _quota("jobs", stands.jobs, stands.jobs_cap, day),
            _quota("compute_seconds", stands.compute, stands.compute_cap, month),
            _quota("storage_bytes", stands.storage, stands.storage_cap),
            _quota("running_jobs", stands.running, stands.running_cap),
            _quota("waiting_jobs", stands.waiting, stands.waiting_cap),
        ],
        "rates": [
            {
                "policy": policy.name,
                "quota": policy.burst,
                "window_seconds": policy.window_seconds,
            }
            for policy in policies_of(limits)
        ],
    }


def _period(start: datetime, end: datetime) -> dict[str, datetime]:
    return {"start": start, "end": end}


def _quota(
    meter: str, used: Decimal | int, limit: Decimal | int, period: dict[str, datetime] | None = None
) -> dict[str, Any]:
    whole = int(Decimal(used).to_integral_value(ROUND_CEILING))
    return {"meter": meter, "used": whole, "limit": int(limit), "period": period}
