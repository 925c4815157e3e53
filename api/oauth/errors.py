"""The errors of OAuth endpoints, in the form that OAuth clients read (RFC 6749, section 5.2)."""

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response

from api.bodies import json_response

# What concerns secrets is stored nowhere on its way.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    """A request that ends with an OAuth error.

    Args:
        error: one of the codes of RFC 6749 or RFC 7009.
        description: what is wrong, and the remedy.
        status: of HTTP.
        headers: of the answer.

    """

    def __init__(
        self, error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
        self.headers = headers or {}


def invalid_client(description: str) -> OAuthError:
    """The error of a client that does not show who it is."""
    return OAuthError(
        "invalid_client", description, 401, {"WWW-Authenticate": 'Basic realm="jobseal", charset="UTF-8"'}
    )


def install(app: FastAPI) -> None:
    """Give the application the handler of these errors."""
    app.add_exception_handler(OAuthError, _handle)


async def _handle(_: Request, error: Exception) -> Response:
    assert isinstance(error, OAuthError)
    body = {"error": error.error, "error_description": error.description}
    return json_response(body, error.status, NO_STORE | dict(error.headers))
