"""Runs short jobs side by side on the worker's own loop, and writes their ends down in groups."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any
from uuid import UUID

from relayer.jobs.blob_references import find_references, parse_reference
from relayer.jobs.execution import Execution, Outcome, Result
from relayer.jobs.failure import Failure
from relayer.jobs.handlers.base import Handler, JobCancelledError, JobFailedError
from relayer.jobs.handlers.registry import HandlerError, Handlers
from relayer.jobs.hold import Hold
from relayer.jobs.job_blobs import JobBlobs
from relayer.jobs.lease_keeper import LeaseKeeper
from relayer.jobs.plain_text import progress_text
from relayer.jobs.records import OpenAttempt
from relayer.seal.commitment import parse_json


class InlineContext:
    """What an inline handler may ask for; it has no scratch folder."""

    scratch = None

    def __init__(self, job_input: Any, hold: Hold, blobs: JobBlobs) -> None:
        self._named = {reference for _, reference in find_references(job_input)}
        self._hold = hold
        self._blobs = blobs

    def read_blob(self, reference: str) -> AsyncIterator[bytes]:
        """Stream a blob that the input names."""
        blob_hash = parse_reference(reference)
        if blob_hash is None or reference not in self._named:
            raise JobFailedError("unknown_blob", f"the input does not name the blob {reference}")
        return self._blobs.read(self._hold.attempt.tenant_id, blob_hash)

    def report(self, progress: dict[str, Any]) -> None:
        """Keep the progress for the next renewal of the lease."""
        self._hold.progress = progress_text(progress)

    def is_cancelled(self) -> bool:
        """Whether the attempt should come to an end."""
        return self._hold.stop is not None

    def check_cancelled(self) -> None:
        """Raise where the attempt should come to an end."""
        if self._hold.stop is not None:
            raise JobCancelledError


class InlineWorker:
    """Runs attempts of inline handlers, many at a time, in this process."""

    def __init__(
        self,
        execution: Execution,
        keeper: LeaseKeeper,
        handlers: Handlers,
        blobs: JobBlobs,
    ) -> None:
        self._execution = execution
        self._keeper = keeper
        self._handlers = handlers
        self._blobs = blobs
        self._ended: dict[UUID, Result] = {}
        self._recording = asyncio.Lock()

    async def run(
        self,
        ids: Collection[UUID],
        *,
        opened: Callable[[], None] = lambda: None,
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Open attempts, run them side by side with whatever else runs here, and finish them.

        Args:
            ids: the attempts.
            opened: told when those that can be are open.
            ended: told how many more of them are over, whatever became of them.

        """
        ours: list[OpenAttempt] = []
        try:
            asked = time.monotonic()
            ours = await self._execution.open(ids)
        finally:
            ended(len(ids) - len(ours))
            opened()
        # All of them at once: the first handler may hold up the loop before the second one gets its turn.
        holds = [self._keeper.hold(one, asked) for one in ours]
        await asyncio.gather(*(self._live(hold, ended) for hold in holds))

    async def _live(self, hold: Hold, ended: Callable[[int], None]) -> None:
        """Run one attempt and write its end down; a lease that is left where something broke runs out."""
        try:
            # A task of its own, so that what stops the handler never stops the writing of its end.
            result = await asyncio.create_task(self._attempt(hold))
            if result is not None:
                await self._record(result)
        finally:
            self._keeper.release(hold.attempt)
            ended(1)

    async def _record(self, result: Result) -> None:
        """Write an end down, together with those that came while others were being committed.

        A lone job is finished at once, a crowd in few transactions.
        """
        self._ended[result.attempt.id] = result
        # Whoever else is at its end by now joins.
        await asyncio.sleep(0)
        async with self._recording:
            if result.attempt.id in self._ended:
                group, self._ended = list(self._ended.values()), {}
                await self._execution.finish_while_held(group, self._keeper.is_held)

    async def _attempt(self, hold: Hold) -> Result | None:
        """Run one attempt; None where its lease was lost, so that nothing of it may be written."""
        hold.run_in(asyncio.current_task())
        try:
            outcome = await self._outcome(hold)
        except (JobCancelledError, asyncio.CancelledError):
            outcome = hold.stop or Failure.of_needless_stop()
        finally:
            hold.settle()
        if hold.was_ended and hold.stop is not None and isinstance(outcome, Failure):
            outcome = hold.stop
        return None if hold.is_lost else Result(hold.attempt, outcome)

    async def _outcome(self, hold: Hold) -> Outcome:
        attempt = hold.attempt
        clock = asyncio.timeout(attempt.run_limit.total_seconds())
        try:
            async with clock:
                handler = self._handler(attempt.kind)
                job_input = parse_json(attempt.input.encode())
                context = InlineContext(job_input, hold, self._blobs)
                output = await handler.run(handler.input_model.model_validate_json(attempt.input), context)
                return await self._blobs.put(attempt.tenant_id, output.media_type, output.chunks)
        except (JobCancelledError, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is how its job ended
            if clock.expired():
                return Failure.of_time(attempt.run_limit, is_total=attempt.is_total)
            return Failure.of(error)

    def _handler(self, kind: str) -> Handler:
        """Give the handler of a kind; what the dispatcher knows may not be installed here."""
        try:
            return self._handlers[kind]
        except KeyError as error:
            raise HandlerError(f"no plug-in of this worker offers the kind '{kind}'") from error
