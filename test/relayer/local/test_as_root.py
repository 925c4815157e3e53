"""PostgreSQL started by root, and by a normal user whom root becomes for the purpose."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from relayer.local import shelter
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.process import ServerError

NOBODY = pwd.getpwnam("nobody").pw_uid
SOMEBODY = next(user for user in pwd.getpwall() if user.pw_uid not in (0, NOBODY))


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that everyone can enter; pytest's own folders are closed."""
    home = Path(tempfile.mkdtemp())
    home.chmod(0o755)
    yield home
    shutil.rmtree(home)


def owner_of_process(pid: int | None) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def assert_serves(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.admin_dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert owner_of_process(server.pid) == NOBODY


def test_an_open_home_holds_the_data(open_home: Path) -> None:
    with EmbeddedPostgres(open_home, durable=False) as server:
        assert_serves(server)
    folder = open_home / "postgres"
    assert not folder.is_symlink()
    assert (folder.stat().st_uid, (folder / "data").stat().st_uid) == (0, NOBODY)


def test_a_closed_home_leads_to_a_folder_of_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a checkout in root's own folder: the server can enter neither home nor the wheel."""
    monkeypatch.setattr(shelter, "_readable_by_others", lambda _: False)
    server = EmbeddedPostgres(tmp_path / "home", durable=False)
    with server:
        assert_serves(server)
        program = Path(f"/proc/{server.pid}/exe").readlink()
    link = tmp_path / "home" / "postgres"
    folder = link.readlink()
    assert program.is_relative_to(folder)
    assert all(path.stat().st_uid == 0 for path in (folder.parent, folder, program))
    assert oct(folder.stat().st_mode & 0o777) == "0o711"
    copied = program.stat().st_mtime_ns, program.stat().st_ino
    with EmbeddedPostgres(tmp_path / "home", durable=False) as again:
        assert_serves(again)
    assert (program.stat().st_mtime_ns, program.stat().st_ino) == copied
    server.delete()
    assert not link.is_symlink()
    assert not folder.exists()


def test_a_home_deleted_by_hand_begins_anew(tmp_path: Path) -> None:
    home = tmp_path / "home"
    data = shelter.settle(home).data
    data.mkdir()
    os.chown(data, NOBODY, 0)
    assert shelter.settle(home).data.exists()
    shutil.rmtree(home)
    assert not shelter.settle(home).data.exists()
    shelter.remove(home)


def test_a_link_to_nothing_is_an_error_and_not_an_empty_database(tmp_path: Path) -> None:
    (tmp_path / "postgres").symlink_to(tmp_path / "gone")
    with pytest.raises(ServerError, match=r"/gone is gone; delete .*/postgres to begin"):
        EmbeddedPostgres(tmp_path).start()


@pytest.mark.parametrize("wrong", [{"uid": NOBODY, "mode": 0o711}, {"uid": 0, "mode": 0o777}])
def test_a_folder_that_others_can_change_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    target = tmp_path / "target"
    target.mkdir()
    target.chmod(wrong["mode"])
    os.chown(target, wrong["uid"], 0)
    (tmp_path / "postgres").symlink_to(target)
    with pytest.raises(ServerError, match=r"/target belongs to user .* or others can change it"):
        EmbeddedPostgres(tmp_path).start()


@pytest.mark.parametrize(
    ("place", "safe"),
    [((0o755, 0), True), ((0o1777, 0), True), ((0o777, 0), False), ((0o755, NOBODY), False)],
)
def test_a_shelter_stands_only_where_others_cannot_move_it(
    open_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[int, int], safe: bool
) -> None:
    mode, uid = place
    open_home.chmod(mode)
    os.chown(open_home, uid, 0)
    monkeypatch.setattr(shelter, "_SHELTERS", (open_home,))
    if safe:
        assert shelter.settle(tmp_path).folder.is_relative_to(open_home)
    else:
        with pytest.raises(ServerError, match="choose another JOBSEAL_HOME"):
            shelter.settle(tmp_path)


NORMAL_USER = """
import os, shutil, sys
from pathlib import Path
import psycopg
from relayer.local import postgres, process, shelter
home, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
# A normal user can read the checkout and run the Python that it starts from; root's may lie in a closed folder.
programs = shelter._copied_programs(shelter._installed_programs(), home.parent)
shelter._installed_programs = lambda: programs
process._CHILD = Path(shutil.copy(process._CHILD, home.parent))
os.setgroups([])
os.setgid(gid)
os.setuid(uid)
if not os.access(sys.executable, os.X_OK):
    sys.executable = shutil.which("python3", path="/usr/local/bin:/usr/bin")
for _ in range(2):
    server = postgres.EmbeddedPostgres(home, durable=False)
    server.start()
    with psycopg.connect(server.admin_dsn) as connection:
        connection.execute("create table if not exists kept (value int)")
        connection.execute("insert into kept values (42)")
        print(server.pid, connection.execute("select count(*) from kept").fetchone()[0], flush=True)
    input()
    server.stop()
print("stopped", flush=True)
"""


def test_a_normal_user_has_everything_under_home(open_home: Path, parent: Callable[..., Any]) -> None:
    home = open_home / "home"
    home.mkdir()
    os.chown(home, SOMEBODY.pw_uid, SOMEBODY.pw_gid)
    user = parent(NORMAL_USER, str(home), str(SOMEBODY.pw_uid), str(SOMEBODY.pw_gid))
    for start in (1, 2):
        pid, rows = user.say().split()
        assert owner_of_process(int(pid)) == SOMEBODY.pw_uid
        assert int(rows) == start
        user.go_on()
    assert user.say() == "stopped"
    assert {path.lstat().st_uid for path in home.rglob("*")} == {SOMEBODY.pw_uid}
    assert not any(path.is_symlink() for path in home.rglob("*"))
    with pytest.raises(ServerError, match=f"/postgres belongs to user {SOMEBODY.pw_uid} "):
        EmbeddedPostgres(home).start()
    assert oct((home / "postgres").stat().st_mode & 0o777) == "0o700"
