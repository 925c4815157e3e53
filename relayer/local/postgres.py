"""PostgreSQL for the demo and the tests: the programs of a wheel, launched by ourselves.

The wheel's own interface is not used: started by root it adds a user to the machine and leaves a lock file that
blocks everyone else.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from relayer.local import shelter
from relayer.local.process import (
    LOCALHOST,
    ServerError,
    ServerProcess,
    free_port,
    require_free_port,
    secret_file,
    write_private,
)
from relayer.local.server import EmbeddedServer
from relayer.local.shelter import Place

SUPERUSER = "postgres"

_MAX_CONNECTIONS = 200
_INITDB_SECONDS = 120.0
_START_SECONDS = 60.0
# How long the children of a killed server may still hold its shared memory.
_LINGER_SECONDS = 10.0
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server on 127.0.0.1 with its data under `home`; passwords only, no unix socket.

    `durable=False` is for tests: a crash of the machine may then destroy the data, a crash of the server does not.
    """

    def __init__(self, home: Path, port: int | None = None, *, durable: bool = True) -> None:
        super().__init__("PostgreSQL")
        self._home = home.resolve()
        self.port = port or free_port()
        self._durable = durable
        self._log = self._home / "logs" / "postgres.log"

    @property
    def admin_dsn(self) -> str:
        """The superuser's URL of the database `postgres`: a secret."""
        return f"postgresql://{SUPERUSER}:{self._password}@{LOCALHOST}:{self.port}/postgres"

    def start(self) -> None:
        """Start the server, on its earlier data if there is any, and return when it takes connections."""
        require_free_port(self.name, self.port)
        place = shelter.settle(self._home)
        if not place.data.exists():
            self._initialise(place)
        self._process = self._server(place)
        self._start_when_memory_is_free(self._process, place)

    def delete(self) -> None:
        """Stop the server and delete its data, which may lie outside `home` when started by root."""
        self.stop()
        shelter.remove(self._home)
        self._password_file.unlink(missing_ok=True)

    @property
    def _password_file(self) -> Path:
        return self._home / "postgres.password"

    @property
    def _password(self) -> str:
        return secret_file(self._password_file)

    def _initialise(self, place: Place) -> None:
        """Make the data folder beside its place and rename it: after a kill in the middle it is made anew."""
        work = place.folder / "initdb"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        password = work / "password"
        write_private(password, self._password)
        if place.user:
            for path in (work, password):
                os.chown(path, place.user.uid, place.user.gid)
        initdb = ServerProcess(
            "initdb",
            [
                place.programs / "bin" / "initdb",
                *("--pgdata", work / "data"),
                *("--username", SUPERUSER),
                *("--auth", "scram-sha-256"),
                *("--pwfile", password),
                *("--encoding", "UTF8"),
                *("--locale", "C"),
                *("--locale-provider", "builtin"),
                *("--builtin-locale", "C.UTF-8"),
                "--no-instructions",
                *(() if self._durable else ("--no-sync",)),
            ],
            log=self._log,
            cwd=place.folder,
            user=place.user,
        )
        initdb.start()
        if initdb.wait(_INITDB_SECONDS) != 0:
            initdb.kill()
            raise initdb.failure()
        (work / "data").rename(place.data)
        shutil.rmtree(work)

    def _server(self, place: Place) -> ServerProcess:
        options = {
            "listen_addresses": LOCALHOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(_MAX_CONNECTIONS),
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._durable else _NOT_DURABLE),
        }
        return ServerProcess(
            self.name,
            [
                place.programs / "bin" / "postgres",
                *("-D", place.data),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            log=self._log,
            cwd=place.folder,
            user=place.user,
            # "Fast": ends the sessions. On the parent's death "immediate": ends every process at once, where SIGKILL
            # would leave the server's children to notice by themselves.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGQUIT,
        )

    def _start_when_memory_is_free(self, process: ServerProcess, place: Place) -> None:
        """Start, and again while the children of a server that was killed just now still hold its shared memory."""
        deadline = time.monotonic() + _LINGER_SECONDS
        while True:
            _forget_dead_server(place.data)
            process.start()
            try:
                process.wait_ready(self._answers, _START_SECONDS)
            except ServerError:
                if "still in use" not in process.log_tail() or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.admin_dsn, connect_timeout=2, sslmode="disable").close()
        except psycopg.OperationalError:
            return False
        return True


def _forget_dead_server(data: Path) -> None:
    """Delete the lock file of a killed server whose process id belongs to another program by now.

    PostgreSQL itself would believe that program to be the server and refuse to start, which is likely in a container,
    where ids are small. A server's working folder is its data folder; where that cannot be read PostgreSQL decides.
    """
    lock = data / "postmaster.pid"
    if sys.platform != "linux":
        return
    with suppress(OSError, ValueError, IndexError):
        pid = int(lock.read_text().split()[0])
        if Path(f"/proc/{pid}/cwd").readlink() != data:
            lock.unlink()
