"""Submission, as the API's database role does it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest

from relayer.jobs.blob_service import BlobService
from relayer.jobs.errors import InvalidInputError
from relayer.jobs.listing_repository import JobFilter
from relayer.jobs.service import JobService
from relayer.jobs.submission import Submission
from relayer.model.clock import utc_now
from relayer.model.errors import IdempotencyKeyReusedError, UnknownBlobError, UnknownKindError
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import input_hash
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database


def of_text(text: str, key: str | None = None, fingerprint: bytes = bytes(32)) -> Submission:
    return Submission("digest", {"text": text}, {"note": 1}, key, fingerprint)


async def test_a_job_is_created_with_ticket_event_and_commitment(
    service: JobService, tenants: list[UUID], owner_db: Database
) -> None:
    first = (await service.submit(tenants[0], of_text("a"))).job
    second = (await service.submit(tenants[0], of_text("a"))).job
    assert (first.ticket, second.ticket) == (0, 1)
    assert first.id != second.id
    assert first.state is JobState.CREATED
    assert first.status_reason == "queued"
    assert first.input == '{"text":"a"}'
    assert first.input_hash == input_hash("digest", {"text": "a"})
    assert first.metadata == {"note": 1}
    assert first.salt != second.salt
    assert await service.get(tenants[0], first.id) == replace(first, queue_position=1)
    assert await service.list(JobFilter(tenants[0]), None, 10) == [second, first]
    assert await service.list(JobFilter(tenants[0], JobState.CREATED, "digest"), second.id, 10) == [first]
    assert await service.list(JobFilter(tenants[0], JobState.FAILED), None, 10) == []
    async with owner_db.transaction() as conn:
        cursor = await conn.execute(
            "SELECT job_id, seq, from_state, to_state, actor FROM job_events ORDER BY 1"
        )
        assert await cursor.fetchall() == [
            (job.id, 1, None, "created", "api") for job in sorted((first, second), key=lambda job: job.id)
        ]


async def test_fifty_racing_requests_with_one_key_make_one_job(
    service: JobService, tenants: list[UUID], owner_db: Database
) -> None:
    submitted = await asyncio.gather(*(service.submit(tenants[0], of_text("a", "key")) for _ in range(50)))
    assert len({one.job.id for one in submitted}) == 1
    assert sum(not one.replayed for one in submitted) == 1
    next_job = (await service.submit(tenants[0], of_text("b"))).job
    assert next_job.ticket == 1
    async with owner_db.transaction() as conn:
        assert await (await conn.execute("SELECT count(*) FROM jobs")).fetchone() == (2,)


async def test_a_key_with_another_request_is_refused_and_keys_are_of_one_tenant(
    service: JobService, tenants: list[UUID]
) -> None:
    first = (await service.submit(tenants[0], of_text("a", "key"))).job
    with pytest.raises(IdempotencyKeyReusedError, match="key"):
        await service.submit(tenants[0], of_text("b", "key", b"\1" * 32))
    other = await service.submit(tenants[1], of_text("b", "key", b"\1" * 32))
    assert not other.replayed
    assert other.job.id != first.id


async def test_a_key_whose_time_is_over_counts_as_new(
    service: JobService, tenants: list[UUID], owner_db: Database
) -> None:
    first = (await service.submit(tenants[0], of_text("a", "key"))).job
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE idempotency_keys SET expires_at = now()")
    again = await service.submit(tenants[0], of_text("b", "key", b"\1" * 32))
    assert not again.replayed
    assert again.job.id != first.id


async def test_other_tenants_see_nothing(service: JobService, tenants: list[UUID], api_db: Database) -> None:
    job = (await service.submit(tenants[0], of_text("a"))).job
    assert await service.get(tenants[1], job.id) is None
    assert await service.list(JobFilter(tenants[1]), None, 10) == []
    assert await service.output(tenants[1], job.id) is None
    async with api_db.transaction() as conn:
        for table in (b"jobs", b"job_events", b"idempotency_keys"):
            assert await (await conn.execute(b"SELECT * FROM " + table)).fetchall() == []


async def test_reads_that_share_a_trip_keep_to_their_tenants(
    service: JobService, tenants: list[UUID]
) -> None:
    jobs = {tenant: (await service.submit(tenant, of_text("a"))).job for tenant in tenants[:2]}
    asked = [(tenant, job.id) for tenant in jobs for job in jobs.values()] * 20
    found = await asyncio.gather(*(service.get(*one) for one in asked))
    placed = {tenant: replace(job, queue_position=1) for tenant, job in jobs.items()}
    assert found == [job if (job := placed[tenant]).id == job_id else None for tenant, job_id in asked]


@pytest.mark.parametrize(
    ("value", "pointer", "code"),
    [
        ({}, "/input", "value_error"),
        ({"text": "a", "blob": "sha256:" + "0" * 64}, "/input", "value_error"),
        ({"text": 1}, "/input/text", "string_type"),
        ({"text": "a", "more": 1}, "/input/more", "extra_forbidden"),
        ("text", "/input", "model_type"),
    ],
)
async def test_input_that_does_not_fit_is_refused_with_a_pointer(
    service: JobService, tenants: list[UUID], value: object, pointer: str, code: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await service.submit(tenants[0], Submission("digest", value, {}, None, bytes(32)))
    assert [(error[0], error[1]) for error in caught.value.errors] == [(pointer, code)]


async def test_an_unknown_kind_names_the_known_ones(service: JobService, tenants: list[UUID]) -> None:
    with pytest.raises(UnknownKindError, match=r"'nope'.*digest"):
        await service.submit(tenants[0], Submission("nope", {}, {}, None, bytes(32)))


async def test_a_blob_can_be_named_by_its_owner_only(
    service: JobService, tenants: list[UUID], api_db: Database, blobs: LocalBlobStore
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"content"

    uploads = BlobService(api_db, blobs, utc_now)
    stored = await uploads.upload(tenants[0], chunks(), "text/plain", "key", 100)
    assert await uploads.upload(tenants[0], chunks(), "text/plain", "key", 100) == stored
    submission = Submission("digest", {"blob": f"sha256:{stored.hash.hex()}"}, {}, None, bytes(32))
    assert (await service.submit(tenants[0], submission)).job.kind == "digest"
    with pytest.raises(UnknownBlobError) as caught:
        await service.submit(tenants[1], submission)
    assert caught.value.pointer == "/input/blob"
    with pytest.raises(UnknownBlobError):
        await service.submit(tenants[0], Submission("digest", {"blob": "sha256:no"}, {}, None, bytes(32)))


async def test_an_upload_key_with_other_bytes_is_refused(
    tenants: list[UUID], api_db: Database, blobs: LocalBlobStore
) -> None:
    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        yield data

    uploads = BlobService(api_db, blobs, utc_now)
    await uploads.upload(tenants[0], chunks(b"one"), "text/plain", "key", 100)
    with pytest.raises(IdempotencyKeyReusedError):
        await uploads.upload(tenants[0], chunks(b"two"), "text/plain", "key", 100)
