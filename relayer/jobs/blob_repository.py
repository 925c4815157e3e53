"""The SQL of blobs: whose they are, which jobs use them, how much a tenant stores, what nobody owns.

Whoever writes both locks `blob_owners` before `blobs` before `tenant_storage`, each in the order of its key.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.model.lifecycle import TERMINAL
from relayer.store.blobs import SMALL_BYTES

# A blob that its tenant owns already is passed by. Of the others the rows are locked until the end of the
# transaction, and no longer marked for the janitor, who deletes a file only under the lock of its row.
_OWN = """
WITH made AS (
    SELECT * FROM unnest(%(tenants)s::uuid[], %(hashes)s::bytea[], %(sizes)s::bigint[], %(media_types)s::text[],
                         %(contents)s::bytea[])
        AS m (tenant_id, hash, size, media_type, content)
), owned AS (
    INSERT INTO blob_owners (tenant_id, hash, media_type, created_at)
    SELECT DISTINCT ON (tenant_id, hash) tenant_id, hash, media_type, %(at)s::timestamptz
    FROM made ORDER BY tenant_id, hash
    ON CONFLICT DO NOTHING
    RETURNING hash
), stored AS (
    INSERT INTO blobs AS b (hash, size, content, created_at)
    SELECT DISTINCT ON (hash) hash, size, content, %(at)s::timestamptz
    FROM made WHERE hash = ANY(ARRAY(SELECT hash::bytea FROM owned)) ORDER BY hash
    ON CONFLICT (hash) DO UPDATE SET unowned_since = NULL WHERE b.unowned_since IS NOT NULL
)
SELECT count(*) FROM owned
"""


@dataclass(frozen=True)
class MadeBlob:
    """A blob that a tenant uploaded or its job made; `content` where it is small."""

    tenant_id: UUID
    hash: bytes
    size: int
    media_type: str
    content: bytes | None


@dataclass(frozen=True)
class OwnedBlob:
    """A blob as its owner sees it; `content` is None where a file holds it."""

    hash: bytes
    size: int
    media_type: str
    created_at: datetime
    content: bytes | None


@dataclass(frozen=True)
class Storage:
    """How many bytes a tenant stores, and how many it may."""

    used: int
    cap: int

    @property
    def room(self) -> int:
        """How many more it may store; outputs in flight can take it past its cap."""
        return max(0, self.cap - self.used)


async def own_blobs(conn: AsyncConnection[TupleRow], made: Sequence[MadeBlob], at: datetime) -> int:
    """Write down that blobs exist and whose they are; give how many came to a tenant that did not own them yet.

    What lies in a file has to be there when the transaction commits: `BlobStore.place` or `BlobStore.holds` it
    after this, under the lock that this takes.
    """
    columns: dict[str, Any] = {
        "at": at,
        "tenants": [one.tenant_id for one in made],
        "hashes": [one.hash for one in made],
        "sizes": [one.size for one in made],
        "media_types": [one.media_type for one in made],
        "contents": [one.content for one in made],
    }
    cursor = await conn.execute(_OWN, columns)
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def owned_blob(conn: AsyncConnection[TupleRow], blob_hash: bytes) -> OwnedBlob | None:
    """Give a blob of the transaction's tenant."""
    async with conn.cursor(row_factory=class_row(OwnedBlob)) as cursor:
        await cursor.execute("SELECT * FROM owned_blob(%s)", [blob_hash])
        return await cursor.fetchone()


async def storage(conn: AsyncConnection[TupleRow], tenant: UUID) -> Storage:
    """Give how much a tenant stores; exact for what this transaction changed, whose row it has locked."""
    async with conn.cursor(row_factory=class_row(Storage)) as cursor:
        await cursor.execute(
            """SELECT coalesce(s.bytes, 0) AS used, t.storage_cap AS cap
               FROM tenants t LEFT JOIN tenant_storage s ON s.tenant_id = t.id WHERE t.id = %s""",
            [tenant],
        )
        found = await cursor.fetchone()
        assert found is not None
        return found


async def hold_owned(conn: AsyncConnection[TupleRow], tenant: UUID, hashes: Collection[bytes]) -> set[bytes]:
    """Give those of the hashes that name blobs of this tenant; they stay its own until this transaction ends."""
    cursor = await conn.execute(
        """SELECT hash FROM blob_owners WHERE tenant_id = %s AND hash = ANY(%s::bytea[])
           ORDER BY hash FOR KEY SHARE""",
        [tenant, list(hashes)],
    )
    return {row[0] for row in await cursor.fetchall()}


async def use_blobs(conn: AsyncConnection[TupleRow], uses: Collection[tuple[UUID, bytes, UUID]]) -> None:
    """Write down which job's input names which blob of which tenant, given as (tenant, hash, job)."""
    tenants, hashes, jobs = zip(*uses, strict=True)
    await conn.execute(
        """INSERT INTO blob_uses (tenant_id, hash, job_id)
           SELECT * FROM unnest(%s::uuid[], %s::bytea[], %s::uuid[])""",
        [list(tenants), list(hashes), list(jobs)],
    )


async def lock_owner(conn: AsyncConnection[TupleRow], tenant: UUID, blob_hash: bytes) -> bool:
    """Let no job begin to use a tenant's blob until this transaction ends; False where it is not the tenant's."""
    cursor = await conn.execute(
        "SELECT FROM blob_owners WHERE tenant_id = %s AND hash = %s FOR UPDATE", [tenant, blob_hash]
    )
    return await cursor.fetchone() is not None


async def unfinished_user(conn: AsyncConnection[TupleRow], tenant: UUID, blob_hash: bytes) -> UUID | None:
    """Give a job that names a blob in its input and has not come to its end."""
    cursor = await conn.execute(
        """SELECT j.id FROM blob_uses u JOIN jobs j ON j.id = u.job_id
           WHERE u.tenant_id = %s AND u.hash = %s AND j.state <> ALL(%s) ORDER BY u.job_id DESC LIMIT 1""",
        [tenant, blob_hash, [state.value for state in TERMINAL]],
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def drop_owner(conn: AsyncConnection[TupleRow], tenant: UUID, blob_hash: bytes) -> None:
    """End a tenant's ownership, and with it the notes of who used the blob."""
    await conn.execute("DELETE FROM blob_owners WHERE tenant_id = %s AND hash = %s", [tenant, blob_hash])


async def forget_unowned(conn: AsyncConnection[TupleRow], grace: timedelta, limit: int) -> dict[bytes, bool]:
    """Delete the rows of blobs that nobody owned for a time, the longest unowned first.

    Returns:
        Each hash, and whether its file has to go before this transaction ends. The file of a small blob, where
        it has one, is left to the sweep: a row that outlived it would be owned again without its bytes.

    """
    cursor = await conn.execute(
        """WITH old AS MATERIALIZED (
               SELECT b.hash FROM blobs b
               WHERE b.unowned_since < clock_timestamp() - %(grace)s::interval
                 AND NOT EXISTS (SELECT FROM blob_owners o WHERE o.hash = b.hash)
               ORDER BY b.unowned_since LIMIT %(limit)s FOR UPDATE SKIP LOCKED
           )
           DELETE FROM blobs b USING old WHERE b.hash = old.hash RETURNING b.hash, b.size > %(small)s""",
        {"grace": grace, "limit": limit, "small": SMALL_BYTES},
    )
    return dict(await cursor.fetchall())


async def in_files(conn: AsyncConnection[TupleRow], hashes: Sequence[bytes]) -> set[bytes]:
    """Give those of the hashes whose bytes a file has to hold."""
    cursor = await conn.execute(
        "SELECT hash FROM blobs WHERE hash = ANY(%s::bytea[]) AND content IS NULL", [list(hashes)]
    )
    return {row[0] for row in await cursor.fetchall()}
