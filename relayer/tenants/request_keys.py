"""Requests of keys and tenants that may be repeated: an idempotency key stands for the one that had the effect."""

from datetime import datetime, timedelta
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.model.errors import IdempotencyKeyReusedError, JobsealError
from relayer.tenants import request_key_repository as repository
from relayer.tenants.request_key_repository import RequestKey

LIFETIME = timedelta(days=7)


class RepeatedRequestError(JobsealError):
    """An earlier request with the same idempotency key had the effect; `made` is what it made or changed."""

    def __init__(self, made: UUID) -> None:
        super().__init__("an earlier request with the same idempotency key did this")
        self.made = made


async def claim(
    conn: AsyncConnection[TupleRow], request: RequestKey | None, made: UUID, at: datetime
) -> None:
    """Take a request's key in the transaction of its effect, before it; of requests that race all but one wait here.

    Raises:
        RepeatedRequestError: an earlier request had the effect.
        IdempotencyKeyReusedError: the key stands for another request.

    """
    if request is None or await repository.insert(conn, request, made, at, at + LIFETIME):
        return
    found = await repository.find(conn, request)
    assert found is not None
    if found.fingerprint != request.fingerprint:
        raise IdempotencyKeyReusedError(request.key)
    raise RepeatedRequestError(found.made_id)
