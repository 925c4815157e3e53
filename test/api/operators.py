"""What the platform's operator does by REST."""

import json
from typing import Any

import httpx2

from .conftest import Body, Caller


class Operator(Caller):
    """The platform's operator, with a key for all of administration."""

    async def made(self, name: str, **wanted: Any) -> Body:
        answer = await self.post_json("/v1/admin/tenants", {"name": name, **wanted})
        assert answer.status_code == 201, answer.text
        body: Body = answer.json()
        assert answer.headers["location"] == f"/v1/admin/tenants/{body['id']}"
        return body

    async def new_key(self, tenant: Body, **wanted: Any) -> Body:
        value = {"name": "test", "scopes": ["jobs:read", "jobs:write", "audit:read"]} | wanted
        answer = await self.post_json(f"/v1/admin/tenants/{tenant['id']}/keys", value)
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store"), answer.text
        body: Body = answer.json()
        return body

    async def patch(self, tenant: Body, value: Any, **headers: str) -> httpx2.Response:
        headers = {"content_type": "application/merge-patch+json"} | headers
        return await self.client.patch(
            f"/v1/admin/tenants/{tenant['id']}",
            content=json.dumps(value).encode(),
            headers=self.headers(**headers),
        )

    async def call(self, method: str, path: str, value: Any = None) -> httpx2.Response:
        content = None if value is None else json.dumps(value).encode()
        headers = self.headers(content_type="application/json")
        return await self.client.request(method, path, content=content, headers=headers)
