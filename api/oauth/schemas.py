"""The bodies of OAuth endpoints as the OpenAPI description shows them."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from api.schemas import OF_CLIENTS, headers

_FORM = "application/x-www-form-urlencoded"
_ISSUER = "https://jobs.example.com"

GRANT_TYPE = "client_credentials"

ERRORS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "The request is malformed"),
    "unsupported_grant_type": (400, f"The grant is another one than `{GRANT_TYPE}`"),
    "invalid_scope": (400, "`scope` is malformed, or names what the key may not do"),
    "unauthorized_client": (400, "The tenant is suspended, or the token is another client's"),
    "unsupported_token_type": (400, "This is an API key and no token"),
    "invalid_client": (
        401,
        "The client does not show a live key of its own, or not from where it may be used",
    ),
    "temporarily_unavailable": (503, "A part of the platform is away"),
}
"""The errors of RFC 6749 and RFC 7009: status and meaning."""

_OF_STATUS = {408: "The form came too slowly", 413: "The form is too large"}

PARAMETERS: dict[str, dict[str, Any]] = {
    "grant_type": {"const": GRANT_TYPE, "description": "Which grant."},
    "client_id": {
        "description": "The id of the API key, where it is not in the header.",
        "examples": ["key_01970000-0000-7000-8000-000000000001"],
    },
    "client_secret": {
        "description": "The API key itself, where it is not in the header.",
        "examples": ["jsl_live_..."],
    },
    "scope": {
        "description": "What the token may do, names with a space between two; without it, all that the key may.",
        "examples": ["jobs:read jobs:write"],
    },
    "token": {"description": "The access token.", "examples": ["eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"]},
    "token_type_hint": {"description": "Not needed: there is one type.", "examples": ["access_token"]},
}


class TokenBody(BaseModel):
    """An access token (RFC 6749, section 5.1; RFC 9068)."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl",
                    "token_type": "Bearer",
                    "expires_in": 600,
                    "scope": "jobs:read jobs:write",
                }
            ]
        },
    )

    access_token: str
    """What to send as `Authorization: Bearer …`."""
    token_type: Literal["Bearer"]
    """How."""
    expires_in: int
    """For how many seconds it is good."""
    scope: str
    """What it may do, names with a space between two."""


class OAuthErrorBody(BaseModel):
    """An error of OAuth (RFC 6749, section 5.2)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    error: str
    """The name to program against."""
    error_description: str
    """What is wrong, and the remedy."""


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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "keys": [
                        {
                            "kty": "OKP",
                            "crv": "Ed25519",
                            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                            "use": "sig",
                            "alg": "EdDSA",
                        }
                    ]
                }
            ]
        }
    )

    keys: list[JwkBody]


class MetadataBody(BaseModel):
    """The metadata of an authorization server (RFC 8414)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "issuer": _ISSUER,
                    "token_endpoint": f"{_ISSUER}/oauth/token",
                    "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                    "revocation_endpoint": f"{_ISSUER}/oauth/revoke",
                    "revocation_endpoint_auth_methods_supported": [
                        "client_secret_basic",
                        "client_secret_post",
                    ],
                    "jwks_uri": f"{_ISSUER}/oauth/jwks",
                    "grant_types_supported": [GRANT_TYPE],
                    "response_types_supported": [],
                    "scopes_supported": ["jobs:read", "jobs:write"],
                }
            ]
        }
    )

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
    """Describe the form that an endpoint of clients reads by itself."""
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} | PARAMETERS[name] for name in names},
        "required": list(required),
    }
    return {"requestBody": {"required": True, "content": {_FORM: {"schema": schema}}}, **OF_CLIENTS}


def oauth_errors(*names: str) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of OAuth that an endpoint ends with; a malformed request may be too large or too slow as well."""
    by_status: dict[int | str, list[str]] = {}
    for name in names:
        for status in (ERRORS[name][0], *(_OF_STATUS if name == "invalid_request" else ())):
            by_status.setdefault(status, []).append(name)
    return {status: _errors(int(status), which) for status, which in by_status.items()}


def _errors(status: int, names: Sequence[str]) -> dict[str, Any]:
    told = ["WWW-Authenticate"] if status == 401 else []
    meanings = {name: _OF_STATUS.get(status, ERRORS[name][1]) for name in names}
    examples = {
        name: {
            "summary": meaning,
            "value": {"error": name, "error_description": "what is wrong with this request, and the remedy"},
        }
        for name, meaning in meanings.items()
    }
    return {
        "model": OAuthErrorBody,
        "description": "\n".join(f"* `{name}`: {meaning}." for name, meaning in meanings.items()),
        "content": {"application/json": {"examples": examples}},
        **headers("Cache-Control", *told),
    }
