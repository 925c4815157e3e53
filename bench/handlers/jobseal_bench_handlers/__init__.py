"""The no-op of Jobseal; found by an entry point where this folder's parent is on the path."""

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
