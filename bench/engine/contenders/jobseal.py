"""Jobseal: `jobseal worker` with two inline workers, the dispatcher and the reaper as processes, and `JobService`."""

import asyncio
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from pydantic import SecretBytes, SecretStr

from bench.engine import repository
from bench.engine.contender import ROOT, WORKERS, Contender
from bench.engine.servers import Stores
from bench.handlers.jobseal_bench_handlers import Noop
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.service import JobService
from relayer.jobs.submission import Submission
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.settings import DatabaseSettings, KeySettings
from relayer.store import registries
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.store.runner import Runner
from relayer.tenants.service import TenantService

KIND = "bench.noop"
TENANTS = 4
# The other contenders cap nobody.
RUNNING_CAP = 1_000
PLUGINS = ROOT / "bench/handlers"
_CHAIN_ID = 31337
_ADDRESS = bytes(19) + b"\x01"
_SUBMITTERS = 8
_PREFIXES = ("JOBSEAL_WORKER_", "JOBSEAL_DISPATCHER_")


class Jobseal(Contender):
    """The whole engine: rows, tickets, dispatch, leases, outputs, events, usage, outbox.

    Every turn has tenants of its own, so that it is counted apart while the tables keep what came before.
    """

    name = "jobseal"

    def __init__(self, stores: Stores, home: Path) -> None:
        super().__init__(stores, home)
        self._runner = Runner()
        self._api = Database(DatabaseSettings(url=SecretStr(stores.api_url), pool_size=_SUBMITTERS))
        self._owner = Database(DatabaseSettings(url=SecretStr(stores.owner_url), pool_size=1))
        self._tenants: list[UUID] = []
        self._service: JobService | None = None
        self._set = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}

    def start(self) -> None:
        """Start the processes, each as `jobseal …` starts it."""
        registry = self._runner.run(self._prepare())
        self._service = self._make_service(registry)
        common = {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGINS}",
            "JOBSEAL_DATABASE_URL": self.stores.relayer_url,
            "JOBSEAL_REDIS_URL": self.stores.redis_url,
            "JOBSEAL_BLOBS_FOLDER": str(self.home / "blobs"),
        } | self._set
        workers = {"JOBSEAL_WORKER_INLINE": str(WORKERS), "JOBSEAL_WORKER_ISOLATED": "0"}
        self._launch_command("workers", ["worker"], common | workers)
        for loop in ("dispatcher", "reaper"):
            self._launch_command(loop, ["relayer", "--only", loop], common)

    def settings(self) -> dict[str, str]:
        """Say how it runs, and what the environment changed."""
        return {
            "workers": f"{WORKERS} x inline",
            "tenants": f"{TENANTS}, each up to {RUNNING_CAP} at a time",
        } | self._set

    def stop(self) -> None:
        """Stop the processes and close the pools."""
        super().stop()
        self._runner.run(self._api.close())
        self._runner.run(self._owner.close())
        self._runner.close()

    def submit_many(self, numbers: Sequence[int]) -> None:
        """Submit from as many tasks as there are connections, tenant by turn."""
        self._runner.run(self._submit_all(numbers))

    def submit_one(self, number: int) -> int:
        """Submit."""
        return self._runner.run(self._submit_one(number))

    def is_settled(self, total: int) -> bool:
        """Whether no job waits or runs."""
        return self._runner.run(self._is_settled())

    def check(self, total: int) -> None:
        """Also check the rows: completed with an output, every state in the events, exactly one usage event."""
        super().check(total)
        self._runner.run(self._tally()).require(total)

    def _launch_command(self, part: str, arguments: list[str], env: dict[str, str]) -> None:
        self.launch(part, ["-m", "relayer.cli.main", *arguments], env)

    def _make_service(self, registry: RegistryRow) -> JobService:
        async def provider() -> RegistryRow:
            return registry

        handlers: Handlers = {KIND: Noop()}
        return JobService(self._api, provider, handlers, LocalBlobStore(self.home / "blobs"), utc_now)

    async def _prepare(self) -> RegistryRow:
        await self._api.open()
        await self._owner.open()
        async with self._owner.transaction() as conn:
            registry = await registries.register(conn, _CHAIN_ID, _ADDRESS, 0)
        service = TenantService(self._owner, KeySettings(pepper=SecretBytes(secrets.token_bytes(32))))
        self._tenants = [await service.create_tenant(f"bench-{new_id()}") for _ in range(TENANTS)]
        async with self._owner.transaction() as conn:
            await repository.raise_caps(conn, self._tenants, RUNNING_CAP)
        return registry

    async def _submit_one(self, number: int) -> int:
        assert self._service is not None
        tenant = self._tenants[number % TENANTS]
        await self._service.submit(tenant, Submission(KIND, {"number": number}, {}, None, bytes(32)))
        return time.time_ns()

    async def _submit_all(self, numbers: Sequence[int]) -> None:
        left = iter(numbers)

        async def submit() -> None:
            for number in left:
                await self._submit_one(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(_SUBMITTERS):
                group.create_task(submit())

    async def _is_settled(self) -> bool:
        async with self._owner.transaction() as conn:
            return not await repository.any_open(conn, self._tenants)

    async def _tally(self) -> repository.Tally:
        async with self._owner.transaction() as conn:
            return await repository.tally(conn, self._tenants)
