"""The check of keys: what is remembered, for how long, and what ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretBytes, SecretStr, ValidationError

from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings, KeySettings
from relayer.store.database import Database
from relayer.tenants.addresses import parse_network
from relayer.tenants.authenticator import Authenticator
from relayer.tenants.errors import AddressNotAllowedError
from relayer.tenants.key_cache import LIFETIME, UNKNOWN_LIFETIME, KeyCache
from relayer.tenants.key_service import KeyRequest, KeyService, NewKey
from relayer.tenants.keys import generate_key
from relayer.tenants.last_used import LastUsed
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, HeldClock

SECOND = timedelta(seconds=1)


class CountingDatabase:
    """A database that counts how often it is asked."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.asked = 0

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Any]:
        self.asked += 1
        async with self._db.statement() as conn:
            yield conn


@pytest.fixture
def counting(api_db: Database) -> Any:
    return CountingDatabase(api_db)


@pytest.fixture
def cache(clock: HeldClock) -> KeyCache:
    return KeyCache(size=3, monotonic=clock.monotonic)


@pytest.fixture
def authenticator(counting: Any, cache: KeyCache, clock: HeldClock) -> Authenticator:
    return Authenticator(counting, KEYS, clock, cache=cache)


@pytest.fixture
async def key(owner_db: Database, tenant: UUID, clock: HeldClock) -> NewKey:
    return await KeyService(owner_db, KEYS, clock).create(tenant, KeyRequest("ci", [Scope.JOBS_READ]))


async def test_a_key_stands_for_its_tenant_and_scopes(
    authenticator: Authenticator, key: NewKey, tenant: UUID
) -> None:
    principal = await authenticator.authenticate(key.secret)
    assert principal is not None
    assert (principal.tenant_id, principal.key_id, principal.key_name) == (tenant, key.id, "ci")
    assert (principal.scopes, principal.is_operator) == (frozenset({"jobs:read"}), False)
    assert principal.limits.waiting_jobs == 10_000


async def test_a_key_administers_only_while_its_tenant_is_the_platforms_own(
    owner_db: Database, api_db: Database, clock: HeldClock
) -> None:
    tenants = TenantService(owner_db, KEYS, clock)
    operator = await tenants.create_tenant("platform", is_operator=True)
    key = await tenants.create_key(operator, "root", [Scope.ADMIN_WRITE, Scope.JOBS_READ])
    principal = await Authenticator(api_db, KEYS, clock).authenticate(key.secret)
    assert principal is not None
    assert principal.scopes == {"admin:write", "jobs:read"}
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET is_operator = false")
    principal = await Authenticator(api_db, KEYS, clock).authenticate(key.secret)
    assert principal is not None
    assert principal.scopes == {"jobs:read"}


async def test_a_malformed_key_costs_no_query(authenticator: Authenticator, counting: Any) -> None:
    wrong_checksum = generate_key()[:-1] + "~"
    for text in ("jsl_live_nonsense", "", "é", wrong_checksum, generate_key().replace("live", "prod")):
        assert await authenticator.authenticate(text) is None
    assert counting.asked == 0


async def test_a_key_is_looked_up_once_in_a_while_also_by_many_at_once(
    authenticator: Authenticator, key: NewKey, counting: Any, clock: HeldClock
) -> None:
    found = await asyncio.gather(*(authenticator.authenticate(key.secret) for _ in range(20)))
    assert None not in found
    assert counting.asked == 1
    clock.pass_by(LIFETIME - SECOND)
    assert await authenticator.authenticate(key.secret) is not None
    assert counting.asked == 1
    clock.pass_by(SECOND)
    assert await authenticator.authenticate(key.secret) is not None
    assert counting.asked == 2


async def test_a_wrong_key_is_looked_up_once_in_a_while_and_pushes_out_no_right_one(
    authenticator: Authenticator, key: NewKey, counting: Any, clock: HeldClock
) -> None:
    assert await authenticator.authenticate(key.secret) is not None
    wrong = generate_key()
    for _ in range(10):
        assert await authenticator.authenticate(wrong) is None
    assert counting.asked == 2
    for _ in range(5):
        assert await authenticator.authenticate(generate_key()) is None
    assert await authenticator.authenticate(key.secret) is not None
    assert counting.asked == 7
    # What is remembered is bounded: the oldest was forgotten.
    assert await authenticator.authenticate(wrong) is None
    assert counting.asked == 8
    clock.pass_by(UNKNOWN_LIFETIME)
    assert await authenticator.authenticate(wrong) is None
    assert counting.asked == 9


async def test_expiry_needs_no_look_and_a_clock_that_jumps_gives_no_time(
    authenticator: Authenticator, key: NewKey, counting: Any, clock: HeldClock
) -> None:
    clock.now = key.expires_at - timedelta(microseconds=1)
    assert await authenticator.authenticate(key.secret) is not None
    clock.now = key.expires_at
    assert await authenticator.authenticate(key.secret) is None
    assert counting.asked == 1
    # Back by a year: what was remembered ends by the other clock all the same.
    clock.now -= timedelta(days=60)
    clock.ticks += LIFETIME.total_seconds()
    assert await authenticator.authenticate(key.secret) is not None
    assert counting.asked == 2


async def test_a_revocation_that_was_not_heard_holds_when_the_memory_ends(
    authenticator: Authenticator,
    key: NewKey,
    tenant: UUID,
    api_db: Database,
    clock: HeldClock,
    cache: KeyCache,
) -> None:
    service = KeyService(api_db, KEYS, clock)
    assert await authenticator.authenticate(key.secret) is not None
    await service.revoke(tenant, key.id)
    assert timedelta(seconds=60) >= 2 * LIFETIME
    clock.pass_by(LIFETIME)
    assert await authenticator.authenticate(key.secret) is None
    other = await service.create(tenant, KeyRequest("other"))
    assert await authenticator.authenticate(other.secret) is not None
    await service.revoke(tenant, other.id)
    cache.drop_key(other.id)
    assert await authenticator.authenticate(other.secret) is None


async def test_an_answer_that_was_overtaken_by_news_is_not_kept(cache: KeyCache, key: NewKey) -> None:
    reading, go_on = asyncio.Event(), asyncio.Event()
    looks = 0

    async def slow() -> Any:
        nonlocal looks
        looks += 1
        reading.set()
        await go_on.wait()
        return None

    first = asyncio.create_task(cache.find(b"handle", slow))
    await reading.wait()
    cache.drop_key(key.id)
    second = asyncio.create_task(cache.find(b"handle", slow))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, second)
    assert looks == 2
    await cache.find(b"handle", slow)
    assert looks == 2


async def test_who_stops_waiting_for_an_answer_takes_it_from_nobody(cache: KeyCache) -> None:
    go_on = asyncio.Event()

    async def slow() -> Any:
        await go_on.wait()
        raise UnavailableError("away")

    waiters = [asyncio.create_task(cache.find(b"handle", slow)) for _ in range(2)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    go_on.set()
    with pytest.raises(UnavailableError):
        await waiters[1]
    with pytest.raises(UnavailableError):
        await cache.find(b"handle", slow)


async def test_a_known_key_is_taken_while_the_database_is_away(
    urls: Any, key: NewKey, clock: HeldClock, cache: KeyCache
) -> None:
    async with Database(DatabaseSettings(url=SecretStr(urls.api))) as db:
        authenticator = Authenticator(db, KEYS, clock, cache=cache)
        assert await authenticator.authenticate(key.secret) is not None
    assert await authenticator.authenticate(key.secret) is not None
    with pytest.raises(UnavailableError):
        await authenticator.authenticate(generate_key())


async def test_a_pepper_is_rotated_without_ending_keys(
    owner_db: Database, api_db: Database, tenant: UUID, key: NewKey, clock: HeldClock
) -> None:
    rotated = KeySettings(
        pepper=SecretBytes(b"another pepper"), pepper_version=2, former_peppers={1: KEYS.pepper}
    )
    later = await KeyService(owner_db, rotated, clock).create(tenant, KeyRequest("later"))
    authenticator = Authenticator(api_db, rotated, clock)
    assert await authenticator.authenticate(key.secret) is not None
    assert await authenticator.authenticate(later.secret) is not None
    async with owner_db.transaction() as conn:
        rows = await (await conn.execute("SELECT name, pepper_version FROM api_keys")).fetchall()
    assert dict(rows) == {"ci": 1, "later": 2}
    without = KeySettings(pepper=SecretBytes(b"another pepper"), pepper_version=2)
    assert await Authenticator(api_db, without, clock).authenticate(key.secret) is None
    with pytest.raises(ValidationError, match="higher version"):
        KeySettings(pepper=SecretBytes(b"x"), pepper_version=2, former_peppers={2: SecretBytes(b"y")})


def test_former_peppers_come_from_the_environment_and_are_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOBSEAL_KEYS_PEPPER", "secretword")
    monkeypatch.setenv("JOBSEAL_KEYS_PEPPER_VERSION", "2")
    monkeypatch.setenv("JOBSEAL_KEYS_FORMER_PEPPERS", '{"1": "formerword"}')
    settings = KeySettings()
    assert settings.former_peppers[1].get_secret_value() == b"formerword"
    assert "word" not in repr(settings)
    monkeypatch.setenv("JOBSEAL_KEYS_FORMER_PEPPERS", "formerword")
    with pytest.raises(ValidationError, match="JSON object") as caught:
        KeySettings()
    assert all("word" not in fault["msg"] for fault in caught.value.errors(include_input=False))


async def test_a_key_opens_from_its_addresses_only(
    api_db: Database, tenant: UUID, clock: HeldClock, authenticator: Authenticator
) -> None:
    networks = [parse_network(text) for text in ("192.0.2.0/24", "2001:db8::1")]
    key = await KeyService(api_db, KEYS, clock).create(tenant, KeyRequest("ci", allowed_addresses=networks))
    for address in ("192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7", "2001:db8::1", "2001:0db8:0::0001"):
        assert await authenticator.authenticate(key.secret, address) is not None
    addresses: tuple[str | None, ...] = (
        "192.0.3.0",
        "::ffff:192.0.3.7",
        "2001:db8::2",
        "::1",
        "unknown",
        "",
        None,
    )
    for wrong in addresses:
        with pytest.raises(AddressNotAllowedError):
            await authenticator.authenticate(key.secret, wrong)


async def test_the_last_use_is_written_by_the_minute_and_together(
    api_db: Database, tenant: UUID, clock: HeldClock, counting: Any
) -> None:
    service = KeyService(api_db, KEYS, clock)
    first, second = [await service.create(tenant, KeyRequest(name)) for name in ("first", "second")]
    used = LastUsed(counting)
    clock.pass_by(90 * SECOND)
    for _ in range(3):
        used.note(first.id, clock.now)
        used.note(second.id, clock.now)
    await used.write()
    await used.write()
    assert counting.asked == 1
    minute = clock.now - 30 * SECOND
    assert [key.last_used_at for key in await service.list(tenant, None, 2)] == [minute, minute]
    clock.pass_by(29 * SECOND)
    used.note(first.id, clock.now)
    await used.write()
    assert counting.asked == 1
    clock.pass_by(SECOND)
    used.note(first.id, clock.now)
    # A process whose clock is behind moves nothing back.
    behind = LastUsed(api_db)
    behind.note(first.id, clock.now - 300 * SECOND)
    await behind.write()
    assert (await service.get(tenant, first.id)).last_used_at == minute
    await used.write()
    assert (await service.get(tenant, first.id)).last_used_at == clock.now
    # An absent database loses no note.
    clock.pass_by(60 * SECOND)
    away = LastUsed(Database(DatabaseSettings(url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"))))
    away.note(first.id, clock.now)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await away.write()
