"""Whether the process lives, and whether it can serve; for machines, without a key."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from api.bodies import json_response
from api.services import ServicesDep
from relayer.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])

_NOT_READY = {
    "status": "not_ready",
    "parts": {
        "database": {"status": "not_ready", "reason": "no PostgreSQL answers at db.example.com:5432"},
        "registry": {"status": "ready"},
    },
    "breakers": {"redis": "closed", "postgresql": "open"},
}


class LiveBody(BaseModel):
    """The process lives."""

    status: Literal["live"]


class PartBody(BaseModel):
    """One part that the process needs; `reason` says what is wrong, and at which address."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready"}]})

    status: Literal["ready", "not_ready"]
    reason: str | None = None


class ReadyBody(BaseModel):
    """Whether the process can serve, and what it needs for that."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "status": "ready",
                    "parts": {"database": {"status": "ready"}, "registry": {"status": "ready"}},
                    "breakers": {"redis": "closed", "postgresql": "closed"},
                }
            ]
        },
    )

    status: Literal["ready", "not_ready"]
    """Whether requests may be sent here."""
    parts: dict[str, PartBody]
    """What it cannot serve without."""
    breakers: dict[str, Literal["closed", "half_open", "open"]]
    """By part: `closed` while it answers, `open` while it is left alone, `half_open` while it is tried."""


@router.get(
    "/health/live",
    operation_id="get_liveness",
    summary="Whether the process answers",
    responses={200: {"model": LiveBody}},
)
async def live() -> Response:
    """Answer, whatever the state of the rest."""
    return json_response({"status": "live"})


@router.get(
    "/health/ready",
    operation_id="get_readiness",
    summary="Whether the process can serve",
    responses={
        200: {"model": ReadyBody},
        503: {
            "model": ReadyBody,
            "description": "It cannot, or did not answer in time",
            "content": {"application/json": {"example": _NOT_READY}},
        },
    },
)
async def ready(services: ServicesDep) -> Response:
    """Say of each part whether it answers, and if not, why and at which address; and of each breaker where it stands.

    Without Redis the process serves all the same, so that no load balancer takes it out.
    """
    parts = await services.readiness()
    is_ready = all(part["status"] == "ready" for part in parts.values())
    body = {
        "status": "ready" if is_ready else "not_ready",
        "parts": parts,
        "breakers": {breaker.name: breaker.state.slug for breaker in services.breakers},
    }
    return json_response(body, 200 if is_ready else 503)


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Read the metrics of the process",
    response_class=Response,
    responses={
        200: {
            "description": "In the format of Prometheus",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def metrics(services: ServicesDep) -> Response:
    """Give the metrics of this process to Prometheus; it speaks of no tenant."""
    return Response(services.metrics.render(), media_type=CONTENT_TYPE)
