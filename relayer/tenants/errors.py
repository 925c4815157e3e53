"""What can be wrong with tenants, keys and tokens."""

from collections.abc import Sequence
from typing import Literal

from relayer.model.errors import JobsealError


class TenantError(JobsealError):
    """A tenant or a key that cannot be made as asked; `member` of the request is why, where it is one."""

    def __init__(self, message: str, member: str | None = None) -> None:
        super().__init__(message)
        self.member = member


class TenantSuspendedError(JobsealError):
    """A key is good, and the platform has suspended its tenant."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the tenant is suspended ({reason}); ask the operator of the platform")
        self.reason = reason


class KeyNotFoundError(JobsealError):
    """No key of the tenant has this id."""

    def __init__(self) -> None:
        super().__init__("no API key of this tenant has this id")


class KeyEndedError(JobsealError):
    """An expired or revoked key cannot be rotated."""

    def __init__(self) -> None:
        super().__init__("the API key has expired or is revoked; make a new one with POST /v1/keys")


class KeyLimitError(JobsealError):
    """A tenant has as many live keys as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the tenant has {limit} live API keys, as many as it may; revoke one that is not needed"
        )
        self.limit = limit


class PrivilegeError(JobsealError):
    """A key would allow more than its maker may do.

    `member` is what goes too far, `values` the parts of it that do, as (position, text) of the request.
    """

    def __init__(
        self, member: Literal["scopes", "allowed_addresses"], values: Sequence[tuple[int, str]]
    ) -> None:
        named = ", ".join(text for _, text in values)
        super().__init__(
            f"{member}: {named} would allow more than the key that makes the request; leave it out, or use a wider key"
        )
        self.member = member
        self.values = values


class NotGrantedError(JobsealError):
    """A token was asked for with scopes that its key does not have, or with none."""

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(
            f"the API key does not have {' '.join(scopes)}" if scopes else "a token needs one scope or more"
        )
        self.scopes = scopes


class AddressNotAllowedError(JobsealError):
    """A key is good, but not at the address of the client."""

    def __init__(self, address: str | None) -> None:
        super().__init__(
            f"the API key may not be used from {address or 'here'}; its allowed_addresses say from where"
        )
        self.address = address
