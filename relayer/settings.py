"""What an operator sets, one model a concern, each with its own environment prefix.

A process reads only the concerns it uses, so that it holds no secret it does not need: the URL in
`JOBSEAL_DATABASE_URL` is that of the process's own database role.
"""

import json
import math
import os
import sys
from datetime import timedelta
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretBytes,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_KEY_BYTES = 32

Address = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-fA-F]{40}$")]


def _key_from_hex(value: object) -> object:
    """Read 32 bytes from the hex digits that an environment variable can hold, without repeating them."""
    if not isinstance(value, str):
        return value
    try:
        key = bytes.fromhex(value)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError("expected 64 hex digits, as `openssl rand -hex 32` gives them")
    return key


def _long_secret(value: SecretBytes) -> SecretBytes:
    if len(value.get_secret_value()) < _KEY_BYTES:
        raise ValueError("expected 32 bytes or more, such as `openssl rand -hex 32` gives")
    return value


def _from_json(value: object) -> object:
    """Read an object from the one text that an environment variable can hold, without repeating it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('expected a JSON object, such as {"1": "…"}') from None


def _url(*schemes: str) -> AfterValidator:
    """Refuse what is no address of such a server, without repeating it: it may hold a password."""

    def check(value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"expected {schemes[0]}://user:password@host:port/…")
        return value

    return AfterValidator(check)


class DatabaseSettings(BaseSettings):
    """How to reach PostgreSQL, in the role of this process."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_DATABASE_")

    url: Annotated[SecretStr, _url("postgresql", "postgres")]
    pool_size: Annotated[int, Field(ge=1, le=100)] = 8
    connect_timeout: timedelta = timedelta(seconds=5)


class AdminDatabaseSettings(DatabaseSettings):
    """How to reach PostgreSQL in the role of administration."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_ADMIN_DATABASE_")

    pool_size: Annotated[int, Field(ge=1, le=100)] = 2

    @classmethod
    def where_given(cls) -> Self | None:
        """Read them; None where this process is given no such role."""
        return cls() if "JOBSEAL_ADMIN_DATABASE_URL" in os.environ else None


class OwnerDatabaseSettings(DatabaseSettings):
    """How to reach PostgreSQL as its owner, to change the schema."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_OWNER_DATABASE_")

    pool_size: Annotated[int, Field(ge=1, le=100)] = 1


class RedisSettings(BaseSettings):
    """How to reach Redis or Valkey."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_REDIS_")

    url: Annotated[SecretStr, _url("redis", "rediss")]


class BlobSettings(BaseSettings):
    """Where blobs lie, and how large one may be."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_BLOBS_")

    folder: Path
    max_bytes: Annotated[int, Field(ge=1)] = 1 << 30


class JanitorSettings(BaseSettings):
    """How long what nobody owns is kept."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_JANITOR_")

    grace: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(hours=1)


class RegistrySettings(BaseSettings):
    """Which JobRegistry this platform confirms on."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_REGISTRY_")

    chain_id: Annotated[int, Field(ge=1)]
    address: Address

    @property
    def address_bytes(self) -> bytes:
        """Give the address as its 20 bytes."""
        return bytes.fromhex(self.address[2:])


FeeKind = Literal["auto", "eip1559", "legacy"]
Rollup = Literal["none", "op-stack", "arbitrum"]


def _listed(value: object) -> object:
    """Read what an environment variable can hold: values with commas between them."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class ChainSettings(BaseSettings):
    """How to reach the chain, and what may be paid on it.

    `rpc_urls`: the nodes, with commas between them, in the order in which they are preferred; their addresses may hold
    keys. `ws_urls`: where new blocks are announced (WebSocket), so that they are seen at once.
    `fees` is how the chain takes them: by EIP-1559, by a gas price, or as its latest header says. `rollup` is of which kind
    the chain is, where it is one: of the OP stack, which takes more than what gas costs, or of Arbitrum's, which has no pool.
    `finality_depth`: for a chain without the tag `finalized`, how many blocks above a block make it final.
    A node may lie `max_lag_blocks` behind the others, its head may stand still for `no_new_heads_after` (PT0S where blocks
    come only with transactions), and its finalized block may be three times `finality_lag` older than the latest before
    somebody is told. Final blocks are read a second time when `second_scan_blocks` follow them, or `second_scan_after`.
    """

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_CHAIN_")

    rpc_urls: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed), Field(min_length=1)]
    ws_urls: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)] = ()
    fees: FeeKind = "auto"
    rollup: Rollup = "none"
    max_fee_cap_gwei: Annotated[int, Field(ge=1)] = 500
    request_timeout: timedelta = timedelta(seconds=10)
    finality_depth: Annotated[int, Field(ge=1)] | None = None
    max_lag_blocks: Annotated[int, Field(ge=0)] = 5
    no_new_heads_after: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(minutes=3)
    finality_lag: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(minutes=17)
    second_scan_blocks: Annotated[int, Field(ge=1)] = 100
    second_scan_after: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(minutes=10)


class KeystoreSettings(BaseSettings):
    """The key that confirms, in a file of this machine."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_CHAIN_")

    keystore: Path
    keystore_password_file: Path


class RemoteSignerSettings(BaseSettings):
    """The service that has the key that confirms, where that is not in a keystore.

    `address` is the account that signs. `token_file` holds a bearer token, `basic_auth_file` one line `user:password`.
    `allow_http` takes a `url` of another machine without TLS, which shows credentials and transactions on the way.
    """

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_SIGNER_")

    allow_http: bool = False
    url: SecretStr
    address: Address
    token_file: Path | None = None
    basic_auth_file: Path | None = None
    timeout: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=30)

    @field_validator("url")
    @classmethod
    def _is_safe(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected https://host:port")
        if "@" in parts.netloc:
            raise ValueError("holds credentials; move them to a file, JOBSEAL_SIGNER_BASIC_AUTH_FILE")
        if parts.scheme == "http" and not (_is_local(parts.hostname) or info.data.get("allow_http")):
            raise ValueError(
                "expected https; http to this machine only, or with JOBSEAL_SIGNER_ALLOW_HTTP=true"
            )
        return value

    @field_validator("basic_auth_file")
    @classmethod
    def _is_the_only_one(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("token_file") is not None:
            raise ValueError("JOBSEAL_SIGNER_TOKEN_FILE is given too; give one of them")
        return value

    @classmethod
    def where_given(cls) -> Self | None:
        """Read them; None where no service signs for this process."""
        return cls() if "JOBSEAL_SIGNER_URL" in os.environ else None


def _is_local(host: str | None) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}


class RelayerSettings(BaseSettings):
    """Where a relayer process serves its metrics; without a port nowhere."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_RELAYER_")

    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None


class ApiSettings(BaseSettings):
    """Where the API listens, and its own secrets and limits.

    `trusted_proxies`: networks (CIDR) of the proxies whose `X-Forwarded-For` is believed. A request has `deadline`, not
    counting the arrival of its body, which has `body_grace` and a second more for every `body_bytes_per_second`. A stream
    may stand still for `stream_stall`; a tenant may have `streams_per_tenant` open at a process.
    `watch_every` is how often it looks at jobs that clients wait for, `max_wait_seconds` how long one poll may wait; a stream is pinged every `stream_ping`, when its
    key is looked at again, and ends after `stream_age`.
    """

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_API_")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    max_body_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024
    max_batch_bytes: Annotated[int, Field(ge=1024)] = 4 << 20
    max_header_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_listed)] = ()
    deadline: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=10)
    body_grace: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=10)
    body_bytes_per_second: Annotated[int, Field(ge=1)] = 32 * 1024
    stream_stall: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=30)
    streams_per_tenant: Annotated[int, Field(ge=1)] = 50
    watch_every: Annotated[timedelta, Field(ge=timedelta(milliseconds=1))] = timedelta(milliseconds=250)
    max_wait_seconds: Annotated[int, Field(ge=0, le=30)] = 30
    stream_ping: Annotated[timedelta, Field(ge=timedelta(milliseconds=1))] = timedelta(seconds=15)
    stream_age: Annotated[timedelta, Field(ge=timedelta(milliseconds=1))] = timedelta(minutes=10)


class KeySettings(BaseSettings):
    """The pepper under which API keys are kept, and its version; former peppers, by version, still find older keys."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_KEYS_")

    pepper: Annotated[SecretBytes, Field(min_length=1)]
    pepper_version: Annotated[int, Field(ge=1, le=32_767)] = 1
    former_peppers: Annotated[
        dict[int, Annotated[SecretBytes, Field(min_length=1)]], NoDecode, BeforeValidator(_from_json)
    ] = {}

    @field_validator("former_peppers")
    @classmethod
    def _is_former(cls, peppers: dict[int, SecretBytes], info: ValidationInfo) -> dict[int, SecretBytes]:
        if info.data.get("pepper_version") in peppers:
            raise ValueError("holds the current pepper_version too; a new pepper has a higher version")
        return peppers


def _origin(value: str) -> str:
    """Refuse what is no address of a site: other software compares it byte by byte."""
    parts = urlsplit(value)
    good = parts.scheme == "https" or (parts.scheme == "http" and _is_local(parts.hostname))
    if not (good and parts.hostname) or value != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise ValueError(
            "expected https://host, without a path or a slash at the end; http:// on this machine only"
        )
    return value


class TokenSettings(BaseSettings):
    """Who issues access tokens, for whom, and the secret under which the keys that sign them are kept.

    `issuer` is the public address of the API; `audience` is the issuer where nothing else is given. `former_secret` still
    reads what it encrypted.
    """

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_TOKENS_")

    issuer: Annotated[str, AfterValidator(_origin)]
    audience: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    secret: Annotated[SecretBytes, AfterValidator(_long_secret)]
    former_secret: Annotated[SecretBytes, AfterValidator(_long_secret)] | None = None
    lifetime: Annotated[timedelta, Field(ge=timedelta(minutes=1), le=timedelta(minutes=10))] = timedelta(
        minutes=10
    )
    rotate_every: Annotated[timedelta, Field(ge=timedelta(days=1), le=timedelta(days=365))] = timedelta(
        days=30
    )


_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """How many cores this process may use, by affinity and by the quota of its container."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # No such file, or a quota of "max".
        return allowed


class WorkerSettings(BaseSettings):
    """How many workers run, and how they hold and give up their attempts.

    `lease` is how long an attempt may be silent; `cancel_grace` how long a handler may take to stop by itself;
    `drain_grace` how long a worker that is asked to stop lets its attempts go on before it hands them back.
    """

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_WORKER_")

    inline: Annotated[int, Field(ge=0, le=256)] = Field(default_factory=lambda: max(1, cores() // 2))
    isolated: Annotated[int, Field(ge=0, le=256)] = Field(default_factory=cores)
    lease: timedelta = timedelta(seconds=30)
    renew_every: timedelta = timedelta(seconds=10)
    check_every: timedelta = timedelta(seconds=1)
    cancel_grace: timedelta = timedelta(seconds=20)
    drain_grace: timedelta = timedelta(seconds=30)
    memory_bytes: Annotated[int, Field(ge=1 << 28)] = 4 << 30


class DispatcherSettings(BaseSettings):
    """How much work waits in the queues of Redis, and when it counts as lost.

    `isolated_reserve` is what waits for isolated workers beyond those that are free, so that none stands idle.
    """

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_DISPATCHER_")

    inline_window: Annotated[int, Field(ge=1)] = 400
    inline_chunk: Annotated[int, Field(ge=1, le=100)] = 100
    isolated_reserve: Annotated[int, Field(ge=1)] = 1
    push_again_after: timedelta = timedelta(seconds=5)


class ReaperSettings(BaseSettings):
    """How often a job may lose its worker, and when a cancellation is carried out by force."""

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_REAPER_")

    max_losses: Annotated[int, Field(ge=1)] = 3
    force_cancel_after: timedelta = timedelta(seconds=30)


class BatcherSettings(BaseSettings):
    """When finished jobs are sealed together.

    At `max_jobs`, when one has waited `max_age`, or as soon as the time that they have waited is worth what sealing costs: a
    job's second is worth `second_price_gwei`, 0 for nothing.
    """

    model_config = SettingsConfigDict(env_prefix="JOBSEAL_BATCHER_")

    max_jobs: Annotated[int, Field(ge=1, le=131_072)] = 4_096
    max_age: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=60)
    second_price_gwei: Annotated[Decimal, Field(ge=0)] = Decimal(1)
    manifest_key: Annotated[SecretBytes, BeforeValidator(_key_from_hex)]

    @property
    def second_price_wei(self) -> int:
        """Give what a job's second is worth in wei."""
        return int(self.second_price_gwei * 10**9)
