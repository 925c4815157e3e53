"""What the embedded servers have in common."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from relayer.local.process import ServerError, ServerProcess


class EmbeddedServer(ABC):
    """A server that can be started, watched, stopped and started again on what it kept; a context manager."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: ServerProcess | None = None

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        """The id of its process, also after its death; None before the first start."""
        return self._process.pid if self._process else None

    def failure(self) -> ServerError:
        """Say in one line why a server that was started is dead."""
        assert self._process is not None
        return self._process.failure()

    @abstractmethod
    def start(self) -> None:
        """Start the server and return when it answers; `ServerError` if it does not."""

    def stop(self) -> None:
        """Stop the server, within seconds; does nothing if it is not running."""
        if self._process:
            self._process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
