"""What Prometheus is shown of batches."""

from datetime import timedelta

from prometheus_client import CollectorRegistry

from relayer.batches.batch_metrics import BatchMetrics
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import HeldClock, SealJobs


async def test_the_age_of_the_oldest_batch_that_is_on_its_way(
    relayer_db: Database, registry_row: RegistryRow, seal_jobs: SealJobs, clock: HeldClock
) -> None:
    shown = CollectorRegistry()
    metrics = BatchMetrics(relayer_db, registry_row, shown, clock)

    async def age() -> float | None:
        await metrics.observe()
        return shown.get_sample_value("jobseal_batches_oldest_unfinalized_seconds")

    assert await age() == 0
    await seal_jobs([0])
    clock.now += timedelta(seconds=90)
    await seal_jobs([300])
    assert await age() == 90
