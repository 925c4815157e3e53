"""A process of the relayer: its loops, each pass of which the scheduler calls for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
from prometheus_client import CollectorRegistry
from pydantic import SecretBytes

from chaos.life import KilledError, Life, MortalBlobStore, MortalDatabase, MortalRpc
from relayer.app import with_key
from relayer.batches.batcher import Batcher
from relayer.batches.handlers import on_final_event
from relayer.batches.head_watch import HeadWatch
from relayer.batches.releaser import Releaser
from relayer.batches.source import BatchSource
from relayer.batches.state_fallback import StateFallback
from relayer.chain.fee import GWEI
from relayer.chain.fees import Fees
from relayer.chain.head_bell import HeadBell, HeadBells
from relayer.chain.health import HealthPolicy
from relayer.chain.indexer import LEASE as INDEXER_LEASE
from relayer.chain.indexer import Indexer
from relayer.chain.providers import Providers
from relayer.chain.second_scan import SecondScanPolicy
from relayer.chain.sender import Sender
from relayer.chain.sender_metrics import SenderMetrics
from relayer.leading import Pass
from relayer.model.errors import JobsealError
from relayer.settings import BatcherSettings
from relayer.store import leases

if TYPE_CHECKING:
    from chaos.world import World

LOOPS = ("batcher", "sender", "indexer")
CAP = 500
_MAX_JOBS = 4
_MAX_AGE = timedelta(seconds=30)
_LONG = timedelta(hours=1)
_SECOND_SCAN_BLOCKS = 6
_SECOND_SCAN_AFTER = timedelta(minutes=2)


class Process:
    """One `jobseal relayer`."""

    def __init__(
        self, name: str, world: World, database: MortalDatabase, clients: tuple[MortalRpc, MortalRpc]
    ) -> None:
        self.name = name
        self._world = world
        self._db = database
        self._clients = clients
        self._epochs: dict[str, int] = {}
        self._deaths = 0
        self._blobs = MortalBlobStore(world.folder)
        self._line: asyncio.Task[None] | None = None
        self.rung = asyncio.Event()
        self.live(Life())
        self._build()

    def live(self, life: Life) -> None:
        """Begin a life."""
        self.life = life
        for one in (self._db, self._blobs, *self._clients):
            one.life = life

    def _build(self) -> None:
        """Compose the loops as `relayer.app` does."""
        world, signer = self._world, self._world.connections.signer
        for client in self._clients:
            client.forget(world.clock.monotonic)
        providers = Providers(
            self._clients,
            world.registry.chain_id,
            # What a look found holds for no time, so that every pass of a run looks.
            policy=HealthPolicy(
                fresh_for=timedelta(0), look_within=timedelta(minutes=1), send_within=timedelta(minutes=1)
            ),
            clock=world.clock,
        )
        registry = world.registry
        settings = BatcherSettings(
            max_jobs=_MAX_JOBS, max_age=_MAX_AGE, manifest_key=SecretBytes(bytes(range(32)))
        )
        batcher = Batcher(self._db, self._blobs, registry, settings, world.clock)
        sender = Sender(
            self._db,
            providers,
            signer=signer,
            source=BatchSource(self._db, registry, providers, world.clock),
            fees=Fees(CAP * GWEI),
            metrics=SenderMetrics(CollectorRegistry()),
            clock=world.clock,
        )
        releaser = Releaser(self._db, world.clock)
        line = world.connections.proxies[0].sockets.url
        self._bell = HeadBell(line, self.rung, clock=world.clock.monotonic)

        async def send(epoch: int) -> int:
            return await releaser.run_pass(epoch) + await sender.run_pass(epoch)

        indexer = Indexer(
            self._db,
            providers,
            chain_id=registry.chain_id,
            address=registry.address,
            first_block=registry.first_block,
            handler=on_final_event,
            clock=world.clock,
            head=HeadWatch(self._db, registry, signer.address, lease=INDEXER_LEASE, clock=world.clock),
            lost=StateFallback(self._db, registry, lease=INDEXER_LEASE, clock=world.clock),
            second=SecondScanPolicy(_SECOND_SCAN_BLOCKS, _SECOND_SCAN_AFTER),
        )
        self._passes: dict[str, Pass] = {
            "batcher": batcher.run_pass,
            "sender": with_key(signer, send),
            "indexer": HeadBells([self._bell], self.rung).watching(indexer.run_pass),
        }

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Have a line to the first node, which tells of new blocks."""
        self._line = asyncio.create_task(self._bell.listen())
        try:
            yield
        finally:
            await self._hang_up()

    async def _hang_up(self) -> None:
        assert self._line is not None
        self._line.cancel()
        with suppress(asyncio.CancelledError):
            await self._line

    async def hears(self, within: float) -> bool:
        """Whether the bell rings in so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.rung.wait(), within)
        return self.rung.is_set()

    def pass_of(self, loop: str) -> Pass:
        """Give one pass of a loop."""
        return self._passes[loop]

    async def lead(self) -> None:
        """Take every lease, whoever holds it."""
        async with self._world.connections.owner.transaction() as conn:
            await conn.execute("UPDATE leases SET expires_at = '-infinity'")
            for loop in LOOPS:
                epoch = await leases.acquire(conn, loop, f"{self.name}{self._deaths}", _LONG)
                assert epoch is not None
                self._epochs[loop] = epoch

    async def _rise(self) -> None:
        """Start again, as the next process does, and lead."""
        self.life.rise()
        self._deaths += 1
        if self._line is not None:
            await self._hang_up()
        self._build()
        if self._line is not None:
            self._line = asyncio.create_task(self._bell.listen())
        await self.lead()

    async def run(self, loop: str) -> str:
        """Do one pass; say how much it did, or what stopped it. A process that died is started again, and leads."""
        try:
            return str(await self._passes[loop](self._epochs[loop]))
        except KilledError:
            await self._rise()
            return "killed"
        except JobsealError as error:
            return type(error).__name__
        except psycopg.Error as error:
            return f"database {error.sqlstate}"
