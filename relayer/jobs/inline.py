"""Runs short jobs side by side on the worker's own loop, and writes their ends down in groups."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any
from uuid import UUID

from relayer.jobs.blob_references import find_references, parse_reference
from relayer.jobs.execution import Execution, Outcome, Result
from relayer.jobs.failure import Failure, Stop
from relayer.jobs.handlers.base import JobCancelledError, JobFailedError
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.lease_keeper import Hold, LeaseKeeper
from relayer.jobs.records import OpenAttempt
from relayer.jobs.transition import JobOutput
from relayer.seal.commitment import parse_json
from relayer.store.blobs import BlobStore, BlobTooLargeError


class InlineContext:
    """What an inline handler may ask for; it has no scratch folder."""

    scratch = None

    def __init__(self, job_input: Any, hold: Hold, blobs: BlobStore) -> None:
        self._named = {reference for _, reference in find_references(job_input)}
        self._hold = hold
        self._blobs = blobs

    def read_blob(self, reference: str) -> AsyncIterator[bytes]:
        """Stream a blob that the input names."""
        blob_hash = parse_reference(reference)
        if blob_hash is None or reference not in self._named:
            raise JobFailedError("unknown_blob", f"the input does not name the blob {reference}")
        return self._blobs.read(blob_hash)

    def report(self, progress: dict[str, Any]) -> None:
        """Keep the progress for the next renewal of the lease."""
        self._hold.progress = progress

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
        blobs: BlobStore,
        *,
        max_bytes: int,
    ) -> None:
        self._execution = execution
        self._keeper = keeper
        self._handlers = handlers
        self._blobs = blobs
        self._max_bytes = max_bytes

    async def run(self, ids: Collection[UUID]) -> None:
        """Open attempts, run them side by side, and finish them.

        While one group's ends are being committed others come to theirs, and form the next group: a lone job is
        finished at once, a crowd in few transactions.
        """
        opened = await self._execution.open(ids)
        running = {asyncio.create_task(self._attempt(one)) for one in opened}
        try:
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                results = [result for task in done if (result := task.result()) is not None]
                await self._execution.finish(results)
                for result in results:
                    self._keeper.release(result.attempt)
        finally:
            # Leases that are left when the database went away run out, and the reaper finds them.
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for one in opened:
                self._keeper.release(one)

    async def _attempt(self, attempt: OpenAttempt) -> Result | None:
        """Run one attempt; None where its lease was lost, so that nothing of it may be written."""
        hold = self._keeper.hold(attempt)
        try:
            outcome = await self._outcome(attempt, hold)
        except (asyncio.CancelledError, JobCancelledError) as error:
            if hold.stop is None:
                if isinstance(error, asyncio.CancelledError):
                    raise
                outcome = Failure(
                    "handler_error", "the handler stopped although nobody asked", retryable=True
                )
            else:
                outcome = hold.stop
        return None if outcome is Stop.LOST else Result(attempt, outcome)

    async def _outcome(self, attempt: OpenAttempt, hold: Hold) -> Outcome:
        try:
            async with asyncio.timeout(attempt.run_limit.total_seconds()):
                handler = self._handlers[attempt.kind]
                job_input = parse_json(attempt.input.encode())
                context = InlineContext(job_input, hold, self._blobs)
                output = await handler.run(handler.input_model.model_validate_json(attempt.input), context)
                stored = await self._blobs.put(output.chunks, self._max_bytes)
        except TimeoutError:
            return Failure.of_time(attempt.run_limit)
        except BlobTooLargeError as error:
            return Failure("output_too_large", str(error), retryable=False)
        except JobCancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is how its job ended
            return Failure.of(error)
        return JobOutput(stored.hash, stored.size, output.media_type)
