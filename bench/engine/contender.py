"""What a contender is: two workers, a way to submit no-op jobs to them, and a way to see that all is done."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from bench.engine import environment, processes
from bench.engine.marks import Marks
from bench.engine.servers import Stores
from relayer.local.process import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


class Contender(ABC):
    """One engine for one turn; a context manager that starts its processes and stops them.

    Jobs are numbered from 0 through a whole turn, and each number is submitted once.
    """

    name: ClassVar[str]

    def __init__(self, stores: Stores, home: Path) -> None:
        self.stores = stores
        self.home = home
        self.marks = Marks(home / "marks")
        self._parts: dict[str, list[ServerProcess]] = {}

    @abstractmethod
    def start(self) -> None:
        """Start workers and whatever else takes part."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Give what of its settings a reader of the report needs to know; called after `start`."""

    @abstractmethod
    def submit_many(self, numbers: Sequence[int]) -> None:
        """Submit jobs, as fast as that goes; not measured."""

    @abstractmethod
    def submit_one(self, number: int) -> int:
        """Submit a job as a client does; give when the call returned, in nanoseconds since the epoch."""

    @abstractmethod
    def is_settled(self, total: int) -> bool:
        """Whether the engine's own books on all `total` jobs that ran are closed."""

    def check(self, total: int) -> None:
        """Raise `CountError` unless the engine did all `total` jobs exactly once."""
        self.marks.require_each_once(total)

    @property
    def pids(self) -> dict[str, list[int]]:
        """The root processes by part, the shared servers among them."""
        own = {name: [one.pid for one in part if one.pid] for name, part in self._parts.items()}
        return own | {name: [pid] for name, pid in self.stores.pids.items()}

    def hold(self) -> None:
        """Stop every process of the contender where it is."""
        processes.hold(self._own_pids())

    def resume(self) -> None:
        """Let them go on."""
        processes.resume(self._own_pids())

    def require_alive(self) -> None:
        """Raise `ServerError` if a process ended."""
        for part in self._parts.values():
            for process in part:
                if not process.alive:
                    raise process.failure()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop every process."""
        self.resume()
        for part in reversed(self._parts.values()):
            for process in part:
                process.stop()

    def launch(
        self, part: str, arguments: Sequence[str], env: Mapping[str, str], python: Path = Path(sys.executable)
    ) -> None:
        """Start a Python process that finds this folder's modules and knows where to leave marks."""
        running = self._parts.setdefault(part, [])
        process = ServerProcess(
            f"{self.name} {part}",
            [python, *arguments],
            log=self.home / f"{self.name}-{part}-{len(running)}.log",
            env={"PYTHONPATH": str(ROOT), environment.MARKS: str(self.marks.path)} | dict(env),
            cwd=self.home,
        )
        process.start()
        running.append(process)

    def _own_pids(self) -> list[int]:
        return [pid for name, pids in self.pids.items() if name not in self.stores.pids for pid in pids]
