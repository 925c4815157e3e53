import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relayer.local.process import (
    LOCALHOST,
    ServerError,
    ServerProcess,
    free_port,
    require_free_port,
    secret_file,
)

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
FATHER = "import subprocess, sys; child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); "


def python(tmp_path: Path, script: str) -> ServerProcess:
    return ServerProcess("sleeper", [sys.executable, "-c", script], log=tmp_path / "logs" / "sleeper.log")


def started(tmp_path: Path, script: str) -> ServerProcess:
    process = python(tmp_path, script)
    process.start()
    process.wait_ready(lambda: bool(process.log_tail()))
    return process


def test_lives_until_it_is_stopped(tmp_path: Path) -> None:
    process = python(tmp_path, SLEEPER)
    assert (process.alive, process.pid, process.exit_status) == (False, None, None)
    process.start()
    process.wait_ready(lambda: process.log_tail() == "up")
    assert process.alive
    assert process.exit_status is None
    assert process.pid is not None
    assert os.getsid(process.pid) == process.pid
    assert process.stop() == -signal.SIGTERM
    assert not process.alive
    assert process.stop() == -signal.SIGTERM


def test_cannot_be_started_twice(tmp_path: Path) -> None:
    process = started(tmp_path, SLEEPER)
    with pytest.raises(ServerError, match="runs already"):
        process.start()
    process.stop()


def test_is_killed_when_it_will_not_stop(tmp_path: Path) -> None:
    process = started(tmp_path, STUBBORN)
    assert process.stop(limit=0.2) == -signal.SIGKILL


@pytest.mark.parametrize("ending", ["sys.exit(3)", "import time; time.sleep(600)"])
def test_takes_its_own_children_along(tmp_path: Path, dies: Callable[[int], None], ending: str) -> None:
    process = python(tmp_path, FATHER + ending)
    process.start()
    while not process.log_tail():
        time.sleep(0.02)
    grandchild = int(process.log_tail())
    if "exit" in ending:
        assert process.wait(10) == 3
    else:
        process.stop()
    dies(grandchild)


def test_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """Linux ties a child to the thread that started it, once the child has asked for it."""
    processes: list[ServerProcess] = []
    thread = threading.Thread(target=lambda: processes.append(started(tmp_path, SLEEPER)))
    thread.start()
    thread.join()
    assert processes[0].wait(0.3) is None
    processes[0].stop()


def test_inherits_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSEAL_DATABASE_URL", "a secret")
    process = ServerProcess("env", ["/usr/bin/env"], log=tmp_path / "log", env={"GIVEN": "by name"})
    process.start()
    assert process.wait(10) == 0
    assert "GIVEN=by name" in process.log_tail()
    assert "secret" not in process.log_tail()


def test_says_in_one_line_why_it_died(tmp_path: Path) -> None:
    process = python(tmp_path, "print('harmless'); raise SystemExit('FATAL: no such luck\\nbye')")
    process.start()
    with pytest.raises(
        ServerError, match=r"^sleeper stopped with status 1: FATAL: no such luck \(see .*sleeper\.log\)$"
    ) as caught:
        process.wait_ready(lambda: False)
    assert "\n" not in str(caught.value)


def test_names_a_missing_program(tmp_path: Path) -> None:
    process = ServerProcess("ghost", [tmp_path / "ghost"], log=tmp_path / "log")
    process.start()
    with pytest.raises(ServerError, match="ghost: No such file"):
        process.wait_ready(lambda: False)


def test_is_stopped_when_it_never_gets_ready(tmp_path: Path) -> None:
    process = python(tmp_path, SLEEPER)
    process.start()
    with pytest.raises(ServerError, match=r"did not answer within 0\.1 s"):
        process.wait_ready(lambda: False, limit=0.1)
    assert not process.alive


PARENT = """
import sys, threading, time
from pathlib import Path
from relayer.local.process import ServerProcess, User
uid = int(sys.argv[2])
child = ServerProcess("child", ["/bin/sleep", "600"], log=Path(sys.argv[1]), user=User(uid, uid) if uid else None)
child.start()
time.sleep(0.3)
assert child.alive, child.failure()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("uid", [0, 65534] if os.geteuid() == 0 else [0])
def test_dies_with_a_killed_parent(
    tmp_path: Path, parent: Callable[..., Any], dies: Callable[[int], None], uid: int
) -> None:
    """The tie must also hold for a child that gave up root."""
    holder = parent(PARENT, str(tmp_path / "log"), str(uid))
    child = int(holder.say())
    assert Path(f"/proc/{child}").stat().st_uid == (uid or os.geteuid())
    holder.kill()
    dies(child)


def test_ports_are_free_and_given_once() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)
    for port in ports[:5]:
        with socket.create_server((LOCALHOST, port)), pytest.raises(ServerError) as caught:
            require_free_port("Server", port)
        assert str(caught.value).startswith(f"Server cannot start: 127.0.0.1:{port} is in use")
        require_free_port("Server", port)


def test_a_secret_file_is_private_and_lasts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "password"
    secret = secret_file(path)
    assert len(secret) >= 43
    assert secret_file(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret_file(tmp_path / "other") != secret
