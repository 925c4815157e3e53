"""A large blob through the real server: it is streamed both ways, never whole in memory."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from relayer.local.process import free_port
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import KEYS, NO_REDIS, TOKENS, new_key

SIZE = 200 << 20
PIECE = bytes(range(256)) * 4096
# Far below the blob, far above what buffers and garbage take.
BOUND = 48 << 20


@contextmanager
def served(environment: dict[str, str]) -> Iterator[tuple[httpx2.Client, int]]:
    """A server in a process of its own, and that process's id."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "relayer.cli.main", "api"],
        env=os.environ | environment | {"JOBSEAL_API_PORT": str(port)},
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            deadline = time.monotonic() + 30
            while True:
                try:
                    if client.get("/health/ready").status_code == 200:
                        break
                except httpx2.TransportError:
                    pass
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield client, process.pid
    finally:
        process.terminate()
        process.wait()


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


async def test_two_hundred_megabytes_pass_through_little_memory(
    urls: Any, owner_db: Database, registry_row: RegistryRow, tmp_path: Path
) -> None:
    secret = await new_key(owner_db, "acme")
    environment = {
        "JOBSEAL_DATABASE_URL": urls.api,
        "JOBSEAL_REGISTRY_CHAIN_ID": str(registry_row.chain_id),
        "JOBSEAL_REGISTRY_ADDRESS": f"0x{registry_row.address.hex()}",
        "JOBSEAL_BLOBS_FOLDER": str(tmp_path / "blobs"),
        "JOBSEAL_KEYS_PEPPER": KEYS.pepper.get_secret_value().decode(),
        "JOBSEAL_REDIS_URL": NO_REDIS,
        "JOBSEAL_TOKENS_ISSUER": TOKENS.issuer,
        "JOBSEAL_TOKENS_SECRET": TOKENS.secret.get_secret_value().decode(),
    }
    pieces = SIZE // len(PIECE)
    digest = hashlib.sha256()
    for _ in range(pieces):
        digest.update(PIECE)
    headers = {"Authorization": f"Bearer {secret}"}
    with served(environment) as (client, pid):
        blob = client.post("/v1/blobs", content=b"x" * 10_000, headers=headers).json()["blob"]
        assert client.get(f"/v1/blobs/{blob}/content", headers=headers).content == b"x" * 10_000
        before = peak_bytes(pid)
        answer = client.post("/v1/blobs", content=(PIECE for _ in range(pieces)), headers=headers)
        assert answer.json() == {"blob": f"sha256:{digest.hexdigest()}", "size": SIZE}
        assert peak_bytes(pid) - before < BOUND
        read, size = hashlib.sha256(), 0
        with client.stream("GET", f"/v1/blobs/{answer.json()['blob']}/content", headers=headers) as content:
            for chunk in content.iter_bytes():
                read.update(chunk)
                size += len(chunk)
        assert (read.digest(), size) == (digest.digest(), SIZE)
        assert peak_bytes(pid) - before < BOUND
