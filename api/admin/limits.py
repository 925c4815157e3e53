"""The REST surface of plans, and of what kinds have over all tenants: caps and lanes."""

from fastapi import APIRouter, Request, Response

from api.admin.access import AdminReader, AdminWriter
from api.admin.schemas import (
    KindCapBody,
    KindCapList,
    KindCapRequest,
    KindLaneBody,
    KindLaneList,
    KindLaneRequest,
    PlanList,
)
from api.bodies import BODY_PROBLEMS, json_response, read_json, validate
from api.errors import Code, Fault, ProblemError
from api.schemas import problems, request_body
from api.services import ServicesDep
from relayer.tenants.administration_errors import FieldError
from relayer.tenants.plans import PLANS

router = APIRouter(prefix="/v1/admin", tags=["administration"])


@router.get(
    "/plans",
    operation_id="list_plans",
    summary="List plans",
    responses={200: {"model": PlanList}, **problems(Code.NOT_FOUND)},
)
async def list_plans(_: AdminReader) -> Response:
    """Give every plan, with the numbers that it writes onto a tenant."""
    return json_response(
        {"data": [{"name": name, "limits": limits.to_document()} for name, limits in PLANS.items()]}
    )


@router.get(
    "/kind-caps",
    operation_id="list_kind_caps",
    summary="List caps of kinds",
    responses={200: {"model": KindCapList}, **problems(Code.NOT_FOUND)},
)
async def list_kind_caps(admin: AdminReader) -> Response:
    """Give every kind that has a cap over all tenants."""
    return json_response({"data": [cap.to_document() for cap in await admin.services.tenants.kind_caps()]})


@router.put(
    "/kind-caps/{kind:path}",
    operation_id="set_kind_cap",
    summary="Cap a kind over all tenants",
    responses={
        200: {"model": KindCapBody},
        **problems(*BODY_PROBLEMS, Code.INVALID_PARAMETER, Code.NOT_FOUND),
    },
    openapi_extra=request_body(KindCapRequest),
)
async def set_kind_cap(request: Request, kind: str, admin: AdminWriter, services: ServicesDep) -> Response:
    """Let no more attempts of the kind begin while so many run; the kind need not be installed."""
    body = validate(KindCapRequest, await read_json(request, services.max_body_bytes))
    try:
        cap = await admin.services.tenants.set_kind_cap(kind, body.running_jobs, admin.origin)
    except FieldError as error:
        raise _invalid_kind(error) from None
    return json_response(cap.to_document())


@router.delete(
    "/kind-caps/{kind:path}",
    status_code=204,
    operation_id="clear_kind_cap",
    summary="Take the cap of a kind away",
    response_class=Response,
    responses={
        204: {"description": "It has no cap of its own"},
        **problems(Code.NOT_FOUND, Code.KIND_CAP_NOT_FOUND),
    },
)
async def clear_kind_cap(kind: str, admin: AdminWriter) -> Response:
    """Let as many attempts of the kind run as the caps of tenants allow."""
    await admin.services.tenants.clear_kind_cap(kind, admin.origin)
    return Response(status_code=204)


@router.get(
    "/kind-lanes",
    operation_id="list_kind_lanes",
    summary="List lanes of kinds",
    responses={200: {"model": KindLaneList}, **problems(Code.NOT_FOUND)},
)
async def list_kind_lanes(admin: AdminReader) -> Response:
    """Give every kind whose jobs are confirmed in another than the standard lane."""
    return json_response({"data": [one.to_document() for one in await admin.services.kind_lanes.all()]})


@router.put(
    "/kind-lanes/{kind:path}",
    operation_id="set_kind_lane",
    summary="Give a kind a lane",
    responses={
        200: {"model": KindLaneBody},
        **problems(*BODY_PROBLEMS, Code.INVALID_PARAMETER, Code.NOT_FOUND),
    },
    openapi_extra=request_body(KindLaneRequest),
)
async def set_kind_lane(request: Request, kind: str, admin: AdminWriter, services: ServicesDep) -> Response:
    """Let new jobs of the kind be confirmed in this lane of the registry; the kind need not be installed."""
    body = validate(KindLaneRequest, await read_json(request, services.max_body_bytes))
    try:
        lane = await admin.services.kind_lanes.set(kind, body.lane, admin.origin)
    except FieldError as error:
        raise _invalid_kind(error) from None
    return json_response(lane.to_document())


def _invalid_kind(error: FieldError) -> ProblemError:
    return ProblemError(Code.INVALID_PARAMETER, str(error), [Fault("invalid", str(error), parameter="kind")])
