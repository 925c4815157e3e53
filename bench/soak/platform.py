"""The processes of the soak: embedded stores, an API, two relayers and two pools, each started again when it ends."""

import asyncio
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretBytes, SecretStr

from bench.engine.contender import ROOT
from bench.engine.processes import descendants
from bench.engine.servers import make_database
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.process import LOCALHOST, ServerError, ServerProcess, free_port
from relayer.local.valkey import EmbeddedValkey
from relayer.settings import DatabaseSettings, KeySettings
from relayer.store import registries
from relayer.store.database import Database
from relayer.tenants.service import TenantService

_CHAIN_ID = 31337
_ADDRESS = bytes(19) + b"\x01"
_LOOPS = ("dispatcher", "reaper", "canceller", "redriver")
_RESTART_AFTER_S = 0.5
LEASE_S = 5
# Leases are short, so that a short run sees many of them end; a job may lose its worker as often as it takes.
_LIMITS = {
    "JOBSEAL_WORKER_LEASE": f"PT{LEASE_S}S",
    "JOBSEAL_WORKER_RENEW_EVERY": "PT1S",
    "JOBSEAL_WORKER_INLINE": "1",
    "JOBSEAL_WORKER_ISOLATED": "1",
    "JOBSEAL_WORKER_CANCEL_GRACE": "PT1S",
    "JOBSEAL_WORKER_DRAIN_GRACE": "PT2S",
    "JOBSEAL_REAPER_MAX_LOSSES": "1000",
    "JOBSEAL_REAPER_FORCE_CANCEL_AFTER": "PT5S",
}


@dataclass
class Platform:
    """What runs; `keys` are API keys, one a tenant."""

    home: Path
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    api_port: int = field(default_factory=free_port)
    keys: list[str] = field(default_factory=list)
    owner_url: str = ""
    services: dict[str, ServerProcess] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def api_url(self) -> str:
        """Where the API listens."""
        return f"http://{LOCALHOST}:{self.api_port}"

    def tree(self, service: str) -> list[int]:
        """Give the processes of a service, its own first."""
        pid = self.services[service].pid
        return [] if pid is None else descendants(pid)

    def prepare(self) -> None:
        """Make the schema, a registry, two tenants, and what each service is told."""
        urls = make_database(self.postgres)
        self.owner_url = urls.owner
        pepper = secrets.token_urlsafe(32)
        asyncio.run(self._add_tenants(pepper))
        scratch = self.home / "scratch"
        scratch.mkdir()
        common = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'bench/handlers'}",
            "TMPDIR": str(scratch),
            "JOBSEAL_BLOBS_FOLDER": str(self.home / "blobs"),
            "JOBSEAL_REDIS_URL": self.valkey.url,
            "JOBSEAL_DATABASE_URL": urls.relayer,
        } | _LIMITS
        api = {
            "JOBSEAL_DATABASE_URL": urls.api,
            "JOBSEAL_REGISTRY_CHAIN_ID": str(_CHAIN_ID),
            "JOBSEAL_REGISTRY_ADDRESS": f"0x{_ADDRESS.hex()}",
            "JOBSEAL_KEYS_PEPPER": pepper,
            "JOBSEAL_TOKENS_ISSUER": f"http://127.0.0.1:{self.api_port}",
            "JOBSEAL_TOKENS_SECRET": secrets.token_hex(32),
            "JOBSEAL_API_PORT": str(self.api_port),
        }
        self._add("api", ["api"], common | api)
        loops = [part for name in _LOOPS for part in ("--only", name)]
        for number in (1, 2):
            self._add(f"relayer {number}", ["relayer", *loops], common)
            self._add(f"workers {number}", ["worker"], common)

    async def _add_tenants(self, pepper: str) -> None:
        async with Database(DatabaseSettings(url=SecretStr(self.owner_url), pool_size=1)) as db:
            async with db.transaction() as conn:
                await registries.register(conn, _CHAIN_ID, _ADDRESS, 0)
            service = TenantService(db, KeySettings(pepper=SecretBytes(pepper.encode())))
            for name in ("acme", "globex"):
                tenant = await service.create_tenant(name)
                self.keys.append((await service.create_key(tenant, "soak")).secret)

    def _add(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        self.services[name] = ServerProcess(
            f"jobseal {name}",
            [sys.executable, "-m", "relayer.cli.main", *arguments],
            log=self.home / "logs" / f"{name.replace(' ', '-')}.log",
            env=env,
            cwd=self.home,
        )

    def start(self) -> None:
        """Start every service, and again whenever it ends, until `stop`."""
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def stop(self) -> None:
        """Stop the services as an operator does; does nothing the second time."""
        self._stopping.set()
        self._supervisor.join()
        for name, service in self.services.items():
            for pid in self.tree(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            service.stop()

    def _supervise(self) -> None:
        while not self._stopping.wait(_RESTART_AFTER_S):
            for service in self.services.values():
                if not service.alive:
                    with suppress(ServerError):
                        service.start()

    def leftovers(self) -> list[str]:
        """Give what is left of stopped services: processes that work in this folder, and files of attempts."""
        own = {pid for pid in (self.postgres.pid, self.valkey.pid) if pid is not None}
        for server in list(own):
            own.update(descendants(server))
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal() or int(folder.name) in own:
                continue
            with suppress(OSError):
                if (folder / "cwd").readlink().is_relative_to(self.home):
                    found.append(f"process {folder.name}: {(folder / 'cmdline').read_bytes()!r}")
        found += [f"file {path}" for path in (self.home / "scratch").iterdir()]
        return found


@contextmanager
def running(home: Path) -> Iterator[Platform]:
    """Start the stores and the services; stop them in the end, and delete the database."""
    postgres, valkey = EmbeddedPostgres(home, durable=True), EmbeddedValkey(home)
    try:
        with postgres, valkey:
            platform = Platform(home, postgres, valkey)
            platform.prepare()
            platform.start()
            try:
                yield platform
            finally:
                platform.stop()
    finally:
        postgres.delete()
