"""Deletes blobs that nobody owns any more, and files that no row speaks of."""

import secrets
from datetime import timedelta

from relayer.jobs import blob_repository
from relayer.model.clock import Clock
from relayer.settings import JanitorSettings
from relayer.store import leases
from relayer.store.blobs import PREFIXES, BlobStore
from relayer.store.database import Database

LEASE = "janitor"
_LIMIT = 100
# An upload or an attempt commits long before its files are this old.
_STRAY_AFTER = timedelta(days=1)


class BlobCollector:
    """Collects what is left when the last owner of a blob has gone.

    A blob that loses its last owner is marked in the same transaction. After a grace its row and file are deleted
    under the lock of the row, which whoever comes to own it takes as well. A crash between the two leaves a marked
    row without a file, and the next pass deletes that.
    """

    def __init__(self, db: Database, store: BlobStore, settings: JanitorSettings, clock: Clock) -> None:
        self._db = db
        self._store = store
        self._grace = settings.grace
        self._clock = clock
        self._prefix = secrets.randbelow(PREFIXES)

    async def run_pass(self, epoch: int) -> int:
        """Delete a group of unowned blobs, or, where there are none, the stray files of one folder.

        Returns:
            How many unowned blobs were deleted.

        Raises:
            LeaseLostError: another process leads; nothing was deleted.
            UnavailableError: the database is away.

        """
        collected = await self._collect(epoch)
        if not collected:
            await self._sweep(epoch)
        return collected

    async def _collect(self, epoch: int) -> int:
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            forgotten = await blob_repository.forget_unowned(conn, self._grace, _LIMIT)
            # A younger file was written by somebody who waits for the row, to own it.
            await self._store.delete(
                [blob_hash for blob_hash, in_file in forgotten.items() if in_file],
                self._clock() - self._grace,
            )
        return len(forgotten)

    async def _sweep(self, epoch: int) -> None:
        before = self._clock() - _STRAY_AFTER
        await self._store.sweep_incoming(before)
        async for hashes in self._store.listing(self._prefix, before):
            async with self._db.transaction() as conn:
                await leases.require(conn, LEASE, epoch)
                wanted = await blob_repository.in_files(conn, hashes)
            await self._store.delete([one for one in hashes if one not in wanted], before)
        self._prefix = (self._prefix + 1) % PREFIXES
