"""The batcher: seals finished jobs together, as the policy says."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import registry_state, repository, run_time_repository
from relayer.batches.manifest import SPACE, Manifest, ManifestCipher, ManifestJob
from relayer.batches.policy import Policy, WaitingWord, choose, may_be_due
from relayer.batches.records import FinishedJob
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import Domain, leaf
from relayer.seal.tree import Seal, seal_batch
from relayer.settings import BatcherSettings
from relayer.store import leases
from relayer.store.blobs import BlobStore
from relayer.store.database import Database
from relayer.store.registries import STANDARD_LANE, RegistryRow

NAME = "batcher"

# Of how many batches' jobs the fullest words are picked where more wait than one batch may have.
_LOOK_AHEAD = 2

_log = structlog.get_logger(__name__)


class Batcher:
    """Seals the finished jobs of the standard lane of one registry.

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
        """Seal at most one batch, in one transaction; give the number of its jobs, 0 when none is due.

        Of a registry that is frozen nothing is sealed.

        Raises:
            LeaseLostError: another process leads the batcher now.

        """
        gas_price = None if self._gas_price is None else await self._gas_price()
        async with self._db.transaction() as conn:
            await leases.require(conn, NAME, epoch)
            now = self._clock()
            chosen = await self._choose(conn, now, gas_price)
            if not chosen:
                return 0
            jobs = await repository.lock_finished(
                conn, self._registry.id, [one.index for one in chosen], self._policy.max_jobs
            )
            if not self._is_enough(jobs, chosen, now):
                return 0
            leaves, seal = await asyncio.to_thread(self._seal, jobs)
            # Before the commit that shows the batch to the sender: a manifest of no batch harms nobody, but a batch on
            # chain without its manifest could not be restored.
            await self._write_manifest(seal.root, jobs)
            batch_id = new_id()
            await repository.insert_batch(
                conn,
                batch_id=batch_id,
                registry_id=self._registry.id,
                lane=STANDARD_LANE,
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
            await run_time_repository.observe(conn, [job.id for job in jobs])
        _log.info("batch_sealed", batch=str(batch_id), root=f"0x{seal.root.hex()}", jobs=len(jobs))
        return len(jobs)

    async def _choose(
        self, conn: AsyncConnection[TupleRow], now: datetime, gas_price: int | None
    ) -> list[WaitingWord]:
        """Choose the words to seal now, what must not wait first."""
        policy = self._policy
        waiting = await repository.waiting(
            conn, self._registry.id, STANDARD_LANE, limit=policy.max_jobs, at=now
        )
        if waiting is None or not may_be_due(waiting, policy, now, gas_price):
            return []
        if (await registry_state.read(conn, self._registry.id)).frozen:
            return []
        if gas_price is not None and await repository.has_sealed(conn, self._registry.id):
            # Nothing is confirmed sooner for waiting in line.
            gas_price = None
        words = await repository.waiting_words(
            conn,
            self._registry.id,
            STANDARD_LANE,
            limit=_LOOK_AHEAD * policy.max_jobs,
            at=now,
            news=policy.news_since(now),
        )
        return choose(words, policy, now, gas_price)

    def _is_enough(self, jobs: Sequence[FinishedJob], chosen: Sequence[WaitingWord], now: datetime) -> bool:
        """Whether it is what was chosen, or must not wait for what others hold or have sealed of it."""
        wanted = min(sum(one.jobs for one in chosen), self._policy.max_jobs)
        return len(jobs) >= wanted or any(self._policy.is_due(job.result_ready_at, now) for job in jobs)

    def _seal(self, jobs: Sequence[FinishedJob]) -> tuple[dict[int, bytes], Seal]:
        leaves = {job.ticket: leaf(self._domain, job.confirmation) for job in jobs}
        return leaves, seal_batch(leaves)

    async def _write_manifest(self, root: bytes, jobs: Sequence[FinishedJob]) -> None:
        tenants = {job.tenant_id: job.tenant_name for job in jobs}
        manifest = Manifest(self._domain, [ManifestJob.of(job) for job in jobs], tenants)
        data = await asyncio.to_thread(self._cipher.encrypt, root, manifest)
        await self._blobs.put_named(SPACE, root.hex(), data)
