"""The problems of administration."""

from collections.abc import Callable
from typing import Any

from api.errors import Code, Fault, ProblemError
from relayer.model.ids import to_public
from relayer.tenants.administration_errors import (
    KindCapNotFoundError,
    OperatorTenantError,
    StaleTenantError,
    TenantNameTakenError,
    TenantNotFoundError,
)
from relayer.tenants.audit_chain import TENANT_PREFIX


def _not_found(error: TenantNotFoundError) -> ProblemError:
    return ProblemError(Code.TENANT_NOT_FOUND, str(error))


def _name_taken(error: TenantNameTakenError) -> ProblemError:
    meta = {"name": error.name, "tenant": to_public(TENANT_PREFIX, error.tenant_id)}
    return ProblemError(
        Code.TENANT_NAME_TAKEN, str(error), [Fault("taken", str(error), pointer="/name")], meta=meta
    )


def _operator_tenant(error: OperatorTenantError) -> ProblemError:
    return ProblemError(Code.OPERATOR_TENANT, str(error))


def _stale(error: StaleTenantError) -> ProblemError:
    return ProblemError(
        Code.PRECONDITION_FAILED,
        str(error),
        [Fault("stale", str(error), parameter="If-Match")],
        meta={"version": error.version},
    )


def _kind_cap_not_found(error: KindCapNotFoundError) -> ProblemError:
    return ProblemError(Code.KIND_CAP_NOT_FOUND, str(error), meta={"kind": error.kind})


PROBLEMS: dict[type[Exception], Callable[[Any], ProblemError]] = {
    TenantNotFoundError: _not_found,
    TenantNameTakenError: _name_taken,
    OperatorTenantError: _operator_tenant,
    StaleTenantError: _stale,
    KindCapNotFoundError: _kind_cap_not_found,
}
