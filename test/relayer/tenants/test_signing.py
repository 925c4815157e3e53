"""Signing keys: made, rotated and retired, while every token that was issued stays good to its end."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretBytes, ValidationError
from structlog.testing import capture_logs

from relayer.model.errors import UnavailableError
from relayer.settings import TokenSettings
from relayer.store.database import Database
from relayer.tenants.signing import PATIENCE, PUBLISHED_AFTER, PUBLISHED_AHEAD, SigningKeys
from relayer.tenants.token_claims import TokenClaims
from relayer.tenants.token_format import TokenFormat

from .conftest import HeldClock

SETTINGS = TokenSettings(
    issuer="https://jobs.example.com",
    secret=SecretBytes(b"a secret of 32 bytes and some more"),
    rotate_every=timedelta(days=30),
)
FORMAT = TokenFormat(SETTINGS.issuer, SETTINGS.issuer)


def keys_of(db: Database, clock: HeldClock, settings: TokenSettings = SETTINGS) -> SigningKeys:
    return SigningKeys(db, settings, clock)


async def states(db: Database) -> dict[str, str]:
    async with db.statement() as conn:
        cursor = await conn.execute("SELECT kid, state FROM signing_keys ORDER BY created_at, state")
        return dict(await cursor.fetchall())


async def issued(keys: SigningKeys, clock: HeldClock) -> str:
    claims = TokenClaims(
        uuid4(), uuid4(), uuid4(), frozenset({"jobs:read"}), clock.now, clock.now + SETTINGS.lifetime
    )
    signer = await keys.signer()
    return FORMAT.write(claims, signer.kid, signer.private_key)


async def good(keys: SigningKeys, clock: HeldClock, token: str) -> bool:
    return FORMAT.read(token, await keys.published(), clock.now) is not None


async def test_many_processes_that_begin_at_once_make_one_pair(api_db: Database, clock: HeldClock) -> None:
    processes = [keys_of(api_db, clock) for _ in range(8)]
    signers = await asyncio.gather(*(keys.signer() for keys in processes))
    assert len({signer.kid for signer in signers}) == 1
    assert sorted((await states(api_db)).values()) == ["current", "next"]
    token = await issued(processes[0], clock)
    for keys in processes:
        assert await good(keys, clock, token)
        assert len(await keys.published()) == 2


async def test_keys_rotate_while_every_token_stays_good_in_every_process(
    api_db: Database, clock: HeldClock
) -> None:
    first, second = keys_of(api_db, clock), keys_of(api_db, clock)
    for keys in (first, second):
        await keys.refresh()
    by_state = {state: kid for kid, state in (await states(api_db)).items()}
    old, following = by_state["current"], by_state["next"]
    clock.pass_by(timedelta(days=30) - timedelta(microseconds=1))
    await first.refresh()
    assert (await states(api_db))[old] == "current"
    clock.pass_by(timedelta(microseconds=1))
    before = await issued(first, clock)
    await first.refresh()
    assert (await first.signer()).kid == following
    assert sorted((await states(api_db)).values()) == ["current", "next", "retired"]
    # The second process has not heard yet: both take the tokens of both.
    assert (await second.signer()).kid == old
    tokens = [before, await issued(first, clock), await issued(second, clock)]
    for keys in (first, second):
        assert [await good(keys, clock, token) for token in tokens] == [True] * 3
    await second.refresh()
    assert (await second.signer()).kid == following
    # A retired key is published as long as tokens under it live, then goes.
    clock.pass_by(SETTINGS.lifetime - timedelta(seconds=1))
    await first.refresh()
    assert await good(first, clock, before)
    clock.pass_by(PUBLISHED_AFTER + timedelta(seconds=1))
    await first.refresh()
    assert old not in await first.published()
    assert sorted((await states(api_db)).values()) == ["current", "next"]


async def test_no_key_signs_before_it_was_published_for_a_while(api_db: Database, clock: HeldClock) -> None:
    keys = keys_of(api_db, clock)
    await keys.refresh()
    current = (await keys.signer()).kid
    clock.pass_by(timedelta(days=40))
    async with api_db.transaction() as conn:
        await conn.execute("DELETE FROM signing_keys WHERE state = 'next'")
    await keys.refresh()
    assert (await keys.signer()).kid == current
    clock.pass_by(PUBLISHED_AHEAD - timedelta(seconds=1))
    await keys.refresh()
    assert (await keys.signer()).kid == current
    clock.pass_by(timedelta(seconds=1))
    await keys.refresh()
    assert (await keys.signer()).kid != current
    # A clock that jumps back brings back no key, and makes none.
    clock.now -= timedelta(days=365)
    kept = await states(api_db)
    await keys.refresh()
    assert await states(api_db) == kept


async def test_private_keys_are_unreadable_at_rest_and_under_another_secret(
    api_db: Database, clock: HeldClock
) -> None:
    keys = keys_of(api_db, clock)
    signer = await keys.signer()
    token = await issued(keys, clock)
    async with api_db.statement() as conn:
        rows = await (await conn.execute("SELECT private_key FROM signing_keys")).fetchall()
    assert all(signer.private_key.private_bytes_raw() not in row[0] for row in rows)
    # While processes are restarted one by one the new ones know the former secret: nothing changes for anybody.
    changed = SETTINGS.model_copy(update={"secret": SecretBytes(b"another secret, at least 32 bytes")})
    both = keys_of(api_db, clock, changed.model_copy(update={"former_secret": SETTINGS.secret}))
    assert (await both.signer()).kid == signer.kid
    # One that does not know it signs nothing, and does not replace at once what others may be using.
    later = keys_of(api_db, clock, changed)
    with pytest.raises(UnavailableError, match="JOBSEAL_TOKENS_SECRET"):
        await later.signer()
    assert await good(later, clock, token)
    assert sorted((await states(api_db)).values()) == ["current", "next"]
    clock.pass_by(PATIENCE)
    with capture_logs() as logs:
        await later.refresh()
    assert [entry["event"] for entry in logs].count("signing_key_unreadable") == 2
    assert "another secret" not in str(logs)
    assert (await later.signer()).kid != signer.kid
    # What was signed before stays good; now the other side has to wait.
    assert await good(later, clock, token)
    await keys.refresh()
    with pytest.raises(UnavailableError, match="JOBSEAL_TOKENS_SECRET"):
        await keys.signer()
    assert await good(keys, clock, await issued(later, clock))


async def test_the_relayer_reads_no_signing_key(relayer_db: Database) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with relayer_db.statement() as conn:
            await conn.execute("SELECT * FROM signing_keys")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("issuer", "https://jobs.example.com/"),
        ("issuer", "https://jobs.example.com/path"),
        ("issuer", "http://jobs.example.com"),
        ("issuer", "https://user:secretword@jobs.example.com"),
        ("issuer", "jobs.example.com"),
        ("issuer", "https://jobs.example.com?x"),
        ("secret", "short"),
        ("lifetime", "PT11M"),
        ("lifetime", "PT0S"),
        ("rotate_every", "PT1H"),
    ],
)
def test_settings_that_would_weaken_tokens_are_refused(name: str, value: str) -> None:
    given = {"issuer": "http://127.0.0.1:8000", "secret": "x" * 32}
    TokenSettings(**given)  # type: ignore[arg-type]
    with pytest.raises(ValidationError) as caught:
        TokenSettings(**given | {name: value})  # type: ignore[arg-type]
    assert [fault["loc"] for fault in caught.value.errors(include_input=False)] == [(name,)]
