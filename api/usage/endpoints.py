"""The REST surface of usage."""

from fastapi import APIRouter, Response

from api.auth import UsageReader
from api.bodies import json_response
from api.schemas import headers
from api.services import ServicesDep
from api.usage.schemas import UsageBody, usage_body

router = APIRouter(prefix="/v1/usage", tags=["usage"])


@router.get(
    "",
    operation_id="get_usage",
    summary="Read what the tenant uses, and what it may",
    responses={200: {"model": UsageBody, **headers("Cache-Control")}},
)
async def read(principal: UsageReader, services: ServicesDep) -> Response:
    """Give the use of the present day and month against the quotas, and the rates."""
    current = await services.usage.current(principal.tenant_id)
    return json_response(usage_body(current, principal.limits), headers={"Cache-Control": "no-store"})
