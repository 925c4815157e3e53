"""Kinds that behave in ways that tests need; found by entry points where this folder's parent is on the path."""

import asyncio
import os
import signal
from pathlib import Path

from relayer.jobs.handlers.base import (
    Context,
    HandlerInput,
    JobFailedError,
    JobRejectedError,
    Mode,
    Output,
)


class SleepInput(HandlerInput):
    seconds: float
    marks: str | None = None


class Sleep:
    """Sleeps; with a file `marks` it adds a line to it, and sleeps only where that is the first."""

    kind = "test.sleep"
    mode = Mode.ISOLATED
    input_model = SleepInput

    async def run(self, job_input: SleepInput, context: Context) -> Output:
        context.report({"asleep": True})
        if job_input.marks is None or _mark(job_input.marks) == 1:
            await asyncio.sleep(job_input.seconds)
        return Output.json({"slept": job_input.seconds})


def _mark(path: str) -> int:
    """Add a line to a file, and give how many it has."""
    with Path(path).open("a+", encoding="utf-8") as file:
        file.write("started\n")
        file.seek(0)
        return len(file.readlines())


class Nap(Sleep):
    """The same on the worker's own loop."""

    kind = "test.nap"
    mode = Mode.INLINE


class FailInput(HandlerInput):
    retryable: bool = False


class Fail:
    kind = "test.fail"
    mode = Mode.ISOLATED
    input_model = FailInput

    async def run(self, job_input: FailInput, context: Context) -> Output:
        raise JobFailedError("out_of_luck", "it was not to be", retryable=job_input.retryable)


class Empty(HandlerInput):
    pass


class Crash:
    kind = "test.crash"
    mode = Mode.ISOLATED
    input_model = Empty

    async def run(self, job_input: Empty, context: Context) -> Output:
        print("last words", flush=True)  # noqa: T201 - what a handler prints is its log
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class CrashInline(Crash):
    """Takes the worker with it, and whoever runs beside."""

    kind = "test.crash.inline"
    mode = Mode.INLINE


class Reject:
    kind = "test.reject"
    mode = Mode.ISOLATED
    input_model = Empty

    async def run(self, job_input: Empty, context: Context) -> Output:
        raise JobRejectedError("not_here", "this kind takes no jobs")


class Environment:
    """Gives the names of the environment's variables."""

    kind = "test.environment"
    mode = Mode.ISOLATED
    input_model = Empty

    async def run(self, job_input: Empty, context: Context) -> Output:
        return Output.json(sorted(os.environ))


class FillInput(HandlerInput):
    size: int
    text: str = "x"


class Fill:
    """Gives an output of a size."""

    kind = "test.fill"
    mode = Mode.INLINE
    input_model = FillInput

    async def run(self, job_input: FillInput, context: Context) -> Output:
        return Output.of_bytes("text/plain", job_input.text.encode() * job_input.size)


class CopyInput(HandlerInput):
    blob: str


class Copy:
    """Gives what a blob holds."""

    kind = "test.copy"
    mode = Mode.ISOLATED
    input_model = CopyInput

    async def run(self, job_input: CopyInput, context: Context) -> Output:
        return Output("text/plain", context.read_blob(job_input.blob))


class QuickCopy(Copy):
    """The same on the worker's own loop."""

    kind = "test.quick-copy"
    mode = Mode.INLINE
