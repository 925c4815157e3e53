"""Whether the process lives, and whether it can serve; for machines, without a key."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response

from api.bodies import json_response
from api.services import ServicesDep
from relayer.model.errors import UnavailableError

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", summary="Whether the process answers")
async def live() -> Response:
    """Answer, whatever the state of the rest."""
    return json_response({"status": "live"})


@router.get("/ready", summary="Whether the process can serve", responses={503: {"description": "Not ready"}})
async def ready(services: ServicesDep) -> Response:
    """Say of each part whether it answers, and if not, why and at which address."""
    parts = {"database": await _part(services.db.ping), "registry": await _part(services.registry)}
    is_ready = all(part["status"] == "ready" for part in parts.values())
    body = {"status": "ready" if is_ready else "not_ready", "parts": parts}
    return json_response(body, 200 if is_ready else 503)


async def _part(check: Callable[[], Awaitable[object]]) -> dict[str, str]:
    try:
        await check()
    except UnavailableError as error:
        return {"status": "not_ready", "reason": str(error)}
    return {"status": "ready"}
