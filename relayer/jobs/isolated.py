"""Runs one attempt in a clean process of its own: the horse keeps the lease and the limits, the child does the work."""

import asyncio
import math
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

from relayer.jobs.blob_references import find_references, parse_reference
from relayer.jobs.conversation import Conversation, Limits, Request
from relayer.jobs.execution import Execution, Outcome, Result
from relayer.jobs.failure import Failure
from relayer.jobs.handlers.base import JobFailedError
from relayer.jobs.hold import Hold
from relayer.jobs.job_blobs import JobBlobs
from relayer.jobs.lease_keeper import LeaseKeeper
from relayer.jobs.records import OpenAttempt
from relayer.jobs.scratch import remove_tree
from relayer.seal.commitment import parse_json
from relayer.store.blobs import CHUNK_BYTES, BlobCorruptError, BlobMissingError

_LOG_TAIL_BYTES = 4096


class IsolatedWorker:
    """Runs attempts of isolated handlers, one at a time.

    Args:
        execution: opens and finishes attempts.
        keeper: holds their leases.
        blobs: where inputs and outputs lie.
        scratch: where each attempt gets a folder.
        max_bytes: how large an output, and any file of a handler, may be.
        memory_bytes: how much address space a handler may have.
        cores: how many threads of a handler can run at the same time.

    """

    def __init__(
        self,
        execution: Execution,
        keeper: LeaseKeeper,
        blobs: JobBlobs,
        *,
        scratch: Path,
        max_bytes: int,
        memory_bytes: int,
        cores: int,
    ) -> None:
        self._execution = execution
        self._keeper = keeper
        self._blobs = blobs
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._memory_bytes = memory_bytes
        self._cores = cores

    async def run(self, attempt_id: UUID) -> None:
        """Open an attempt, run it in a child process, and finish it; nothing where it is not ours."""
        asked = time.monotonic()
        for attempt in await self._execution.open([attempt_id]):
            hold = self._keeper.hold(attempt, asked)
            try:
                # A task of its own, so that what stops the handler never stops the writing of its end.
                result = await asyncio.create_task(self._attempt(hold))
                await self._execution.finish_while_held([result], self._keeper.is_held)
            finally:
                self._keeper.release(attempt)

    async def _attempt(self, hold: Hold) -> Result:
        hold.run_in(asyncio.current_task())
        folder = Path(tempfile.mkdtemp(prefix="attempt-", dir=self._scratch))
        log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        output = os.open(folder / "output", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                outcome = await self._outcome(hold, folder, log, output)
            except asyncio.CancelledError:
                outcome = hold.stop or Failure.of_needless_stop()
            finally:
                hold.settle()
            return Result(hold.attempt, outcome, _log_tail(log))
        finally:
            os.close(log)
            os.close(output)
            remove_tree(folder)

    async def _outcome(self, hold: Hold, folder: Path, log: int, output: int) -> Outcome:
        attempt = hold.attempt
        clock = asyncio.timeout(attempt.run_limit.total_seconds())
        try:
            async with clock:
                request = self._request(attempt)
                await self._lay_out(folder, attempt.tenant_id, request.blobs)
                answer = await Conversation(request, hold, folder, log, output).run()
                if not isinstance(answer, str):
                    return answer
                return await self._blobs.put(attempt.tenant_id, answer, _read(output))
        except (JobFailedError, BlobMissingError, BlobCorruptError) as error:
            return Failure.of(error)
        except OSError as error:
            if clock.expired():
                return Failure.of_time(attempt.run_limit, is_total=attempt.is_total)
            return Failure("worker_error", f"the worker cannot run it: {error.strerror}", retryable=True)

    def _request(self, attempt: OpenAttempt) -> Request:
        return Request(
            attempt.kind,
            attempt.input,
            sorted({reference for _, reference in find_references(parse_json(attempt.input.encode()))}),
            Limits(
                # What a process can use up in its time; the clock of this process ends it, unless it stands still.
                cpu_s=max(1, math.ceil(attempt.run_limit.total_seconds() * self._cores)),
                memory_bytes=self._memory_bytes,
                file_bytes=self._max_bytes,
            ),
        )

    async def _lay_out(self, folder: Path, tenant: UUID, references: list[str]) -> None:
        """Make the folders, and copy the blobs: the store's own files are nothing for a handler to touch."""
        (folder / "work").mkdir()
        (folder / "blobs").mkdir()
        for reference in references:
            blob_hash = parse_reference(reference)
            assert blob_hash is not None
            with (folder / "blobs" / blob_hash.hex()).open("wb") as file:
                async for chunk in self._blobs.read(tenant, blob_hash):
                    await asyncio.to_thread(file.write, chunk)


def _log_tail(log: int) -> str | None:
    """Give the end of what the handler printed, in 4 KiB of UTF-8 at most."""
    size = os.fstat(log).st_size
    end = os.pread(log, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
    text = end.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode()[-_LOG_TAIL_BYTES:].decode(errors="ignore") or None


async def _read(output: int) -> AsyncIterator[bytes]:
    offset = 0
    while chunk := await asyncio.to_thread(os.pread, output, CHUNK_BYTES, offset):
        offset += len(chunk)
        yield chunk
