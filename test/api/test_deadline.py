"""Slow bodies, slow answers, slow readers, large headers, too many streams."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse
from starlette.types import Message

from api.app import Settings, create_app
from api.deadline import extend_deadline
from relayer.store.database import Database

from .conftest import Caller, Engine, assert_problem, new_key, serving

BRIEF = timedelta(seconds=0.2)
STALL = timedelta(seconds=0.8)
STEP_S = 0.3


class Answer:
    """What came of a request whose body and answer the test passes on by itself."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def body(self) -> dict[str, Any]:
        content = b"".join(one.get("body", b"") for one in self.messages)
        body: dict[str, Any] = json.loads(content)
        return body


async def ask(
    app: FastAPI,
    path: str,
    parts: Sequence[tuple[float, bytes]] = (),
    *,
    secret: str = "",
    method: str | None = None,
    stall: float = 0.0,
) -> Answer:
    """Send the parts of a body, each after so many seconds, for ever the last; take each part of the answer as slowly."""
    answer, coming = Answer(), list(parts) or [(0.0, b"")]
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    headers["idempotency-key"] = secrets.token_hex(8)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        wait, part = coming.pop(0)
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": part, "more_body": bool(coming)}

    async def send(message: Message) -> None:
        answer.messages.append(message)
        await asyncio.sleep(stall)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method or ("POST" if parts else "GET"),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("api", 80),
    }
    await app(scope, receive, send)
    return answer


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    hasty = settings.api.model_copy(
        update={
            "deadline": BRIEF,
            "body_grace": BRIEF,
            "body_bytes_per_second": 100,
            "stream_stall": STALL,
            "streams_per_tenant": 2,
        }
    )
    app = create_app(replace(settings, api=hasty))

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(0.3)

    @app.get("/waits")
    async def waits(request: Request) -> None:
        extend_deadline(request, timedelta(seconds=0.2))
        await asyncio.sleep(0.3)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(4):
                yield b"x"
                await asyncio.sleep(STEP_S)
            yield b"y"
            await asyncio.sleep(10)
            yield b"z"

        return StreamingResponse(parts())

    async with serving(app):
        yield app


async def test_a_long_poll_has_the_time_that_it_asked_for(app: FastAPI, owner_db: Database) -> None:
    caller = Caller(httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api"), "")
    caller.secret = await new_key(owner_db, "acme")
    async with caller.client:
        job = await caller.submitted()
        # Longer than the deadline, while a task of its own listens for the client's leaving.
        answer = await caller.get(f"/v1/jobs/{job['id']}", prefer="wait=1")
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait=1"


async def test_a_body_that_comes_too_slowly_is_given_up(app: FastAPI, owner_db: Database) -> None:
    secret = await new_key(owner_db, "acme")
    job = b'{"kind":"digest","input":{"text":"a"}}'
    slow = await ask(app, "/v1/jobs", [(0.0, job[:1]), (0.15, job[1:2]), (0.15, job[2:])], secret=secret)
    assert (slow.status, slow.body["code"]) == (408, "request_timeout")
    assert (b"connection", b"close") in slow.messages[0]["headers"]
    # What has come buys time: 38 bytes here, a third of a second.
    steady = await ask(app, "/v1/jobs", [(0.0, job), (0.15, b" "), (0.15, b" ")], secret=secret)
    assert steady.status == 202


async def test_an_answer_that_takes_too_long_is_given_up_unless_it_was_asked_to_wait(app: FastAPI) -> None:
    slow = await ask(app, "/slow")
    assert (slow.status, slow.body["code"]) == (503, "deadline_exceeded")
    assert (b"retry-after", b"2") in slow.messages[0]["headers"]
    assert (await ask(app, "/waits")).status == 200


async def test_a_stream_goes_on_for_as_long_as_it_moves(app: FastAPI) -> None:
    steady = await ask(app, "/stream")
    assert b"".join(one.get("body", b"") for one in steady.messages) == b"xxxxy"
    assert steady.messages[-1]["more_body"]
    # A body that nobody waits for does not end it.
    unread = await ask(app, "/stream", [(0.3, b"x")], method="GET")
    assert b"".join(one.get("body", b"") for one in unread.messages) == b"xxxxy"
    # Nor may its reader stand still.
    assert [one["type"] for one in (await ask(app, "/stream", stall=10)).messages] == ["http.response.start"]


async def test_a_large_header_is_refused(acme: Caller) -> None:
    answer = await acme.get("/v1/jobs", x_note="a" * 17_000)
    assert assert_problem(answer, 431, "headers_too_large")["meta"] == {"max_bytes": 16 * 1024}
    assert (await acme.get("/v1/jobs", x_note="a" * 8_000)).status_code == 200


async def test_a_tenant_has_so_many_streams(app: FastAPI, owner_db: Database, engine: Engine) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api") as client:
        caller = Caller(client, await new_key(owner_db, "acme"))
        job = await caller.submitted()
        await engine.complete(job, b'"' + b"a" * 10_000 + b'"')
        path = f"/v1/jobs/{job['id']}/output"
        services = app.state.services
        tenant = (await services.access.authenticator.authenticate(caller.secret)).tenant_id
        with services.streams.hold(tenant), services.streams.hold(tenant):
            answer = await caller.get(path)
            assert assert_problem(answer, 429, "too_many_streams")["meta"] == {"cap": 2}
        for _ in range(4):
            assert (await caller.get(path)).status_code == 200
