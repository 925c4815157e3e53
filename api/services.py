"""What the endpoints call, and how they get at it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request

from api.health.readiness import Readiness
from api.jobs.finished import FinishedAnswers
from api.limits import Admission
from api.pagination import PageTokens
from api.registry import RegistrySource
from api.streams import OpenStreams
from relayer.batches.receipts import ReceiptService
from relayer.jobs.blob_service import BlobService
from relayer.jobs.dead_letters import DeadLetterService
from relayer.jobs.quotas import UsageService
from relayer.jobs.service import JobService
from relayer.jobs.watcher import Watcher
from relayer.limits.store import SharedStore
from relayer.model.breaker import Breaker
from relayer.model.clock import Clock
from relayer.store.database import Database
from relayer.telemetry.metrics import Metrics
from relayer.tenants.access import Access
from relayer.tenants.administration import Administration
from relayer.tenants.audit_log import AuditLog
from relayer.tenants.key_service import KeyService
from relayer.tenants.kind_lanes import KindLanes


@dataclass(frozen=True)
class AdminServices:
    """The services of administration, in a database role of their own."""

    db: Database
    tenants: Administration
    kind_lanes: KindLanes
    keys: KeyService
    audit: AuditLog


@dataclass(frozen=True)
class Services:
    """The services of one API process, and its limits in bytes and time; `admin` is None where it does not administer."""

    db: Database
    registry: RegistrySource
    readiness: Readiness
    clock: Clock
    access: Access
    keys: KeyService
    admission: Admission
    shared: SharedStore
    metrics: Metrics
    jobs: JobService
    finished: FinishedAnswers
    dead_letters: DeadLetterService
    blobs: BlobService
    usage: UsageService
    receipts: ReceiptService
    audit: AuditLog
    streams: OpenStreams
    issuer: str
    page_tokens: PageTokens
    watcher: Watcher
    max_body_bytes: int
    max_batch_bytes: int
    max_blob_bytes: int
    max_wait_s: int
    stream_ping: timedelta
    stream_age: timedelta
    admin: AdminServices | None = None

    @property
    def breakers(self) -> list[Breaker]:
        """Of what this process asks."""
        guard = self.db.guard
        return [self.shared.breaker, *([] if guard is None else [guard.breaker])]

    def show_metrics(self) -> None:
        """Let the metrics tell of breakers and queues."""
        self.metrics.watch_breakers(self.breakers)
        if self.db.guard is not None:
            guard = self.db.guard
            self.metrics.gauge(
                "jobseal_database_waiting",
                "Pieces of work that wait for a connection to PostgreSQL",
                lambda: guard.waiting,
            )


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
