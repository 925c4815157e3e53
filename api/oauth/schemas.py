"""The bodies of OAuth endpoints as the OpenAPI description shows them."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

_FORM = "application/x-www-form-urlencoded"


class TokenBody(BaseModel):
    """An access token; `expires_in` is in seconds, `scope` a list with a space between two."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


class OAuthErrorBody(BaseModel):
    """An error of OAuth."""

    error: str
    error_description: str


class JwkBody(BaseModel):
    """A public key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class JwksBody(BaseModel):
    """A JWK Set (RFC 7517)."""

    keys: list[JwkBody]


class MetadataBody(BaseModel):
    """The metadata of an authorization server (RFC 8414)."""

    issuer: str
    token_endpoint: str
    token_endpoint_auth_methods_supported: list[str]
    revocation_endpoint: str
    revocation_endpoint_auth_methods_supported: list[str]
    jwks_uri: str
    grant_types_supported: list[str]
    response_types_supported: list[str]
    scopes_supported: list[str]


def form_body(*names: str, required: Sequence[str]) -> dict[str, Any]:
    """Describe the form that an endpoint reads by itself."""
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(required),
    }
    return {"requestBody": {"required": True, "content": {_FORM: {"schema": schema}}}}


def oauth_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of an OAuth endpoint."""
    return {status: {"model": OAuthErrorBody, "description": "OAuth error"} for status in statuses}
