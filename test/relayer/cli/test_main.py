"""How commands fail: one line that names the setting or the address, and a status that is not 0."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from relayer.local.process import free_port
from relayer.settings import BatcherSettings


def jobseal(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relayer.cli.main", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "setting"),
    [("api", "DATABASE_URL"), ("worker", "DATABASE_URL"), ("relayer", "DATABASE_URL")],
)
def test_a_missing_setting_is_named(command: str, setting: str) -> None:
    outcome = jobseal(command)
    assert outcome.returncode == 1
    assert f"JOBSEAL_{setting}: Field required" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_an_address_that_is_none_is_refused_without_repeating_it() -> None:
    outcome = jobseal(
        "worker", JOBSEAL_DATABASE_URL="secretword", JOBSEAL_REDIS_URL="redis://h", JOBSEAL_BLOBS_FOLDER="."
    )
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("jobseal: JOBSEAL_DATABASE_URL: ")
    assert "expected postgresql://user:password@host:port/" in outcome.stderr
    assert "secretword" not in outcome.stderr


def test_a_secret_that_is_none_is_refused_with_what_makes_one_and_without_repeating_it() -> None:
    part_of = {
        "JOBSEAL_OWNER_DATABASE_URL": "postgresql://h/d",
        "JOBSEAL_REGISTRY_CHAIN_ID": "1",
        "JOBSEAL_REGISTRY_ADDRESS": "0x" + "ab" * 20,
        "JOBSEAL_DATABASE_URL": "postgresql://h/d",
        "JOBSEAL_KEYS_PEPPER": "pepper",
        "JOBSEAL_TOKENS_ISSUER": "https://h",
        "JOBSEAL_REDIS_URL": "redis://h",
        "JOBSEAL_BLOBS_FOLDER": ".",
    }
    outcome = jobseal("api", **part_of, JOBSEAL_TOKENS_SECRET="secretword")
    assert outcome.stderr == (
        "jobseal: JOBSEAL_TOKENS_SECRET: expected 32 bytes or more, such as `openssl rand -hex 32` gives; "
        "correct this environment variable\n"
    )
    with pytest.raises(ValidationError, match="expected 64 hex digits") as caught:
        BatcherSettings(manifest_key="secretword")
    assert "secretword" not in str(caught.value.errors(include_input=False))
    for wrong in ("ab" * 31, "ab" * 33):
        with pytest.raises(ValidationError, match="expected 64 hex digits"):
            BatcherSettings(manifest_key=wrong)
    assert BatcherSettings(manifest_key="ab" * 32).manifest_key.get_secret_value() == b"\xab" * 32


def test_a_home_that_cannot_be_is_named() -> None:
    outcome = jobseal("up", "--home", "/proc/nowhere")
    assert (outcome.returncode, outcome.stderr.count("\n")) == (1, 1)
    assert "/proc/nowhere" in outcome.stderr


def test_a_worker_without_its_servers_stays_and_says_which_it_misses() -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "relayer.cli.main", "worker"],
        env={
            "JOBSEAL_DATABASE_URL": f"postgresql://someone:secretword@127.0.0.1:{port}/jobseal",
            "JOBSEAL_REDIS_URL": "redis://127.0.0.1:1/0",
            "JOBSEAL_BLOBS_FOLDER": ".",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        first = process.stderr.readline()
        assert process.poll() is None
        process.terminate()
        rest = process.stderr.read()
    assert first == f"not ready: PostgreSQL at 127.0.0.1:{port} does not answer\n"
    assert "secretword" not in rest
    assert process.wait(30) == 0
