"""Holding an answer back until there is news of a job."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.deadline import extend_deadline
from api.services import Services
from relayer.jobs.records import Job


async def wait_for_job(
    request: Request, services: Services, job: Job, wait: int, is_news: Callable[[Job], bool]
) -> Job:
    """Give the job as soon as it is news, or as it stands after `wait` seconds; the caller holds a stream meanwhile.

    Args:
        request: whose client may go away meanwhile.
        services: reads the job.
        job: the job as it is known.
        wait: seconds.
        is_news: says whether the answer is to be given; a job at its end always is.

    Raises:
        ClientDisconnect: the client went away.

    """
    extend_deadline(request, timedelta(seconds=wait))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    leaving = asyncio.create_task(_disconnected(request))
    try:
        has_moved = wait > 0
        while has_moved and not (is_news(job) or job.state.is_terminal):
            left = deadline - loop.time()
            has_moved = await _unless(
                leaving, services.watcher.wait(job.tenant_id, job.id, job.state_version, left)
            )
            job = await services.jobs.get(job.tenant_id, job.id) or job
    finally:
        leaving.cancel()
    return job


async def _unless(leaving: asyncio.Task[None], waiting: Coroutine[None, None, bool]) -> bool:
    moved = asyncio.create_task(waiting)
    try:
        await asyncio.wait({moved, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        moved.cancel()
    if leaving.done():
        raise ClientDisconnect
    return moved.result()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
