"""A tenant, and time that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import SecretBytes

from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants.service import TenantService

KEYS = KeySettings(pepper=SecretBytes(b"pepper of the tests"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class HeldClock:
    """Wall-clock and monotonic time, moved together or apart."""

    def __init__(self) -> None:
        self.now = NOW
        self.ticks = 0.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.ticks

    def pass_by(self, time: timedelta) -> None:
        self.now += time
        self.ticks += time.total_seconds()


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def tenant(owner_db: Database, clock: HeldClock) -> UUID:
    return await TenantService(owner_db, KEYS, clock).create_tenant("acme")
