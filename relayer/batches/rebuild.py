"""Rebuilding from the chain: an empty or an older database gets back what was confirmed.

The chain tells which roots were confirmed and which tickets are spent; the manifests in the blob store tell whose
jobs these were. Every batch is one transaction, and one that is there already is left as it is, so a rebuild that
was killed is simply run again. Nothing is sent, and nothing may be: the loops of the chain are kept out by their leases.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import structlog

from relayer.batches import rebuild_repository as repository
from relayer.batches import repository as batch_repository
from relayer.batches.burnt import run_anew
from relayer.batches.burnt_repository import Held, jobs_by_id, jobs_by_ticket
from relayer.batches.manifest import SPACE, JobRecord, Manifest, ManifestCipher
from relayer.batches.rebuild_repository import Connection
from relayer.batches.repair import Repair
from relayer.chain.calls import EventHandler
from relayer.chain.node import Block, Node
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, BatchConfirmed, RegistryClient
from relayer.chain.registry_reader import RegistryReader
from relayer.chain.rpc import JsonRpc
from relayer.jobs import blob_repository
from relayer.jobs.blob_repository import MadeBlob
from relayer.jobs.transition import Change, JobOutput, transition
from relayer.model.clock import Clock
from relayer.model.errors import JobsealError
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import Domain, JobConfirmation, lane, leaf
from relayer.seal.tree import WORD_TICKETS, Seal, seal_batch
from relayer.store import leases
from relayer.store.blobs import SMALL_BYTES, BlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.store.ticket_repository import jump_past
from relayer.tenants import audit
from relayer.tenants.audit import Event, Origin, Target

ACTOR = "rebuild"

# The sender first: it is the one that must not run.
_LOOPS = ("sender", "batcher", "indexer", "reconciler")
_LEASE = timedelta(minutes=5)
# The way of a job of the older database to the batch that the chain confirmed it in.
_WAY = (JobState.FAILED, JobState.CREATED, JobState.PROCESSING, JobState.COMPLETED, JobState.CONFIRMING)
_UNFINISHED = (JobState.CREATED, JobState.PROCESSING, JobState.COMPLETED, JobState.CONFIRMING)
_log = structlog.get_logger(__name__)


class RebuildRefusedError(JobsealError):
    """Something speaks against rebuilding now; nothing was changed."""


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did, in numbers.

    Attributes:
        confirmed: batches that the chain has confirmed, whoever's.
        restored: batches that came back from their manifests.
        jobs: jobs that came back, or were brought to where the chain has them.
        leaves_only: batches whose manifest is of version 1 and tells of no jobs.
        unknown: batches of which there is neither a row nor a manifest.
        broken: batches whose manifest does not open, or is not of the batch.
        run_again: jobs that held a spent ticket, failed, and run again as new ones.
        kept_apart: jobs that the chain has confirmed and that had come to another end here.

    """

    confirmed: int
    restored: int
    jobs: int
    leaves_only: int
    unknown: int
    broken: int
    run_again: int
    kept_apart: int


@dataclass(frozen=True)
class _Confirmed:
    height: int
    event: BatchConfirmed

    @property
    def tickets(self) -> list[int]:
        return [
            word.index * WORD_TICKETS + bit
            for word in self.event.words
            for bit in range(WORD_TICKETS)
            if word.mask >> bit & 1
        ]


class Rebuilder:
    """Rebuilds what belongs to one registry.

    Args:
        db: in the role of the owner.
        rpc: the node that is read from.
        blobs: where the manifests and the outputs lie.
        cipher: opens the manifests.
        registry: which is registered already.
        handler: applies events, as the indexer does.
        origin: whose doing it is.
        clock: the time of what is written.

    """

    def __init__(
        self,
        db: Database,
        rpc: JsonRpc,
        blobs: BlobStore,
        cipher: ManifestCipher,
        registry: RegistryRow,
        *,
        handler: EventHandler,
        origin: Origin,
        clock: Clock,
    ) -> None:
        self._db = db
        self._rpc = rpc
        self._blobs = blobs
        self._cipher = cipher
        self._registry = registry
        self._domain = Domain(registry.chain_id, registry.address)
        self._handler = handler
        self._origin = origin
        self._clock = clock
        self._done: Counter[str] = Counter()

    async def run(self) -> Rebuilt:
        """Bring back everything that the chain has confirmed.

        Raises:
            RebuildRefusedError: a loop that writes to the chain or follows it is led by a process.
            UnavailableError: node, database or blob store are away; run it again.

        """
        await self._keep_out()
        await self._record("registry.rebuild_started", {})
        at = await Node(self._rpc).block("finalized")
        if at is None:
            raise self._rpc.nonsense("the node has no finalized block")
        confirmed = await self._confirmed(at)
        await self._jump(confirmed)
        repair = Repair(self._rpc, self._registry, self._handler, at)
        for one in confirmed:
            await self._keep_out()
            await self._restore(one, repair)
        numbers = Rebuilt(
            confirmed=len(confirmed),
            **{name: self._done[name] for name in Rebuilt.__dataclass_fields__ if name != "confirmed"},
        )
        await self._record("registry.rebuilt", {**vars(numbers), "block": at.number})
        async with self._db.transaction() as conn:
            for name in _LOOPS:
                await leases.release(conn, name, ACTOR)
        return numbers

    # --- before anything comes back -------------------------------------------------------------------------

    async def _keep_out(self) -> None:
        """Lead every loop of the chain, so that no process does."""
        async with self._db.transaction() as conn:
            for name in _LOOPS:
                if await leases.acquire(conn, name, ACTOR, _LEASE) is None:
                    leader = await repository.leader_of(conn, name)
                    raise RebuildRefusedError(
                        f"the loop '{name}' is led by {leader}; stop every `jobseal relayer` and wait a minute"
                    )

    async def _confirmed(self, at: Block) -> list[_Confirmed]:
        reader = RegistryReader(self._rpc, self._registry.address, at)
        topics = [f"0x{BATCH_CONFIRMED_TOPIC.hex()}"]
        return [
            _Confirmed(
                int(log["blockNumber"], 16),
                RegistryClient.decode_batch_confirmed(
                    [bytes.fromhex(topic[2:]) for topic in log["topics"]], bytes.fromhex(log["data"][2:])
                ),
            )
            async for log in reader.logs(self._registry.first_block, at.number, topics)
        ]

    async def _jump(self, confirmed: Sequence[_Confirmed]) -> None:
        """Let no ticket be drawn again that the lost database may have handed out."""
        async with self._db.transaction() as conn:
            highest = await repository.highest_tickets(conn, self._registry.id)
            for one in confirmed:
                ticket = max(one.tickets)
                highest[lane(ticket)] = max(ticket, highest.get(lane(ticket), 0))
            for number, ticket in sorted(highest.items()):
                await repository.open_lane(conn, self._registry.id, number)
                await jump_past(conn, self._registry.id, number, ticket)

    # --- one batch ------------------------------------------------------------------------------------------

    async def _restore(self, one: _Confirmed, repair: Repair) -> None:
        root = one.event.root
        manifest = await self._manifest(one)
        seal = None if manifest is None else await asyncio.to_thread(self._seal, manifest)
        if manifest is not None and (seal is None or (seal.root, seal.words) != (root, one.event.words)):
            self._broken(root, "its jobs do not lead to its root")
            manifest = seal = None
        found = await repair.read(one.height)
        async with self._db.transaction() as conn:
            batch = await repository.batch_of(conn, self._registry.id, root)
            if batch is None:
                own = [] if manifest is None else [job.confirmation.job_id for job in manifest.jobs]
                await self._free(conn, one, {UUID(bytes=job_id) for job_id in own})
            if manifest is not None and seal is not None and (batch is None or batch[1] != "released"):
                batch_id = await self._batch(conn, manifest, seal) if batch is None else batch[0]
                await self._jobs(conn, batch_id, manifest)
            elif batch is None:
                self._done["unknown"] += 1
            await repair.apply(conn, found)

    async def _manifest(self, one: _Confirmed) -> Manifest | None:
        root = one.event.root
        data = await self._blobs.get_named(SPACE, root.hex())
        if data is None:
            return None
        try:
            manifest = await asyncio.to_thread(self._cipher.decrypt, root, data)
        except JobsealError as error:
            self._broken(root, str(error))
            return None
        if manifest.domain != self._domain:
            self._broken(root, "it is of another registry")
            return None
        return manifest

    def _broken(self, root: bytes, reason: str) -> None:
        self._done["broken"] += 1
        _log.error("manifest_broken", root=f"0x{root.hex()}", reason=reason)

    def _seal(self, manifest: Manifest) -> Seal:
        return seal_batch(self._leaves(manifest))

    def _leaves(self, manifest: Manifest) -> dict[int, bytes]:
        jobs = (job.confirmation for job in manifest.jobs)
        return {job.ticket: leaf(self._domain, job) for job in jobs}

    async def _batch(self, conn: Connection, manifest: Manifest, seal: Seal) -> UUID:
        batch_id = await batch_repository.insert_batch(
            conn,
            registry_id=self._registry.id,
            lane=lane(next(iter(seal.words)).index * WORD_TICKETS),
            root=seal.root,
            words=seal.words,
            leaves=await asyncio.to_thread(self._leaves, manifest),
            at=self._clock(),
        )
        assert batch_id is not None, "a batch of this root was looked for in this transaction"
        self._done["restored"] += 1
        return batch_id

    async def _jobs(self, conn: Connection, batch_id: UUID, manifest: Manifest) -> None:
        """Bring the jobs of a batch to where they await its event."""
        known = [(job.confirmation, job.record) for job in manifest.jobs if job.record is not None]
        if not known:
            self._done["leaves_only"] += 1
            return
        now = self._clock()
        by_id = {UUID(bytes=one.job_id): (one, record) for one, record in known}
        names = {record.tenant_id: f"restored-{record.tenant_id.hex}" for _, record in known}
        await repository.add_tenants(conn, {**names, **manifest.tenants}, now)
        held = await jobs_by_id(conn, self._registry.id, by_id.keys())
        missing = [pair for job_id, pair in by_id.items() if job_id not in held]
        await repository.add_jobs(conn, self._registry.id, batch_id, missing, now)
        self._done["jobs"] += len(missing)
        for job in held.values():
            await self._follow(conn, job, batch_id, *by_id[job.id])
        await self._own_outputs(conn, known)

    async def _follow(
        self, conn: Connection, job: Held, batch_id: UUID, one: JobConfirmation, record: JobRecord
    ) -> None:
        """Lead a job of the older database the way that the lost one led it."""
        if job.batch_id == batch_id and job.state in (JobState.CONFIRMING, JobState.CONFIRMED):
            return
        if job.state not in _WAY[:-1]:
            self._done["kept_apart"] += 1
            _log.error("job_kept_apart", job=str(job.id), state=job.state, batch=str(batch_id))
            return
        now = self._clock()
        await repository.lose_attempts(conn, [job.id], now)
        version = job.state_version
        way = _WAY[_WAY.index(job.state) :]
        for source, target in pairwise(way):
            output = JobOutput(one.output_hash, record.output_size, record.output_media_type)
            change = Change(
                job_id=job.id,
                version=version,
                source=source,
                target=target,
                actor="rebuild",
                output=output if target is JobState.COMPLETED else None,
                batch_id=batch_id if target is JobState.CONFIRMING else None,
            )
            moved = await transition(conn, [change], now)
            assert moved, "a job moved while its row was locked"
            version += 1
        await repository.set_result(conn, one, record)
        self._done["jobs"] += 1

    async def _own_outputs(
        self, conn: Connection, known: Sequence[tuple[JobConfirmation, JobRecord]]
    ) -> None:
        """Give tenants the outputs that lie in the blob store; smaller ones lay in the database and are gone."""
        made = [
            MadeBlob(record.tenant_id, one.output_hash, record.output_size, record.output_media_type, None)
            for one, record in known
            if record.output_size > SMALL_BYTES and await self._blobs.holds(one.output_hash)
        ]
        if made:
            await blob_repository.own_blobs(conn, made, self._clock())

    # --- tickets that others hold ---------------------------------------------------------------------------

    async def _free(self, conn: Connection, one: _Confirmed, own: set[UUID]) -> None:
        """Fail the jobs that hold tickets which the chain has spent for others, and run them again."""
        now = self._clock()
        holders = [
            job
            for job in await jobs_by_ticket(conn, self._registry.id, one.tickets)
            if job.id not in own and job.state is not JobState.CONFIRMED
        ]
        if not holders:
            return
        burnt = [job for job in holders if job.state in _UNFINISHED]
        await repository.lose_attempts(conn, [job.id for job in burnt], now)
        await repository.take_new_tickets(conn, [job.id for job in holders])
        await run_anew(conn, burnt, actor=ACTOR, at=now)
        self._done["run_again"] += len(burnt)

    async def _record(self, action: str, numbers: Mapping[str, int]) -> None:
        event = Event(
            tenant_id=None,
            action=action,
            origin=self._origin,
            occurred_at=self._clock(),
            targets=(Target("registry", f"0x{self._registry.address.hex()}"),),
            metadata={"chain_id": self._registry.chain_id, **numbers},
        )
        async with self._db.transaction() as conn:
            await audit.record(conn, event)
