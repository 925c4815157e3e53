"""The real servers, stopped (SIGSTOP) and killed (SIGKILL): what clients are answered, and how soon."""

import asyncio
import json
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Message

from api.app import Settings, create_app
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.server import EmbeddedServer
from relayer.local.valkey import EmbeddedValkey
from relayer.settings import DatabaseSettings, RedisSettings
from relayer.store import registries, roles
from relayer.store.database import Database
from relayer.store.migrate import migrate
from relayer.store.registries import RegistryRow

from .conftest import Caller, new_key, serving, settings_for

REGISTRY = RegistryRow(1, 31337, b"\x11" * 20, 0)
JOB = b'{"kind":"digest","input":{"text":"a"}}'
# What is promised is a second; the rest is for a machine that does other things too.
PROMPTLY_S = 2.0


def tree(root: int) -> list[int]:
    """Give a process and all that descend from it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


@contextmanager
def standing_still(server: EmbeddedServer) -> Iterator[None]:
    assert server.pid is not None
    pids = tree(server.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def kill(server: EmbeddedServer) -> None:
    assert server.pid is not None
    for pid in tree(server.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while server.alive:
        time.sleep(0.01)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 20
    while not await true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@dataclass
class Answer:
    """What a request that no client library wrapped was answered."""

    seconds: float = 0.0
    status: int = 0
    retry_after: int = 0
    code: str = ""


async def ask(app: FastAPI, secret: str, number: int, path: str = "/v1/jobs") -> Answer:
    """Read or submit, straight at the application: a thousand clients would take longer than it does."""
    answer = Answer()
    began = time.monotonic()
    submits = number % 2
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    headers["idempotency-key"] = secrets.token_hex(8)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST" if submits else "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("api", 80),
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": JOB if submits else b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.retry_after = int(dict(message["headers"]).get(b"retry-after", 0))
        elif message.get("body") and answer.status >= 400:
            answer.code = json.loads(message["body"])["code"]

    await app(scope, receive, send)
    answer.seconds = time.monotonic() - began
    return answer


async def flood(app: FastAPI, secret: str, count: int, path: str = "/v1/jobs") -> list[Answer]:
    return await asyncio.gather(*(ask(app, secret, number, path) for number in range(count)))


def seconds_without_a_core() -> float:
    """For how long this thread has been ready to run while others did (proc_pid_schedstat, second number)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


@pytest.mark.parametrize("many", [200, pytest.param(1000, marks=pytest.mark.campaign)])
async def test_without_postgresql_many_requests_are_refused_promptly(
    tmp_path: Path, valkey_url: str, many: int
) -> None:
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as server:
        passwords = roles.Passwords(*(secrets.token_hex(16) for _ in range(4)))
        roles.prepare_database(server.admin_dsn, "jobseal", passwords)
        address = urlsplit(server.admin_dsn).netloc.rpartition("@")[2]
        owner_url = f"postgresql://{roles.OWNER}:{passwords.owner}@{address}/jobseal"
        migrate(owner_url)
        async with Database(DatabaseSettings(url=SecretStr(owner_url))) as owner_db:
            async with owner_db.transaction() as conn:
                await registries.register(conn, REGISTRY.chain_id, REGISTRY.address, 0)
            secret = await new_key(owner_db, "acme")
        api_url = f"postgresql://{roles.API}:{passwords.api}@{address}/jobseal"
        app = create_app(settings_for(api_url, tmp_path / "blobs", REGISTRY, valkey_url))
        async with serving(app) as client:
            caller = Caller(client, secret)

            async def serves() -> bool:
                ready = await client.get("/health/ready")
                return ready.status_code == 200 and (await caller.get("/v1/jobs")).status_code == 200

            async def refuses() -> None:
                # How long as many take that ask for nothing, and how long this thread is kept waiting for a core.
                usual = max(one.seconds for one in await flood(app, secret, many, "/nowhere"))
                before = seconds_without_a_core()
                answers = await flood(app, secret, many)
                waited = seconds_without_a_core() - before
                assert {(one.status, one.code) for one in answers} == {(503, "service_unavailable")}
                assert all(one.retry_after >= 1 for one in answers)
                assert max(one.seconds for one in answers) < PROMPTLY_S + 2 * usual + waited
                assert (await ask(app, secret, 0)).seconds < PROMPTLY_S / 4
                body = (await client.get("/health/ready")).json()
                assert body["breakers"]["postgresql"] in {"open", "half_open"}
                assert (await client.get("/health/live")).status_code == 200

            await until(serves)
            # Some are under way at the moment at which it stands still.
            under_way = asyncio.create_task(flood(app, secret, 200))
            await asyncio.sleep(0.05)
            with standing_still(server):
                await refuses()
                assert {one.status for one in await under_way} <= {200, 202, 503}
            await until(serves)
            kill(server)
            await refuses()
            server.start()
            await until(serves)
            assert (await client.get("/health/ready")).json()["breakers"]["postgresql"] == "closed"
        server.delete()


async def test_without_redis_everything_goes_on(
    settings: Settings, owner_db: Database, tmp_path: Path
) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        app = create_app(replace(settings, redis=RedisSettings(url=SecretStr(server.url))))
        async with serving(app) as client:
            secret = await new_key(owner_db, "acme")
            breaker = app.state.services.shared.breaker

            async def is_back() -> bool:
                return bool(breaker.is_closed)

            async def goes_on() -> None:
                answers = await flood(app, secret, 40)
                assert Counter(one.status for one in answers) == {200: 20, 202: 20}
                assert max(one.seconds for one in answers) < PROMPTLY_S
                assert (await ask(app, secret, 0)).seconds < PROMPTLY_S / 4
                ready = await client.get("/health/ready")
                assert (ready.status_code, ready.json()["breakers"]["redis"] != "closed") == (200, True)

            assert (await ask(app, secret, 0)).status == 200
            with standing_still(server):
                await goes_on()
            await until(is_back)
            kill(server)
            await goes_on()
            server.start()
            await until(is_back)
            assert (await ask(app, secret, 1)).status == 202
