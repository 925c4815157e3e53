"""The API against its own description, by schemathesis: valid and invalid requests, and chains of them.

What is generated differs from run to run; a failure prints the seed, and `SCHEMATHESIS_SEED` repeats it.
"""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from api.app import Settings, create_app
from relayer.limits.lockout import LockoutRule
from relayer.limits.policy import Policy
from relayer.model.ids import to_public
from relayer.store.database import Database
from relayer.tenants.key_service import NewKey
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, ROOM, Caller, Engine, listening, serving, set_limits

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


@pytest.fixture
async def key(owner_db: Database, engine: Engine, settings: Settings) -> NewKey:
    """A key for everything, of a tenant of the platform's own that has a job in each of the states that matter."""
    tenants = TenantService(owner_db, KEYS)
    tenant = await tenants.create_tenant("operator", is_operator=True)
    await set_limits(owner_db, tenant, ROOM)
    key = await tenants.create_key(tenant, "test", Scope)
    async with serving(create_app(settings)) as client:
        acme = Caller(client, key.secret)
        jobs = [await acme.submitted(str(number)) for number in range(3)]
    await engine.fail(jobs[0])
    await engine.complete(jobs[1], b"{}")
    await engine.seal()
    await engine.confirm()
    return key


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries every wrong key there is has to be told each time that it is wrong."""
    monkeypatch.setattr("api.limits.UNAUTHENTICATED", Policy.per_minute("ip-unauth", 1_000_000, 1_000_000))
    monkeypatch.setattr("api.app.LockoutRule", partial(LockoutRule, failures=1_000_000))


def run(settings: Settings, key: NewKey, folder: Path, *arguments: str) -> None:
    quick = settings.api.model_copy(
        update={
            "max_wait_seconds": 0,
            "stream_age": timedelta(milliseconds=50),
            "watch_every": timedelta(milliseconds=10),
        }
    )
    seed = os.environ.get("SCHEMATHESIS_SEED")
    with listening(create_app(replace(settings, api=quick))) as address:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("st"),
                f"--config-file={CONFIG}",
                "run",
                f"{address}/openapi.json",
                f"--header=Authorization: Bearer {key.secret}",
                *([] if seed is None else [f"--seed={seed}"]),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS), "OWN_KEY_ID": to_public(KEY_PREFIX, key.id)},
        )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_api_is_as_it_describes_itself(settings: Settings, key: NewKey, tmp_path: Path) -> None:
    run(settings, key, tmp_path, "--phases=fuzzing,stateful", "--max-examples=1")


@pytest.mark.campaign
def test_the_api_is_as_it_describes_itself_at_length(settings: Settings, key: NewKey, tmp_path: Path) -> None:
    run(settings, key, tmp_path, "--max-examples=50")
