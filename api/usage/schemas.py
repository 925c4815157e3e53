"""What a tenant uses, as the API shows it."""

from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal

from pydantic import BaseModel

from api.limits import policies_of
from relayer.jobs.quotas import CurrentUsage
from relayer.tenants.plans import Limits


class PeriodBody(BaseModel):
    """From when, and until when, something is counted."""

    start: datetime
    end: datetime


class QuotaBody(BaseModel):
    """What is used of a quota; `period` is null where it holds at every moment."""

    meter: Literal["jobs", "compute_seconds", "storage_bytes", "running_jobs", "waiting_jobs"]
    used: int
    limit: int
    period: PeriodBody | None


class RateBody(BaseModel):
    """A rate: `quota` units at once, whole again in `window_seconds`."""

    policy: str
    quota: int
    window_seconds: int


class UsageBody(BaseModel):
    """What a tenant uses, and what it may."""

    plan: str
    measured_at: datetime
    quotas: list[QuotaBody]
    rates: list[RateBody]


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
