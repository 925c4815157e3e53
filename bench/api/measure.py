"""What is measured of an application that runs."""

import asyncio
import random
from collections.abc import Iterator
from uuid import UUID

from psycopg import AsyncConnection

from bench.api import repository
from bench.api.applications import Application
from bench.api.load import Load, closed_loop, open_loop
from bench.engine.repository import any_open
from bench.engine.servers import Stores
from relayer.model.errors import JobsealError
from relayer.model.ids import to_public

CONNECTIONS = 64
STEADY_PER_SECOND = 200
_READ = 100
_READS_A_JOB = 3
_WARM_UP_S = 2.0


class RefusedError(JobsealError):
    """An answer was not what is measured."""


async def take_turn(application: Application, stores: Stores, seconds: float) -> dict[str, Load]:
    """Submit, then read jobs that have come to an end, each as fast as it goes.

    Raises:
        RefusedError: some request was not accepted.

    """
    loads = {}
    await closed_loop(
        application.port, "submit", application.submission, connections=CONNECTIONS, seconds=_WARM_UP_S
    )
    loads["submit"] = await closed_loop(
        application.port, "submit", application.submission, connections=CONNECTIONS, seconds=seconds
    )
    jobs = await _ended_jobs(application, stores)
    choose = random.Random(1)  # noqa: S311 - no secret

    def read() -> bytes:
        return application.read(choose.choice(jobs))

    await closed_loop(application.port, "read", read, connections=CONNECTIONS, seconds=_WARM_UP_S)
    loads["read"] = await closed_loop(
        application.port, "read", read, connections=CONNECTIONS, seconds=seconds
    )
    _require(loads["submit"], 202)
    _require(loads["read"], 200)
    return loads


async def steady(application: Application, stores: Stores, seconds: float) -> Load:
    """Send 200 requests a second while workers work: a submission, then three reads of jobs as they stand, and so on.

    Raises:
        RefusedError: some request was not accepted.

    """
    await closed_loop(application.port, "submit", application.submission, connections=4, seconds=_WARM_UP_S)
    # Workers take a while to start.
    while await _any_open(application, stores):  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.2)
    jobs = await _jobs_of(application, stores)

    def requests() -> Iterator[tuple[str, bytes]]:
        choose = random.Random(1)  # noqa: S311 - no secret
        while True:
            yield "submit", application.submission()
            for _ in range(_READS_A_JOB):
                yield "read", application.read(choose.choice(jobs))

    load = await open_loop(
        application.port,
        requests(),
        per_second=STEADY_PER_SECOND,
        connections=CONNECTIONS,
        seconds=2 * seconds,
    )
    _require(load, 200, 202)
    return load


async def _ended_jobs(application: Application, stores: Stores) -> list[str]:
    async with await AsyncConnection.connect(stores.owner_url, autocommit=True) as conn:
        if application.tenant is None:
            return [str(one) for one in await repository.bare_jobs(conn, _READ)]
        return _public(await repository.cancelled_jobs(conn, application.tenant, _READ))


async def _any_open(application: Application, stores: Stores) -> bool:
    assert application.tenant is not None
    async with await AsyncConnection.connect(stores.owner_url, autocommit=True) as conn:
        return await any_open(conn, [application.tenant])


async def _jobs_of(application: Application, stores: Stores) -> list[str]:
    assert application.tenant is not None
    async with await AsyncConnection.connect(stores.owner_url, autocommit=True) as conn:
        return _public(await repository.some_jobs(conn, application.tenant, _READ))


def _public(ids: list[UUID]) -> list[str]:
    return [to_public("job", one) for one in ids]


def _require(load: Load, *statuses: int) -> None:
    others = {status: count for status, count in load.statuses.items() if status not in statuses}
    if others:
        raise RefusedError(f"answers by status: {others}; 0 is a connection that was closed")
