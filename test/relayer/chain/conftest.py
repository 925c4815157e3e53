"""A deployed registry on a real node, and a source of calls that keeps what it is told."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from eth_account import Account
from eth_hash.backends.pysha3 import keccak256
from prometheus_client import CollectorRegistry

from relayer.chain.calls import Call, Cause, Inclusion, Leave, Refusal
from relayer.chain.fee import GWEI
from relayer.chain.fees import Fees
from relayer.chain.health import HealthPolicy
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.providers import Providers
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.chain.sender import Sender
from relayer.chain.sender_metrics import SenderMetrics
from relayer.chain.signer import Signer
from relayer.chain.slot_repository import Connection
from relayer.local.anvil import CHAIN_ID, Anvil
from relayer.model.ids import new_id
from relayer.seal.tree import Seal, seal_batch
from relayer.settings import FeeKind, Rollup
from relayer.store import leases, registries
from relayer.store.database import Database

ADMIN = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ETHER = 10**18


@dataclass
class Source:
    """A `CallSource` over the real table of batches; every call it gives confirms jobs that nobody else has."""

    target: bytes
    told: list[tuple[Any, ...]] = field(default_factory=list)
    leaves: Leave = Leave.GO

    async def next(self, conn: Connection) -> Call | None:
        cursor = await conn.execute(
            "SELECT b.id, root FROM batches b WHERE state = 'sealed' ORDER BY sealed_at, id LIMIT 1 "
            "FOR UPDATE SKIP LOCKED"
        )
        if (row := await cursor.fetchone()) is None:
            return None
        seal = SEALS[row[1]]
        return Call(row[0], self.target, RegistryClient.encode_confirm_batch(seal.words))

    async def leave(self, conn: Connection, batch_id: UUID, refusal: Refusal | None = None) -> Leave:
        return self.leaves

    async def halted(self, conn: Connection, trouble: str) -> None:
        self.told.append(("halted", trouble))

    async def sending(self, conn: Connection, batch_id: UUID) -> bool:
        await self._tell(conn, batch_id, "sending")
        return True

    async def included(self, conn: Connection, batch_id: UUID, inclusion: Inclusion) -> None:
        await self._tell(conn, batch_id, "included", inclusion)

    async def dropped(self, conn: Connection, batch_id: UUID) -> None:
        await self._tell(conn, batch_id, "sending", "dropped")

    async def weigh(self, batch_id: UUID, refusal: Refusal) -> Refusal:
        return refusal

    async def refused(self, conn: Connection, batch_id: UUID, refusal: Refusal) -> None:
        again = refusal.cause is Cause.OUT_OF_GAS
        await self._tell(conn, batch_id, "sealed" if again else "needs_human", refusal)

    async def _tell(self, conn: Connection, batch_id: UUID, state: str, *details: Any) -> None:
        reason = "reverted" if state == "needs_human" else None
        await conn.execute(
            "UPDATE batches SET state = %s, reason = %s WHERE id = %s", [state, reason, batch_id]
        )
        self.told.append((state, *details))


SEALS: dict[bytes, Seal] = {}


class TestClock:
    """A clock that a test moves."""

    __test__ = False

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass
class Chain:
    """A node, a registry on it whose only confirmer is the keystore's account, and the parts of a sender."""

    rpc: JsonRpc
    address: bytes
    first_block: int
    signer: KeystoreSigner
    clock: TestClock
    source: Source
    db: Database
    registry_id: int
    jobs: int = 0
    request_timeout: timedelta = timedelta(minutes=1)
    counts: list[CollectorRegistry] = field(default_factory=list)

    @property
    def registry(self) -> RegistryClient:
        return RegistryClient(self.rpc, CHAIN_ID, self.address)

    def providers(self, *nodes: JsonRpc | None) -> Providers:
        """The nodes as one pool that looks at them anew at every pass."""
        policy = HealthPolicy(fresh_for=timedelta(0), look_within=timedelta(minutes=1))
        chosen = [one for one in nodes if one is not None]
        return Providers(chosen or [self.rpc], CHAIN_ID, policy=policy, clock=self.clock)

    def sender(
        self,
        *others: JsonRpc,
        rpc: JsonRpc | None = None,
        signer: Signer | None = None,
        cap: int = 500,
        fees: FeeKind = "auto",
        rollup: Rollup = "none",
    ) -> Sender:
        self.counts.append(CollectorRegistry())
        return Sender(
            self.db,
            self.providers(rpc or self.rpc, *others),
            signer=signer or self.signer,
            source=self.source,
            fees=Fees(cap * GWEI, fees, rollup),
            metrics=SenderMetrics(self.counts[-1]),
            clock=self.clock,
        )

    def count(self, name: str, **labels: str) -> float:
        """What the senders of this test have counted together."""
        return sum(registry.get_sample_value(name, labels) or 0 for registry in self.counts)

    async def lease(self, name: str, owner: str = "this") -> int:
        async with self.db.transaction() as conn:
            epoch = await leases.acquire(conn, name, owner, timedelta(minutes=5))
        assert epoch is not None
        return epoch

    async def seal(self) -> Seal:
        """A sealed batch of one job more than the last one."""
        self.jobs += 1
        leaves = {self.jobs << 8 | bit: keccak256(b"leaf %d" % bit) for bit in range(self.jobs)}
        seal = seal_batch(leaves)
        SEALS[seal.root] = seal
        async with self.db.transaction() as conn:
            await conn.execute(
                "INSERT INTO batches (id, registry_id, lane, root, state, leaf_count, sealed_at) "
                "VALUES (%s, %s, 0, %s, 'sealed', %s, %s)",
                [new_id(), self.registry_id, seal.root, len(leaves), self.clock()],
            )
        return seal

    async def mine(self, blocks: int = 1) -> None:
        # A busy machine makes a hundred in far less than a request may take, but not always a thousand.
        for made in range(0, blocks, 100):
            await self.rpc.call("anvil_mine", [hex(min(100, blocks - made))])

    async def confirmed(self) -> list[bytes]:
        """The roots that the registry has announced, in order."""
        query = {"address": f"0x{self.address.hex()}", "fromBlock": "0x0"}
        logs = await self.rpc.call("eth_getLogs", [query])
        return [
            bytes.fromhex(log["topics"][1][2:])
            for log in logs
            if log["topics"][0] == f"0x{BATCH_CONFIRMED_TOPIC.hex()}"
        ]

    async def nonce(self) -> int:
        answer = await self.rpc.call("eth_getTransactionCount", [f"0x{self.signer.address.hex()}", "latest"])
        return int(answer, 16)

    async def rows(self, query: str) -> list[Any]:
        async with self.db.transaction() as conn:
            return await (await conn.execute(query)).fetchall()

    async def slots(self) -> list[tuple[int, str, int]]:
        """Nonce, state and number of attempts of every slot."""
        return await self.rows(
            "SELECT nonce, state, (SELECT count(*) FROM tx_attempts WHERE chain_tx_id = t.id) "
            "FROM chain_txs t ORDER BY nonce"
        )

    async def as_admin(self, call: str) -> None:
        data = f"0x{keccak256(call.encode())[:4].hex()}"
        await self.rpc.call(
            "eth_sendTransaction", [{"from": ADMIN, "to": f"0x{self.address.hex()}", "data": data}]
        )
        # The node mines by itself a little after it has answered.
        await self.mine()


@pytest.fixture(scope="session")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keystore")
    key = folder / "key.json"
    password = folder / "password"
    key.write_text(json.dumps(Account.encrypt(Account.create().key, "correct horse", iterations=2)))
    password.write_text("correct horse\n")
    return key, password


@pytest.fixture
async def chain(
    relayer_db: Database,
    owner_db: Database,
    make_anvil: Callable[..., Anvil],
    deploy_registry: Callable[..., tuple[bytes, int]],
    keystore: tuple[Path, Path],
) -> AsyncIterator[Chain]:
    signer = KeystoreSigner(*keystore)
    anvil = make_anvil("auto")
    account = f"0x{signer.address.hex()}"
    address, first_block = deploy_registry(anvil.rpc_url, confirmers=[account])
    async with owner_db.transaction() as conn:
        row = await registries.register(conn, CHAIN_ID, address, first_block)
    async with JsonRpc(anvil.rpc_url, timedelta(minutes=1)) as rpc:
        await rpc.call("anvil_setBalance", [account, hex(100 * ETHER)])
        clock = TestClock()
        yield Chain(rpc, address, first_block, signer, clock, Source(address), relayer_db, row.id)
