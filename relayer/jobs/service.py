"""What tenants do with jobs: submit, look, fetch the output."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pydantic import ValidationError

from relayer.jobs import repository
from relayer.jobs.blob_references import find_references, parse_reference
from relayer.jobs.errors import InvalidInputError
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.records import Job
from relayer.model.clock import Clock
from relayer.model.errors import IdempotencyKeyReusedError, UnknownBlobError, UnknownKindError
from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import JsonError, canonical_json, input_hash
from relayer.seal.json_pointer import below
from relayer.store.blobs import BlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

RegistryProvider = Callable[[], Awaitable[RegistryRow]]

SUBMIT_ROUTE = "POST /v1/jobs"
KEY_LIFETIME = timedelta(days=7)
_MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Submission:
    """A request for a job.

    Attributes:
        kind: which handler runs it.
        input: the JSON value as the client sent it.
        metadata: the client's own notes, a JSON object.
        idempotency_key: the same key with the same fingerprint gives the same job; None: always a new job.
        fingerprint: 32 bytes that differ for different requests.

    """

    kind: str
    input: Any
    metadata: dict[str, Any]
    idempotency_key: str | None
    fingerprint: bytes


@dataclass(frozen=True)
class Submitted:
    """The job of a submission; `replayed` where an earlier request with the same key made it."""

    job: Job
    replayed: bool


class JobService:
    """The jobs of tenants, in the role of the API."""

    def __init__(
        self, db: Database, registry: RegistryProvider, handlers: Handlers, blobs: BlobStore, clock: Clock
    ) -> None:
        self._db = db
        self._registry = registry
        self._handlers = handlers
        self._blobs = blobs
        self._clock = clock

    async def submit(self, tenant: UUID, submission: Submission) -> Submitted:
        """Accept a job: its row, ticket, first event and idempotency key in one transaction.

        Raises:
            UnknownKindError: no handler is installed for the kind.
            InvalidInputError: the input does not fit the handler.
            UnknownBlobError: the input names a blob that is not the tenant's.
            IdempotencyKeyReusedError: the key came before with another fingerprint.
            UnavailableError: the database is away.

        """
        canonical = self._validated(submission)
        references = list(find_references(submission.input, "/input"))
        registry = await self._registry()
        at = self._clock()
        new = repository.NewJob(
            id=new_id(),
            tenant=tenant,
            registry=registry.id,
            kind=submission.kind,
            input=canonical,
            input_hash=input_hash(submission.kind, submission.input),
            metadata=submission.metadata,
            salt=secrets.token_bytes(32),
            max_attempts=_MAX_ATTEMPTS,
            at=at,
            route=SUBMIT_ROUTE,
            key=submission.idempotency_key,
            fingerprint=submission.fingerprint,
            key_expires_at=at + KEY_LIFETIME,
        )
        async with self._db.transaction(tenant) as conn:
            if references:
                await _require_owned(conn, tenant, references)
            job = await repository.insert_job(conn, new)
            if job is not None:
                return Submitted(job, replayed=False)
            return Submitted(await _earlier_job(conn, tenant, submission), replayed=True)

    async def get(self, tenant: UUID, job_id: UUID) -> Job | None:
        """Give a job of this tenant, or None."""
        async with self._db.transaction(tenant) as conn:
            return await repository.job(conn, job_id)

    async def list(
        self, tenant: UUID, state: JobState | None, kind: str | None, before: UUID | None, limit: int
    ) -> list[Job]:
        """Give a page of a tenant's jobs, newest first, from below the id `before`."""
        async with self._db.transaction(tenant) as conn:
            return await repository.jobs(conn, tenant, state=state, kind=kind, before=before, limit=limit)

    async def output(self, tenant: UUID, job_id: UUID) -> tuple[str, int, AsyncIterator[bytes]] | None:
        """Give media type, size and bytes of a job's output; None while there is none."""
        job = await self.get(tenant, job_id)
        if job is None or job.output_hash is None:
            return None
        assert job.output_media_type is not None
        assert job.output_size is not None
        return job.output_media_type, job.output_size, self._blobs.read(job.output_hash)

    def _validated(self, submission: Submission) -> str:
        """Give the RFC 8785 text of an input that its handler accepts."""
        handler = self._handlers.get(submission.kind)
        if handler is None:
            raise UnknownKindError(submission.kind, sorted(self._handlers))
        try:
            canonical = canonical_json(submission.input).decode()
            handler.input_model.model_validate_json(canonical)
        except JsonError as error:
            raise InvalidInputError([("/input", "not_canonical", str(error))]) from error
        except ValidationError as error:
            raise InvalidInputError(
                [(reduce(below, flaw["loc"], "/input"), flaw["type"], flaw["msg"]) for flaw in error.errors()]
            ) from error
        return canonical


async def _require_owned(
    conn: AsyncConnection[TupleRow], tenant: UUID, references: list[tuple[str, str]]
) -> None:
    hashes = {reference: parse_reference(reference) for _, reference in references}
    owned = await repository.owned_blobs(conn, tenant, {h for h in hashes.values() if h is not None})
    for pointer, reference in references:
        if hashes[reference] not in owned:
            raise UnknownBlobError(reference, pointer)


async def _earlier_job(conn: AsyncConnection[TupleRow], tenant: UUID, submission: Submission) -> Job:
    assert submission.idempotency_key is not None
    used = await repository.used_key(conn, tenant, SUBMIT_ROUTE, submission.idempotency_key)
    assert used is not None
    if used.fingerprint != submission.fingerprint:
        raise IdempotencyKeyReusedError(submission.idempotency_key)
    assert used.job_id is not None
    job = await repository.job(conn, used.job_id)
    assert job is not None
    return job
