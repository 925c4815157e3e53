"""What every worker does around a handler: open attempts, then write down how they ended, fenced by their tokens."""

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.jobs import attempt_repository as attempts
from relayer.jobs import blob_repository
from relayer.jobs.backoff import backoff
from relayer.jobs.blob_repository import MadeBlob
from relayer.jobs.failure import Failure, Stop
from relayer.jobs.records import OpenAttempt
from relayer.jobs.transition import Change, JobOutput, transition
from relayer.model.clock import Clock
from relayer.model.errors import UnavailableError
from relayer.model.lifecycle import JobState
from relayer.store.blobs import BlobStore
from relayer.store.database import Database

Outcome = JobOutput | Failure | Stop
# How long an end that could not be written waits for the next try.
_TRY_AGAIN_S = 0.25


@dataclass(frozen=True)
class Result:
    """How an attempt ended: with the output it put into the blob store, with a failure, or stopped."""

    attempt: OpenAttempt
    outcome: Outcome
    log_tail: str | None = None


class _OutputsGoneError(Exception):
    """Outputs left the blob store before anybody owned them: their hashes."""


class Execution:
    """Opens and finishes attempts in the name of one worker."""

    def __init__(self, db: Database, worker: str, lease: timedelta, clock: Clock, blobs: BlobStore) -> None:
        self._db = db
        self._blobs = blobs
        self._worker = worker
        self._lease = lease
        self._clock = clock

    async def open(self, ids: Collection[UUID]) -> list[OpenAttempt]:
        """Take attempts that nobody took yet, and move their jobs to `processing`; the rest is not ours."""
        at = self._clock()
        async with self._db.statement() as conn:
            opened = await attempts.open_attempts(conn, ids, self._worker, self._lease, at)
        stopped = [_finish(one, "cancelled", None, None) for one in opened if not one.has_begun]
        if stopped:
            async with self._db.transaction() as conn:
                await attempts.finish_attempts(conn, stopped, at)
        return [one for one in opened if one.has_begun]

    async def finish(self, results: Sequence[Result]) -> set[UUID]:
        """Write down how attempts ended, all in one transaction; outputs lie in the blob store already.

        Returns:
            The ids of the attempts that were still ours; of the others nothing is written.

        Raises:
            UnavailableError: the database is away, or went away in the middle.

        """
        try:
            return await self._finish(results)
        except _OutputsGoneError as error:
            return await self.finish([_made_again(one, error.args) for one in results])

    async def finish_while_held(
        self, results: Sequence[Result], is_held: Callable[[OpenAttempt], bool]
    ) -> set[UUID]:
        """Do as `finish` does, and try again for as long as leases are held.

        What was worked out is not lost because the database is away for a moment.
        """
        left = list(results)
        while left := [one for one in left if is_held(one.attempt)]:
            try:
                return await self.finish(left)
            except (UnavailableError, psycopg.OperationalError):
                # The outcome of a lost commit is unknown; where it took place, the next try finds nothing of ours.
                await asyncio.sleep(_TRY_AGAIN_S)
        return set()

    async def _finish(self, results: Sequence[Result]) -> set[UUID]:
        at = self._clock()
        async with self._db.transaction() as conn:
            ours = await attempts.finish_attempts(conn, [_finish_of(one) for one in results], at)
            held = [one for one in results if one.attempt.id in ours]
            await self._own_outputs(conn, held, at)
            await transition(conn, [_change(one, at) for one in held], at)
        return ours

    async def _own_outputs(
        self, conn: AsyncConnection[TupleRow], held: Sequence[Result], at: datetime
    ) -> None:
        made = [
            MadeBlob(one.attempt.tenant_id, out.hash, out.size, out.media_type, out.content)
            for one in held
            if isinstance(out := one.outcome, JobOutput)
        ]
        if not made:
            return
        await blob_repository.own_blobs(conn, made, at)
        # The janitor deletes files under the same lock of their rows.
        gone = [one.hash for one in made if one.content is None and not await self._blobs.holds(one.hash)]
        if gone:
            raise _OutputsGoneError(*gone)


def _made_again(result: Result, gone: Collection[bytes]) -> Result:
    """Fail an attempt whose output is gone, so that another makes it again."""
    output = result.outcome
    if not isinstance(output, JobOutput) or output.content is not None or output.hash not in gone:
        return result
    message = "the output left the blob store before the job was finished"
    return replace(result, outcome=Failure("output_lost", message, retryable=True))


def _finish_of(result: Result) -> attempts.Finish:
    attempt, outcome = result.attempt, result.outcome
    if isinstance(outcome, JobOutput):
        return _finish(attempt, "succeeded", None, result.log_tail)
    if isinstance(outcome, Failure):
        return _finish(attempt, "failed", _error(attempt, outcome), result.log_tail)
    return _finish(attempt, "returned" if outcome is Stop.DRAINED else "cancelled", None, result.log_tail)


def _finish(
    attempt: OpenAttempt, state: str, error: dict[str, Any] | None, log_tail: str | None
) -> attempts.Finish:
    text = None if error is None else json.dumps(error)
    return attempts.Finish(attempt.id, attempt.fencing_token, state, text, log_tail)


def _error(attempt: OpenAttempt, failure: Failure) -> dict[str, Any]:
    return {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
        "attempt": attempt.number,
    }


def _change(result: Result, at: datetime) -> Change:
    outcome = result.outcome
    if isinstance(outcome, JobOutput):
        return _step(result.attempt, JobState.COMPLETED, output=outcome)
    if isinstance(outcome, Failure):
        return _after_failure(result.attempt, outcome, at)
    if outcome is Stop.CANCELLED:
        return _step(result.attempt, JobState.CANCELLED, reason="cancel_requested")
    return _step(result.attempt, JobState.CREATED, reason="worker_stopped", run_at=at)


def _after_failure(attempt: OpenAttempt, failure: Failure, at: datetime) -> Change:
    error = _error(attempt, failure)
    failures = attempt.failures + 1
    if failure.rejected:
        return _step(attempt, JobState.REJECTED, reason=failure.code, error=error)
    is_tried_again = (
        failure.retryable
        and (attempt.retry_codes is None or failure.code in attempt.retry_codes)
        and failures < attempt.max_attempts
    )
    if not is_tried_again:
        return _step(attempt, JobState.FAILED, reason=failure.code, error=error)
    wait = failure.retry_after
    if wait is None:
        wait = backoff(attempt.first_backoff, attempt.longest_backoff, failures)
    return _step(attempt, JobState.CREATED, reason="retry", error=error, run_at=at + wait)


def _step(attempt: OpenAttempt, target: JobState, **rest: Any) -> Change:
    details = {"attempt": attempt.number}
    if rest.get("error") is not None:
        details["error"] = rest["error"]
    return Change(
        attempt.job_id,
        attempt.job_version + 1,
        JobState.PROCESSING,
        target,
        actor="worker",
        details=details,
        **rest,
    )
