"""A server as a child process: started with a log file, tied to this process's life, stopped with its whole group."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from relayer.model.errors import JobsealError

LOCALHOST = "127.0.0.1"

_CHILD = Path(__file__).with_name("child.py")
_POLL_SECONDS = 0.02
# Below every common range of ephemeral ports, so that no outgoing connection takes a port between the choice and the
# server's bind.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_MINIMAL_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class ServerError(JobsealError):
    """A server did not start or died; the text is one line with its name, the reason and where to read more."""


@dataclass(frozen=True)
class User:
    """Whom a child becomes before it runs its program."""

    uid: int
    gid: int


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nothing listens on; this process gets each port once."""
    while True:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if port not in _given_ports and not _port_in_use(port):
            _given_ports.add(port)
            return port


def require_free_port(name: str, port: int) -> None:
    """Raise `ServerError` if something listens on the port: a server's own message drowns in its log."""
    if _port_in_use(port):
        raise ServerError(
            f"{name} cannot start: {LOCALHOST}:{port} is in use by another program; stop it or choose another port"
        )


def secret_file(path: Path) -> str:
    """Give the random secret kept in the file, made on first use; nobody but the owner can read it."""
    with suppress(FileNotFoundError):
        return path.read_text()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, secrets.token_urlsafe(32))
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


class ServerProcess:
    """One child process in a session of its own, so that a terminal's Ctrl-C reaches the parent alone.

    On Linux the kernel sends the child `death_signal` when this process dies, however it dies. What the child starts
    itself is in its process group and is killed as soon as the child is found dead. Everything the child writes is
    appended to `log`. The environment is a minimal one and `env` on top of it: no secret of the parent is inherited.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: User | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._env = _MINIMAL_ENVIRONMENT | dict(env or {})
        self._cwd = cwd
        self._user = user
        self._stop_signal = stop_signal
        self._death_signal = death_signal
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._collecting = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The id of the child that was started last; None before the first start."""
        return self._child.pid if self._child else None

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._collect() is None

    @property
    def exit_status(self) -> int | None:
        """How the child ended: its exit status, or the negated signal number; None if it runs or never ran."""
        return self._collect() if self._child else None

    def start(self) -> None:
        """Start the child; to know when it serves, see `wait_ready`."""
        if self.alive:
            raise ServerError(f"{self.name} runs already, as process {self.pid}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._log_start = os.fstat(descriptor).st_size
            self._child = _launcher.run(lambda: self._popen(descriptor))
        finally:
            os.close(descriptor)

    def wait_ready(self, ready: Callable[[], bool], limit: float = 30.0) -> None:
        """Return once `ready()` is true; otherwise stop the child and raise `ServerError`, after `limit` seconds or its death."""
        deadline = time.monotonic() + limit
        while self.alive:
            if ready():
                return
            if time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"{self.name} did not answer within {limit:g} s; see {self.log}")
            time.sleep(_POLL_SECONDS)
        raise self.failure()

    def wait(self, limit: float) -> int | None:
        """Wait for the child's end and give its exit status; None if it still runs after `limit` seconds."""
        deadline = time.monotonic() + limit
        while self.alive and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return self.exit_status

    def stop(self, limit: float = 20.0) -> int | None:
        """Ask the child to stop, kill its group after `limit` seconds; give its exit status. Does nothing if it is not running."""
        if not self.alive:
            return self.exit_status
        self._signal(self._stop_signal)
        if self.wait(limit) is None:
            self.kill()
        return self.exit_status

    def kill(self) -> None:
        """Kill the child and its group at once (SIGKILL)."""
        if self._child and self.alive:
            _kill_group(self._child.pid)
            self._child.wait()
            self._collect()

    def log_tail(self, lines: int = 20) -> str:
        """Give the last lines that the child has written since its start."""
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, end - 64 * 1024))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def failure(self) -> ServerError:
        """Say in one line why the child is dead, by the gravest of its last words."""
        said = [line.strip() for line in self.log_tail().splitlines() if line.strip()]
        grave = [line for line in said if "FATAL" in line or "rror" in line]
        reason = (grave or said or ["it wrote nothing"])[-1][:300]
        return ServerError(f"{self.name} stopped with status {self.exit_status}: {reason} (see {self.log})")

    def _popen(self, output: int) -> subprocess.Popen[bytes]:
        user = self._user or User(-1, -1)
        tie = [os.getpid(), int(self._death_signal), user.uid, user.gid]
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_CHILD), *map(str, tie), *self._command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,
        )

    def _signal(self, number: signal.Signals) -> None:
        if self._child:
            with suppress(ProcessLookupError):
                self._child.send_signal(number)

    def _collect(self) -> int | None:
        """Reap the child if it is dead, and at that moment kill what is left of its group."""
        assert self._child is not None
        with self._collecting:
            if self._child.returncode is None and self._child.poll() is not None:
                _kill_group(self._child.pid)
            return self._child.returncode


class _Launcher:
    """Starts children from one thread that never ends.

    Linux sends a child's death signal when the *thread* that started it ends; were a server started from a passing
    thread, it would die with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: SimpleQueue[
            tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]
        ]
        self._thread: threading.Thread | None = None

    def run(self, launch: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Call `launch` in the lasting thread and give what it gives."""
        with self._lock:
            if self._thread is None:
                self._orders = SimpleQueue()
                self._thread = threading.Thread(target=self._serve, name="server-launcher", daemon=True)
                self._thread.start()
        started: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((launch, started))
        return started.result()

    def _serve(self) -> None:
        while True:
            launch, started = self._orders.get()
            try:
                started.set_result(launch())
            except BaseException as error:  # noqa: BLE001 - the caller gets it, the thread must live on
                started.set_exception(error)


def _renew_launcher() -> None:
    """A forked child has no launcher thread: threads do not survive a fork."""
    global _launcher  # noqa: PLW0603 - one a process
    _launcher = _Launcher()


def _port_in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return True
    return False


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


_given_ports: set[int] = set()
_launcher = _Launcher()
os.register_at_fork(after_in_child=_renew_launcher)
