"""The batcher: seals finished jobs together, as the policy says."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import registry_state, repository, run_time_repository
from relayer.batches.burnt import take_out
from relayer.batches.manifest import SPACE, Manifest, ManifestCipher, ManifestJob
from relayer.batches.policy import Policy, WaitingWord, choose, may_be_due
from relayer.batches.records import FinishedJob
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import Domain, lane, leaf
from relayer.seal.tree import WORD_TICKETS, Seal, seal_batch
from relayer.settings import BatcherSettings
from relayer.store import leases
from relayer.store.blobs import BlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

NAME = "batcher"

# Of how many batches' jobs the fullest words are picked where more wait than one batch may have.
_LOOK_AHEAD = 2
# Bounds the size of one statement, and for how long it holds the event loop.
_CHUNK = 1_000

_log = structlog.get_logger(__name__)


class _MovedError(Exception):
    """A job that was to be sealed is no longer as it was read, or was sealed by somebody else."""


class Batcher:
    """Seals the finished jobs of one registry, those of each lane by themselves.

    Args:
        db: in the relayer's role.
        blobs: keeps the manifests.
        registry: where the jobs will be confirmed.
        settings: the policy, and the key of the manifests.
        clock: by which jobs wait.
        gas_price: gives what gas costs now, in wei, or None where nobody knows; it is asked before every pass.

    Raises:
        ValueError: the manifest key has not 32 bytes.

    """

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        registry: RegistryRow,
        settings: BatcherSettings,
        clock: Clock,
        *,
        gas_price: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._registry = registry
        self._domain = Domain(registry.chain_id, registry.address)
        self._policy = Policy(settings.max_jobs, settings.max_age, settings.second_price_wei)
        self._cipher = ManifestCipher(settings.manifest_key.get_secret_value())
        self._clock = clock
        self._gas_price = gas_price

    async def run_pass(self, epoch: int) -> int:
        """Seal at most one batch, all of it in one transaction; give the number of its jobs, 0 when none is due.

        Of a registry that is frozen nothing is sealed, nor of a lane whose last batch waits for the quorum: once that is
        there, few large batches are cheaper than many small ones.
        Jobs whose tickets somebody else has spent are not sealed but run anew, and count.

        Raises:
            LeaseLostError: another process leads the batcher now.

        """
        gas_price = None if self._gas_price is None else await self._gas_price()
        now = self._clock()
        async with self._db.transaction() as conn:
            await leases.require(conn, NAME, epoch)
            words = await self._choose(conn, now, gas_price)
            jobs = words and await repository.finished(
                conn, self._registry.id, [one.index for one in words], self._policy.max_jobs
            )
            burnt = jobs and await take_out(
                conn, self._registry.id, [job.ticket for job in jobs], actor=NAME, at=now
            )
        if not jobs:
            return 0
        if burnt:
            return len(burnt)
        # No transaction is open meanwhile: the trees of a large batch take seconds.
        leaves, seal = await asyncio.to_thread(self._seal, jobs)
        # Before the commit that shows the batch to the sender: a manifest of no batch harms nobody, but a batch on chain
        # without its manifest could not be restored.
        await self._write_manifest(seal.root, jobs)
        try:
            batch_id = await self._keep(epoch, jobs, leaves, seal, now)
        except _MovedError:
            return 0
        _log.info("batch_sealed", batch=str(batch_id), root=f"0x{seal.root.hex()}", jobs=len(jobs))
        return len(jobs)

    async def _keep(
        self, epoch: int, jobs: Sequence[FinishedJob], leaves: Mapping[int, bytes], seal: Seal, now: datetime
    ) -> UUID:
        """Store a batch and move its jobs into it, or nothing of it where one of them has moved."""
        async with self._db.transaction() as conn:
            await leases.require(conn, NAME, epoch)
            batch_id = await repository.insert_batch(
                conn,
                registry_id=self._registry.id,
                lane=lane(seal.words[0].index * WORD_TICKETS),
                root=seal.root,
                words=seal.words,
                leaves=leaves,
                at=now,
            )
            if batch_id is None:
                raise _MovedError
            # Jobs are locked in the order of their ids, everywhere.
            ordered = sorted(jobs, key=lambda job: job.id)
            for start in range(0, len(ordered), _CHUNK):
                changes = [_change(job, batch_id) for job in ordered[start : start + _CHUNK]]
                if len(await transition(conn, changes, now)) < len(changes):
                    raise _MovedError
            await run_time_repository.observe(conn, [job.id for job in jobs])
        return batch_id

    async def _choose(
        self, conn: AsyncConnection[TupleRow], now: datetime, gas_price: int | None
    ) -> list[WaitingWord]:
        """Choose the words to seal now, what must not wait first."""
        if (await registry_state.read(conn, self._registry.id)).frozen:
            return []
        for number in await repository.waiting_lanes(conn, self._registry.id):
            if words := await self._choose_of_lane(conn, number, now, gas_price):
                return words
        return []

    async def _choose_of_lane(
        self, conn: AsyncConnection[TupleRow], number: int, now: datetime, gas_price: int | None
    ) -> list[WaitingWord]:
        policy = self._policy
        waiting = await repository.waiting(conn, self._registry.id, number, limit=policy.max_jobs, at=now)
        if waiting is None or not may_be_due(waiting, policy, now, gas_price):
            return []
        if await repository.waits_for_quorum(conn, self._registry.id, number):
            return []
        if gas_price is not None and await repository.has_sealed(conn, self._registry.id, number):
            # Nothing is confirmed sooner for waiting in line.
            gas_price = None
        words = await repository.waiting_words(
            conn,
            self._registry.id,
            number,
            limit=_LOOK_AHEAD * policy.max_jobs,
            at=now,
            news=policy.news_since(now),
        )
        return choose(words, policy, now, gas_price)

    def _seal(self, jobs: Sequence[FinishedJob]) -> tuple[dict[int, bytes], Seal]:
        leaves = {job.ticket: leaf(self._domain, job.confirmation) for job in jobs}
        return leaves, seal_batch(leaves)

    async def _write_manifest(self, root: bytes, jobs: Sequence[FinishedJob]) -> None:
        data = await asyncio.to_thread(self._manifest, root, jobs)
        await self._blobs.put_named(SPACE, root.hex(), data)

    def _manifest(self, root: bytes, jobs: Sequence[FinishedJob]) -> bytes:
        tenants = {job.tenant_id: job.tenant_name for job in jobs}
        return self._cipher.encrypt(
            root, Manifest(self._domain, [ManifestJob.of(job) for job in jobs], tenants)
        )


def _change(job: FinishedJob, batch_id: UUID) -> Change:
    return Change(
        job_id=job.id,
        version=job.state_version,
        source=JobState.COMPLETED,
        target=JobState.CONFIRMING,
        actor=NAME,
        batch_id=batch_id,
    )
