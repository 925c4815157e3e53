"""The states of a job and the transitions between them. Nothing else moves a job."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands; `docs/reference/job-states.md` tells what each means to its owner."""

    CREATED = "created"
    PROCESSING = "processing"
    COMPLETED = "completed"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing but an operator's redrive of a failed job moves it on."""
        return self in TERMINAL


TERMINAL = frozenset({JobState.CONFIRMED, JobState.FAILED, JobState.CANCELLED, JobState.REJECTED})

TRANSITIONS: frozenset[tuple[JobState, JobState]] = frozenset(
    {
        (JobState.CREATED, JobState.PROCESSING),
        (JobState.CREATED, JobState.CANCELLED),
        (JobState.CREATED, JobState.REJECTED),
        (JobState.CREATED, JobState.FAILED),
        (JobState.PROCESSING, JobState.CREATED),
        (JobState.PROCESSING, JobState.COMPLETED),
        (JobState.PROCESSING, JobState.FAILED),
        (JobState.PROCESSING, JobState.CANCELLED),
        (JobState.PROCESSING, JobState.REJECTED),
        (JobState.COMPLETED, JobState.CONFIRMING),
        (JobState.COMPLETED, JobState.FAILED),
        (JobState.CONFIRMING, JobState.COMPLETED),
        (JobState.CONFIRMING, JobState.FAILED),
        (JobState.CONFIRMING, JobState.CONFIRMED),
        (JobState.FAILED, JobState.CREATED),
    }
)


def may_move(source: JobState, target: JobState) -> bool:
    """Whether a job may go from one state to another."""
    return (source, target) in TRANSITIONS
