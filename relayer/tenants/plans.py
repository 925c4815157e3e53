"""What tenants may use: rates, quotas and caps, as plans give them and as they hold for one tenant."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta

from relayer.tenants.administration_errors import FieldError

_SECOND = timedelta(seconds=1)
_COMPUTE = "compute_seconds_per_month"
_MOST_INTEGER = 2**31 - 1

BOUNDS = {
    "submissions_per_minute": (1, _MOST_INTEGER),
    "submissions_burst": (1, _MOST_INTEGER),
    "reads_per_minute": (1, _MOST_INTEGER),
    "reads_burst": (1, _MOST_INTEGER),
    "jobs_per_day": (0, _MOST_INTEGER),
    _COMPUTE: (0, _MOST_INTEGER),
    "storage_bytes": (0, 2**53 - 1),
    "running_jobs": (1, _MOST_INTEGER),
    "waiting_jobs": (1, _MOST_INTEGER),
}
"""The limits by their names in JSON, in the order of the fields of `Limits`, each with its least and its most."""


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

    def to_document(self) -> dict[str, int]:
        """The numbers as JSON has them, the compute time in seconds."""
        numbers = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            shown: value // _SECOND if isinstance(value, timedelta) else value
            for shown, value in zip(BOUNDS, numbers.values(), strict=True)
        }

    def changed(self, plan: str, changes: Mapping[str, int | None]) -> "Limits":
        """Give these limits with some of their numbers changed, by their names in JSON; None: as the plan has it.

        Raises:
            FieldError: there is no such number, or it is out of range.

        """
        numbers = dict(zip(BOUNDS, (field.name for field in fields(self)), strict=True))
        changed: dict[str, int | timedelta] = {}
        for shown, value in changes.items():
            if shown not in BOUNDS:
                raise FieldError(f"limits/{shown}", f"there is no such limit; use {', '.join(BOUNDS)}")
            least, most = BOUNDS[shown]
            if value is None:
                changed[numbers[shown]] = getattr(PLANS[plan], numbers[shown])
            elif not least <= value <= most:
                raise FieldError(f"limits/{shown}", f"give a number from {least} to {most}")
            else:
                changed[numbers[shown]] = timedelta(seconds=value) if shown == _COMPUTE else value
        return replace(self, **changed)  # type: ignore[arg-type]


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
