"""How commands fail: one line that names the setting or the address, and a status that is not 0."""

import subprocess
import sys

import pytest

from relayer.local.process import free_port


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
