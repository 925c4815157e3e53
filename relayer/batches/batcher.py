"""The batcher: seals finished jobs together when enough of them wait, or when one has waited long enough."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from relayer.batches import repository
from relayer.batches.manifest import SPACE, Manifest, ManifestCipher, ManifestJob
from relayer.batches.records import FinishedJob
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import Domain, leaf, word
from relayer.seal.tree import MAX_WORDS, Seal, seal_batch
from relayer.settings import BatcherSettings
from relayer.store import leases
from relayer.store.blobs import BlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

NAME = "batcher"

_log = structlog.get_logger(__name__)


class Batcher:
    """Seals the finished jobs of the standard lane of one registry.

    Raises:
        ValueError: the manifest key has not 32 bytes.

    """

    def __init__(
        self, db: Database, blobs: BlobStore, registry: RegistryRow, settings: BatcherSettings, clock: Clock
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._registry = registry
        self._domain = Domain(registry.chain_id, registry.address)
        self._max_jobs = settings.max_jobs
        self._max_age = settings.max_age
        self._cipher = ManifestCipher(settings.manifest_key.get_secret_value())
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Seal at most one batch, in one transaction; give the number of its jobs, 0 when none is due.

        Raises:
            LeaseLostError: another process leads the batcher now.

        """
        async with self._db.transaction() as conn:
            await leases.require(conn, NAME, epoch)
            now = self._clock()
            count, oldest = await repository.count_finished(conn, self._registry.id, self._max_jobs)
            if not self._due(count, oldest, now):
                return 0
            finished = await repository.lock_finished(conn, self._registry.id, self._max_jobs)
            # Others may hold or have sealed some of what was counted; what is left must be due by itself.
            if not self._due(len(finished), finished[0].result_ready_at if finished else None, now):
                return 0
            jobs = _within_words(finished)
            leaves, seal = await asyncio.to_thread(self._seal, jobs)
            # Before the commit that shows the batch to the sender: a manifest of no batch harms nobody, but a batch on
            # chain without its manifest could not be restored.
            await self._write_manifest(seal.root, jobs)
            batch_id = new_id()
            await repository.insert_batch(
                conn,
                batch_id=batch_id,
                registry_id=self._registry.id,
                root=seal.root,
                words=seal.words,
                leaves=leaves,
                at=now,
            )
            won = await transition(
                conn,
                [
                    Change(
                        job_id=job.id,
                        version=job.state_version,
                        source=JobState.COMPLETED,
                        target=JobState.CONFIRMING,
                        actor=NAME,
                        batch_id=batch_id,
                    )
                    for job in jobs
                ],
                now,
            )
            assert len(won) == len(jobs), "a job moved while its row was locked"
        _log.info("batch_sealed", batch=str(batch_id), root=f"0x{seal.root.hex()}", jobs=len(jobs))
        return len(jobs)

    def _due(self, count: int, oldest: datetime | None, now: datetime) -> bool:
        return oldest is not None and (count >= self._max_jobs or now - oldest >= self._max_age)

    def _seal(self, jobs: Sequence[FinishedJob]) -> tuple[dict[int, bytes], Seal]:
        leaves = {job.ticket: leaf(self._domain, job.confirmation) for job in jobs}
        return leaves, seal_batch(leaves)

    async def _write_manifest(self, root: bytes, jobs: Sequence[FinishedJob]) -> None:
        tenants = {job.tenant_id: job.tenant_name for job in jobs}
        manifest = Manifest(self._domain, [ManifestJob.of(job) for job in jobs], tenants)
        data = await asyncio.to_thread(self._cipher.encrypt, root, manifest)
        await self._blobs.put_named(SPACE, root.hex(), data)


def _within_words(finished: Sequence[FinishedJob]) -> list[FinishedJob]:
    """The oldest jobs whose tickets lie in no more words than a batch may have."""
    words: set[int] = set()
    jobs = []
    for job in finished:
        index = word(job.ticket)
        if index in words or len(words) < MAX_WORDS:
            words.add(index)
            jobs.append(job)
    return jobs
