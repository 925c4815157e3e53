"""The clients of the soak: they submit over HTTP, repeat what got no answer, and cancel now and then."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2

from relayer.model.ids import from_public

_RETRY_S = 0.2
# Less than the workers can do, so that what waits was held up by a fault.
_PAUSE_S = 0.1
_CANCELLED = 0.03
_REPEATED = 0.05


@dataclass
class Client:
    """One client of a tenant; `accepted` are the jobs that it holds a 202 for."""

    url: str
    key: str
    random: random.Random
    accepted: set[UUID] = field(default_factory=set)
    repeated: int = 0
    refused: int = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Submit one job after the other until asked to stop."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=10) as http:
            while not stopping.is_set():
                await self._submit(http)
                await asyncio.sleep(self.random.expovariate(1 / _PAUSE_S))

    async def _submit(self, http: httpx2.AsyncClient) -> None:
        key, body = str(uuid4()), self._body()
        job = await self._insist(http, key, body)
        job_id = from_public("job", job["id"])
        assert job_id is not None
        self.accepted.add(job_id)
        if self.random.random() < _REPEATED:
            again = await self._insist(http, key, body)
            if again["id"] != job["id"]:
                raise AssertionError(f"one key made {job['id']} and {again['id']}")
        if self.random.random() < _CANCELLED:
            try:
                await http.post(f"/v1/jobs/{job['id']}/cancel")
            except httpx2.HTTPError:
                self.refused += 1

    async def _insist(self, http: httpx2.AsyncClient, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a submission until it is accepted."""
        while True:
            try:
                answer = await http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
            except httpx2.HTTPError:
                self.repeated += 1
            else:
                if answer.status_code == httpx2.codes.ACCEPTED:
                    job: dict[str, Any] = answer.json()
                    return job
                busy = answer.status_code == httpx2.codes.TOO_MANY_REQUESTS
                if answer.status_code < httpx2.codes.INTERNAL_SERVER_ERROR and not busy:
                    raise AssertionError(f"refused: {answer.text}")
                self.refused += 1
            await asyncio.sleep(_RETRY_S)

    def _body(self) -> dict[str, Any]:
        choice = self.random.random()
        if choice < 0.01:
            return {"kind": "bench.sleep", "input": {"seconds": 0.3}}
        if choice < 0.25:
            return {"kind": "bench.nap", "input": {"seconds": 0.5}}
        return {"kind": "digest", "input": {"text": str(self.random.random())}}
