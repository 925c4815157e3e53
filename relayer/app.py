"""The composition root of the relayer: wires services, handlers of final events, and loops."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

import structlog
from prometheus_client import CollectorRegistry

from relayer import leading
from relayer.batches.batch_metrics import BatchMetrics
from relayer.batches.batcher import Batcher
from relayer.batches.gas_price import GasPrice
from relayer.batches.handlers import on_final_event
from relayer.batches.head_watch import HeadWatch
from relayer.batches.manifest import ManifestCipher
from relayer.batches.rebuild import Rebuilder
from relayer.batches.reconciler import Reconciler
from relayer.batches.releaser import Releaser
from relayer.batches.source import BatchSource
from relayer.batches.state_fallback import StateFallback
from relayer.chain.connect import nodes_of
from relayer.chain.fee import GWEI, Market
from relayer.chain.fees import Fees
from relayer.chain.gas import MAX_GAS
from relayer.chain.head_bell import HeadBell, HeadBells
from relayer.chain.health import HealthPolicy
from relayer.chain.indexer import LEASE as INDEXER_LEASE
from relayer.chain.indexer import Indexer
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.log_reader import IndexerMetrics
from relayer.chain.provider_metrics import ProviderMetrics
from relayer.chain.providers import Providers
from relayer.chain.remote_signer import RemoteSigner
from relayer.chain.rpc import JsonRpc
from relayer.chain.second_scan import SecondScanPolicy
from relayer.chain.sender import Sender
from relayer.chain.sender_metrics import SenderMetrics
from relayer.chain.signer import Signer
from relayer.jobs.blob_collector import BlobCollector
from relayer.jobs.canceller import Canceller
from relayer.jobs.counter_collector import CounterCollector
from relayer.jobs.dispatcher import Dispatcher
from relayer.jobs.handlers.registry import load_handlers
from relayer.jobs.key_collector import KeyCollector
from relayer.jobs.queue import JobQueue
from relayer.jobs.quotas import QuotaWatch
from relayer.jobs.reaper import Reaper
from relayer.jobs.redriver import Redriver
from relayer.jobs.submission_repository import BELL
from relayer.leading import Loop, Pass
from relayer.model.clock import utc_now
from relayer.model.errors import JobsealError
from relayer.model.ids import new_id
from relayer.settings import (
    BatcherSettings,
    BlobSettings,
    ChainSettings,
    DatabaseSettings,
    DispatcherSettings,
    JanitorSettings,
    KeystoreSettings,
    ReaperSettings,
    RedisSettings,
    RegistrySettings,
    RelayerSettings,
    RemoteSignerSettings,
)
from relayer.store import registries
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.doorbell import Doorbell
from relayer.store.registries import RegistryRow
from relayer.telemetry.endpoint import serving
from relayer.telemetry.metrics import Differences
from relayer.tenants.audit import Origin
from relayer.tenants.token_collector import TokenCollector

ENGINE_LOOPS = ("dispatcher", "reaper", "canceller", "redriver", "quotas", "janitor")
CHAIN_LOOPS = ("batcher", "sender", "indexer", "reconciler")
LOOPS = ENGINE_LOOPS + CHAIN_LOOPS
_FIRST_TRY_AGAIN_S = 1.0
# Passes of the job engine are short, and nothing is dispatched while a dead leader's lease runs.
_ENGINE_LEASE = timedelta(seconds=8)
# Under load a job waits a moment for others: they share the pass, its queue job and the commits of their attempts.
_DISPATCH_PACE = timedelta(milliseconds=40)
# A full run reads every word that was ever touched; a lease is renewed between passes only.
_RECONCILER_LEASE = timedelta(minutes=10)

_log = structlog.get_logger(__name__)


async def run_relayer(names: AbstractSet[str]) -> None:
    """Run loops of the relayer until SIGTERM or SIGINT.

    A process that runs loops of the job engine alone needs no chain, and is told no key.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    settings, own = DatabaseSettings(), RelayerSettings()
    metrics = CollectorRegistry()
    async with AsyncExitStack() as stack:
        if own.metrics_port is not None:
            stack.enter_context(serving(metrics, own.metrics_host, own.metrics_port))
        db = await stack.enter_async_context(Database(settings))
        loops: list[Loop] = []
        if not names.isdisjoint(ENGINE_LOOPS):
            bell = Doorbell(settings, BELL)
            listening = asyncio.create_task(bell.listen())
            stack.callback(listening.cancel)
            loops += _engine_loops(db, bell)
        if not names.isdisjoint(CHAIN_LOOPS):
            chain = ChainSettings()
            nodes = [await stack.enter_async_context(rpc) for rpc in nodes_of(chain)]
            registry = await _registry(db, RegistrySettings(), stopping)
            if registry is None:
                return
            rung = asyncio.Event()
            bells = [HeadBell(url.get_secret_value(), rung) for url in chain.ws_urls]
            for one in bells:
                stack.callback(asyncio.create_task(one.listen()).cancel)
            loops += _chain_loops(
                db,
                nodes,
                chain,
                registry,
                signer=await _signer(stack),
                bells=HeadBells(bells, rung),
                metrics=metrics,
            )
        owner = f"{socket.gethostname()}/{os.getpid()}/{new_id()}"
        await leading.run([one for one in loops if one.name in names], db, owner, stopping, metrics)


async def _registry(db: Database, settings: RegistrySettings, stopping: asyncio.Event) -> RegistryRow | None:
    """Wait until the database knows the registry; None when asked to stop before."""
    said: str | None = None
    while not stopping.is_set():
        try:
            async with db.transaction() as conn:
                row = await registries.find(conn, settings.chain_id, settings.address_bytes)
            reason = (
                f"the registry {settings.address} on chain {settings.chain_id} is not registered; "
                "run `jobseal admin register` first"
            )
        except JobsealError as error:
            row, reason = None, str(error)
        if row is not None:
            return row
        if reason != said:
            said = reason
            _log.warning("not_ready", reason=reason)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _FIRST_TRY_AGAIN_S)
    return None


def _engine_loops(db: Database, bell: Doorbell) -> list[Loop]:
    reaping = ReaperSettings()
    queue = JobQueue(RedisSettings())
    dispatcher = Dispatcher(db, queue, load_handlers(), DispatcherSettings(), utc_now)
    reaper = Reaper(db, reaping, utc_now)
    canceller = Canceller(db, queue, reaping, utc_now)
    redriver = Redriver(db, utc_now)
    blobs = BlobCollector(db, LocalBlobStore(BlobSettings().folder), JanitorSettings(), utc_now)
    keys = KeyCollector(db, utc_now)
    tokens = TokenCollector(db, utc_now)
    counters = CounterCollector(db, utc_now)

    async def dispatch(epoch: int) -> int:
        pushed = await dispatcher.run_pass(epoch)
        return pushed if dispatcher.left_some else 0

    async def tidy(epoch: int) -> int:
        collectors = (keys, tokens, counters, blobs)
        return sum([await one.run_pass(epoch) for one in collectors])

    return [
        Loop(
            "dispatcher",
            dispatch,
            timedelta(milliseconds=50),
            _ENGINE_LEASE,
            bell.rung,
            _DISPATCH_PACE,
        ),
        Loop("reaper", reaper.run_pass, timedelta(seconds=1), _ENGINE_LEASE),
        Loop("canceller", canceller.run_pass, timedelta(milliseconds=250), _ENGINE_LEASE),
        Loop("redriver", redriver.run_pass, timedelta(seconds=1), _ENGINE_LEASE),
        Loop("quotas", QuotaWatch(db, utc_now).run_pass, timedelta(seconds=10), _ENGINE_LEASE),
        Loop("janitor", tidy, timedelta(minutes=1)),
    ]


def with_key(signer: Signer, run_pass: Pass) -> Pass:
    """Let passes begin, and nonces be taken, only once the signer has shown that it has the key."""
    shown = False

    async def guarded(epoch: int) -> int:
        nonlocal shown
        if not shown:
            await signer.check_key()
            shown = True
        return await run_pass(epoch)

    return guarded


async def _signer(stack: AsyncExitStack) -> Signer:
    """Give the signer that the settings name: a service, or else a keystore."""
    if (remote := RemoteSignerSettings.where_given()) is None:
        local = KeystoreSettings()
        return KeystoreSigner(local.keystore, local.keystore_password_file)
    return await stack.enter_async_context(RemoteSigner(remote))


def _chain_loops(
    db: Database,
    nodes: Sequence[JsonRpc],
    chain: ChainSettings,
    registry: RegistryRow,
    *,
    signer: Signer,
    bells: HeadBells,
    metrics: CollectorRegistry,
) -> list[Loop]:
    providers = _providers(nodes, chain, registry.chain_id)
    metrics.register(ProviderMetrics(providers))
    blobs = LocalBlobStore(BlobSettings().folder)
    fees = Fees(chain.max_fee_cap_gwei * GWEI, chain.fees, chain.rollup)

    async def market() -> Market:
        await providers.look()
        return await fees.market(providers.pinned())

    batcher = Batcher(db, blobs, registry, BatcherSettings(), utc_now, gas_price=GasPrice(market, utc_now))
    sender = Sender(
        db,
        providers,
        signer=signer,
        source=BatchSource(db, registry, providers, utc_now),
        fees=fees,
        metrics=SenderMetrics(metrics),
        clock=utc_now,
    )
    releaser = Releaser(db, utc_now)
    batch_metrics = BatchMetrics(db, registry, metrics, utc_now)

    async def send(epoch: int) -> int:
        await batch_metrics.observe()
        return await releaser.run_pass(epoch) + await sender.run_pass(epoch)

    indexer = Indexer(
        db,
        providers,
        chain_id=registry.chain_id,
        address=registry.address,
        first_block=registry.first_block,
        handler=on_final_event,
        clock=utc_now,
        head=HeadWatch(db, registry, signer.address, lease=INDEXER_LEASE, clock=utc_now),
        lost=StateFallback(db, registry, lease=INDEXER_LEASE, clock=utc_now),
        second=SecondScanPolicy(chain.second_scan_blocks, chain.second_scan_after),
        metrics=IndexerMetrics(metrics),
    )
    reconciler = _reconciler(db, providers, chain, registry, metrics)
    return [
        Loop("batcher", batcher.run_pass, timedelta(milliseconds=250)),
        Loop("sender", with_key(signer, send), timedelta(milliseconds=500)),
        Loop("indexer", bells.watching(indexer.run_pass), timedelta(milliseconds=500), bell=bells.rung),
        Loop("reconciler", reconciler.run_pass, timedelta(seconds=5), _RECONCILER_LEASE),
    ]


def _providers(nodes: Sequence[JsonRpc], chain: ChainSettings, chain_id: int) -> Providers:
    policy = HealthPolicy(
        max_lag=chain.max_lag_blocks,
        no_new_heads_after=chain.no_new_heads_after,
        finality_lag=chain.finality_lag,
    )
    return Providers(nodes, chain_id, policy=policy, clock=utc_now)


def _reconciler(
    db: Database,
    providers: Providers,
    chain: ChainSettings,
    registry: RegistryRow,
    metrics: CollectorRegistry,
) -> Reconciler:
    return Reconciler(
        db,
        providers,
        registry,
        handler=on_final_event,
        worst_case=MAX_GAS * chain.max_fee_cap_gwei * GWEI,
        metrics=Differences(metrics),
        clock=utc_now,
    )


@asynccontextmanager
async def reconciling(db: Database, registry: RegistryRow) -> AsyncIterator[Reconciler]:
    """Give a reconciler beside the loops, for one run."""
    chain = ChainSettings()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(rpc) for rpc in nodes_of(chain)]
        providers = _providers(nodes, chain, registry.chain_id)
        yield _reconciler(db, providers, chain, registry, CollectorRegistry())


@asynccontextmanager
async def rebuilding(db: Database, registry: RegistryRow, origin: Origin) -> AsyncIterator[Rebuilder]:
    """Give what rebuilds a database, in the role of its owner."""
    chain = ChainSettings()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(rpc) for rpc in nodes_of(chain)]
        providers = _providers(nodes, chain, registry.chain_id)
        await providers.look()
        yield Rebuilder(
            db,
            providers.pinned(),
            LocalBlobStore(BlobSettings().folder),
            ManifestCipher(BatcherSettings().manifest_key.get_secret_value()),
            registry,
            handler=on_final_event,
            origin=origin,
            clock=utc_now,
        )
