"""The sender and the indexer over the batches of a registry that is deployed on a real node.

A file of tests that uses `relayer` says that its `registry_row` is the `deployed_row`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from eth_account import Account
from prometheus_client import CollectorRegistry

from relayer.batches.handlers import on_batch_confirmed
from relayer.batches.source import BatchSource
from relayer.chain.fees import Fees
from relayer.chain.health import HealthPolicy
from relayer.chain.indexer import Indexer
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.providers import Providers
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.chain.sender import Sender
from relayer.chain.sender_metrics import SenderMetrics
from relayer.local.anvil import Anvil
from relayer.seal.tree import Word
from relayer.store import leases, registries
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .clock import HeldClock

ADMIN = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
# anvil's second account, known to everyone.
CONFIRMER_KEY = bytes.fromhex("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")
PAUSE, UNPAUSE = "0x8456cb59", "0x3f4ba83a"


@pytest.fixture
def anvil(make_anvil: Callable[..., Anvil]) -> Anvil:
    return make_anvil("auto")


@pytest.fixture
def signer(tmp_path: Path) -> KeystoreSigner:
    keystore, password = tmp_path / "keystore.json", tmp_path / "password"
    keystore.write_bytes(orjson.dumps(Account.encrypt(CONFIRMER_KEY, "open", kdf="pbkdf2", iterations=1)))
    password.write_text("open\n")
    return KeystoreSigner(keystore, password)


@pytest.fixture
async def deployed_row(
    owner_db: Database,
    anvil: Anvil,
    deploy_registry: Callable[..., tuple[bytes, int]],
    signer: KeystoreSigner,
) -> RegistryRow:
    """A registry that is deployed, not only registered."""
    address, first_block = deploy_registry(anvil.rpc_url, [f"0x{signer.address.hex()}"])
    async with owner_db.transaction() as conn:
        return await registries.register(conn, anvil.chain_id, address, first_block)


@dataclass
class Relayer:
    """The sender and the indexer over the batches of a real registry."""

    db: Database
    rpc: JsonRpc
    registry: RegistryRow
    sender: Sender
    indexer: Indexer
    clock: HeldClock
    epochs: dict[str, int]

    async def send(self) -> int:
        return await self.sender.run_pass(self.epochs["sender"])

    async def finalize(self) -> None:
        """Bring three more blocks, and let sender and indexer see them."""
        await self.rpc.call("anvil_mine", ["0x3"])
        await self.send()
        while await self.indexer.run_pass(self.epochs["indexer"]):
            pass

    async def transact(self, sender: str, data: str) -> None:
        """Send a transaction to the registry past the platform."""
        call = {"from": sender, "to": f"0x{self.registry.address.hex()}", "data": data}
        transaction = await self.rpc.call("eth_sendTransaction", [call])
        await self.rpc.call("anvil_mine")
        receipt = await self.rpc.call("eth_getTransactionReceipt", [transaction])
        assert receipt["status"] == "0x1"

    async def confirm(self, signer: KeystoreSigner, words: Sequence[Word]) -> None:
        """Confirm words from the confirmer's account past the platform."""
        await self.transact(
            f"0x{signer.address.hex()}", f"0x{RegistryClient.encode_confirm_batch(words).hex()}"
        )

    async def rows(self, column: Any) -> list[tuple[Any, ...]]:
        async with self.db.transaction() as conn:
            return await (await conn.execute(column)).fetchall()

    async def words(self) -> list[Word]:
        """The words of every batch."""
        return [
            Word(index, int.from_bytes(mask), root)
            for index, mask, root in await self.rows(
                "SELECT index, mask, root FROM batch_words ORDER BY index"
            )
        ]

    async def batch(self) -> tuple[str, str | None]:
        ((state, reason),) = await self.rows("SELECT state, reason FROM batches")
        return state, reason


@pytest.fixture
async def relayer(
    relayer_db: Database, anvil: Anvil, registry_row: RegistryRow, signer: KeystoreSigner, clock: HeldClock
) -> AsyncIterator[Relayer]:
    epochs = {}
    async with relayer_db.transaction() as conn:
        for name in ("sender", "indexer"):
            epoch = await leases.acquire(conn, name, "test", timedelta(hours=1))
            assert epoch is not None
            epochs[name] = epoch
    async with JsonRpc(anvil.rpc_url, timedelta(seconds=10)) as rpc:
        await rpc.call("evm_setAutomine", [False])
        # What is read at the finalized block finds the registry there.
        await rpc.call("anvil_mine", ["0x3"])
        policy = HealthPolicy(fresh_for=timedelta(0))
        providers = Providers([rpc], registry_row.chain_id, policy=policy, clock=clock)
        sender = Sender(
            relayer_db,
            providers,
            signer=signer,
            source=BatchSource(relayer_db, registry_row, providers, clock),
            fees=Fees(500 * 10**9),
            metrics=SenderMetrics(CollectorRegistry()),
            clock=clock,
        )
        indexer = Indexer(
            relayer_db,
            providers,
            chain_id=registry_row.chain_id,
            address=registry_row.address,
            first_block=registry_row.first_block,
            handler=on_batch_confirmed,
            clock=clock,
        )
        yield Relayer(relayer_db, rpc, registry_row, sender, indexer, clock, epochs)
