"""Everything that a run works on: the database, the nodes, the jobs, and the processes of the relayer."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from faultproxy.chain import CONFIRMER_ROLE, Chain
from faultproxy.pool import GethPool
from faultproxy.proxy import FaultProxy
from faultproxy.sockets import SocketServer
from faultproxy.view import Finality
from ground import Ground
from pydantic import SecretStr

from chaos.life import MortalDatabase, MortalRpc
from chaos.process import Process
from relayer.batches import registry_state, repository
from relayer.batches.operations import Operations
from relayer.batches.reasons import HoldReason
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, RegistryClient
from relayer.chain.remote_signer import RemoteSigner
from relayer.chain.rpc import JsonRpc
from relayer.local.anvil import CHAIN_ID
from relayer.seal.tree import Word
from relayer.settings import DatabaseSettings, RemoteSignerSettings
from relayer.store import registries
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.tenants.audit import PLATFORM

BLOCK_S = 12
TENANT = UUID(int=1)
START = datetime(2030, 1, 1, tzinfo=UTC)
# A busy machine answers late; only a node that says nothing at all is waited for so long.
_REQUEST_S = 4

_INSERT_JOB = """
INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, state_version, input, input_hash, metadata, salt,
                  max_attempts, run_at, output_hash, output_size, output_media_type, created_at, result_ready_at)
VALUES (%(id)s, %(tenant)s, %(registry)s, %(ticket)s, 'digest', 'completed', 3, '{}', %(input)s, '{}', %(salt)s,
        1, %(at)s, %(output)s, 0, 'application/json', %(at)s, %(at)s)
"""


@dataclass
class Clock:
    """Time, which passes only when the scheduler says so."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()


@dataclass
class Connections:
    """What is opened once for many runs: a pool for each process and one for the owner, two nodes, and a signer."""

    owner: Database
    databases: tuple[MortalDatabase, MortalDatabase]
    proxies: tuple[FaultProxy, FaultProxy]
    clients: tuple[tuple[MortalRpc, MortalRpc], tuple[MortalRpc, MortalRpc]]
    signing: FaultProxy
    signer: RemoteSigner
    direct: JsonRpc


@asynccontextmanager
async def connections(ground: Ground, owner_url: str, relayer_url: str) -> AsyncIterator[Connections]:
    """Open them."""
    async with AsyncExitStack() as stack:

        async def database(kind: type[Database], url: str) -> Any:
            return await stack.enter_async_context(kind(DatabaseSettings(url=SecretStr(url), pool_size=4)))

        async def proxy() -> FaultProxy:
            return await stack.enter_async_context(FaultProxy(ground.url))

        async def client(proxy: FaultProxy) -> MortalRpc:
            return await stack.enter_async_context(MortalRpc(proxy.url, timedelta(seconds=_REQUEST_S)))

        first, second, signing = await proxy(), await proxy(), await proxy()
        settings = RemoteSignerSettings(
            url=SecretStr(signing.url),
            address=f"0x{ground.ours.hex()}",
            timeout=timedelta(seconds=_REQUEST_S),
        )
        yield Connections(
            owner=await database(Database, owner_url),
            databases=(
                await database(MortalDatabase, relayer_url),
                await database(MortalDatabase, relayer_url),
            ),
            proxies=(first, second),
            clients=(
                (await client(first), await client(second)),
                (await client(first), await client(second)),
            ),
            signing=signing,
            signer=await stack.enter_async_context(RemoteSigner(settings)),
            direct=await stack.enter_async_context(JsonRpc(ground.url, timedelta(seconds=30))),
        )


@dataclass
class World:
    """One run's. Two processes, A and B, may lead; the first of `processes` believes that it does."""

    ground: Ground
    connections: Connections
    registry: RegistryRow
    folder: Path
    random: Random
    clock: Clock = field(default_factory=Clock)
    tickets: int = 0
    halted: bool = False
    blocks_a_step: int = 1
    pauses: int = 0
    revocations: int = 0
    accepts_code: bool = False
    foreign_nonces: set[int] = field(default_factory=set)
    processes: list[Process] = field(default_factory=list)
    finality: tuple[Finality, Finality] = field(init=False)
    pools: tuple[GethPool, GethPool] = field(init=False)
    chain: Chain = field(init=False)

    def __post_init__(self) -> None:
        first, second = self.connections.proxies
        self.finality = (Finality(FINAL_AFTER), Finality(FINAL_AFTER))
        self.pools = (GethPool(first._node), GethPool(second._node))
        for proxy, finality, pool in zip(self.connections.proxies, self.finality, self.pools, strict=True):
            proxy.faults[:] = [finality, pool]
            proxy.calls.clear()
            proxy.sockets.heal()
        self.connections.signing.faults.clear()
        self.chain = Chain(first, self.ground.registry)
        self.processes = [
            Process(name, self, database, clients)
            for name, database, clients in zip(
                "AB", self.connections.databases, self.connections.clients, strict=True
            )
        ]

    @property
    def leader(self) -> Process:
        return self.processes[0]

    @property
    def sockets(self) -> SocketServer:
        """Where the processes are told of new blocks."""
        return self.connections.proxies[0].sockets

    @property
    def client(self) -> RegistryClient:
        """The registry, past all faults."""
        return RegistryClient(self.connections.direct, CHAIN_ID, self.ground.registry)

    async def finish_jobs(self, count: int) -> None:
        """Put finished jobs where the engine would leave them."""
        rows = []
        for _ in range(count):
            self.tickets += 1
            digest = hashlib.sha256(b"%d" % self.tickets).digest()
            rows.append(
                {
                    "id": UUID(int=(7 << 76) | (2 << 62) | self.tickets),
                    "tenant": TENANT,
                    "registry": self.registry.id,
                    "ticket": self.tickets,
                    "input": digest,
                    "output": digest,
                    "salt": digest,
                    "at": self.clock(),
                }
            )
        async with self.connections.owner.transaction() as conn, conn.cursor() as cursor:
            await cursor.executemany(_INSERT_JOB, rows)

    async def pass_block(self) -> None:
        """Let the time of a block pass, and make it unless the chain stands still."""
        self.clock.now += timedelta(seconds=BLOCK_S * self.blocks_a_step)
        if self.halted:
            return
        for pool in self.pools:
            await pool.settle()
        await self.chain.mine(self.blocks_a_step, BLOCK_S)

    async def operate(self) -> None:
        """Let people put right what is not to be: a pause, a revocation, code that nobody has accepted.

        They look again with every step, for what they send gets lost as well.
        """
        account = f"0x{self.ground.ours.hex()}"
        if not self.pauses and await self.client.paused():
            await self.chain.administer("unpause()")
        if not self.revocations and not await self.client.has_role(CONFIRMER_ROLE, self.ground.ours):
            await self.chain.administer("grantRole(bytes32,address)", CONFIRMER_ROLE, account)
        async with self.connections.owner.transaction() as conn:
            state = await registry_state.read(conn, self.registry.id)
        if self.accepts_code and state.hold is HoldReason.CODE_CHANGED:
            assert state.observed is not None
            operations = Operations(self.connections.owner, self.clock, PLATFORM, "it is the audited one")
            await operations.accept_code(CHAIN_ID, self.registry.address, state.observed.code_hash)

    async def rows(self, query: str, *arguments: Any) -> list[Any]:
        async with self.connections.owner.transaction() as conn:
            return await (await conn.execute(query.encode(), arguments)).fetchall()

    async def nonce(self) -> int:
        """How many transactions of ours the chain has."""
        account = f"0x{self.ground.ours.hex()}"
        return int(await self.connections.direct.call("eth_getTransactionCount", (account, "latest")), 16)

    async def unconfirmed(self) -> list[list[Word]]:
        """Give the words of the batches that no block has, oldest first."""
        async with self.connections.owner.transaction() as conn:
            cursor = await conn.execute(
                "SELECT id, root FROM batches WHERE state IN ('sealed', 'sending', 'held') ORDER BY sealed_at, id"
            )
            found = [(await repository.words_of(conn, one), root) for one, root in await cursor.fetchall()]
        return [words for words, root in found if await self.client.batch(root) is None]

    async def announced(self) -> list[dict[str, Any]]:
        """Give the logs of every batch that the registry has confirmed."""
        query = {
            "address": f"0x{self.ground.registry.hex()}",
            "fromBlock": hex(self.ground.first_block),
            "toBlock": "latest",
            "topics": [f"0x{BATCH_CONFIRMED_TOPIC.hex()}"],
        }
        logs: list[dict[str, Any]] = await self.connections.direct.call("eth_getLogs", (query,))
        return logs


FINAL_AFTER = 4
"""How many blocks lie between the head and the finalized block, where nothing else is said."""


async def begin(ground: Ground, opened: Connections, folder: Path, seed: int) -> World:
    """Begin a run: in an empty database, and on the chain as it was after the deployment."""
    ground.reset()
    async with opened.owner.transaction() as conn:
        await conn.execute(
            "INSERT INTO tenants (id, name, created_at) VALUES (%s, 'acme', %s)", [TENANT, START]
        )
        registry = await registries.register(conn, CHAIN_ID, ground.registry, ground.first_block)
    random = Random(seed)  # noqa: S311 - a seed repeats its run
    world = World(ground, opened, registry, folder / "blobs", random)
    await world.leader.lead()
    return world
