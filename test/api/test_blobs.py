import hashlib
from collections.abc import AsyncIterator

import pytest

from api.app import Settings

from .conftest import MAX_BLOB_BYTES, Caller, assert_problem


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
