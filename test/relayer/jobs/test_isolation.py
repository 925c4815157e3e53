"""What an isolated handler can see and leave behind, in real processes."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from support import Platform, children_of, gone, lives

from relayer.jobs.scratch import PoolScratch


def attempt_folders(pool: subprocess.Popen[bytes]) -> list[Path]:
    """Give the folders of attempts that a pool's workers have left."""
    folders = [
        Path(os.fsdecode(argument))
        for worker in children_of(pool.pid)
        for argument in Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")
        if b"jobseal-pool-" in argument
    ]
    assert len(folders) == 2
    return [one for folder in folders for one in folder.glob("attempt-*")]


async def test_a_child_sees_nothing_of_the_platform(
    served: Platform, tenants: list[UUID], environment: dict[str, str]
) -> None:
    job = await served.end_of(tenants[0], "test.spy", {})
    assert job.state == "completed", job.error
    seen = json.loads(await served.output(tenants[0], job))
    assert set(seen["os.environ"]) <= {
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "PYTHONPATH",
        "HOME",
        "TMPDIR",
    }
    for secret in (environment["JOBSEAL_DATABASE_URL"], environment["JOBSEAL_REDIS_URL"], "JOBSEAL"):
        assert secret not in seen["environ"]
        assert secret not in seen["argv"]
    assert seen["modules"] == []
    assert seen["stdin"] == ""
    # Its input and output, its loop's own, and nothing else: no socket of a database, no file of the worker.
    folder = str(Path(seen["scratch"]).parent)
    own = [one for one in seen["descriptors"].values() if not one.startswith((folder, "pipe:", "/dev/null"))]
    assert Counter(one.partition(":")[0] for one in own) <= Counter(anon_inode=1, socket=2)
    assert not Path(folder).exists()


def test_memory_of_the_worker_is_closed_to_its_user() -> None:
    # Root may read everything, so root becomes somebody else, which closes the memory too: it is opened first.
    code = """
import ctypes, os, subprocess, sys
from relayer.jobs.tied import hide_memory
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
for hide in (lambda: None, hide_memory):
    hide()
    print(subprocess.run(["/bin/cat", f"/proc/{os.getpid()}/environ"], capture_output=True).stderr.decode())
"""
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert seen.stdout.startswith("\n/bin/cat:")
    assert "Permission denied" in seen.stdout


@pytest.mark.parametrize("ends", ["well", "crash"])
async def test_what_a_handler_started_dies_with_it(
    served: Platform, tenants: list[UUID], tmp_path: Path, ends: str
) -> None:
    marks = tmp_path / "marks"
    job = await served.end_of(tenants[0], "test.spawn", {"marks": str(marks), "ends": ends})
    assert job.state == "completed", job.error
    # A crash is noticed although what the handler forked still holds the pipe to the platform.
    assert await served.attempts(job) == (["succeeded"] if ends == "well" else ["failed", "succeeded"])
    assert not [pid for pid in map(int, marks.read_text().split()) if lives(pid)]


async def test_the_log_ends_in_4_kib_even_of_a_killed_handler(
    served: Platform, tenants: list[UUID], long_lived_pool: subprocess.Popen[bytes]
) -> None:
    job = await served.end_of(tenants[0], "test.wall", {"wall": "log", "note": "ä"})
    assert job.error is not None
    assert (job.error["code"], job.error["message"]) == (
        "handler_crashed",
        "the handler's process was ended by SIGKILL",
    )
    ((tail,),) = await served.rows("SELECT log_tail FROM attempts WHERE job_id = %s", job.id)
    assert tail.endswith("äthe end\nÿ")
    assert 4090 <= len(tail.encode()) <= 4096
    assert attempt_folders(long_lived_pool) == []


async def test_links_in_the_folder_read_nothing_of_the_worker(served: Platform, tenants: list[UUID]) -> None:
    job = await served.end_of(tenants[0], "test.wall", {"wall": "links"})
    assert job.state == "completed", job.error
    assert await served.output(tenants[0], job) == b"honest"
    assert await served.rows("SELECT log_tail FROM attempts") == [(None,)]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "7",
        "[]",
        '{"code": "x"}',
        '{"media_type": 7}',
        '{"media_type": "a/b\\r\\nX: y"}',
        '{"code": "x", "message": "y", "retryable": true, "rejected": false, "retry_after_s": 1e300}',
        '{"progress": []}',
        "[" * 50_000,
        "x" * (1 << 18),
    ],
    ids=range(10),
)
async def test_an_answer_that_is_none_is_a_crash(served: Platform, tenants: list[UUID], line: str) -> None:
    job = await served.end_of(tenants[0], "test.wall", {"wall": "nonsense", "note": line})
    assert job.error is not None
    assert job.error["message"] == "the handler's process gave an answer that is none"
    assert await served.attempts(job) == ["failed"]


@pytest.mark.parametrize(
    ("wall", "message"),
    [
        ("exit", "the handler's process ended with status 0 and without an answer"),
        ("closed", "the handler's process cut its connection to the platform"),
    ],
)
async def test_an_end_without_an_answer_is_a_crash(
    served: Platform, tenants: list[UUID], wall: str, message: str
) -> None:
    job = await served.end_of(tenants[0], "test.wall", {"wall": wall})
    assert job.error is not None
    assert (job.error["code"], job.error["message"]) == ("handler_crashed", message)


async def test_a_thread_left_behind_holds_nothing_up(served: Platform, tenants: list[UUID]) -> None:
    job = await served.end_of(tenants[0], "test.wall", {"wall": "thread"})
    assert job.state == "completed"


async def test_a_killed_horse_leaves_no_folder(
    served: Platform, tenants: list[UUID], tmp_path: Path, long_lived_pool: subprocess.Popen[bytes]
) -> None:
    marks = tmp_path / "marks"
    job = await served.submit(tenants[0], "test.spawn", {"marks": str(marks), "ends": "late"})

    async def started() -> bool:
        return marks.exists() and len(marks.read_text().split()) == 3

    await served.until(started)
    horse = await served.runner_of(job)
    (child,) = children_of(horse)
    os.kill(horse, signal.SIGKILL)
    # The child is tied to the horse, and what the handler started goes to the worker, which ends it.
    await gone(child, *map(int, marks.read_text().split()))
    (ended,) = await served.finished(tenants[0], [job])
    assert ended.state == "completed"
    assert await served.attempts(job) == ["lost", "succeeded"]
    assert attempt_folders(long_lived_pool) == []


async def test_a_pool_clears_away_what_a_killed_pool_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import os, signal, pathlib\nfrom relayer.jobs.scratch import PoolScratch, make_empty\n"
        "folder = PoolScratch().of_worker(0)\nmake_empty(folder)\n(folder / 'left').write_text('x')\n"
        "(folder / 'locked').mkdir(0)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    (dead,) = tmp_path.glob("jobseal-pool-*")
    assert (dead / "0" / "left").exists()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = PoolScratch()
    assert not dead.exists()
    second = PoolScratch()
    assert len(list(tmp_path.glob("jobseal-pool-*"))) == 2
    first.remove()
    second.remove()
    assert list(tmp_path.iterdir()) == []
