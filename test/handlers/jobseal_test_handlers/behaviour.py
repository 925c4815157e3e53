"""Kinds that stop, fail and talk in ways that a worker must cope with; each inline and isolated."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from relayer.jobs.handlers.base import (
    Context,
    HandlerInput,
    JobCancelledError,
    JobFailedError,
    JobRejectedError,
    Mode,
    Output,
)
from relayer.jobs.handlers.policy import RetryPolicy, TimeLimits

_STEP_S = 0.02


class PoliteInput(HandlerInput):
    marks: str
    seconds: float = 600.0


class Polite:
    """Works until it is asked to stop, and says in its file that it was."""

    kind = "test.polite"
    mode = Mode.ISOLATED
    input_model = PoliteInput

    async def run(self, job_input: PoliteInput, context: Context) -> Output:
        mark(job_input.marks, "started")
        context.report({"percent": 50})
        try:
            for _ in range(int(job_input.seconds / _STEP_S)):
                context.check_cancelled()
                await asyncio.sleep(_STEP_S)
        except JobCancelledError:
            mark(job_input.marks, "stopped")
            raise
        return Output.json("done")


class PoliteInline(Polite):
    kind = "test.polite.inline"
    mode = Mode.INLINE


class Stubborn:
    """Never looks whether it should stop."""

    kind = "test.stubborn"
    mode = Mode.ISOLATED
    input_model = PoliteInput

    async def run(self, job_input: PoliteInput, context: Context) -> Output:
        mark(job_input.marks, "started")
        await asyncio.sleep(job_input.seconds)
        return Output.json("done")


class StubbornInline(Stubborn):
    kind = "test.stubborn.inline"
    mode = Mode.INLINE


class Deaf(Stubborn):
    """Goes on whatever is done to its task."""

    kind = "test.deaf.inline"
    mode = Mode.INLINE

    async def run(self, job_input: PoliteInput, context: Context) -> Output:
        mark(job_input.marks, "started")
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(job_input.seconds)


class Block:
    """Holds up the loop of its worker."""

    kind = "test.block.inline"
    mode = Mode.INLINE
    input_model = PoliteInput

    async def run(self, job_input: PoliteInput, context: Context) -> Output:
        mark(job_input.marks, "started")
        time.sleep(job_input.seconds)
        return Output.json("done")


class FlakyInput(HandlerInput):
    marks: str
    failures: int
    code: str = "flaky"
    retryable: bool = True
    retry_after_s: float | None = None
    rejects: bool = False


class Flaky:
    """Fails a number of times, by the lines of its file, and then succeeds."""

    kind = "test.flaky"
    mode = Mode.ISOLATED
    input_model = FlakyInput
    retry = RetryPolicy(
        max_attempts=3, first_backoff=timedelta(milliseconds=10), longest_backoff=timedelta(milliseconds=20)
    )

    async def run(self, job_input: FlakyInput, context: Context) -> Output:
        if mark(job_input.marks, "started") <= job_input.failures:
            if job_input.rejects:
                raise JobRejectedError(job_input.code, "not this one")
            wait = job_input.retry_after_s
            raise JobFailedError(
                job_input.code,
                "not this time",
                retryable=job_input.retryable,
                retry_after=None if wait is None else timedelta(seconds=wait),
            )
        return Output.json("done")


class FlakyInline(Flaky):
    kind = "test.flaky.inline"
    mode = Mode.INLINE


class BriefInput(HandlerInput):
    pass


class Brief:
    """May run for a moment only, and takes longer."""

    kind = "test.brief"
    mode = Mode.ISOLATED
    input_model = BriefInput
    limits = TimeLimits(run=timedelta(seconds=4))

    async def run(self, job_input: BriefInput, context: Context) -> Output:
        context.report({"percent": 50})
        await asyncio.sleep(600)
        raise AssertionError


class BriefInline(Brief):
    kind = "test.brief.inline"
    mode = Mode.INLINE


class OddInput(HandlerInput):
    how: str


class _UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Odd:
    """Ends in ways that no handler should."""

    kind = "test.odd"
    mode = Mode.ISOLATED
    input_model = OddInput
    retry = RetryPolicy(max_attempts=1)

    async def run(self, job_input: OddInput, context: Context) -> Output:
        how = job_input.how
        raised: dict[str, BaseException] = {
            "surrogate": JobFailedError("odd\0", "a\udcff\0b"),
            "wait": JobFailedError("odd", "b", retryable=True, retry_after=5),  # type: ignore[arg-type]
            "code": JobFailedError(7, "c"),  # type: ignore[arg-type]
            "unspeakable": _UnspeakableError(),
            "exit": SystemExit(3),
            "interrupt": KeyboardInterrupt(),
            "cancelled": asyncio.CancelledError(),
            "stopped": JobCancelledError(),
            "timeout": TimeoutError("its own"),
            "memory": MemoryError(),
        }
        if how in raised:
            raise raised[how]
        talks: dict[str, Any] = {
            "progress-nul": {"a\0": "\ud800"},
            "progress-large": {"a": "b" * 20_000},
            "progress-object": {"a": object()},
            "progress-list": [],
        }
        if how in talks:
            context.report(talks[how])
            await asyncio.sleep(0.5)
            return Output.json("said")
        return Output.of_bytes("text/plain\r\nX: y" if how == "media-type" else "text/plain", b"fine")


class OddInline(Odd):
    kind = "test.odd.inline"
    mode = Mode.INLINE


def mark(path: str, line: str) -> int:
    """Add a line to a file, and give how many it has."""
    with Path(path).open("a+", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.seek(0)
        return len(file.readlines())
