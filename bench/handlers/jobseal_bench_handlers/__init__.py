"""The kinds of the benchmarks; found by entry points where this folder's parent is on the path."""

import asyncio

from bench.engine.marks import mark
from relayer.jobs.handlers.base import Context, HandlerInput, Mode, Output


class NoopInput(HandlerInput):
    """The job's number in its turn."""

    number: int


class Noop:
    """Leaves its mark; its output differs from job to job, as outputs do."""

    kind = "bench.noop"
    mode = Mode.INLINE
    input_model = NoopInput

    async def run(self, job_input: NoopInput, context: Context) -> Output:
        """Do nothing else."""
        mark(job_input.number)
        return Output.json({"number": job_input.number})


class SleepInput(HandlerInput):
    """How long to sleep, in seconds."""

    seconds: float


class Nap:
    """Sleeps on the worker's own loop."""

    kind = "bench.nap"
    mode = Mode.INLINE
    input_model = SleepInput

    async def run(self, job_input: SleepInput, context: Context) -> Output:
        """Sleep, and look now and then whether to stop."""
        left = job_input.seconds
        while left > 0:
            context.check_cancelled()
            await asyncio.sleep(min(left, 0.1))
            left -= 0.1
        return Output.json({"slept": job_input.seconds})


class Sleep(Nap):
    """Sleeps in a process of its own."""

    kind = "bench.sleep"
    mode = Mode.ISOLATED
