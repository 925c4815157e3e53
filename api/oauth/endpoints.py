"""The endpoints of OAuth 2.0: tokens for keys (RFC 6749), their end (RFC 7009), and what checks them (RFC 8414)."""

import re
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from api.auth import OPEN_TO_ALL
from api.bodies import json_response
from api.errors import Code
from api.oauth.errors import NO_STORE, OAuthError
from api.oauth.forms import authenticate_client, read_form, unavailable
from api.oauth.schemas import GRANT_TYPE, JwksBody, MetadataBody, TokenBody, form_body, oauth_errors
from api.origin import origin_of
from api.schemas import headers, problems
from api.services import ServicesDep
from relayer.model.errors import UnavailableError
from relayer.model.ids import to_public
from relayer.tenants.errors import NotGrantedError
from relayer.tenants.keys import FAMILY, KEY_PREFIX
from relayer.tenants.scopes import EVERY_SCOPE

router = APIRouter(tags=["oauth"])

# Keys are published an hour before they sign.
_JWKS_MAX_AGE_S = 300
_METADATA_MAX_AGE_S = 3600

_OPEN_PROBLEMS = (Code.RATE_LIMITED, Code.TEMPORARILY_REDUCED_CAPACITY)

_log = structlog.get_logger(__name__)

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")


@router.post(
    "/oauth/token",
    operation_id="issue_token",
    summary="Exchange an API key for an access token",
    responses={
        200: {"model": TokenBody, **headers("Cache-Control")},
        **oauth_errors(
            "invalid_request",
            "unsupported_grant_type",
            "invalid_scope",
            "unauthorized_client",
            "invalid_client",
            "temporarily_unavailable",
        ),
    },
    openapi_extra=form_body("grant_type", "client_id", "client_secret", "scope", required=["grant_type"]),
)
async def token(request: Request, services: ServicesDep) -> Response:
    """Give a token of ten minutes that may do what the key may, or the part of it that `scope` names."""
    form = await read_form(request)
    principal = await authenticate_client(request, services, form)
    grant_type = form.get("grant_type")
    if grant_type is None:
        raise OAuthError("invalid_request", f"send grant_type={GRANT_TYPE}")
    if grant_type != GRANT_TYPE:
        raise OAuthError("unsupported_grant_type", f"the only grant_type is {GRANT_TYPE}")
    scope = form.get("scope")
    if scope is not None and not _SCOPE.fullmatch(scope):
        raise OAuthError("invalid_scope", "scope is a list of names with one space between two")
    try:
        issued = await services.access.tokens.issue(principal, None if scope is None else scope.split(" "))
    except NotGrantedError as error:
        raise OAuthError("invalid_scope", str(error)) from None
    except UnavailableError:
        raise unavailable() from None
    # Whoever finds one of its requests finds by its jti what to revoke.
    _log.info(
        "access_token_issued",
        key=to_public(KEY_PREFIX, principal.key_id),
        jti=str(issued.claims.jti),
        request_id=request.state.request_id,
    )
    body = {
        "access_token": issued.text,
        "token_type": "Bearer",
        "expires_in": int(issued.lifetime.total_seconds()),
        "scope": " ".join(sorted(issued.claims.scopes)),
    }
    return json_response(body, headers=NO_STORE)


@router.post(
    "/oauth/revoke",
    operation_id="revoke_token",
    summary="Revoke an access token",
    response_class=Response,
    responses={
        200: {"description": "The token is good no more", **headers("Cache-Control")},
        **oauth_errors(
            "invalid_request",
            "unauthorized_client",
            "unsupported_token_type",
            "invalid_client",
            "temporarily_unavailable",
        ),
    },
    openapi_extra=form_body("token", "token_type_hint", "client_id", "client_secret", required=["token"]),
)
async def revoke(request: Request, services: ServicesDep) -> Response:
    """End a token of the client's own; one that is no token, or has ended, is no error."""
    form = await read_form(request)
    principal = await authenticate_client(request, services, form)
    text = form.get("token")
    if text is None:
        raise OAuthError("invalid_request", "send the access token as token")
    if text.startswith(FAMILY):
        raise OAuthError("unsupported_token_type", "this is an API key; revoke it with DELETE /v1/keys/{id}")
    tokens = services.access.tokens
    try:
        claims = await tokens.read(text)
        if claims is not None and claims.key_id != principal.key_id:
            raise OAuthError("unauthorized_client", "the token was issued to another client")
        if claims is not None:
            await tokens.revoke(claims, origin_of(request, principal))
    except UnavailableError:
        raise unavailable() from None
    return Response(status_code=200, headers=NO_STORE)


@router.get(
    "/oauth/jwks",
    operation_id="get_jwks",
    summary="Read the keys that sign access tokens",
    dependencies=[OPEN_TO_ALL],
    responses={
        200: {"model": JwksBody, **headers("Cache-Control")},
        **problems(*_OPEN_PROBLEMS, Code.SERVICE_UNAVAILABLE),
    },
)
async def jwks(services: ServicesDep) -> Response:
    """Give the public keys as a JWK Set: those that sign, that have signed, and that will."""
    headers = {"Cache-Control": f"public, max-age={_JWKS_MAX_AGE_S}"}
    return json_response(await services.access.tokens.jwks(), headers=headers)


@router.get(
    "/.well-known/oauth-authorization-server",
    operation_id="get_authorization_server",
    summary="Read what this authorization server can do",
    dependencies=[OPEN_TO_ALL],
    responses={200: {"model": MetadataBody, **headers("Cache-Control")}, **problems(*_OPEN_PROBLEMS)},
)
async def metadata(services: ServicesDep) -> Response:
    """Give the metadata of RFC 8414."""
    headers = {"Cache-Control": f"public, max-age={_METADATA_MAX_AGE_S}"}
    return json_response(_metadata(services.issuer), headers=headers)


def _metadata(issuer: str) -> dict[str, Any]:
    methods = ["client_secret_basic", "client_secret_post"]
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": methods,
        "jwks_uri": f"{issuer}/oauth/jwks",
        "grant_types_supported": [GRANT_TYPE],
        # There is no authorization endpoint that could respond.
        "response_types_supported": [],
        "scopes_supported": sorted(EVERY_SCOPE),
    }
