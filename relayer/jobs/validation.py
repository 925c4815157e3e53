"""Checking a request for jobs without making any: all that a submission looks at, and nothing written."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.jobs import blob_repository, submission_repository
from relayer.jobs.blob_references import parse_reference
from relayer.jobs.errors import WaitingCapError
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.quotas import foresee
from relayer.jobs.submission import Prepared, Submission, prepare
from relayer.model.errors import IdempotencyKeyReusedError, JobsealError, UnknownBlobError
from relayer.store.database import Database


class Validator:
    """Says what would become of submissions, in the role of the API."""

    def __init__(self, db: Database, handlers: Handlers) -> None:
        self._db = db
        self._handlers = handlers

    async def check(
        self, tenant: UUID, submissions: Sequence[Submission], route: str, at: datetime
    ) -> list[Prepared | JobsealError]:
        """Give for each submission the job that would be made of it, or the error it would end with.

        Raises:
            UnavailableError: the database is away.

        """
        outcomes: dict[int, Prepared | JobsealError] = {}
        for number, submission in enumerate(submissions):
            if number > 0:
                await asyncio.sleep(0)
            try:
                outcomes[number] = prepare(
                    submission, self._handlers, tenant=tenant, registry=0, route=route, at=at
                )
            except JobsealError as error:
                outcomes[number] = error
        async with self._db.transaction(tenant) as conn:
            outcomes |= await _refused(
                conn, {number: one for number, one in outcomes.items() if isinstance(one, Prepared)}
            )
        return [outcomes[number] for number in range(len(submissions))]


async def _refused(conn: AsyncConnection[TupleRow], prepared: dict[int, Prepared]) -> dict[int, JobsealError]:
    """Give the errors that rows decide; a key that made a job before needs neither its blobs nor room.

    As in a submission, quotas and caps come before blobs.
    """
    if not prepared:
        return {}
    new = next(iter(prepared.values())).new
    keys = {one.new.key for one in prepared.values() if one.new.key is not None}
    used = await submission_repository.used_keys(conn, new.tenant, new.route, keys, new.at)
    owned = await _owned(conn, new.tenant, prepared)
    allowance = await foresee(conn, new.tenant, len(prepared), new.at)
    left = allowance.jobs
    waiting, cap = await submission_repository.count_waiting(conn, new.tenant)
    refused: dict[int, JobsealError] = {}
    for number, one in prepared.items():
        key = one.new.key
        if key in used:
            if used[key].fingerprint != one.new.fingerprint:
                refused[number] = IdempotencyKeyReusedError(key)
            continue
        if left <= 0 and allowance.exceeded is not None:
            refused[number] = allowance.exceeded
            continue
        if waiting >= cap:
            refused[number] = WaitingCapError(cap)
            continue
        left, waiting = left - 1, waiting + 1
        missing = next((named for named in one.references if named[1] not in owned), None)
        if missing is not None:
            pointer, reference = missing
            refused[number] = UnknownBlobError(reference, pointer)
    return refused


async def _owned(conn: AsyncConnection[TupleRow], tenant: UUID, prepared: dict[int, Prepared]) -> set[str]:
    hashes = {
        reference: blob_hash
        for one in prepared.values()
        for _, reference in one.references
        if (blob_hash := parse_reference(reference)) is not None
    }
    if not hashes:
        return set()
    held = await blob_repository.hold_owned(conn, tenant, {*hashes.values()})
    return {reference for reference, blob_hash in hashes.items() if blob_hash in held}
