"""The whole platform as `jobseal up` starts it: real processes, real servers, and what happens when parts die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import redis
from eth_hash.backends.pysha3 import keccak256

from relayer.chain.verifier import Rpc, verify_on_chain
from relayer.local.deploy import ADMIN
from relayer.seal.receipt import Receipt
from relayer.seal.verify import Outcome, Pin

# A bound, not a measure: two shared cores run other tests beside this one.
PATIENCE_S = 120.0


class Up:
    """A running `jobseal up`."""

    def __init__(self, process: subprocess.Popen[bytes], home: Path) -> None:
        self.process = process
        self.home = home
        self.addresses: dict[str, Any] = json.loads((home / "up.json").read_text())
        self.client = httpx2.Client(
            base_url=self.addresses["api_url"],
            headers={"Authorization": f"Bearer {self.addresses['api_keys']['acme']}"},
            timeout=30,
        )

    def submit(self, key: str, job_input: dict[str, str]) -> str:
        response = self.client.post(
            "/v1/jobs", json={"kind": "digest", "input": job_input}, headers={"Idempotency-Key": key}
        )
        assert response.status_code == 202, response.text
        job: str = response.json()["id"]
        return job

    def wait(self, job: str, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            body: dict[str, Any] = self.client.get(f"/v1/jobs/{job}").json()
            if body["state"] in states:
                return body
            assert time.monotonic() < deadline, body
            time.sleep(0.1)

    def verify(self, job: str) -> Outcome:
        receipt = Receipt.from_json(self.client.get(f"/v1/jobs/{job}/receipt").content)
        pin = Pin(self.addresses["chain_id"], bytes.fromhex(self.addresses["registry"][2:]))
        with Rpc(self.addresses["rpc_url"]) as rpc:
            return verify_on_chain(receipt, rpc, pin).outcome

    def administer(self, *arguments: str) -> None:
        environment = {"JOBSEAL_ADMIN_DATABASE_URL": self.addresses["admin_database_url"]}
        subprocess.run(
            [sys.executable, "-m", "relayer.cli.main", "admin", *arguments],
            env=os.environ | environment,
            check=True,
        )

    def set_quorum(self, lane: int, quorum: int) -> None:
        """What the registry's admin does."""
        selector = keccak256(b"setQuorum(uint8,uint8)")[:4]
        data = f"0x{(selector + lane.to_bytes(32) + quorum.to_bytes(32)).hex()}"
        transaction = {"from": ADMIN, "to": self.addresses["registry"], "data": data}
        with Rpc(self.addresses["rpc_url"]) as rpc:
            rpc.call("eth_sendTransaction", transaction)

    def row(self, query: str, *parameters: object) -> tuple[Any, ...]:
        with psycopg.connect(self.addresses["database_url"]) as connection:
            found = connection.execute(query.encode(), parameters).fetchone()
        assert found is not None
        return found


@contextmanager
def running(home: Path) -> Iterator[Up]:
    log = home.with_suffix(".log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "relayer.cli.main", "up", "--home", str(home)],
        stdout=log,
        stderr=log,
        env={**os.environ, "JOBSEAL_WORKER_LEASE": "PT6S", "JOBSEAL_WORKER_RENEW_EVERY": "PT1S"},
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (home / "up.json").exists():
            assert process.poll() is None, home.with_suffix(".log").read_text()
            assert time.monotonic() < deadline, home.with_suffix(".log").read_text()
            time.sleep(0.1)
        up = Up(process, home)
        with up.client:
            yield up
    finally:
        log.close()
        killed = process.poll() == -signal.SIGKILL
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == (-signal.SIGKILL if killed else 0)


def descendants(parent: int) -> list[int]:
    """Every process below one, the parent's own first."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(above, []).append(int(folder.name))
    found = list(children.get(parent, []))
    for child in found:
        found.extend(children.get(child, []))
    return found


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("platform") / "home"


def test_jobs_finish_once_whatever_dies_and_the_platform_goes_on_where_it_was(home: Path) -> None:
    with running(home) as up:
        first = up.submit("first", {"text": "hello"})

        # Redis wiped while jobs are on their way.
        many = [up.submit(f"many-{number}", {"text": f"text {number}"}) for number in range(30)]
        with redis.Redis.from_url(up.addresses["redis_url"]) as client:
            client.flushall()

        # The worker killed in the middle of a job: 256 MiB are being hashed.
        blob = up.client.post("/v1/blobs", content=bytes(256 << 20)).json()["blob"]
        long = up.submit("long", {"blob": blob})
        up.wait(long, "processing")
        workers = [
            pid for pid in descendants(up.process.pid) if "relayer.cli.main worker" in command_line(pid)
        ]
        assert workers
        for pid in workers:
            os.kill(pid, signal.SIGKILL)

        for job in (first, *many, long):
            up.wait(job, "confirmed")
            assert up.verify(job) is Outcome.VALID
        assert up.row(
            "SELECT count(*) FILTER (WHERE to_state = 'completed') FROM job_events GROUP BY job_id "
            "ORDER BY 1 DESC LIMIT 1"
        ) == (1,)
        assert up.row("SELECT count(*) FROM usage_events WHERE meter = 'job_completed'") == (32,)
        before = up.addresses

    with running(home) as up:
        assert up.addresses["registry"] == before["registry"]
        assert up.addresses["api_keys"] == before["api_keys"]
        assert up.verify(first) is Outcome.VALID
        assert up.submit("first", {"text": "hello"}) == first
        after = up.submit("after", {"text": "a second life"})
        up.wait(after, "confirmed")
        assert up.verify(after) is Outcome.VALID


def test_a_kind_is_confirmed_in_its_lane_once_that_is_open_and_others_meanwhile(home: Path) -> None:
    with running(home) as up:
        up.administer("kind-lane", "set", "digest", "3")
        critical = up.submit("critical", {"text": "at stake"})
        up.wait(critical, "confirming")
        up.administer("kind-lane", "set", "digest", "0")
        standard = up.submit("standard", {"text": "usual"})
        up.wait(standard, "confirmed")
        assert up.row("SELECT lane, state, reason, detail FROM batches WHERE lane <> 0") == (
            3,
            "held",
            "quorum",
            "LaneClosed(3)",
        )
        up.set_quorum(3, 1)
        job = up.wait(critical, "confirmed")
        assert job["ticket"].startswith("0x03")
        assert up.verify(critical) is Outcome.VALID
        assert up.verify(standard) is Outcome.VALID


@pytest.mark.campaign
def test_two_platforms_do_not_share_a_home(home: Path) -> None:
    with running(home):
        second = subprocess.run(
            [sys.executable, "-m", "relayer.cli.main", "up", "--home", str(home)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert str(home) in second.stderr


def test_nothing_survives_a_killed_platform(home: Path) -> None:
    with running(home) as up:
        below = descendants(up.process.pid)
        assert len(below) > 6
        up.process.kill()
        up.process.wait()
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [command_line(pid) for pid in below if Path(f"/proc/{pid}").exists()] == []
