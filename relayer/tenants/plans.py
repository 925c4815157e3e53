"""What tenants may use: rates, quotas and caps, as plans give them and as they hold for one tenant."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant may use.

    A rate is a sustained number a minute with a burst on top of an idle start (GCRA). Quotas count over the UTC day
    and the UTC month; caps hold at every moment.
    """

    submissions_per_minute: int
    submissions_burst: int
    reads_per_minute: int
    reads_burst: int
    jobs_per_day: int
    compute_per_month: timedelta
    storage_bytes: int
    running_jobs: int
    waiting_jobs: int


PLANS = {
    "free": Limits(
        submissions_per_minute=60,
        submissions_burst=20,
        reads_per_minute=600,
        reads_burst=100,
        jobs_per_day=1_000,
        compute_per_month=timedelta(hours=10),
        storage_bytes=1 << 30,
        running_jobs=5,
        waiting_jobs=1_000,
    ),
    "standard": Limits(
        submissions_per_minute=6_000,
        submissions_burst=200,
        reads_per_minute=30_000,
        reads_burst=1_000,
        jobs_per_day=1_000_000,
        compute_per_month=timedelta(hours=5_000),
        storage_bytes=1 << 40,
        running_jobs=50,
        waiting_jobs=10_000,
    ),
}
"""A plan is written onto a tenant when it is assigned; a tenant's numbers may then be changed one by one."""

DEFAULT_PLAN = "standard"
