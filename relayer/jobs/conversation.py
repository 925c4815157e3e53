"""What a work-horse says to the child that runs its attempt, and what it hears from it, which may be anything."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from relayer.jobs.failure import Failure, Stop
from relayer.jobs.handlers.base import require_media_type
from relayer.jobs.hold import Hold
from relayer.jobs.plain_text import progress_text
from relayer.jobs.tied import end_descendants

_LONGEST_LINE_BYTES = 1 << 18
# How long a child may take to end once it has nothing more to say, or to be heard once it has ended.
_LAST_WORDS_S = 2.0
# All that a child sees of the platform's environment.
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True)
class Limits:
    """What a child's process may use: processor time, address space, the size of any one file."""

    cpu_s: int
    memory_bytes: int
    file_bytes: int


@dataclass(frozen=True)
class Request:
    """What a child is to do: `input` is JSON text, `blobs` the references of the blobs that lie in its folder."""

    kind: str
    input: str
    blobs: list[str]
    limits: Limits


class Conversation:
    """One child, from its start until it and all that it started are gone.

    Args:
        request: what it is to do.
        hold: whose progress it tells, and what it is told to stop by.
        folder: where it works.
        log: the descriptor to which it prints.
        output: the descriptor to which it writes its output.

    """

    def __init__(self, request: Request, hold: Hold, folder: Path, log: int, output: int) -> None:
        self._request = request
        self._hold = hold
        self._folder = folder
        self._log = log
        self._output = output

    async def run(self) -> str | Failure | Stop:
        """Give the media type of the output, or why there is none."""
        reading, writing = os.pipe()
        try:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-u", "-m", "relayer.jobs.child", str(writing), str(self._output)),
                stdin=asyncio.subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                cwd=self._folder,
                env=_environment(self._folder),
                pass_fds=[writing, self._output],
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        listening = asyncio.create_task(self._listen(reading))
        ending = asyncio.create_task(child.wait())
        try:
            await self._ask(child)
            await asyncio.wait({listening, ending}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                # What the child left behind may still hold its end of the pipe.
                await asyncio.to_thread(end_descendants)
            await asyncio.wait({listening}, timeout=_LAST_WORDS_S)
            answer = listening.result() if listening.done() else None
            if answer is None:
                await asyncio.wait({ending}, timeout=_LAST_WORDS_S)
                return _unanswered(child.returncode)
            return answer
        finally:
            listening.cancel()
            # Whatever the handler started goes with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await ending
            end_descendants()

    async def _ask(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        request = {"parent": os.getpid(), **asdict(self._request)}
        with contextlib.suppress(ConnectionError):
            child.stdin.write(json.dumps(request).encode() + b"\n")
            await child.stdin.drain()
        self._hold.on_stop = child.stdin.close
        if self._hold.stop is not None:
            child.stdin.close()

    async def _listen(self, reading: int) -> str | Failure | Stop | None:
        """Hear the child's answer; None where it ended without one."""
        lines = asyncio.StreamReader(limit=_LONGEST_LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(reading, "rb")
        )
        try:
            while line := await lines.readline():
                answer = json.loads(line)
                if "progress" not in answer:
                    return self._understand(answer)
                self._hold.progress = progress_text(answer["progress"])
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            # The handler's code can reach the pipe, too.
            return Failure(
                "handler_crashed", "the handler's process gave an answer that is none", retryable=True
            )
        finally:
            transport.close()
        return None

    def _understand(self, answer: dict[str, Any]) -> str | Failure | Stop:
        if "cancelled" in answer:
            return self._hold.stop or Failure.of_needless_stop()
        if "code" in answer:
            wait = answer["retry_after_s"]
            return Failure(
                answer["code"],
                answer["message"],
                answer["retryable"],
                None if wait is None else timedelta(seconds=wait),
                rejected=answer["rejected"] is True,
            )
        return require_media_type(answer["media_type"])


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    code = os.pathsep.join(path for path in sys.path if path)
    return kept | {"PYTHONPATH": code, "HOME": str(folder / "work"), "TMPDIR": str(folder / "work")}


def _unanswered(status: int | None) -> Failure:
    if status is not None and -status == signal.SIGXCPU:
        return Failure(
            "run_limit", "the job used more processor time than its run limit allows", retryable=False
        )
    if status is None:
        how = "cut its connection to the platform"
    elif status < 0:
        how = f"was ended by {signal.Signals(-status).name}"
    else:
        how = f"ended with status {status} and without an answer"
    return Failure("handler_crashed", f"the handler's process {how}", retryable=True)
