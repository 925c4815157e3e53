"""What Prometheus is shown of batches."""

from prometheus_client import CollectorRegistry, Gauge

from relayer.batches import sending_repository
from relayer.model.clock import Clock
from relayer.store.database import Database
from relayer.store.registries import RegistryRow


class BatchMetrics:
    """How long the oldest batch of a registry has been on its way."""

    def __init__(self, db: Database, row: RegistryRow, registry: CollectorRegistry, clock: Clock) -> None:
        self._db = db
        self._row = row
        self._clock = clock
        self._age = Gauge(
            "jobseal_batches_oldest_unfinalized_seconds",
            "Since when the oldest batch that is neither final nor released is sealed",
            registry=registry,
        )

    async def observe(self) -> None:
        """Look once."""
        async with self._db.transaction() as conn:
            oldest = await sending_repository.oldest(conn, self._row.id)
        self._age.set((self._clock() - oldest).total_seconds() if oldest else 0)
