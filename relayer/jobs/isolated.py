"""Runs one attempt in a clean process of its own: the horse keeps the lease and the limits, the child does the work."""

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from relayer.jobs.blob_references import find_references, parse_reference
from relayer.jobs.child import CANCELLED
from relayer.jobs.execution import Execution, Outcome, Result
from relayer.jobs.failure import Failure, Stop
from relayer.jobs.lease_keeper import Hold, LeaseKeeper
from relayer.jobs.records import OpenAttempt
from relayer.jobs.transition import JobOutput
from relayer.seal.commitment import parse_json
from relayer.store.blobs import CHUNK_BYTES, BlobStore, BlobTooLargeError

_LOG_TAIL_BYTES = 4096
_LONGEST_LINE_BYTES = 1 << 20
# All that a child sees of the platform's environment.
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")


class IsolatedWorker:
    """Runs attempts of isolated handlers, one at a time."""

    def __init__(
        self,
        execution: Execution,
        keeper: LeaseKeeper,
        blobs: BlobStore,
        *,
        max_bytes: int,
        memory_bytes: int,
    ) -> None:
        self._execution = execution
        self._keeper = keeper
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._memory_bytes = memory_bytes

    async def run(self, attempt_id: UUID) -> None:
        """Open an attempt, run it in a child process, and finish it; nothing where it is not ours."""
        for attempt in await self._execution.open([attempt_id]):
            hold = self._keeper.hold(attempt)
            try:
                result = await self._result(attempt, hold)
                if result.outcome is not Stop.LOST:
                    await self._execution.finish([result])
            finally:
                self._keeper.release(attempt)

    async def _result(self, attempt: OpenAttempt, hold: Hold) -> Result:
        with tempfile.TemporaryDirectory(prefix="jobseal-attempt-", ignore_cleanup_errors=True) as folder:
            scratch = Path(folder)
            # A file tells the child: a handler may look at it as often as it likes.
            hold.on_stop = (scratch / CANCELLED).touch
            outcome: Outcome
            try:
                async with asyncio.timeout(attempt.run_limit.total_seconds()):
                    outcome = await self._outcome(attempt, scratch, hold)
            except TimeoutError:
                outcome = Failure.of_time(attempt.run_limit)
            except BlobTooLargeError as error:
                outcome = Failure("output_too_large", str(error), retryable=False)
            except OSError as error:
                outcome = Failure(
                    "worker_error", f"the worker cannot run it: {error.strerror}", retryable=True
                )
            except asyncio.CancelledError:
                if hold.stop is None:
                    raise
                outcome = hold.stop
            return Result(attempt, outcome, _log_tail(scratch / "log"))

    async def _outcome(self, attempt: OpenAttempt, scratch: Path, hold: Hold) -> Outcome:
        references = sorted(
            {reference for _, reference in find_references(parse_json(attempt.input.encode()))}
        )
        await self._lay_out(scratch, references)
        request = {
            "parent": os.getpid(),
            "kind": attempt.kind,
            "input": attempt.input,
            "blobs": references,
            "limits": {
                "cpu_s": max(1, math.ceil(attempt.run_limit.total_seconds())),
                "memory_bytes": self._memory_bytes,
                "file_bytes": self._max_bytes,
            },
        }
        answer, status = await _converse(request, hold, scratch)
        if answer is None:
            return Failure("handler_crashed", f"the handler's process {_ended(status)}", retryable=True)
        if answer.get("cancelled"):
            return hold.stop or Failure(
                "handler_error", "the handler stopped although nobody asked", retryable=True
            )
        if "code" in answer:
            wait = answer.pop("retry_after_s")
            return Failure(**answer, retry_after=None if wait is None else timedelta(seconds=wait))
        stored = await self._blobs.put(_read(scratch / "output"), self._max_bytes)
        return JobOutput(stored.hash, stored.size, answer["media_type"])

    async def _lay_out(self, scratch: Path, references: list[str]) -> None:
        """Make the folders, and copy the blobs: the store's own files are nothing for a handler to touch."""
        (scratch / "work").mkdir()
        (scratch / "blobs").mkdir()
        for reference in references:
            blob_hash = parse_reference(reference)
            assert blob_hash is not None
            with (scratch / "blobs" / blob_hash.hex()).open("wb") as file:
                async for chunk in self._blobs.read(blob_hash):
                    await asyncio.to_thread(file.write, chunk)


async def _converse(
    request: dict[str, Any], hold: Hold, scratch: Path
) -> tuple[dict[str, Any] | None, int | None]:
    """Run the child; give its last answer, None if it died without one, and its exit status."""
    reading, writing = os.pipe()
    try:
        with (scratch / "log").open("wb") as log:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "relayer.jobs.child", str(writing)),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=scratch,
                env=_environment(scratch),
                pass_fds=[writing],
                start_new_session=True,
            )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        assert child.stdin is not None
        with contextlib.suppress(ConnectionError):
            child.stdin.write(json.dumps(request).encode())
            await child.stdin.drain()
        child.stdin.close()
        answer = await _listen(reading, hold)
        return answer, await child.wait()
    finally:
        # Whatever the handler started goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


async def _listen(reading: int, hold: Hold) -> dict[str, Any] | None:
    lines = asyncio.StreamReader(limit=_LONGEST_LINE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(reading, "rb")
    )
    try:
        while line := await lines.readline():
            answer: dict[str, Any] = json.loads(line)
            if "progress" not in answer:
                return answer
            hold.progress = answer["progress"]
    finally:
        transport.close()
    return None


def _environment(scratch: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    code = os.pathsep.join(path for path in sys.path if path)
    return kept | {"PYTHONPATH": code, "HOME": str(scratch / "work"), "TMPDIR": str(scratch / "work")}


def _ended(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status} and without an answer"


def _log_tail(log: Path) -> str | None:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            tail = file.read().decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    except FileNotFoundError:
        return None
    return tail or None


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
