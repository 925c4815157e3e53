"""What can be wrong with a change that administration asks for."""

from uuid import UUID

from relayer.model.errors import JobsealError
from relayer.tenants.errors import TenantError


class FieldError(TenantError):
    """A value that cannot be taken; `path` names it, as a JSON Pointer without the first slash."""

    def __init__(self, path: str, remedy: str) -> None:
        super().__init__(f"{path.replace('/', '.')}: {remedy}", path)


class TenantNotFoundError(TenantError):
    """There is no such tenant."""

    def __init__(self) -> None:
        super().__init__("no tenant has this id")


class TenantNameTakenError(TenantError):
    """Another tenant has the name."""

    def __init__(self, name: str, tenant_id: UUID) -> None:
        super().__init__(f"there is a tenant '{name}' already; choose another name, or use that one")
        self.name = name
        self.tenant_id = tenant_id


class StaleTenantError(JobsealError):
    """A tenant is not as whoever changes it has seen it."""

    def __init__(self, version: int) -> None:
        super().__init__("the tenant was changed meanwhile; read it again, then decide")
        self.version = version


class OperatorTenantError(JobsealError):
    """A tenant of the platform's own cannot be suspended: nobody could lift it by REST."""

    def __init__(self) -> None:
        super().__init__("the platform's own tenant cannot be suspended; revoke its keys one by one")


class KindCapNotFoundError(JobsealError):
    """A kind has no cap of its own."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the kind '{kind}' has no cap of its own")
        self.kind = kind
