"""The whole platform on one machine: embedded servers, a deployed registry, and the project's own processes."""

import asyncio
import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx2
from eth_account import Account
from pydantic import SecretBytes, SecretStr

from relayer.local.anvil import Anvil
from relayer.local.deploy import Deployment, deploy_registry
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.process import LOCALHOST, ServerError, ServerProcess, free_port, secret_file, write_private
from relayer.local.server import EmbeddedServer
from relayer.local.tenants import prepare_tenants
from relayer.local.valkey import EmbeddedValkey
from relayer.settings import DatabaseSettings, KeySettings
from relayer.store import roles
from relayer.store.database import Database
from relayer.store.migrate import migrate
from relayer.tenants.audit import PLATFORM
from relayer.tenants.registration import register_registry

DATABASE = "jobseal"
TENANTS = ("acme", "globex")

_ONE_ETHER = 10**18
_CONFIRMER_BALANCE = 1_000 * _ONE_ETHER
_READY_SECONDS = 60.0
_WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Addresses:
    """What `up.json` tells: where everything is, a key for each tenant, and what the operator needs to administer."""

    api_url: str
    rpc_url: str
    chain_id: int
    registry: str
    database_url: str
    redis_url: str
    api_keys: dict[str, str]
    admin_database_url: str
    admin_key: str

    def to_json(self) -> str:
        """Write the document."""
        return json.dumps(self.__dict__, indent=2) + "\n"


class Platform:
    """Starts, watches and stops everything; its state lies under `home` and outlives it.

    Args:
        home: the state; one platform at a time may use it.
        say: is given one line for every step and every trouble.
        batch_age: how long finished jobs wait for company before they are sealed.

    """

    def __init__(self, home: Path, say: Callable[[str], None], *, batch_age: timedelta) -> None:
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServerError(
                f"JOBSEAL_HOME: the folder {home} cannot be made ({error.strerror}); choose another"
            ) from None
        self._home = home.resolve()
        self._say = say
        self._batch_age = batch_age
        self._postgres = EmbeddedPostgres(self._home)
        self._valkey = EmbeddedValkey(self._home)
        self._anvil = Anvil(self._home)
        self._services: list[ServerProcess] = []

    @contextmanager
    def running(self) -> Iterator[Addresses]:
        """Run the platform: everything is ready inside, and nothing is left running outside."""
        up = self._home / "up.json"
        with self._locked():
            up.unlink(missing_ok=True)
            try:
                addresses = self._start()
                write_private(up, addresses.to_json())
                yield addresses
            finally:
                up.unlink(missing_ok=True)
                self._stop()

    def watch(self, stopping: Callable[[], bool]) -> None:
        """Restart whatever dies, and say so, until asked to stop."""
        while not stopping():
            parts: list[EmbeddedServer | ServerProcess] = [*self._servers, *self._services]
            for part in parts:
                if not part.alive:
                    self._say(f"{part.failure()}; starting it again")
                    self._again(part.start)
            time.sleep(_WATCH_SECONDS)

    @property
    def _servers(self) -> Sequence[EmbeddedServer]:
        return (self._postgres, self._valkey, self._anvil)

    def _again(self, start: Callable[[], None]) -> None:
        try:
            start()
        except ServerError as error:
            self._say(f"{error}; trying again")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._home / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServerError(
                    f"a platform runs on {self._home} already; stop it, or set JOBSEAL_HOME to another folder"
                ) from None
            yield

    def _start(self) -> Addresses:
        for server in self._servers:
            server.start()
            self._say(f"{server.name} runs")
        passwords = roles.Passwords(
            *(self._secret(f"database-{role}") for role in ("owner", "api", "relayer", "admin"))
        )
        roles.prepare_database(self._postgres.admin_dsn, DATABASE, passwords)
        owner_url = self._database_url(roles.OWNER, passwords.owner)
        migrate(owner_url)
        deployment = self._deploy()
        asyncio.run(self._register(DatabaseSettings(url=SecretStr(owner_url)), deployment))
        admin_url = self._database_url(roles.ADMIN, passwords.admin)
        keys = prepare_tenants(
            DatabaseSettings(url=SecretStr(admin_url)),
            KeySettings(pepper=SecretBytes(self._secret("pepper").encode())),
            self._home / "keys" / "api-keys.json",
            TENANTS,
        )
        addresses = Addresses(
            api_url=f"http://{LOCALHOST}:{free_port()}",
            rpc_url=self._anvil.rpc_url,
            chain_id=self._anvil.chain_id,
            registry=f"0x{deployment.address.hex()}",
            database_url=owner_url,
            redis_url=self._valkey.url,
            api_keys=keys.tenants,
            admin_database_url=admin_url,
            admin_key=keys.operator,
        )
        self._start_services(addresses, passwords)
        return addresses

    def _deploy(self) -> Deployment:
        """Find the registry on the chain, or deploy it: the same confirmer gives the same address."""
        known = self._home / "deployment.json"
        confirmer = self._confirmer()
        self._rpc("anvil_setBalance", confirmer, hex(_CONFIRMER_BALANCE))
        if known.exists():
            stored = json.loads(known.read_text())
            if self._rpc("eth_getCode", stored["address"], "latest") != "0x":
                return Deployment(bytes.fromhex(stored["address"][2:]), stored["first_block"])
        deployment = deploy_registry(self._anvil.rpc_url, [confirmer], self._home / "broadcast")
        address = f"0x{deployment.address.hex()}"
        write_private(known, json.dumps({"address": address, "first_block": deployment.first_block}))
        self._say(f"JobRegistry deployed at {address}")
        return deployment

    def _confirmer(self) -> str:
        """Give the address of the confirming account; its key is made on first use, encrypted at once."""
        keystore = self._home / "keys" / "confirmer.json"
        if not keystore.exists():
            account = Account.create()
            # The password is 256 random bits, so a slow derivation would protect nothing.
            document = account.encrypt(self._secret("confirmer-password"), kdf="pbkdf2", iterations=1_000)
            write_private(keystore, json.dumps(document))
        return f"0x{json.loads(keystore.read_text())['address']}"

    async def _register(self, owner: DatabaseSettings, deployment: Deployment) -> None:
        async with Database(owner) as db:
            await register_registry(
                db, self._anvil.chain_id, deployment.address, deployment.first_block, origin=PLATFORM
            )

    def _start_services(self, addresses: Addresses, passwords: roles.Passwords) -> None:
        common = {
            "JOBSEAL_REGISTRY_CHAIN_ID": str(addresses.chain_id),
            "JOBSEAL_REGISTRY_ADDRESS": addresses.registry,
            "JOBSEAL_BLOBS_FOLDER": str(self._home / "blobs"),
        } | _inherited()
        relayer_database = {"JOBSEAL_DATABASE_URL": self._database_url(roles.RELAYER, passwords.relayer)}
        redis = {"JOBSEAL_REDIS_URL": addresses.redis_url}
        api = {
            "JOBSEAL_DATABASE_URL": self._database_url(roles.API, passwords.api),
            "JOBSEAL_ADMIN_DATABASE_URL": addresses.admin_database_url,
            "JOBSEAL_KEYS_PEPPER": self._secret("pepper"),
            "JOBSEAL_TOKENS_ISSUER": addresses.api_url,
            "JOBSEAL_TOKENS_SECRET": self._secret("tokens"),
            "JOBSEAL_API_HOST": LOCALHOST,
            "JOBSEAL_API_PORT": addresses.api_url.rpartition(":")[2],
        }
        relayer = {
            "JOBSEAL_CHAIN_RPC_URLS": addresses.rpc_url,
            "JOBSEAL_CHAIN_KEYSTORE": str(self._home / "keys" / "confirmer.json"),
            "JOBSEAL_CHAIN_KEYSTORE_PASSWORD_FILE": str(self._secret_path("confirmer-password")),
            "JOBSEAL_BATCHER_MANIFEST_KEY": self._manifest_key(),
            "JOBSEAL_BATCHER_MAX_AGE": f"PT{self._batch_age.total_seconds():g}S",
        }
        # Shorter than the time after which a service that does not stop is killed.
        worker = {"JOBSEAL_WORKER_DRAIN_GRACE": os.environ.get("JOBSEAL_WORKER_DRAIN_GRACE", "PT10S")}
        for name, env in (
            ("api", api | redis),
            ("worker", relayer_database | redis | worker),
            ("relayer", relayer_database | redis | relayer),
        ):
            service = ServerProcess(
                f"jobseal {name}",
                [sys.executable, "-m", "relayer.cli.main", name],
                log=self._home / "logs" / f"{name}.log",
                env=common | env,
                cwd=self._home,
            )
            service.start()
            self._services.append(service)
        self._services[0].wait_ready(lambda: _answers(f"{addresses.api_url}/health/ready"), _READY_SECONDS)
        for service in self._services:
            if not service.alive:
                raise service.failure()
        self._say(f"API ready at {addresses.api_url}")

    def _stop(self) -> None:
        """Stop the services first, so that none finds its servers gone."""
        for stop in [service.stop for service in reversed(self._services)] + [s.stop for s in self._servers]:
            with suppress(ServerError):
                stop()
        self._services.clear()

    def _database_url(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{LOCALHOST}:{self._postgres.port}/{DATABASE}"

    def _secret_path(self, name: str) -> Path:
        return self._home / "keys" / f"{name}.secret"

    def _secret(self, name: str) -> str:
        return secret_file(self._secret_path(name))

    def _manifest_key(self) -> str:
        """Give 32 bytes as hex digits, which an environment variable can hold."""
        path = self._secret_path("manifest")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, secrets.token_hex(32))
        return path.read_text()

    def _rpc(self, method: str, *params: object) -> object:
        answer = httpx2.post(
            self._anvil.rpc_url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        ).json()
        if "error" in answer:
            raise ServerError(
                f"anvil at {self._anvil.rpc_url} refused {method}: {answer['error']['message']}"
            )
        return answer["result"]


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5.0).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


def _inherited() -> dict[str, str]:
    """Pass on where programs and plug-ins are found, and any limit the operator set; no secret of the shell."""
    names = ["PATH", "HOME", "LANG", "PYTHONPATH"]
    limits = [name for name in os.environ if name.startswith(("JOBSEAL_WORKER_", "JOBSEAL_DISPATCHER_"))]
    return {name: os.environ[name] for name in names + limits if name in os.environ}
