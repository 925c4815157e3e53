"""The process that runs one isolated attempt: the handler, its input and a scratch folder; nothing of the platform.

`python -m relayer.jobs.child RESULT_FD` reads one JSON request from its standard input,

    {"parent": pid, "kind": str, "input": JSON text, "blobs": [reference, …], "limits": {"cpu_s": n, "memory_bytes": n,
     "file_bytes": n}}

in a working folder that holds the blobs as `blobs/<64 hex digits>`, and writes JSON lines to the descriptor: any number
of `{"progress": {…}}`, then one of `{"media_type": str}` (the output lies in `output`), `{"cancelled": true}`,
`{"code", "message", "retryable", "retry_after_s", "rejected"}`. A file `cancelled` in the folder asks it to stop.
"""

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from relayer.jobs.failure import Failure
from relayer.jobs.handlers.base import JobCancelledError, JobFailedError
from relayer.jobs.handlers.registry import load_handler
from relayer.jobs.tied import die_with
from relayer.store.blobs import CHUNK_BYTES

CANCELLED = "cancelled"


class ChildContext:
    """What an isolated handler may ask for."""

    def __init__(self, scratch: Path, references: list[str], result_fd: int) -> None:
        self._scratch = scratch
        self._references = references
        self._result_fd = result_fd

    @property
    def scratch(self) -> Path:
        """The attempt's own folder for files; it goes when the attempt ends."""
        return self._scratch / "work"

    async def read_blob(self, reference: str) -> AsyncIterator[bytes]:
        """Stream a blob that the input names."""
        if reference not in self._references:
            raise JobFailedError("unknown_blob", f"the input does not name the blob {reference}")
        with (self._scratch / "blobs" / reference.removeprefix("sha256:")).open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

    def report(self, progress: dict[str, Any]) -> None:
        """Tell the platform how far the job is."""
        answer(self._result_fd, {"progress": progress})

    def is_cancelled(self) -> bool:
        """Whether the attempt should come to an end; after a time of grace its process is killed."""
        return (self._scratch / CANCELLED).exists()

    def check_cancelled(self) -> None:
        """Raise where the attempt should come to an end."""
        if self.is_cancelled():
            raise JobCancelledError


def answer(result_fd: int, line: dict[str, Any]) -> None:
    """Write one JSON line, whole."""
    with os.fdopen(os.dup(result_fd), "wb") as pipe:
        pipe.write(json.dumps(line).encode() + b"\n")


async def _run(request: dict[str, Any], result_fd: int) -> dict[str, Any]:
    scratch = Path.cwd()
    handler = load_handler(request["kind"])
    context = ChildContext(scratch, request["blobs"], result_fd)
    try:
        output = await handler.run(handler.input_model.model_validate_json(request["input"]), context)
        with (scratch / "output").open("wb") as file:
            async for chunk in output.chunks:
                await asyncio.to_thread(file.write, chunk)
    except JobCancelledError:
        return {"cancelled": True}
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is how its job ended
        failure = vars(Failure.of(error)).copy()
        wait = failure.pop("retry_after")
        return failure | {"retry_after_s": wait and wait.total_seconds()}
    return {"media_type": output.media_type}


def _limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for which, value in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
    ):
        resource.setrlimit(which, (value, value))


def main(result_fd: int) -> None:
    """Run the attempt that standard input asks for."""
    request = json.load(sys.stdin)
    die_with(request["parent"])
    _limit(request["limits"])
    answer(result_fd, asyncio.run(_run(request, result_fd)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
