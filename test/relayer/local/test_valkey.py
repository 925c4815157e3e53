import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from relayer.local.process import LOCALHOST, ServerError
from relayer.local.valkey import EmbeddedValkey

ONCE = Retry(NoBackoff(), 0)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path_factory.mktemp("home") / ".jobseal") as server:
        yield server


def test_serves_with_its_password(valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"
        policy = client.config_get("maxmemory-policy")
        assert policy == {"maxmemory-policy": "noeviction"}


@pytest.mark.parametrize("password", [None, "wrong"])
def test_refuses_without_its_password(valkey: EmbeddedValkey, password: str | None) -> None:
    with (
        redis.Redis(host=LOCALHOST, port=valkey.port, password=password, retry=ONCE) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_listens_on_one_address(valkey: EmbeddedValkey) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", valkey.port), timeout=2)


def test_keeps_the_password_to_itself(valkey: EmbeddedValkey) -> None:
    password = valkey.url.split(":")[2].split("@")[0]
    assert password not in Path(f"/proc/{valkey.pid}/cmdline").read_text()
    holders = [
        path for path in valkey._folder.parent.rglob("*") if path.is_file() and password in path.read_text()
    ]
    assert {path.name for path in holders} == {"password", "valkey.conf"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}


def test_starts_again_after_a_kill_at_the_same_address(valkey: EmbeddedValkey) -> None:
    url = valkey.url
    assert valkey._process
    assert valkey.pid
    os.kill(valkey.pid, signal.SIGKILL)
    assert valkey._process.wait(10) == -signal.SIGKILL
    assert not valkey.alive
    assert "status -9" in str(valkey.failure())
    valkey.start()
    assert valkey.url == url
    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0


def test_names_a_port_in_use(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    with pytest.raises(
        ServerError, match=f"^Valkey cannot start: 127.0.0.1:{valkey.port} is in use"
    ) as caught:
        EmbeddedValkey(tmp_path, valkey.port).start()
    assert "\n" not in str(caught.value)
