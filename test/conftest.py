"""Real servers for the tests: one PostgreSQL and one Valkey a test process, tables emptied before each test."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
import redis
from hypothesis import settings
from pydantic import SecretStr

from relayer.local import deploy
from relayer.local.anvil import Anvil, Mining
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.valkey import EmbeddedValkey
from relayer.settings import DatabaseSettings
from relayer.store import registries, roles
from relayer.store.database import Database
from relayer.store.migrate import migrate
from relayer.store.registries import RegistryRow

CHAIN_ID = 31337
REGISTRY = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")

# How long an example takes says more about the machine than about the code.
settings.register_profile("test", max_examples=40, deadline=None)
settings.load_profile("test")
# More than a change can wait for: `make test-differential`.
settings.register_profile("verify", max_examples=3_000, deadline=None)


@dataclass(frozen=True)
class Urls:
    """One database, by role."""

    owner: str
    api: str
    relayer: str
    admin: str
    superuser: str


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    try:
        yield server
    finally:
        server.delete()


@pytest.fixture(scope="session")
def postgres_urls(postgres_server: EmbeddedPostgres) -> Urls:
    passwords = roles.Passwords(*(secrets.token_hex(16) for _ in range(4)))
    roles.prepare_database(postgres_server.admin_dsn, "jobseal", passwords)
    address = urlsplit(postgres_server.admin_dsn).netloc.rpartition("@")[2]
    urls = Urls(
        owner=f"postgresql://{roles.OWNER}:{passwords.owner}@{address}/jobseal",
        api=f"postgresql://{roles.API}:{passwords.api}@{address}/jobseal",
        relayer=f"postgresql://{roles.RELAYER}:{passwords.relayer}@{address}/jobseal",
        admin=f"postgresql://{roles.ADMIN}:{passwords.admin}@{address}/jobseal",
        superuser=f"{postgres_server.admin_dsn.rpartition('/')[0]}/jobseal",
    )
    migrate(urls.owner)
    return urls


@pytest.fixture(scope="session")
def tables(postgres_urls: Urls) -> list[str]:
    """Every table, those that refer to another before it."""
    with psycopg.connect(postgres_urls.owner) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        refers = connection.execute(
            "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
        ).fetchall()
    order = TopologicalSorter({name: set[str]() for (name,) in names})
    for source, target in refers:
        if source != target:
            order.add(target, source)
    return list(order.static_order())


@pytest.fixture
def urls(postgres_urls: Urls, tables: list[str]) -> Urls:
    with psycopg.connect(postgres_urls.superuser, autocommit=True) as connection:
        # Without triggers: the audit log lets nobody else delete anything.
        connection.execute("SET session_replication_role = replica")
        empty(connection, tables)
        connection.execute(
            "SELECT setval(sequencename::regclass, 0, false) FROM pg_sequences WHERE sequencename LIKE 'tickets%'"
        )
    return postgres_urls


def empty(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Delete what a few rows are; emptying all tables with their indexes anew takes a tenth of a second."""
    # The names are of the catalogue.
    looks = " UNION ALL ".join(f"SELECT '{name}' FROM (SELECT FROM {name} LIMIT 1) t" for name in tables)  # noqa: S608
    filled = {name for (name,) in connection.execute(looks)}
    (jobs,) = connection.execute("SELECT count(*) FROM (SELECT FROM jobs LIMIT 201) j").fetchall()[0]
    if jobs > 200:
        connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
        return
    for table in tables:
        if table in filled:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
    for table in ("registries", "outbox"):
        connection.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), 1, false)", [table])


@dataclass(frozen=True)
class Databases:
    """A pool a role, open for as long as the worker runs: opening one takes longer than many a test."""

    owner: Database
    api: Database
    relayer: Database
    admin: Database


@pytest.fixture(scope="session")
async def databases(postgres_urls: Urls) -> AsyncIterator[Databases]:
    async with AsyncExitStack() as stack:

        async def opened(url: str) -> Database:
            settings = DatabaseSettings(url=SecretStr(url), pool_size=20)
            return await stack.enter_async_context(Database(settings))

        yield Databases(
            owner=await opened(postgres_urls.owner),
            api=await opened(postgres_urls.api),
            relayer=await opened(postgres_urls.relayer),
            admin=await opened(postgres_urls.admin),
        )


@pytest.fixture
def emptied(urls: Urls, databases: Databases) -> Databases:  # noqa: ARG001 - the tables are empty by then
    return databases


@pytest.fixture
def owner_db(emptied: Databases) -> Database:
    return emptied.owner


@pytest.fixture
def api_db(emptied: Databases) -> Database:
    return emptied.api


@pytest.fixture
def relayer_db(emptied: Databases) -> Database:
    return emptied.relayer


@pytest.fixture
def admin_db(emptied: Databases) -> Database:
    return emptied.admin


@pytest.fixture
def superuser(urls: Urls) -> Iterator[psycopg.Connection[Any]]:
    """A connection past row-level security and triggers."""
    with psycopg.connect(urls.superuser, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


@pytest.fixture
async def registry_row(owner_db: Database) -> RegistryRow:
    async with owner_db.transaction() as connection:
        return await registries.register(connection, CHAIN_ID, REGISTRY, 0)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey_url(valkey_server: EmbeddedValkey) -> str:
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


@pytest.fixture
def make_anvil(tmp_path: Path) -> Iterator[Callable[..., Anvil]]:
    with ExitStack() as stack:

        def make(mining: Mining = "auto") -> Anvil:
            home = tmp_path / f"anvil-{secrets.token_hex(4)}"
            return stack.enter_context(Anvil(home, chain_id=CHAIN_ID, mining=mining, persist=False))

        yield make


class Deployer:
    """Deploys registries with forge; what it sent for the same confirmers to a new chain is sent again the next time.

    All it sends follows from the plan, so the chains are the same, block for block; forge itself takes a second or two.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent: dict[tuple[str, ...], tuple[deploy.Deployment, list[dict[str, Any]]]] = {}

    def deploy(self, rpc_url: str, confirmers: Sequence[str]) -> deploy.Deployment:
        """Deploy with anvil's first account as administrator and pauser."""
        with httpx2.Client(base_url=rpc_url) as client:
            is_new = _rpc(client, "eth_blockNumber") == "0x0"
            if is_new and (sent := self._sent.get(tuple(confirmers))):
                for transaction in sent[1]:
                    _send(client, transaction)
                return sent[0]
        deployment = deploy.deploy_registry(rpc_url, confirmers, self._folder)
        if is_new:
            run = json.loads((self._folder / f"Deploy.s.sol/{CHAIN_ID}/run-latest.json").read_text())
            transactions = [step["transaction"] for step in run["transactions"]]
            self._sent[tuple(confirmers)] = deployment, transactions
        return deployment


def _rpc(client: httpx2.Client, method: str, *parameters: Any) -> Any:
    answer = client.post("/", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).json()
    assert "error" not in answer, answer
    return answer["result"]


def _send(client: httpx2.Client, transaction: dict[str, Any]) -> None:
    """Send from an unlocked account, and wait for the block."""
    transaction_hash = _rpc(client, "eth_sendTransaction", transaction)
    deadline = time.monotonic() + 60
    while (receipt := _rpc(client, "eth_getTransactionReceipt", transaction_hash)) is None:
        assert time.monotonic() < deadline, f"{transaction_hash} is in no block"
        time.sleep(0.002)
    assert receipt["status"] == "0x1", receipt


@pytest.fixture(scope="session")
def deployer(tmp_path_factory: pytest.TempPathFactory) -> Deployer:
    return Deployer(tmp_path_factory.mktemp("broadcast"))


@pytest.fixture
def deploy_registry(deployer: Deployer) -> Callable[[str, Sequence[str]], tuple[bytes, int]]:
    """Deploy the registry; anvil's first account administers and pauses it."""

    def run(rpc_url: str, confirmers: Sequence[str]) -> tuple[bytes, int]:
        deployment = deployer.deploy(rpc_url, confirmers)
        return deployment.address, deployment.first_block

    return run
