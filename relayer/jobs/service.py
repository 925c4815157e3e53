"""What tenants do with jobs: submit, look, cancel, run again, fetch the output."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.jobs import listing_repository, repository, submission_repository
from relayer.jobs.blob_reader import BlobReader
from relayer.jobs.errors import InvalidInputError, JobEndedError, JobNotEndedError, OutputDeletedError
from relayer.jobs.handlers.policy import RetryPolicy, TimeLimits
from relayer.jobs.handlers.registry import Handlers, limits_of, retry_of
from relayer.jobs.intake import Intake, Outcome, Submitted, earlier_jobs
from relayer.jobs.listing_repository import JobFilter
from relayer.jobs.records import Attempt, Job, JobEvent
from relayer.jobs.submission import Options, Prepared, Submission, prepare, shorter
from relayer.jobs.validation import Validator
from relayer.model.clock import Clock
from relayer.model.errors import IdempotencyKeyReusedError, JobsealError, UnavailableError
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import parse_json
from relayer.store.blobs import BlobStore
from relayer.store.coalescer import Coalescer
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

RegistryProvider = Callable[[], Awaitable[RegistryRow]]

SUBMIT_ROUTE = "POST /v1/jobs"
RERUN_ROUTE = "POST /v1/jobs/{id}/rerun"
# Reads that come while others are under way share the next trip, so that a crowd needs no more connections than a few.
_READ_LANES = 2
_UNFINISHED = frozenset({JobState.CREATED, JobState.PROCESSING})


class JobService:
    """The jobs of tenants, in the role of the API."""

    def __init__(
        self, db: Database, registry: RegistryProvider, handlers: Handlers, blobs: BlobStore, clock: Clock
    ) -> None:
        self._db = db
        self._registry = registry
        self._handlers = handlers
        self._blobs = BlobReader(db, blobs)
        self._clock = clock
        self._intake = Intake(db)
        self._validator = Validator(db, handlers)
        self._reads = Coalescer[tuple[UUID, UUID], Job | None](self._read_group, lanes=_READ_LANES)

    async def submit(self, tenant: UUID, submission: Submission) -> Submitted:
        """Accept a job: its row, ticket, first event and idempotency key in one transaction.

        Raises:
            UnknownKindError: no handler is installed for the kind.
            InvalidInputError: the input or an option does not fit the handler.
            UnknownBlobError: the input names a blob that is not the tenant's.
            IdempotencyKeyReusedError: the key came before with another fingerprint.
            WaitingCapError: the tenant has as many waiting jobs as it may have.
            QuotaExceededError: the tenant used up a quota of its day or its month.
            UnavailableError: the database is away.

        """
        return await self._intake.take(await self._prepare(tenant, submission, SUBMIT_ROUTE))

    async def submit_many(self, tenant: UUID, submissions: Sequence[Submission]) -> list[Outcome]:
        """Accept each of the jobs as `submit` does, in one transaction; give for each its job or its error.

        Raises:
            UnavailableError: the database is away; none was accepted.

        """
        outcomes: dict[int, Outcome] = {}
        prepared: dict[int, Prepared] = {}
        for number, submission in enumerate(submissions):
            # One may be large; whoever else is served by this process gets a turn between two.
            await asyncio.sleep(0)
            try:
                prepared[number] = await self._prepare(tenant, submission, SUBMIT_ROUTE)
            except UnavailableError:
                raise
            except JobsealError as error:
                outcomes[number] = error
        if prepared:
            taken = await self._intake.take_all(list(prepared.values()))
            outcomes |= zip(prepared, taken, strict=True)
        return [outcomes[number] for number in range(len(submissions))]

    async def validate_many(
        self, tenant: UUID, submissions: Sequence[Submission]
    ) -> list[Prepared | JobsealError]:
        """Say what `submit_many` would make of the submissions by now; nothing is written.

        Raises:
            UnavailableError: the database is away.

        """
        return await self._validator.check(tenant, submissions, SUBMIT_ROUTE, self._clock())

    async def rerun(self, tenant: UUID, job_id: UUID, idempotency_key: str | None) -> Submitted | None:
        """Run a job that has come to an end again, as a new job with a ticket of its own; None where there is none.

        The new job has the options of the old one, and no more time than its kind allows by now.

        Raises:
            JobNotEndedError: the job still waits or runs.
            UnknownKindError, InvalidInputError, UnknownBlobError: its input is not accepted any more.
            IdempotencyKeyReusedError: the key came before with another job.
            WaitingCapError: the tenant has as many waiting jobs as it may have.
            QuotaExceededError: the tenant used up a quota of its day or its month.
            UnavailableError: the database is away.

        """
        job = await self.get(tenant, job_id)
        if job is None:
            return None
        fingerprint = hashlib.sha256(job_id.bytes).digest()
        if job.state in _UNFINISHED:
            # A redrive may have moved it on since the request with this key was answered.
            earlier = await self._earlier(tenant, RERUN_ROUTE, idempotency_key, fingerprint)
            if earlier is None:
                raise JobNotEndedError(job)
            return earlier
        if job.input is None:
            raise InvalidInputError(
                [("/input", "gone", "the input is not kept any more; submit it as a new job")]
            )
        submission = Submission(
            kind=job.kind,
            input=parse_json(job.input.encode()),
            metadata=job.metadata,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            options=self._options_again(job),
            rerun_of=job.id,
        )
        return await self._intake.take(await self._prepare(tenant, submission, RERUN_ROUTE))

    async def cancel(self, tenant: UUID, job_id: UUID) -> Job | None:
        """Ask for a job to be cancelled; None where there is none. Asking again changes nothing.

        The job is `cancelled` a moment later, unless it comes to an end of its own first: one of the two happens.

        Raises:
            JobEndedError: the job had come to another end before.
            UnavailableError: the database is away.

        """
        async with self._db.transaction(tenant) as conn:
            await repository.ask_to_cancel(conn, tenant, job_id, self._clock())
            job = await repository.job(conn, tenant, job_id)
        if job is not None and job.state not in _UNFINISHED | {JobState.CANCELLED}:
            raise JobEndedError(job)
        return job

    async def get(self, tenant: UUID, job_id: UUID) -> Job | None:
        """Give a job of this tenant, or None."""
        return await self._reads((tenant, job_id))

    async def list(self, wanted: JobFilter, before: UUID | None, limit: int) -> list[Job]:
        """Give a page of a tenant's jobs, newest first, from below the id `before`."""
        return await self._db.read(
            wanted.tenant_id, lambda conn: listing_repository.jobs(conn, wanted, before, limit)
        )

    async def history(self, tenant: UUID, job_id: UUID, after: int, limit: int) -> Sequence[JobEvent] | None:
        """Give a job's steps in order, from above the sequence number `after`; None where there is no such job."""

        async def steps(conn: AsyncConnection[TupleRow]) -> Sequence[JobEvent] | None:
            if await repository.job(conn, tenant, job_id) is None:
                return None
            return await repository.events(conn, tenant, job_id, after, limit)

        return await self._db.read(tenant, steps)

    async def attempts(self, tenant: UUID, job_id: UUID, after: int, limit: int) -> Sequence[Attempt] | None:
        """Give a job's attempts in order, from above the number `after`; None where there is no such job."""

        async def tries(conn: AsyncConnection[TupleRow]) -> Sequence[Attempt] | None:
            if await repository.job(conn, tenant, job_id) is None:
                return None
            return await repository.attempts(conn, tenant, job_id, after, limit)

        return await self._db.read(tenant, tries)

    async def output(self, tenant: UUID, job_id: UUID) -> tuple[str, int, AsyncGenerator[bytes, None]] | None:
        """Give media type, size and bytes of a job's output; None while there is none.

        Raises:
            OutputDeletedError: the tenant deleted it.
            UnavailableError: the database is away.

        """
        job = await self.get(tenant, job_id)
        if job is None or job.output_hash is None:
            return None
        assert job.output_media_type is not None
        blob = await self._blobs.find(tenant, job.output_hash)
        if blob is None:
            raise OutputDeletedError(job.output_hash)
        return job.output_media_type, blob.size, self._blobs.chunks(blob)

    async def _read_group(self, asked: Sequence[tuple[UUID, UUID]]) -> Sequence[Job | None]:
        """Give the job of each tenant and id, or None, from one round trip."""
        by_tenant: defaultdict[UUID, set[UUID]] = defaultdict(set)
        for tenant, job_id in asked:
            by_tenant[tenant].add(job_id)
        found = await self._db.read(None, lambda conn: repository.jobs(conn, by_tenant))
        return [found.get(one) for one in asked]

    async def _prepare(self, tenant: UUID, submission: Submission, route: str) -> Prepared:
        registry = await self._registry()
        return prepare(
            submission, self._handlers, tenant=tenant, registry=registry.id, route=route, at=self._clock()
        )

    def _options_again(self, job: Job) -> Options:
        """Give the options of a job that is run again; what its kind allows may have shrunk since."""
        handler = self._handlers.get(job.kind)
        limits = TimeLimits() if handler is None else limits_of(handler)
        policy = RetryPolicy() if handler is None else retry_of(handler)
        codes = None if job.retry_codes is None else frozenset(job.retry_codes)
        if codes is not None and policy.codes is not None:
            codes &= policy.codes
        return Options(
            priority=job.priority,
            max_attempts=min(job.max_attempts, policy.max_attempts),
            first_backoff=job.first_backoff,
            longest_backoff=job.longest_backoff,
            retry_codes=None if codes is None else tuple(codes),
            queue_limit=shorter(job.queue_limit, limits.queue),
            run_limit=shorter(job.run_limit, limits.run),
            total_limit=shorter(job.total_limit, limits.total),
        )

    async def _earlier(
        self, tenant: UUID, route: str, key: str | None, fingerprint: bytes
    ) -> Submitted | None:
        """Give the job that an earlier request with this key made."""
        if key is None:
            return None
        async with self._db.transaction(tenant) as conn:
            used = await submission_repository.used_keys(conn, tenant, route, [key], self._clock())
            if key not in used:
                return None
            if used[key].fingerprint != fingerprint:
                raise IdempotencyKeyReusedError(key)
            earlier = (await earlier_jobs(conn, tenant, used))[key]
        if isinstance(earlier, JobsealError):
            raise earlier
        return earlier
