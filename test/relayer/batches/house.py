"""A real registry on a node of a module, the reconciler and the indexer beside it, and whoever goes past them."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from relayer.batches import registry_state
from relayer.batches.handlers import on_final_event
from relayer.batches.reconciler import Mode, Reconciler, Report
from relayer.chain.calls import EventHandler
from relayer.chain.indexer import Indexer
from relayer.chain.node import Node
from relayer.chain.providers import Providers
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.local import deploy
from relayer.local.anvil import Anvil
from relayer.seal.tree import Word
from relayer.store import leases, registries
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.telemetry.metrics import Differences

from .conftest import HeldClock, SealJobs

ADMIN = deploy.ADMIN.lower()
# anvil's second account, whose key everyone knows; the node signs for it.
CONFIRMER = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
ETHER = 10**18
WORST_CASE = ETHER

Deployed = tuple[Anvil, deploy.Deployment]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    home = tmp_path_factory.mktemp("reconcile")
    with Anvil(home, mining="auto", persist=False) as anvil:
        yield anvil, deploy.deploy_registry(anvil.rpc_url, [CONFIRMER], home / "broadcast")


@pytest.fixture(name="rpc")
async def node_of_house(deployed: Deployed) -> AsyncIterator[JsonRpc]:
    """The node, as it was after the deployment."""
    async with JsonRpc(deployed[0].rpc_url, timedelta(seconds=20)) as rpc:
        await rpc.call("evm_setAutomine", [False])
        snapshot = await rpc.call("evm_snapshot")
        yield rpc
        assert await rpc.call("evm_revert", [snapshot])


@pytest.fixture(name="registry_row")
async def registry_of_house(owner_db: Database, deployed: Deployed) -> RegistryRow:
    """The registry of this file: deployed, not only registered."""
    anvil, deployment = deployed
    async with owner_db.transaction() as conn:
        return await registries.register(conn, anvil.chain_id, deployment.address, deployment.first_block)


@dataclass
class House:
    """The reconciler and the indexer beside a real registry, and whoever edits either side past them."""

    owner: Database
    db: Database
    rpc: JsonRpc
    registry: RegistryRow
    providers: Providers
    clock: HeldClock
    seal: SealJobs
    metrics: CollectorRegistry
    shown: Differences
    indexer_epoch: int
    superuser: psycopg.Connection[Any]

    def reconciler(self, handler: EventHandler = on_final_event) -> Reconciler:
        return Reconciler(
            self.db,
            self.providers,
            self.registry,
            handler=handler,
            worst_case=WORST_CASE,
            metrics=self.shown,
            clock=self.clock,
        )

    async def full(self) -> Report:
        return await self.reconciler().run(Mode.FULL)

    async def index(self, blocks: int = 3) -> None:
        """Bring blocks, and let the indexer read what is final."""
        await self.rpc.call("anvil_mine", [hex(blocks)])
        indexer = Indexer(
            self.db,
            self.providers,
            chain_id=self.registry.chain_id,
            address=self.registry.address,
            first_block=self.registry.first_block,
            handler=on_final_event,
            clock=self.clock,
        )
        while await indexer.run_pass(self.indexer_epoch):
            pass

    async def skip(self, blocks: int = 3) -> None:
        """Bring blocks, and let the indexer's cursor pass them unread."""
        await self.rpc.call("anvil_mine", [hex(blocks)])
        last = await Node(self.rpc).block("finalized")
        assert last is not None
        await self.edit(
            "UPDATE cursors SET next_block = %s, last_hash = %s WHERE contract = %s",
            [last.number + 1, last.hash, self.registry.address],
        )

    async def transact(self, sender: str, data: str) -> None:
        call = {"from": sender, "to": f"0x{self.registry.address.hex()}", "data": data}
        transaction = await self.rpc.call("eth_sendTransaction", [call])
        await self.rpc.call("anvil_mine")
        receipt = await self.rpc.call("eth_getTransactionReceipt", [transaction])
        assert receipt["status"] == "0x1"

    async def confirm(self, words: Sequence[Word] | None = None) -> None:
        """Confirm the only batch that there is, or other words, from the confirmer's account."""
        if words is None:
            rows = await self.rows("SELECT index, mask, root FROM batch_words ORDER BY index")
            words = [Word(index, int.from_bytes(mask), root) for index, mask, root in rows]
        await self.transact(CONFIRMER, f"0x{RegistryClient.encode_confirm_batch(words).hex()}")

    async def edit(self, statement: Any, parameters: Any = None) -> None:
        """Write past every trigger."""
        self.superuser.execute(statement, parameters)

    async def rows(self, statement: Any) -> list[tuple[Any, ...]]:
        async with self.owner.transaction() as conn:
            return await (await conn.execute(statement)).fetchall()

    async def frozen(self) -> str | None:
        async with self.db.transaction() as conn:
            return (await registry_state.read(conn, self.registry.id)).frozen_reason


@pytest.fixture(name="house")
async def house_beside_chain(
    owner_db: Database,
    relayer_db: Database,
    rpc: JsonRpc,
    registry_row: RegistryRow,
    clock: HeldClock,
    seal_jobs: SealJobs,
    superuser: psycopg.Connection[Any],
) -> House:
    async with relayer_db.transaction() as conn:
        epoch = await leases.acquire(conn, "indexer", "test", timedelta(hours=1))
    assert epoch is not None
    metrics = CollectorRegistry()
    return House(
        owner=owner_db,
        db=relayer_db,
        rpc=rpc,
        registry=registry_row,
        providers=Providers([rpc], registry_row.chain_id, clock=clock),
        clock=clock,
        seal=seal_jobs,
        metrics=metrics,
        shown=Differences(metrics),
        indexer_epoch=epoch,
        superuser=superuser,
    )
