"""The API against its own description, by schemathesis: valid and invalid requests, and chains of them.

What is generated differs from run to run; a failure prints the seed, and `SCHEMATHESIS_SEED` repeats it.
"""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from api.app import Settings, create_app
from relayer.store.database import Database

from .conftest import Caller, Engine, listening, new_key, serving

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
async def secret(owner_db: Database, engine: Engine, settings: Settings) -> str:
    """The key of a tenant that has a job in each of the states that matter."""
    key = await new_key(owner_db, "acme")
    async with serving(create_app(settings)) as client:
        acme = Caller(client, key)
        jobs = [await acme.submitted(str(number)) for number in range(3)]
    await engine.fail(jobs[0])
    await engine.complete(jobs[1], b"{}")
    await engine.seal()
    await engine.confirm()
    return key


def run(settings: Settings, secret: str, folder: Path, *arguments: str) -> None:
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
                f"--header=Authorization: Bearer {secret}",
                *([] if seed is None else [f"--seed={seed}"]),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_api_is_as_it_describes_itself(settings: Settings, secret: str, tmp_path: Path) -> None:
    run(settings, secret, tmp_path, "--phases=examples,fuzzing,stateful", "--max-examples=2")


@pytest.mark.campaign
def test_the_api_is_as_it_describes_itself_at_length(settings: Settings, secret: str, tmp_path: Path) -> None:
    run(settings, secret, tmp_path, "--max-examples=50")
