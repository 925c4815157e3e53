import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from relayer.local.postgres import EmbeddedPostgres
from relayer.local.process import ServerError
from relayer.local.shelter import settle


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("home") / ".jobseal", durable=False)
    server.start()
    with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
        connection.execute("create table kept (value int)")
        connection.execute("insert into kept values (42)")
    yield server
    server.delete()


def show(server: EmbeddedPostgres, setting: str) -> str:
    with psycopg.connect(server.admin_dsn) as connection:
        row = connection.execute("select current_setting(%s)", (setting,)).fetchone()
    assert row
    return str(row[0])


def assert_kept(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.admin_dsn) as connection:
        assert connection.execute("select value from kept").fetchall() == [(42,)]


@pytest.fixture
def kill(postgres: EmbeddedPostgres) -> Callable[[], None]:
    def kill() -> None:
        assert postgres._process
        assert postgres.pid
        os.kill(postgres.pid, signal.SIGKILL)
        assert postgres._process.wait(10) == -signal.SIGKILL
        assert not postgres.alive

    return kill


def data(server: EmbeddedPostgres) -> Path:
    return (server._home / "postgres").resolve() / "data"


def test_keeps_data_over_a_stop(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.admin_dsn):  # a session does not hold up the stop
        postgres.stop()
    assert not postgres.alive
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.admin_dsn)
    postgres.start()
    assert_kept(postgres)


def test_keeps_data_over_a_kill(
    postgres: EmbeddedPostgres, kill: Callable[[], None], dies: Callable[[int], None]
) -> None:
    """At once: the children of the killed server may still hold its shared memory."""
    with psycopg.connect(postgres.admin_dsn) as connection:
        session = connection.info.backend_pid
        kill()
        postgres.start()
    assert_kept(postgres)
    dies(session)


def test_starts_though_the_lock_file_names_a_living_stranger(
    postgres: EmbeddedPostgres, kill: Callable[[], None]
) -> None:
    kill()
    lock = data(postgres) / "postmaster.pid"
    lines = lock.read_text().splitlines(keepends=True)
    lock.write_text("".join([f"{os.getppid()}\n", *lines[1:]]))
    postgres.start()
    assert_kept(postgres)


def test_refuses_data_that_another_server_holds(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(ServerError, match=r"FATAL:.*lock file .*postmaster\.pid") as caught:
        EmbeddedPostgres(postgres._home, durable=False).start()
    assert "\n" not in str(caught.value)
    assert_kept(postgres)


@pytest.mark.parametrize("userinfo", ["postgres:wrong", "postgres", "nobody:wrong"])
def test_refuses_without_its_password(postgres: EmbeddedPostgres, userinfo: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"password"):
        psycopg.connect(f"postgresql://{userinfo}@127.0.0.1:{postgres.port}/postgres")


def test_listens_on_one_address_and_no_socket_file(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", postgres.port), timeout=2)
    assert show(postgres, "unix_socket_directories") == ""
    assert show(postgres, "max_connections") == "200"


def test_keeps_the_password_to_itself(postgres: EmbeddedPostgres) -> None:
    password = urlsplit(postgres.admin_dsn).password
    assert password
    assert stat.S_IMODE((postgres._home / "postgres.password").stat().st_mode) == 0o600
    assert password not in Path(f"/proc/{postgres.pid}/cmdline").read_text()
    assert password not in (postgres._home / "logs" / "postgres.log").read_text()
    assert not [path for path in data(postgres).parent.rglob("password") if path.is_file()]


def test_names_a_port_in_use(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with pytest.raises(
        ServerError, match=f"^PostgreSQL cannot start: 127.0.0.1:{postgres.port} is in use"
    ) as caught:
        EmbeddedPostgres(tmp_path, postgres.port).start()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "postgres").exists()


def test_is_durable_unless_asked_otherwise(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    settings = ("fsync", "synchronous_commit", "full_page_writes")
    assert [show(postgres, setting) for setting in settings] == ["off", "off", "off"]
    durable = EmbeddedPostgres(tmp_path)
    left_by_a_kill = settle(tmp_path).folder / "initdb" / "data"
    left_by_a_kill.mkdir(parents=True)
    (left_by_a_kill / "PG_VERSION").write_text("18")
    try:
        with durable:
            assert [show(durable, setting) for setting in settings] == ["on", "on", "on"]
    finally:
        durable.delete()
    assert not (tmp_path / "postgres").exists()
    assert not left_by_a_kill.parent.parent.exists()
