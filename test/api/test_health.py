import asyncio
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from pydantic import SecretStr

from api.app import Settings, create_app
from api.health.readiness import LIFETIME_S, Readiness
from relayer.local.postgres import EmbeddedPostgres
from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings
from relayer.store import registries, roles
from relayer.store.database import Database
from relayer.store.migrate import migrate
from relayer.store.registries import RegistryRow

from .conftest import Caller, assert_problem, new_key, serving, settings_for

REGISTRY = RegistryRow(1, 31337, b"\x11" * 20, 0)


async def test_a_whole_platform_is_ready(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "live"}
    answer = await client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "parts": {"database": {"status": "ready"}, "registry": {"status": "ready"}},
        "breakers": {"redis": "closed", "postgresql": "closed"},
    }


async def test_an_unregistered_registry_is_named_and_then_found(
    settings: Settings, owner_db: Database, tmp_path: Path
) -> None:
    other = settings_for(settings.database.url.get_secret_value(), tmp_path / "blobs", REGISTRY)
    async with serving(create_app(other)) as client:
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        parts = answer.json()["parts"]
        assert parts["database"] == {"status": "ready"}
        assert f"0x{'11' * 20}" in parts["registry"]["reason"]
        caller = Caller(client, await new_key(owner_db, "acme"))
        refused = await caller.submit(b'{"kind":"digest","input":{"text":"a"}}', "one")
        assert_problem(refused, 503, "service_unavailable")

        async with owner_db.transaction() as conn:
            await registries.register(conn, REGISTRY.chain_id, REGISTRY.address, 0)
        await asyncio.sleep(LIFETIME_S)
        assert (await client.get("/health/ready")).status_code == 200
        assert (await caller.submit(b'{"kind":"digest","input":{"text":"a"}}', "one")).status_code == 202


async def test_the_api_outlives_its_database(tmp_path: Path) -> None:
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
        server.stop()

        api_url = f"postgresql://{roles.API}:{passwords.api}@{address}/jobseal"
        async with serving(create_app(settings_for(api_url, tmp_path / "blobs", REGISTRY))) as client:
            caller = Caller(client, secret)
            for _ in range(2):
                await assert_away(caller, address, passwords.api)
                server.start()
                # The pool goes on by itself; how soon is its own affair.
                while (await client.get("/health/ready")).status_code != 200:  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.02)
                job = await caller.submitted()
                assert (await caller.get(f"/v1/jobs/{job['id']}")).status_code == 200
                server.stop()
        server.delete()


async def assert_away(caller: Caller, address: str, password: str) -> None:
    assert (await caller.client.get("/health/live")).status_code == 200
    await asyncio.sleep(LIFETIME_S)
    ready = await caller.client.get("/health/ready")
    assert ready.status_code == 503
    assert address in ready.json()["parts"]["database"]["reason"]
    answer = await caller.get("/v1/jobs")
    assert_problem(answer, 503, "service_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert address not in answer.text
    assert password not in ready.text + answer.text


async def test_a_flood_of_probes_is_one_look_at_a_time_and_ten_a_second() -> None:
    looks, now, up = 0, 0.0, True
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def check() -> None:
        nonlocal looks
        looks += 1
        begun.set()
        await go_on.wait()
        if not up:
            raise UnavailableError("away")

    readiness = Readiness({"part": check}, lambda: now)
    asking = [asyncio.create_task(readiness()) for _ in range(100)]
    await begun.wait()
    go_on.set()
    assert all([await one == {"part": {"status": "ready"}} for one in asking])
    assert looks == 1
    up, now = False, LIFETIME_S / 2
    assert (await readiness())["part"]["status"] == "ready"
    now = LIFETIME_S
    assert await readiness() == {"part": {"status": "not_ready", "reason": "away"}}
    assert looks == 2


def test_an_api_process_loads_neither_web3_nor_ape_nor_a_queue() -> None:
    code = "import sys, api.app; print(sorted({'web3', 'ape', 'rq', 'eth_account'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
