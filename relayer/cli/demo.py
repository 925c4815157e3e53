"""`jobseal demo`: real files through the whole life of a job, then every receipt checked against the chain alone."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2
import psycopg
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from relayer.chain.verifier import Rpc, verify_on_chain
from relayer.cli.refusals import show_refusals
from relayer.local.deploy import ROOT
from relayer.local.platform import Addresses, Platform
from relayer.model.errors import JobsealError
from relayer.seal.receipt import Receipt
from relayer.seal.verify import Outcome, Pin

BATCH_AGE = timedelta(seconds=3)
_DEFAULT_FOLDERS = (
    *("api", "contracts", "docs", "relayer", "script", "test", "tools"),
    *("node_modules/@openzeppelin/contracts", "node_modules/@openzeppelin/contracts-upgradeable"),
)
_SKIPPED = {"__pycache__", "build", "artifacts", ".git"}
_MOST_FILES = 1_200
_UPLOADERS = 8
_STUCK_SECONDS = 300.0
_SHOWN_STATES = ("created", "processing", "completed", "confirming", "confirmed")


class DemoError(JobsealError):
    """Something that the demo promises did not happen."""


@dataclass(frozen=True)
class Submitted:
    """A job on its way: whose it is and which file it digests."""

    tenant: str
    job_id: str
    file: Path


def run_demo(home: Path, folder: Path | None) -> None:
    """Run the demo; raises `DemoError` at the first promise broken."""
    console = Console(highlight=False, soft_wrap=True)
    files = list(_files(folder))
    if not files:
        raise DemoError(f"there is no file in {folder}; name a folder with files: make demo INPUT=path")
    platform = Platform(home, lambda line: console.print(f"[dim]{line}[/dim]"), batch_age=BATCH_AGE)
    with platform.running() as addresses, _watched(platform), _clients(addresses) as clients:
        console.print(f"\nSubmitting {len(files)} files as jobs of {len(clients)} tenants")
        with psycopg.connect(addresses.database_url, autocommit=True) as database:
            jobs = _follow(console, clients, files, database)
            receipts = _receipts(clients, jobs)
            _verify_all(console, addresses, receipts)
            show_refusals(console, addresses, receipts[0])
            _summarise(console, clients, jobs, database)
    console.print("\n[bold green]Everything held.[/bold green] Nothing is left running.")


def _files(folder: Path | None) -> Iterator[Path]:
    """The files that become jobs, in a stable order."""
    roots = [folder] if folder else [ROOT / name for name in _DEFAULT_FOLDERS]
    found = (
        path
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and not _SKIPPED.intersection(path.relative_to(root).parts)
    )
    for _, path in zip(range(_MOST_FILES), found, strict=False):
        yield path


@contextmanager
def _watched(platform: Platform) -> Iterator[None]:
    """Restart what dies during the demo, as `jobseal up` does."""
    stopping = threading.Event()
    watcher = threading.Thread(target=platform.watch, args=(stopping.is_set,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopping.set()
        watcher.join()


@contextmanager
def _clients(addresses: Addresses) -> Iterator[dict[str, httpx2.Client]]:
    clients = {
        tenant: httpx2.Client(
            base_url=addresses.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30.0
        )
        for tenant, key in addresses.api_keys.items()
    }
    try:
        yield clients
    finally:
        for client in clients.values():
            client.close()


def _follow(
    console: Console,
    clients: dict[str, httpx2.Client],
    files: list[Path],
    database: psycopg.Connection[Any],
) -> list[Submitted]:
    """Submit every file while showing where the jobs stand, until all are confirmed."""
    started = time.monotonic()
    tenants = list(clients)
    run = f"{time.time_ns():x}"

    def submit(number: int) -> Submitted:
        tenant = tenants[number % len(tenants)]
        return _submit(tenant, clients[tenant], files[number], f"demo-{run}-{number}")

    with (
        ThreadPoolExecutor(_UPLOADERS) as uploaders,
        Live(console=console, refresh_per_second=8, transient=False) as live,
    ):
        pending = [uploaders.submit(submit, number) for number in range(len(files))]
        while True:
            jobs = [one.result() for one in pending if one.done()]
            counts = _states(database, jobs)
            live.update(_progress(counts, len(files), _batches(database, jobs), time.monotonic() - started))
            if lost := counts["failed"] + counts["rejected"] + counts["cancelled"]:
                raise DemoError(
                    f"{lost} jobs did not complete; see {clients[tenants[0]].base_url}/v1/jobs?state=failed"
                )
            if counts["confirmed"] == len(files):
                return jobs
            if time.monotonic() - started > _STUCK_SECONDS:
                raise DemoError(
                    f"{len(files) - counts['confirmed']} jobs are not confirmed after {_STUCK_SECONDS:g} s"
                )
            time.sleep(0.25)


def _submit(tenant: str, client: httpx2.Client, file: Path, key: str) -> Submitted:
    blob = _post(
        client, "/v1/blobs", content=file.read_bytes(), headers={"Content-Type": "application/octet-stream"}
    )
    job = _post(
        client,
        "/v1/jobs",
        json={"kind": "digest", "input": {"blob": blob["blob"]}, "metadata": {"file": file.name}},
        headers={"Idempotency-Key": key},
    )
    return Submitted(tenant, job["id"], file)


def _post(client: httpx2.Client, path: str, **request: Any) -> dict[str, Any]:
    """Post, and wait as long as the API says where it is asked for too much at once."""
    until = time.monotonic() + _STUCK_SECONDS
    while (response := client.post(path, **request)).status_code in {429, 503}:
        if time.monotonic() > until:
            break
        time.sleep(float(response.headers.get("Retry-After", 1)))
    return _good(response)


def _good(response: httpx2.Response) -> dict[str, Any]:
    if response.is_error:
        raise DemoError(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        )
    answer: dict[str, Any] = response.json()
    return answer


def _states(database: psycopg.Connection[Any], jobs: list[Submitted]) -> Counter[str]:
    ids = [job.job_id.removeprefix("job_") for job in jobs]
    rows = database.execute(
        "SELECT state, count(*) FROM jobs WHERE id = ANY(%s::uuid[]) GROUP BY state", [ids]
    )
    return Counter(dict(rows.fetchall()))


@dataclass(frozen=True)
class BatchFigures:
    """What the batches of the demo's jobs cost."""

    batches: int
    jobs: int
    gas: int


def _batches(database: psycopg.Connection[Any], jobs: list[Submitted]) -> BatchFigures:
    ids = [job.job_id.removeprefix("job_") for job in jobs]
    row = database.execute(
        """SELECT count(*), coalesce(sum(leaf_count) FILTER (WHERE gas_used IS NOT NULL), 0), coalesce(sum(gas_used), 0)
           FROM batches WHERE id IN (SELECT batch_id FROM jobs WHERE id = ANY(%s::uuid[]))""",
        [ids],
    ).fetchone()
    assert row is not None
    return BatchFigures(*(int(value) for value in row))


def _progress(counts: Counter[str], total: int, batches: BatchFigures, seconds: float) -> Table:
    table = Table(
        title=f"{sum(counts.values())} of {total} submitted, {seconds:.0f} s",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for state in _SHOWN_STATES:
        table.add_column(state, justify="right")
    table.add_column("batches", justify="right")
    table.add_column("gas/job", justify="right")
    gas = f"{batches.gas / batches.jobs:.0f}" if batches.jobs else "-"
    table.add_row(*(str(counts[state]) for state in _SHOWN_STATES), str(batches.batches), gas)
    return table


def _receipts(clients: dict[str, httpx2.Client], jobs: list[Submitted]) -> list[Receipt]:
    receipts = []
    for job in jobs:
        response = clients[job.tenant].get(f"/v1/jobs/{job.job_id}/receipt")
        if response.is_error:
            raise DemoError(f"no receipt for {job.job_id}: {response.text}")
        receipts.append(Receipt.from_json(response.content))
    return receipts


def _verify_all(console: Console, addresses: Addresses, receipts: list[Receipt]) -> None:
    pin = Pin(addresses.chain_id, bytes.fromhex(addresses.registry[2:]))
    with Rpc(addresses.rpc_url) as rpc:
        for receipt in receipts:
            verdict = verify_on_chain(receipt, rpc, pin)
            if verdict.outcome is not Outcome.VALID:
                raise DemoError(
                    f"the receipt of ticket {receipt.job.ticket} is {verdict.code}: {verdict.sentence}"
                )
    console.print(f"\n[green]ok[/green]  {len(receipts)} receipts verified against the chain alone")


def _summarise(
    console: Console,
    clients: dict[str, httpx2.Client],
    jobs: list[Submitted],
    database: psycopg.Connection[Any],
) -> None:
    done = [_good(clients[job.tenant].get(f"/v1/jobs/{job.job_id}")) for job in jobs]
    batches = _batches(database, jobs)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("jobs confirmed", str(len(done)))
    table.add_row("batches", str(batches.batches))
    table.add_row("gas a job", f"{batches.gas / batches.jobs:.0f}")
    for label, name in (
        ("submitted to completed", "result_ready_at"),
        ("submitted to confirmed", "confirmed_at"),
    ):
        middle, high = _percentiles([_seconds(job["created_at"], job[name]) for job in done])
        table.add_row(label, f"p50 {middle:.2f} s, p95 {high:.2f} s")
    console.print()
    console.print(table)


def _percentiles(values: list[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
