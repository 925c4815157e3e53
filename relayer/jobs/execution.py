"""What every worker does around a handler: open attempts, then write down how they ended, fenced by their tokens."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Any
from uuid import UUID

from relayer.jobs import attempt_repository as attempts
from relayer.jobs.failure import Failure
from relayer.jobs.records import OpenAttempt
from relayer.jobs.transition import Change, JobOutput, transition
from relayer.model.clock import Clock
from relayer.model.lifecycle import JobState
from relayer.store.database import Database

_FIRST_BACKOFF = timedelta(seconds=2)
_LONGEST_BACKOFF = timedelta(minutes=5)
_random = SystemRandom()


@dataclass(frozen=True)
class Result:
    """How an attempt ended: with the output it put into the blob store, or with a failure."""

    attempt: OpenAttempt
    outcome: JobOutput | Failure
    log_tail: str | None = None


class Execution:
    """Opens and finishes attempts in the name of one worker."""

    def __init__(self, db: Database, worker: str, lease: timedelta, clock: Clock) -> None:
        self._db = db
        self._worker = worker
        self._lease = lease
        self._clock = clock

    async def open(self, ids: Collection[UUID]) -> list[OpenAttempt]:
        """Take attempts that nobody took yet, and move their jobs to `processing`; the rest is not ours."""
        at = self._clock()
        async with self._db.transaction() as conn:
            opened = await attempts.open_attempts(conn, ids, self._worker, self._lease, at)
            moved = await transition(
                conn,
                [
                    Change(
                        one.job_id,
                        one.job_version,
                        JobState.CREATED,
                        JobState.PROCESSING,
                        actor="worker",
                        details={"attempt": one.number},
                    )
                    for one in opened
                ],
                at,
            )
            stopped = [one for one in opened if one.job_id not in moved]
            if stopped:
                error = {"code": "job_moved_on", "message": "the job was stopped before this attempt began"}
                await attempts.finish_attempts(
                    conn, [_finish(one, "failed", error, None) for one in stopped], at
                )
        return [one for one in opened if one.job_id in moved]

    async def finish(self, results: Sequence[Result]) -> set[UUID]:
        """Write down how attempts ended, all in one transaction; outputs lie in the blob store already.

        Returns:
            The ids of the attempts that were still ours; of the others nothing is written.

        """
        at = self._clock()
        async with self._db.transaction() as conn:
            ours = await attempts.finish_attempts(conn, [_finish_of(one) for one in results], at)
            held = [one for one in results if one.attempt.id in ours]
            made = [
                attempts.MadeBlob(one.attempt.tenant_id, out.hash, out.size, out.media_type)
                for one in held
                if isinstance(out := one.outcome, JobOutput)
            ]
            if made:
                await attempts.own_outputs(conn, made, at)
            await transition(conn, [_change(one, at) for one in held], at)
        return ours


def _finish_of(result: Result) -> attempts.Finish:
    if isinstance(result.outcome, JobOutput):
        return _finish(result.attempt, "succeeded", None, result.log_tail)
    return _finish(result.attempt, "failed", _error(result.attempt, result.outcome), result.log_tail)


def _finish(
    attempt: OpenAttempt, state: str, error: dict[str, Any] | None, log_tail: str | None
) -> attempts.Finish:
    text = None if error is None else json.dumps(error)
    return attempts.Finish(attempt.id, attempt.fencing_token, state, text, log_tail)


def _error(attempt: OpenAttempt, failure: Failure) -> dict[str, Any]:
    return {
        "code": failure.code,
        # The database keeps no NUL in its texts.
        "message": failure.message.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "retryable": failure.retryable,
        "attempt": attempt.number,
    }


def _change(result: Result, at: datetime) -> Change:
    attempt, outcome = result.attempt, result.outcome
    target, output, error, reason, run_at = JobState.COMPLETED, None, None, None, None
    if isinstance(outcome, JobOutput):
        output = outcome
    else:
        error, reason = _error(attempt, outcome), outcome.code
        failures = attempt.failures + 1
        if outcome.rejected:
            target = JobState.REJECTED
        elif outcome.retryable and failures < attempt.max_attempts:
            target, reason, run_at = JobState.CREATED, "retry", at + _backoff(failures)
        else:
            target = JobState.FAILED
    return Change(
        attempt.job_id,
        attempt.job_version + 1,
        JobState.PROCESSING,
        target,
        actor="worker",
        reason=reason,
        details={"attempt": attempt.number},
        output=output,
        error=error,
        run_at=run_at,
    )


def _backoff(failures: int) -> timedelta:
    """Full jitter: anything from 2 s up to a bound that doubles with every failure, 5 min at most."""
    bound = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2**failures)
    return timedelta(seconds=_random.uniform(_FIRST_BACKOFF.total_seconds(), bound.total_seconds()))
