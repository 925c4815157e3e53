"""Reconciliation: every few minutes the database is compared with the chain, once a day all of it.

What is found is committed before anything is done about it, and a freeze together with it. What is done may be done
again: a run that was cut short is followed by one that finds what is left.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import structlog

from relayer.batches import reconcile_repository as repository
from relayer.batches import registry_state
from relayer.batches.differences import Action, Difference, DifferenceClass
from relayer.batches.first_block import first_differing_block
from relayer.batches.reconcile import BLOCKS_BEHIND, ChainView, compare
from relayer.batches.reconcile_repository import Connection, Run
from relayer.batches.repair import Repair
from relayer.batches.survey import Survey, read_chain, read_database
from relayer.chain.calls import EventHandler
from relayer.chain.node import Block, Node
from relayer.chain.providers import Providers
from relayer.chain.rpc import JsonRpc, RpcError, RpcUnavailableError
from relayer.model.clock import Clock
from relayer.model.errors import JobsealError
from relayer.model.ids import new_id
from relayer.store import leases
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.telemetry.metrics import Differences

NAME = "reconciler"

SHALLOW_EVERY = timedelta(minutes=5)
FULL_EVERY = timedelta(days=1)
_CLEAN_RUNS_KEPT = timedelta(days=30)
_OF_ONE_SLOT = (DifferenceClass.SUPERSEDED_SLOT, DifferenceClass.OVERDUE_SLOT)

_log = structlog.get_logger(__name__)


class Mode(StrEnum):
    """How much is compared: what moved of late and a sample, or everything."""

    SHALLOW = "shallow"
    FULL = "full"


@dataclass(frozen=True)
class Report:
    """A run and what it found, each with what became of it: None where nothing was to be done."""

    run: Run
    found: Sequence[Difference]
    outcomes: Sequence[str | None]


class NothingToCompareError(JobsealError):
    """The indexer has read no block of the registry yet."""


class Reconciler:
    """Compares one registry with the database.

    Args:
        db: in the relayer's role.
        providers: the nodes; each run reads from one of them.
        registry: whose batches are compared.
        handler: applies events, as the indexer does.
        worst_case: what a transaction costs at the cap, in wei.
        metrics: told of every run.
        clock: by which runs are due, and slots overdue.

    """

    def __init__(
        self,
        db: Database,
        providers: Providers,
        registry: RegistryRow,
        *,
        handler: EventHandler,
        worst_case: int,
        metrics: Differences,
        clock: Clock,
    ) -> None:
        self._db = db
        self._providers = providers
        self._registry = registry
        self._handler = handler
        self._worst_case = worst_case
        self._metrics = metrics
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Reconcile where a run is due, under the lease's epoch; give the number of differences.

        Raises:
            UnavailableError: node or database are away.
            RpcError: the node refuses a read.
            LeaseLostError: another process leads.

        """
        async with self._write(epoch) as conn:
            last, last_full = await repository.last_runs(conn, self._registry.id)
            is_read = await repository.position(conn, self._registry.id) is not None
        now = self._clock()
        if not is_read or (last is not None and now - last < SHALLOW_EVERY):
            return 0
        full = last_full is None or now - last_full >= FULL_EVERY
        report = await self.run(Mode.FULL if full else Mode.SHALLOW, epoch)
        return len(report.found)

    async def run(self, mode: Mode, epoch: int | None = None) -> Report:
        """Reconcile now; raises as `run_pass` does, and `NothingToCompareError`."""
        started = self._clock()
        await self._providers.look()
        rpc = self._providers.pinned()
        survey = await read_database(self._db, self._registry, full=mode is Mode.FULL)
        if survey is None:
            raise NothingToCompareError(
                f"no block of the registry 0x{self._registry.address.hex()} was read yet; start `jobseal relayer`"
            )
        found, chain = await self._compare(rpc, survey)
        found = await self._confirm_freeze(rpc, survey, found)
        if chain is not None and mode is Mode.FULL:
            found = [await first_differing_block(rpc, self._registry, survey, chain, one) for one in found]
        at = chain.at if chain else None
        run = Run(
            id=new_id(),
            registry_id=self._registry.id,
            mode=mode,
            block_number=survey.position.block_number,
            block_hash=at.hash if at else survey.position.block_hash or bytes(32),
            batches=len(survey.database.batches),
            words=len(chain.words) if chain else 0,
            events=len(chain.events) if chain else 0,
            started_at=started,
            finished_at=self._clock(),
        )
        found = await self._store(epoch, run, found)
        repair = Repair(rpc, self._registry, self._handler, chain.at) if chain else None
        outcomes = []
        for number, one in enumerate(found, start=1):
            outcome = await self._act(epoch, one, survey, chain, repair)
            outcomes.append(outcome)
            if outcome is not None:
                async with self._write(epoch) as conn:
                    await repository.set_outcome(conn, run.id, number, outcome)
        self._tell(run, found)
        return Report(run, found, outcomes)

    # --- finding --------------------------------------------------------------------------------------------

    async def _compare(self, rpc: JsonRpc, survey: Survey) -> tuple[list[Difference], ChainView | None]:
        node, position = Node(rpc), survey.position
        chain_id = await node.chain_id()
        genesis, at, finalized = (
            await node.block(0),
            await node.block(position.block_number),
            await node.block("finalized"),
        )
        if changed := self._changed(chain_id, genesis, at, survey):
            return [changed], None
        if genesis is None or at is None or finalized is None or finalized.number < at.number:
            raise rpc.nonsense(
                f"it has no finalized block {position.block_number} yet, which was read already"
            )
        async with self._db.transaction() as conn:
            await repository.remember_genesis(conn, self._registry.id, genesis.hash)
        if finalized.number - at.number > BLOCKS_BEHIND:
            behind = Difference(
                DifferenceClass.INDEXER_BEHIND,
                "the indexer",
                f"read to block {at.number}",
                f"final to block {finalized.number}",
            )
            return [behind], None
        chain = await read_chain(rpc, self._registry, survey, at)
        return compare(survey.database, chain, self._clock(), self._worst_case), chain

    async def _confirm_freeze(
        self, rpc: JsonRpc, survey: Survey, found: Sequence[Difference]
    ) -> list[Difference]:
        """Leave out what would freeze the registry and is not found again: nodes lose logs, and lie.

        Another node is asked, or where none answers the same one once more.

        Raises:
            RpcUnavailableError: none answers. The next run compares anew.
            RpcError: the last one refuses a read.

        """
        if all(one.action is not Action.FREEZE for one in found):
            return list(found)
        for other in self._providers.witnesses():
            if other is rpc:
                continue
            try:
                again, _ = await self._compare(other, survey)
                break
            except (RpcError, RpcUnavailableError) as error:
                _log.warning("freeze_not_checked", node=other.address, reason=str(error))
        else:
            other = rpc
            again, _ = await self._compare(rpc, survey)
        seen_again = {(one.kind, one.subject) for one in again}
        kept = [
            one for one in found if one.action is not Action.FREEZE or (one.kind, one.subject) in seen_again
        ]
        if len(kept) < len(found):
            _log.critical(
                "nodes_contradict_each_other",
                node=rpc.address,
                other=other.address,
                dropped=[f"{one.kind}: {one.subject}" for one in found if one not in kept],
            )
        return kept

    def _changed(
        self, chain_id: int, genesis: Block | None, at: Block | None, survey: Survey
    ) -> Difference | None:
        """Whether this is another chain than the one that the database knows."""
        kind, position = DifferenceClass.CHAIN_CHANGED, survey.position
        if chain_id != self._registry.chain_id:
            return Difference(kind, "chain id", str(self._registry.chain_id), str(chain_id))
        known = position.genesis_hash
        if known is not None and genesis is not None and genesis.hash != known:
            return Difference(kind, "genesis block", f"0x{known.hex()}", f"0x{genesis.hash.hex()}")
        if at is not None and position.block_hash is not None and at.hash != position.block_hash:
            return Difference(
                kind, f"block {at.number}", f"0x{position.block_hash.hex()}", f"0x{at.hash.hex()}"
            )
        return None

    # --- acting ---------------------------------------------------------------------------------------------

    async def _store(self, epoch: int | None, run: Run, found: Sequence[Difference]) -> list[Difference]:
        """Keep the run, and freeze with it where the database claims more than the chain.

        Slots that the sender has settled since the snapshot are left out.
        """
        async with self._write(epoch) as conn:
            is_open = {
                f"nonce {slot.nonce}" for slot in await repository.open_slots(conn, self._registry.chain_id)
            }
            found = [one for one in found if one.kind not in _OF_ONE_SLOT or one.subject in is_open]
            await repository.insert_run(conn, run, found)
            await repository.forget_clean_runs(conn, self._registry.id, run.started_at - _CLEAN_RUNS_KEPT)
            freezing = [one for one in found if one.action is Action.FREEZE]
            if freezing:
                more = f", and {len(freezing) - 1} more" if len(freezing) > 1 else ""
                reason = f"{freezing[0].kind}: {freezing[0].subject}{more} (run {run.id})"
                await registry_state.freeze(conn, self._registry.id, reason)
        return found

    async def _act(
        self,
        epoch: int | None,
        one: Difference,
        survey: Survey,
        chain: ChainView | None,
        repair: Repair | None,
    ) -> str | None:
        """Do what the rule table says; give what was done, None where that is for somebody else."""
        if one.action is Action.FREEZE:
            return "frozen"
        if one.action is Action.HOLD and chain is not None and chain.registry is not None:
            async with self._write(epoch) as conn:
                await registry_state.observe(conn, self._registry.id, chain.registry, self._clock())
            return "observed"
        if one.action is Action.FIX and repair is not None:
            return await self._fix(epoch, one, survey, repair)
        return None

    async def _fix(self, epoch: int | None, one: Difference, survey: Survey, repair: Repair) -> str:
        heights = await repair.heights(one, survey.database.batches)
        if not heights:
            return "no event found; nothing was changed"
        for height in heights:
            logs = await repair.read(height)
            async with self._write(epoch) as conn:
                await repair.apply(conn, logs)
        return f"applied block {', '.join(map(str, heights))}"

    def _tell(self, run: Run, found: Sequence[Difference]) -> None:
        counts = dict.fromkeys(DifferenceClass, 0)
        for one in found:
            counts[one.kind] += 1
            say = _log.critical if one.action is Action.FREEZE else _log.warning
            say(
                "difference_found",
                kind=one.kind.value,
                subject=one.subject,
                database=one.database,
                chain=one.chain,
                action=one.action.value,
            )
        self._metrics.ran(run.mode, run.finished_at, {kind.value: count for kind, count in counts.items()})
        _log.info("reconciled", mode=run.mode, block=run.block_number, differences=len(found))

    @asynccontextmanager
    async def _write(self, epoch: int | None) -> AsyncIterator[Connection]:
        """A transaction; where a lease leads, one that commits only while its epoch does."""
        async with self._db.transaction() as conn:
            if epoch is not None:
                await leases.require(conn, NAME, epoch)
            yield conn
