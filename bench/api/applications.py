"""The two applications as processes: Jobseal's API with everything on, and the bare one."""

import asyncio
import json
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import psycopg
from pydantic import SecretBytes, SecretStr

from bench.api import repository
from bench.engine.contender import ROOT
from bench.engine.contenders.celery import PYTHON
from bench.engine.contenders.jobseal import KIND, PLUGINS
from bench.engine.environment import MARKS
from bench.engine.servers import Stores
from relayer.local.process import LOCALHOST, ServerError, ServerProcess, free_port
from relayer.settings import DatabaseSettings, KeySettings
from relayer.store import registries
from relayer.store.database import Database
from relayer.tenants.service import TenantService

PROCESSES = 2
_READY_S = 30.0
_CHAIN_ID = 31337
_ADDRESS = bytes(19) + b"\x01"


@dataclass(frozen=True)
class Application:
    """One that runs: its processes, and the requests that it understands."""

    name: str
    port: int
    process: ServerProcess
    headers: Mapping[str, str]
    path: str
    tenant: UUID | None = None

    def submission(self) -> bytes:
        """Make a request for a new job."""
        body = json.dumps({"kind": KIND, "input": {"number": secrets.randbelow(1 << 40)}}).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "idempotency-key": secrets.token_hex(12),
        }
        return self._head("POST", self.path, headers) + body

    def read(self, job: str) -> bytes:
        """Make a request for a job."""
        return self._head("GET", f"{self.path}/{job}", {})

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        lines = {"host": LOCALHOST} | dict(self.headers) | dict(headers)
        return (
            f"{method} {path} HTTP/1.1\r\n".encode()
            + b"".join(f"{name}: {value}\r\n".encode() for name, value in lines.items())
            + b"\r\n"
        )


@contextmanager
def bare(stores: Stores, home: Path) -> Iterator[Application]:
    """Run the bare application."""
    if not PYTHON.exists():
        raise ServerError("asyncpg is not installed; run `make bench-api`")
    with psycopg.connect(stores.owner_url) as conn:
        repository.make_bare_table(conn)
    key, port = secrets.token_urlsafe(32), free_port()
    server = ["-m", "uvicorn", "bench.api.bare:app", "--workers", str(PROCESSES), "--port", str(port)]
    quick = ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log"]
    env = {
        "PYTHONPATH": str(ROOT),
        "BARE_DATABASE_URL": stores.owner_url,
        "BARE_REDIS_URL": stores.redis_url,
        "BARE_KEY": key,
    }
    process = ServerProcess("bare", [PYTHON, *server, *quick], log=home / "bare.log", env=env, cwd=home)
    application = Application("bare", port, process, {"authorization": f"Bearer {key}"}, "/jobs")
    with _running(application, "/openapi.json"):
        yield application


@contextmanager
def jobseal(stores: Stores, home: Path, *, engine: bool = False) -> Iterator[Application]:
    """Run Jobseal's API, with the job engine where it is wanted.

    Its tenant may do as much as comes, and every limit is checked all the same.
    """
    pepper = secrets.token_hex(32)
    tenant, secret = asyncio.run(_prepare(stores, pepper))
    port = free_port()
    common = {
        "PYTHONPATH": f"{ROOT}:{PLUGINS}",
        "JOBSEAL_REDIS_URL": stores.redis_url,
        "JOBSEAL_BLOBS_FOLDER": str(home / "blobs"),
        "JOBSEAL_REGISTRY_CHAIN_ID": str(_CHAIN_ID),
        "JOBSEAL_REGISTRY_ADDRESS": f"0x{_ADDRESS.hex()}",
        MARKS: str(home / "marks"),
    }
    api = common | {
        "JOBSEAL_DATABASE_URL": stores.api_url,
        "JOBSEAL_KEYS_PEPPER": pepper,
        "JOBSEAL_TOKENS_ISSUER": f"http://{LOCALHOST}:{port}",
        "JOBSEAL_TOKENS_SECRET": secrets.token_hex(32),
        "JOBSEAL_API_PORT": str(port),
        "JOBSEAL_API_PROCESSES": str(PROCESSES),
    }
    relayer = common | {"JOBSEAL_DATABASE_URL": stores.relayer_url}
    process = _command("api", ["api"], api, home)
    application = Application(
        "jobseal", port, process, {"authorization": f"Bearer {secret}"}, "/v1/jobs", tenant
    )
    with ExitStack() as stack:
        stack.enter_context(_running(application, "/health/ready"))
        if engine:
            for name, arguments in (
                ("worker", ["worker"]),
                ("relayer", ["relayer", *(f"--only={loop}" for loop in ("dispatcher", "reaper"))]),
            ):
                part = _command(name, arguments, relayer, home)
                part.start()
                stack.callback(part.stop)
        yield application


def _command(name: str, arguments: list[str], env: Mapping[str, str], home: Path) -> ServerProcess:
    command = [sys.executable, "-m", "relayer.cli.main", *arguments]
    return ServerProcess(f"jobseal {name}", command, log=home / f"{name}.log", env=env, cwd=home)


async def _prepare(stores: Stores, pepper: str) -> tuple[UUID, str]:
    """Register the registry and make a tenant; give it and its key."""
    async with Database(DatabaseSettings(url=SecretStr(stores.owner_url))) as db:
        async with db.transaction() as conn:
            await registries.register(conn, _CHAIN_ID, _ADDRESS, 0)
        tenants = TenantService(db, KeySettings(pepper=SecretBytes(pepper.encode())))
        tenant = await tenants.create_tenant(f"bench-{uuid4()}")
        async with db.transaction() as conn:
            await repository.lift_limits(conn, tenant)
        return tenant, (await tenants.create_key(tenant, "bench")).secret


@contextmanager
def _running(application: Application, path: str) -> Iterator[None]:
    process = application.process
    process.start()
    try:
        process.wait_ready(lambda: _answers(f"http://{LOCALHOST}:{application.port}{path}"), _READY_S)
        yield
    finally:
        process.stop()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5.0).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False
