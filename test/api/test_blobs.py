import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from api.app import Settings
from relayer.model.lifecycle import JobState
from relayer.store.blobs import SMALL_BYTES
from relayer.store.database import Database

from .conftest import MAX_BLOB_BYTES, Caller, Engine, assert_problem


@pytest.mark.parametrize("content", [b"", b"hello", bytes(MAX_BLOB_BYTES)])
async def test_a_blob_is_named_by_its_hash(acme: Caller, content: bytes) -> None:
    for _ in range(2):
        answer = await acme.post("/v1/blobs", content, content_type="text/plain", idempotency_key="one")
        assert answer.status_code == 201
        assert answer.json() == {
            "blob": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "size": len(content),
        }


@pytest.mark.parametrize("announced", [True, False])
async def test_a_blob_over_the_limit_leaves_nothing(
    acme: Caller, settings: Settings, announced: bool
) -> None:
    content = bytes(MAX_BLOB_BYTES + 1)

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1 << 14):
            yield content[start : start + (1 << 14)]

    answer = await acme.client.post(
        "/v1/blobs", content=content if announced else stream(), headers=acme.headers()
    )
    assert assert_problem(answer, 413, "body_too_large")["meta"] == {"max_bytes": MAX_BLOB_BYTES}
    assert [path for path in settings.blobs.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("media_type", ["text", "text/", "a/b c", "ü/x"])
async def test_a_malformed_media_type_is_refused(acme: Caller, media_type: str) -> None:
    headers = [(b"authorization", f"Bearer {acme.secret}".encode()), (b"content-type", media_type.encode())]
    answer = await acme.client.post("/v1/blobs", content=b"x", headers=headers)
    assert_problem(answer, 415, "unsupported_media_type")


async def test_a_malformed_idempotency_key_is_refused(acme: Caller) -> None:
    answer = await acme.post("/v1/blobs", b"x", idempotency_key="x" * 256)
    assert_problem(answer, 400, "invalid_idempotency_key")


async def uploaded(caller: Caller, content: bytes, media_type: str = "text/plain") -> str:
    answer = await caller.post("/v1/blobs", content, content_type=media_type)
    assert answer.status_code == 201, answer.text
    blob: str = answer.json()["blob"]
    return blob


async def using(caller: Caller, blob: str) -> str:
    answer = await caller.submit(json.dumps({"kind": "digest", "input": {"blob": blob}}).encode())
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    return job


async def delete(caller: Caller, blob: str) -> httpx2.Response:
    return await caller.client.delete(f"/v1/blobs/{blob}", headers=caller.headers())


async def set_cap(owner_db: Database, cap: int) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET storage_cap = %s WHERE name = 'acme'", [cap])


@pytest.mark.parametrize("size", [0, 5, SMALL_BYTES, SMALL_BYTES + 1, MAX_BLOB_BYTES])
async def test_a_blob_is_described_and_given_back_as_it_came(acme: Caller, size: int) -> None:
    content = b"<script>"[:size].ljust(size, b"x")
    blob = await uploaded(acme, content, "text/html; charset=utf-8")
    described = (await acme.get(f"/v1/blobs/{blob}")).json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", described.pop("created_at"))
    assert described == {"blob": blob, "size": size, "media_type": "text/html; charset=utf-8"}
    answer = await acme.get(f"/v1/blobs/{blob}/content")
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("size", [5, SMALL_BYTES + 1])
async def test_an_altered_blob_is_not_given(
    acme: Caller, settings: Settings, owner_db: Database, size: int
) -> None:
    blob = await uploaded(acme, b"t" * size)
    if size > SMALL_BYTES:
        digits = blob.removeprefix("sha256:")
        (settings.blobs.folder / "sha256" / digits[:2] / digits[2:]).write_bytes(b"l" * size)
    else:
        async with owner_db.transaction() as conn:
            await conn.execute("UPDATE blobs SET content = %s", [b"l" * size])
    assert_problem(await acme.get(f"/v1/blobs/{blob}/content"), 500, "internal_error")


async def test_a_blob_is_there_for_its_owners_only(acme: Caller, rival: Caller) -> None:
    """What is another's, what never was, what is malformed and what was deleted give one and the same answer."""
    theirs, deleted = await uploaded(acme, b"secret"), await uploaded(rival, b"old")
    assert (await delete(rival, deleted)).status_code == 204
    for method, tail in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answers = []
        for blob in (theirs, deleted, f"sha256:{'0' * 64}", theirs.upper(), theirs[7:], "sha256:x", "%00"):
            path = f"/v1/blobs/{blob}{tail}"
            answer = await rival.client.request(method, path, headers=rival.headers())
            body = assert_problem(answer, 404, "blob_not_found")
            answers.append({name: body[name] for name in body.keys() - {"request_id", "instance"}})
        assert all(answer == answers[0] for answer in answers)
    assert (await acme.get(f"/v1/blobs/{theirs}/content")).content == b"secret"
    assert await uploaded(rival, b"secret") == theirs
    assert (await delete(acme, theirs)).status_code == 204
    assert (await rival.get(f"/v1/blobs/{theirs}/content")).content == b"secret"
    assert_problem(await acme.get(f"/v1/blobs/{theirs}"), 404, "blob_not_found")


async def test_a_blob_in_use_is_not_deleted(acme: Caller, engine: Engine) -> None:
    blob = await uploaded(acme, b"input")
    job = await using(acme, blob)
    body = assert_problem(await delete(acme, blob), 409, "blob_in_use")
    assert (body["meta"], body["retryable"]) == ({"job": job}, False)
    await engine.move((await acme.get(f"/v1/jobs/{job}")).json(), JobState.CANCELLED)
    answer = await delete(acme, blob)
    assert (answer.status_code, answer.content) == (204, b"")
    content = json.dumps({"kind": "digest", "input": {"blob": blob}}).encode()
    assert_problem(await acme.submit(content), 422, "unknown_blob")


async def test_a_deleted_output_is_gone_and_its_receipt_is_not(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.complete(job, b"secret result")
    await engine.seal()
    await engine.confirm()
    path = f"/v1/jobs/{job['id']}"
    receipt = (await acme.get(f"{path}/receipt")).content
    blob = f"sha256:{hashlib.sha256(b'secret result').hexdigest()}"
    assert (await delete(acme, blob)).status_code == 204
    assert assert_problem(await acme.get(f"{path}/output"), 410, "output_deleted")["meta"] == {"blob": blob}
    assert (await acme.get(f"{path}/receipt")).content == receipt
    seen = (await acme.get(path)).json()
    assert seen["output_hash"] == f"0x{blob[7:]}"


@pytest.mark.parametrize("announced", [True, False])
async def test_a_full_storage_keeps_nothing_more(
    acme: Caller, rival: Caller, settings: Settings, owner_db: Database, announced: bool
) -> None:
    await set_cap(owner_db, 20_000)
    kept = await uploaded(acme, bytes(15_000))

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 3000

    content = b"x" * 9000 if announced else stream()
    answer = await acme.client.post("/v1/blobs", content=content, headers=acme.headers())
    body = assert_problem(answer, 409, "storage_full")
    assert body["meta"] == {"used": 15_000, "cap": 20_000}
    assert "delete blobs" in body["detail"]
    assert len([path for path in settings.blobs.folder.rglob("*") if path.is_file()]) == 1
    # Too large for anybody stays what it was.
    too_large = await acme.post("/v1/blobs", bytes(MAX_BLOB_BYTES + 1))
    assert_problem(too_large, 413, "body_too_large")
    await uploaded(rival, b"x" * 9000)
    await uploaded(acme, b"x" * 5000)
    assert (await delete(acme, kept)).status_code == 204
    await uploaded(acme, b"x" * 9000)


async def test_twenty_uploads_at_once_fill_a_storage_exactly(acme: Caller, owner_db: Database) -> None:
    await set_cap(owner_db, 6 * 5000)
    answers = await asyncio.gather(*(acme.post("/v1/blobs", b"%05d" % n * 1000) for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 6 + [409] * 14
    async with owner_db.transaction() as conn:
        assert await (await conn.execute("SELECT bytes FROM tenant_storage")).fetchall() == [(30_000,)]
