"""The process that runs one isolated attempt: the handler, its input and a scratch folder; nothing of the platform.

`python -m relayer.jobs.child RESULT_FD OUTPUT_FD` reads one line of JSON from its standard input,

    {"parent": pid, "kind": str, "input": JSON text, "blobs": [reference, …], "limits": {"cpu_s": n, "memory_bytes": n,
     "file_bytes": n}}

in a working folder that holds the blobs as `blobs/<64 hex digits>`, and writes JSON lines to the result: any number of
`{"progress": {…}}`, then one of `{"media_type": str}` (the output is written to its descriptor), `{"cancelled": true}`,
`{"code", "message", "retryable", "retry_after_s", "rejected"}`. The end of the standard input asks it to stop.
"""

import asyncio
import errno
import json
import os
import resource
import select
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from relayer.jobs.failure import Failure
from relayer.jobs.handlers.base import JobCancelledError, JobFailedError, Output
from relayer.jobs.handlers.registry import load_handler
from relayer.jobs.plain_text import progress_text
from relayer.jobs.tied import die_with
from relayer.store.blobs import CHUNK_BYTES

# Between the signal that ends a process which used up its processor time and the one that it cannot delay.
_CPU_SLACK_S = 5


class ChildContext:
    """What an isolated handler may ask for."""

    def __init__(self, folder: Path, references: list[str], *, result_fd: int, stop_fd: int) -> None:
        self._folder = folder
        self._references = references
        self._result_fd = result_fd
        self._stop = select.poll()
        self._stop.register(stop_fd, select.POLLIN)

    @property
    def scratch(self) -> Path:
        """The attempt's own folder for files; it goes when the attempt ends."""
        return self._folder / "work"

    async def read_blob(self, reference: str) -> AsyncIterator[bytes]:
        """Stream a blob that the input names."""
        if reference not in self._references:
            raise JobFailedError("unknown_blob", f"the input does not name the blob {reference}")
        with (self._folder / "blobs" / reference.removeprefix("sha256:")).open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

    def report(self, progress: dict[str, Any]) -> None:
        """Tell the platform how far the job is."""
        answer(self._result_fd, {"progress": json.loads(progress_text(progress))})

    def is_cancelled(self) -> bool:
        """Whether the attempt should come to an end; after a time of grace its process is killed."""
        return bool(self._stop.poll(0))

    def check_cancelled(self) -> None:
        """Raise where the attempt should come to an end."""
        if self.is_cancelled():
            raise JobCancelledError


def answer(result_fd: int, line: dict[str, Any]) -> None:
    """Write one JSON line, whole."""
    with os.fdopen(os.dup(result_fd), "wb") as pipe:
        pipe.write(json.dumps(line).encode() + b"\n")


async def _run(request: dict[str, Any], context: ChildContext, output_fd: int) -> dict[str, Any]:
    try:
        handler = load_handler(request["kind"])
        output = await handler.run(handler.input_model.model_validate_json(request["input"]), context)
        failure = await _write(output, output_fd)
    except JobCancelledError:
        return {"cancelled": True}
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises is how its job ended
        return _answer_of(Failure.of(error))
    return {"media_type": output.media_type} if failure is None else _answer_of(failure)


def _answer_of(failure: Failure) -> dict[str, Any]:
    fields = vars(failure).copy()
    wait = fields.pop("retry_after")
    return fields | {"retry_after_s": wait and wait.total_seconds()}


async def _write(output: Output, output_fd: int) -> Failure | None:
    """Write the output; give a failure where it is larger than it may be."""
    try:
        with os.fdopen(output_fd, "wb", closefd=False) as file:
            async for chunk in output.chunks:
                await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        return Failure(
            "output_too_large", "the output is larger than a blob may be; split it", retryable=False
        )
    return None


def _limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for which, soft, hard in (
        (resource.RLIMIT_CPU, limits["cpu_s"], limits["cpu_s"] + _CPU_SLACK_S),
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
    ):
        resource.setrlimit(which, (soft, hard))


def _take_request() -> tuple[dict[str, Any], int]:
    """Read the request; give it and the descriptor that tells of the stop, out of the handler's way."""
    stop_fd = os.dup(0)
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(stop_fd, CHUNK_BYTES)
        if not part:
            sys.exit("the parent died before it said what to do")
        line += part
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    request: dict[str, Any] = json.loads(line)
    return request, stop_fd


async def _main(result_fd: int, output_fd: int) -> None:
    request, stop_fd = _take_request()
    die_with(request["parent"])
    # Whoever stops a whole group of processes means the platform, which ends this one in order.
    signal.signal(signal.SIGTERM, lambda *_: None)
    for descriptor in (result_fd, output_fd):
        os.set_inheritable(descriptor, False)
    _limit(request["limits"])
    context = ChildContext(Path.cwd(), request["blobs"], result_fd=result_fd, stop_fd=stop_fd)
    # Before the loop ends: threads that the handler left behind would hold it up.
    answer(result_fd, await _run(request, context, output_fd))


if __name__ == "__main__":
    asyncio.run(_main(*map(int, sys.argv[1:])))
