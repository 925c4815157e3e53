"""The ASGI application: `uvicorn --factory api.app:create_app`, set by the environment."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from api import handlers
from api.admin import keys as admin_keys
from api.admin import limits as admin_limits
from api.admin import tenants as admin_tenants
from api.audit import endpoints as audit
from api.blobs import endpoints as blobs
from api.dead_letters import endpoints as dead_letters
from api.deadline import Bounds, DeadlineMiddleware
from api.health import endpoints as health
from api.health.readiness import Readiness
from api.jobs import batch, commands, events, trace
from api.jobs import endpoints as jobs
from api.jobs.finished import FinishedAnswers
from api.jobs.short_way import ShortWay
from api.keys import endpoints as keys
from api.limits import Admission
from api.oauth import endpoints as oauth
from api.oauth import errors as oauth_errors
from api.pagination import PageTokens
from api.reference import document
from api.reference import endpoints as reference
from api.registry import RegistrySource
from api.requests import RequestMiddleware
from api.services import AdminServices, Services
from api.streams import OpenStreams
from api.usage import endpoints as usage
from relayer.batches.receipts import ReceiptService
from relayer.jobs.blob_service import BlobService
from relayer.jobs.dead_letters import DeadLetterService
from relayer.jobs.handlers.registry import Handlers, load_handlers
from relayer.jobs.quotas import UsageService
from relayer.jobs.service import JobService
from relayer.jobs.watcher import Watcher
from relayer.limits.limiter import Limiter
from relayer.limits.lockout import LockoutRule, Lockouts
from relayer.limits.store import SharedStore
from relayer.model.clock import Clock, utc_now
from relayer.settings import (
    AdminDatabaseSettings,
    ApiSettings,
    BlobSettings,
    DatabaseSettings,
    KeySettings,
    RedisSettings,
    RegistrySettings,
    TokenSettings,
)
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.guard import Patience
from relayer.telemetry.metrics import Metrics
from relayer.tenants.access import Access
from relayer.tenants.administration import Administration
from relayer.tenants.audit_log import AuditLog
from relayer.tenants.key_service import KeyService
from relayer.tenants.kind_lanes import KindLanes


@dataclass(frozen=True)
class Settings:
    """The concerns that an API process reads."""

    api: ApiSettings
    database: DatabaseSettings
    registry: RegistrySettings
    blobs: BlobSettings
    keys: KeySettings
    redis: RedisSettings
    tokens: TokenSettings
    admin_database: AdminDatabaseSettings | None = None

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read every concern from its environment variables."""
        return cls(
            ApiSettings(),
            DatabaseSettings(),
            RegistrySettings(),
            BlobSettings(),
            KeySettings(),
            RedisSettings(),
            TokenSettings(),
            AdminDatabaseSettings.where_given(),
        )


class Application(FastAPI):
    """FastAPI's application, with a short way past it for the quickest of answers."""

    def __init__(self, short_way: ShortWay, **rest: Any) -> None:
        self._short_way = short_way
        super().__init__(**rest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        scope["app"] = self
        if not await self._short_way.answer(scope, receive, send):
            await super().__call__(scope, receive, send)


def create_app(
    settings: Settings | None = None, *, job_handlers: Handlers | None = None, clock: Clock = utc_now
) -> FastAPI:
    """Build the application.

    It starts whether or not PostgreSQL answers: `/health/ready` tells, requests get 503 until it does.
    """
    settings = settings or Settings.from_environment()
    services = _wire(settings, load_handlers() if job_handlers is None else job_handlers, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with (
            services.db,
            services.shared,
            services.access.kept(),
            services.finished.kept(),
            AsyncExitStack() as more,
        ):
            if services.admin is not None:
                await more.enter_async_context(services.admin.db)
            yield
            await services.watcher.close()

    app = Application(
        ShortWay(services.finished),
        title="Jobseal",
        version="1",
        summary="Long-running jobs, each confirmed at most once on chain",
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # It would look for a provider on every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    services.show_metrics()
    app.add_middleware(DeadlineMiddleware, bounds=Bounds.of(settings.api))
    app.add_middleware(RequestMiddleware)
    handlers.install(app)
    document.install(app)
    oauth_errors.install(app)
    for resource in (
        jobs,
        batch,
        commands,
        trace,
        events,
        dead_letters,
        blobs,
        usage,
        keys,
        oauth,
        audit,
        admin_tenants,
        admin_keys,
        admin_limits,
        health,
        reference,
    ):
        app.include_router(resource.router)
    return app


def _wire(settings: Settings, job_handlers: Handlers, clock: Clock) -> Services:
    db = Database(settings.database, Patience())
    registry = RegistrySource(db, settings.registry)
    blob_store = LocalBlobStore(settings.blobs.folder)
    shared = SharedStore(settings.redis)
    metrics = Metrics()
    return Services(
        db=db,
        registry=registry,
        readiness=Readiness({"database": db.ping, "registry": registry}),
        clock=clock,
        access=Access(db, settings.database, settings.keys, settings.tokens, clock),
        keys=KeyService(db, settings.keys, clock),
        admission=Admission(
            Limiter(shared),
            Lockouts(shared, LockoutRule("auth-failure")),
            settings.api.trusted_proxies,
            metrics,
        ),
        shared=shared,
        metrics=metrics,
        jobs=JobService(db, registry, job_handlers, blob_store, clock),
        finished=FinishedAnswers(settings.database),
        dead_letters=DeadLetterService(db, clock),
        usage=UsageService(db, clock),
        blobs=BlobService(db, blob_store, clock),
        receipts=ReceiptService(db),
        audit=AuditLog(db),
        streams=OpenStreams(settings.api.streams_per_tenant),
        issuer=settings.tokens.issuer,
        page_tokens=PageTokens(settings.keys.pepper.get_secret_value()),
        watcher=Watcher(db, settings.api.watch_every),
        max_body_bytes=settings.api.max_body_bytes,
        max_batch_bytes=settings.api.max_batch_bytes,
        max_blob_bytes=settings.blobs.max_bytes,
        max_wait_s=settings.api.max_wait_seconds,
        stream_ping=settings.api.stream_ping,
        stream_age=settings.api.stream_age,
        admin=None
        if settings.admin_database is None
        else _wire_admin(settings, settings.admin_database, clock),
    )


def _wire_admin(settings: Settings, database: AdminDatabaseSettings, clock: Clock) -> AdminServices:
    # Few requests administer: no connection is kept for them.
    db = Database(database, kept=0)
    return AdminServices(
        db=db,
        tenants=Administration(db, clock),
        kind_lanes=KindLanes(db, clock),
        keys=KeyService(db, settings.keys, clock),
        audit=AuditLog(db),
    )
