"""When a failed job is tried again."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Platform

from relayer.jobs.backoff import backoff
from relayer.model.clock import utc_now

WAITS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=365))
BOTH = pytest.mark.parametrize("kind", ["test.flaky", "test.flaky.inline"])


@given(WAITS, WAITS, st.integers(1, 32_767), st.floats(0, 1))
def test_backoff_is_full_jitter_below_a_doubling_bound(
    first: timedelta, longest: timedelta, failures: int, luck: float
) -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return low + (high - low) * luck

    wait = backoff(first, longest, failures, uniform)
    ((low, high),) = bounds
    assert low == first.total_seconds()
    assert low <= high <= max(longest, first).total_seconds()
    assert low <= high <= max(low, first.total_seconds() * 2.0 ** min(failures, 64))
    assert timedelta(seconds=low) <= wait <= timedelta(seconds=high)


def test_the_bound_doubles_until_the_longest_wait() -> None:
    def most(failures: int) -> float:
        return backoff(
            timedelta(seconds=2), timedelta(minutes=1), failures, lambda _, high: high
        ).total_seconds()

    assert [most(failures) for failures in range(1, 8)] == [4, 8, 16, 32, 60, 60, 60]


@BOTH
async def test_a_kind_says_how_often(
    served: Platform, tenants: list[UUID], tmp_path: Path, kind: str
) -> None:
    good = await served.end_of(tenants[0], kind, {"marks": str(tmp_path / "good"), "failures": 2})
    bad = await served.end_of(tenants[0], kind, {"marks": str(tmp_path / "bad"), "failures": 3})
    assert (good.state, bad.state) == ("completed", "failed")
    assert await served.attempts(good) == ["failed", "failed", "succeeded"]
    assert await served.attempts(bad) == ["failed", "failed", "failed"]
    assert await served.usage() == 1


async def test_a_submission_says_how_often_how_long_and_for_what(
    served: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    def value(name: str, code: str = "flaky") -> dict[str, object]:
        return {"marks": str(tmp_path / name), "failures": 9, "code": code}

    once = await served.submit(tenants[0], "test.flaky.inline", value("once"), max_attempts=1)
    other = await served.submit(tenants[0], "test.flaky.inline", value("other"), retry_codes=("busy",))
    named = await served.submit(
        tenants[0], "test.flaky.inline", value("named", "busy"), retry_codes=("busy",)
    )
    wait = timedelta(hours=1)
    slow = await served.submit(
        tenants[0], "test.flaky.inline", value("slow"), first_backoff=wait, longest_backoff=10 * wait
    )
    ended = await served.finished(tenants[0], [once, other, named])
    assert {job.state for job in ended} == {"failed"}
    assert [len(await served.attempts(job)) for job in (once, other, named)] == [1, 1, 3]

    async def waits() -> bool:
        return await served.attempts(slow) == ["failed"]

    await served.until(waits)
    (seen,) = await served.seen(tenants[0], [slow])
    assert (seen.state, seen.status_reason) == ("created", "retry")
    assert wait - timedelta(minutes=1) < seen.run_at - utc_now() <= 2 * wait
    assert seen.error is not None
    assert seen.error["code"] == "flaky"


@BOTH
async def test_the_handler_may_say_when(
    served: Platform, tenants: list[UUID], tmp_path: Path, kind: str
) -> None:
    value = {"marks": str(tmp_path / "marks"), "failures": 1, "retry_after_s": 3600.0}
    job = await served.submit(tenants[0], kind, value)

    async def waits() -> bool:
        return await served.attempts(job) == ["failed"]

    await served.until(waits)
    (seen,) = await served.seen(tenants[0], [job])
    assert timedelta(minutes=59) < seen.run_at - utc_now() <= timedelta(hours=1)


@BOTH
@pytest.mark.parametrize(
    ("value", "state"),
    [({"retryable": False}, "failed"), ({"rejects": True}, "rejected")],
    ids=["final", "rejected"],
)
async def test_what_no_try_can_mend_is_not_tried_again(
    served: Platform, tenants: list[UUID], tmp_path: Path, kind: str, value: dict[str, bool], state: str
) -> None:
    marks = tmp_path / "marks"
    job = await served.end_of(tenants[0], kind, {"marks": str(marks), "failures": 9, **value})
    assert job.state == state
    assert await served.attempts(job) == ["failed"]
    assert marks.read_text() == "started\n"
    assert await served.usage() == 0


@pytest.mark.parametrize("kind", ["test.odd", "test.odd.inline"])
@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("surrogate", "odd\N{REPLACEMENT CHARACTER}", "a?\N{REPLACEMENT CHARACTER}b"),
        ("wait", "odd", "b"),
        ("code", "7", "c"),
        ("unspeakable", "handler_error", "the handler raised _UnspeakableError: <_UnspeakableError>"),
        ("exit", "handler_error", "the handler raised SystemExit: 3"),
        ("interrupt", "handler_error", "the handler raised KeyboardInterrupt: "),
        ("stopped", "handler_error", "the handler stopped although nobody asked"),
        ("timeout", "handler_error", "the handler raised TimeoutError: its own"),
        ("memory", "memory_limit", "the handler needed more memory than it may have"),
        (
            "media-type",
            "handler_error",
            "the handler raised ValueError: no media type: 'text/plain\\r\\nX: y'",
        ),
        ("progress-large", "handler_error", None),
        ("progress-object", "handler_error", None),
        ("progress-list", "handler_error", "the handler raised ValueError: the progress is no JSON object"),
    ],
)
async def test_whatever_a_handler_raises_is_its_own_failure(
    served: Platform, tenants: list[UUID], kind: str, how: str, code: str, message: str | None
) -> None:
    """A job beside it in the same transaction is not touched."""
    beside = await served.submit(tenants[1], "digest", {"text": "a"})
    job = await served.end_of(tenants[0], kind, {"how": how})
    assert job.error is not None
    assert job.error["code"] == code
    assert message is None or job.error["message"] == message
    (other,) = await served.finished(tenants[1], [beside])
    assert other.state == "completed"
    assert await served.attempts(beside) == ["succeeded"]


@pytest.mark.parametrize("kind", ["test.odd", "test.odd.inline"])
async def test_a_cancellation_of_its_own_is_a_failure(
    served: Platform, tenants: list[UUID], kind: str
) -> None:
    job = await served.end_of(tenants[0], kind, {"how": "cancelled"})
    assert job.error is not None
    assert job.error["code"] == "handler_error"


@pytest.mark.parametrize("kind", ["test.odd", "test.odd.inline"])
async def test_progress_that_the_database_refuses_breaks_no_lease(
    served: Platform, tenants: list[UUID], kind: str
) -> None:
    job = await served.end_of(tenants[0], kind, {"how": "progress-nul"})
    assert job.state == "completed"
    assert job.progress == {"a\N{REPLACEMENT CHARACTER}": "?"}
