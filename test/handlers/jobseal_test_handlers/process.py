"""Isolated kinds that try the walls of their process."""

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobseal_test_handlers.behaviour import mark
from relayer.jobs.handlers.base import Context, HandlerInput, Mode, Output
from relayer.jobs.handlers.policy import RetryPolicy

_PR_SET_PDEATHSIG = 1


class SpyInput(HandlerInput):
    pass


class Spy:
    """Gives all that its process can see of the platform."""

    kind = "test.spy"
    mode = Mode.ISOLATED
    input_model = SpyInput

    async def run(self, job_input: SpyInput, context: Context) -> Output:
        assert context.scratch is not None
        links = {}
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            try:
                links[name] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
            except FileNotFoundError:
                continue
        seen: dict[str, Any] = {
            "environ": Path("/proc/self/environ").read_bytes().decode(),
            "argv": Path("/proc/self/cmdline").read_bytes().decode(),
            "os.environ": dict(os.environ),
            "descriptors": links,
            "stdin": sys.stdin.read(),
            "modules": sorted({"psycopg", "redis", "rq"} & set(sys.modules)),
            "scratch": str(context.scratch),
        }
        return Output.of_bytes("application/json", json.dumps(seen).encode())


class WallInput(HandlerInput):
    wall: str
    note: str = ""


class Wall:
    """Runs into one wall: the method of that name, which gives an output or has the job wait for its end."""

    kind = "test.wall"
    mode = Mode.ISOLATED
    input_model = WallInput
    retry = RetryPolicy(max_attempts=1)

    async def run(self, job_input: WallInput, context: Context) -> Output:
        assert context.scratch is not None
        output: Output | None = getattr(self, job_input.wall)(job_input.note, context.scratch)
        if output is None:
            await asyncio.sleep(600)
            raise AssertionError
        return output

    def memory(self, note: str, scratch: Path) -> None:
        kept = [bytearray(1 << 26) for _ in range(1 << 10)]
        raise AssertionError(len(kept))

    def cpu(self, note: str, scratch: Path) -> None:
        while True:
            pass

    def file(self, note: str, scratch: Path) -> None:
        with (scratch / "large").open("wb") as file:
            for _ in range(1 << 10):
                file.write(bytes(1 << 20))

    def output(self, note: str, scratch: Path) -> Output:
        return Output.of_bytes("text/plain", bytes(5 << 20))

    def log(self, note: str, scratch: Path) -> None:
        print(note * 100_000 + "the end\n\xff", end="")  # noqa: T201 - what a handler prints is its log
        os.kill(os.getpid(), signal.SIGKILL)

    def exit(self, note: str, scratch: Path) -> None:
        os._exit(0)

    def closed(self, note: str, scratch: Path) -> None:
        os.close(_result_fd())

    def nonsense(self, note: str, scratch: Path) -> None:
        os.write(_result_fd(), note.encode() + b"\n")

    def links(self, note: str, scratch: Path) -> Output:
        """Put links to the horse's own environment where the horse might read."""
        for name in ("log", "output"):
            (scratch.parent / name).unlink()
            (scratch.parent / name).symlink_to("/proc/self/environ")
        return Output.of_bytes("text/plain", b"honest")

    def thread(self, note: str, scratch: Path) -> Output:
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
        return Output.of_bytes("text/plain", b"gone")


def _result_fd() -> int:
    """Find the way to the platform, as a handler should not."""
    return int(sys.argv[1])


class SpawnInput(HandlerInput):
    marks: str
    ends: str
    seconds: float = 600.0


class Spawn:
    """Starts a process in a session of its own, which holds the pipe to the platform, and notes its id."""

    kind = "test.spawn"
    mode = Mode.ISOLATED
    input_model = SpawnInput

    async def run(self, job_input: SpawnInput, context: Context) -> Output:
        first = not Path(job_input.marks).exists()
        if not first:
            return Output.json("again")
        pid = os.fork()
        if pid == 0:
            os.setsid()
            time.sleep(600)
            os._exit(0)
        helper = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
        if job_input.ends == "untied":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
        mark(job_input.marks, f"{os.getpid()} {pid} {helper.pid}")
        match job_input.ends:
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "well":
                return Output.json("well")
        await asyncio.sleep(job_input.seconds)
        mark(job_input.marks, "survived")
        return Output.json("late")
