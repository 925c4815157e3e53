"""The bare application: authentication by a dictionary, one Lua call, one durable insert; a read by id.

It runs in the environment of the benchmarks, with asyncpg, and imports nothing of the project.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel
from redis.asyncio import Redis

DATABASE_URL = "BARE_DATABASE_URL"
REDIS_URL = "BARE_REDIS_URL"
KEY = "BARE_KEY"

_LIMIT = """
local used = redis.call('INCR', KEYS[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return used <= tonumber(ARGV[1])
"""
_TENANTS = {f"Bearer {os.environ[KEY]}": uuid.uuid4()}


class Job(BaseModel):
    """A job to be done."""

    kind: str
    input: dict[str, Any]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with (
        asyncpg.create_pool(os.environ[DATABASE_URL], min_size=8, max_size=8) as pool,
        Redis.from_url(os.environ[REDIS_URL]) as redis,
    ):
        app.state.pool = pool
        app.state.limit = redis.register_script(_LIMIT)
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/jobs", status_code=202)
async def submit(job: Job, authorization: Annotated[str, Header()]) -> dict[str, Any]:
    """Take a job."""
    tenant = _TENANTS.get(authorization)
    if tenant is None:
        raise HTTPException(401)
    if not await app.state.limit(keys=[f"limit:{tenant}"], args=[1_000_000_000, 60_000]):
        raise HTTPException(429)
    ticket = await app.state.pool.fetchval(
        "INSERT INTO bare_jobs (id, tenant_id, kind, input) VALUES ($1, $2, $3, $4) RETURNING ticket",
        job_id := uuid.uuid4(),
        tenant,
        job.kind,
        str(job.input),
    )
    return {"id": str(job_id), "ticket": ticket, "kind": job.kind, "state": "created"}


@app.get("/jobs/{job_id}")
async def read(job_id: uuid.UUID, authorization: Annotated[str, Header()]) -> dict[str, Any]:
    """Give a job."""
    if authorization not in _TENANTS:
        raise HTTPException(401)
    row = await app.state.pool.fetchrow(
        "SELECT id, ticket, kind, state, input FROM bare_jobs WHERE id = $1", job_id
    )
    if row is None:
        raise HTTPException(404)
    return dict(row)
