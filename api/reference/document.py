"""The OpenAPI 3.1 description: what FastAPI knows of the endpoints, and what holds for all of them."""

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from api.bodies import MERGE_PATCH
from api.errors import MEDIA_TYPE, Code, ProblemError
from api.explanations import explain
from api.reference.examples import complete_examples, example_of
from api.reference.texts import DESCRIPTION, PATH_PARAMETERS, SCOPES, TAGS
from api.schemas import CLIENT_SECRET, PROBLEM_CODES, RESPONSE_HEADERS, SCHEMA_REF, ProblemBody
from relayer.tenants.scopes import Scope

Json = dict[str, Any]

API_KEY = "apiKey"
OAUTH = "oauth2"
TOKEN_PATH = "/oauth/token"  # noqa: S105 - the path of a resource

_EVERYWHERE = (Code.HEADERS_TOO_LARGE, Code.INTERNAL_ERROR, Code.DEADLINE_EXCEEDED)
_WITH_BODY = (Code.REQUEST_TIMEOUT,)
_WITH_RATES = (Code.RATE_LIMITED, Code.TOO_MANY_FAILURES, Code.TEMPORARILY_REDUCED_CAPACITY)
_WITH_KEY = (
    Code.API_KEY_MISSING,
    Code.API_KEY_INVALID,
    Code.ACCESS_TOKEN_INVALID,
    Code.INSUFFICIENT_SCOPE,
    Code.ADDRESS_NOT_ALLOWED,
    Code.TENANT_SUSPENDED,
    Code.SERVICE_UNAVAILABLE,
)
_OF_STATUS = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_SUCCESS = range(200, 300)
_WITH_EXAMPLES = (*MERGE_PATCH, "application/x-www-form-urlencoded")


class DescriptionError(Exception):
    """An endpoint describes itself in a way that contradicts another."""


def install(app: FastAPI) -> None:
    """Have the application serve this description at `/openapi.json`."""

    def describe_once() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    # FastAPI's own way to replace it, which a type checker takes for a slip.
    app.openapi = describe_once  # type: ignore[method-assign]


def describe(app: FastAPI) -> Json:
    """Write the whole description; the same application always gives the same."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        servers=[{"url": "/", "description": "This platform"}],
    )
    components = document.setdefault("components", {})
    schemas: Json = components.setdefault("schemas", {})
    if ProblemBody.__name__ not in schemas:
        _hoist(schemas, ProblemBody.model_json_schema(ref_template=SCHEMA_REF, mode="serialization"))
    scopes = dict(_scopes(app))
    for path, method, operation in operations(document):
        _describe_operation(operation, scopes.get((path, method)), schemas)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["schemas"] = dict(sorted(schemas.items()))
    complete_examples(document)
    components["examples"] = {code.slug: _problem_example(code) for code in Code}
    components["headers"] = RESPONSE_HEADERS
    components["securitySchemes"] = _security_schemes()
    for _, _, operation in operations(document):
        _give_examples(operation, document)
    return document


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Give path, method in lower case, and description of each operation of a document."""
    for path, item in document["paths"].items():
        for method in ("get", "put", "post", "delete", "options", "head", "patch", "trace"):
            if method in item:
                yield path, method, item[method]


def _describe_operation(operation: Json, scope: Scope | None, schemas: Json) -> None:
    if scope is not None:
        operation["security"] = [{API_KEY: []}, {OAUTH: [str(scope)]}]
    has_caller = bool(operation.setdefault("security", []))
    if scope is not None:
        operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            _describe_path_parameter(parameter)
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "title" in content["schema"]:
            content["schema"] = _hoist(schemas, content["schema"])
    codes = [*_EVERYWHERE]
    codes += _WITH_KEY if scope is not None else ()
    codes += _WITH_RATES if has_caller else ()
    codes += _WITH_BODY if scope is not None and "requestBody" in operation else ()
    _describe_problems(operation["responses"], codes)
    for status, response in operation["responses"].items():
        _describe_response(response, int(status), has_rates=has_caller)
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _describe_problems(responses: Json, common: Iterable[Code]) -> None:
    if "HTTPValidationError" in str(responses.get("422", "")):
        # What does not fit a parameter is answered with 400 here.
        del responses["422"]
    codes = {code.slug for code in common}
    for response in responses.values():
        codes |= {*response.pop(PROBLEM_CODES, ())}
    by_status: dict[int, list[Code]] = {}
    for code in Code:
        if code.slug in codes:
            by_status.setdefault(code.value.status, []).append(code)
    for status, those in by_status.items():
        _add_problems(responses.setdefault(str(status), {}), those)


def _describe_response(response: Json, status: int, *, has_rates: bool) -> None:
    response["description"] = response["description"].replace("Successful Response", "The answer")
    names = ["Request-Id", *response.pop("headers", {}), *_OF_STATUS.get(status, ())]
    if has_rates and status != HTTPStatus.UNAUTHORIZED:
        names += ["RateLimit-Policy", "RateLimit"]
    if MEDIA_TYPE in response.get("content", {}):
        names.append("Link")
    response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in dict.fromkeys(names)}


def _describe_path_parameter(parameter: Json) -> None:
    text, pattern, example = PATH_PARAMETERS.get(parameter["name"], ("", "", ""))
    parameter["description"] = text
    parameter["schema"] = {"type": "string", "pattern": pattern}
    parameter["example"] = example


def _add_problems(response: Json, codes: Iterable[Code]) -> None:
    """Add problems to an answer, which may be another thing as well, as that of readiness is."""
    response.setdefault("content", {})[MEDIA_TYPE] = {
        "schema": {"$ref": SCHEMA_REF.format(model=ProblemBody.__name__)},
        "examples": {code.slug: {"$ref": f"#/components/examples/{code.slug}"} for code in codes},
    }
    titles = [f"* `{code.slug}`: {code.value.title}." for code in codes]
    own = response.get("description", "")
    response["description"] = "\n".join([own, "", *titles] if own else titles)


def _problem_example(code: Code) -> Json:
    problem = ProblemError(code, "what is wrong with this request, and the remedy")
    return {
        "summary": code.value.title,
        "description": f"It comes when {explain(code).cause}. {explain(code).remedy}",
        "value": problem.document("/v1/…", "req_01970000-0000-7000-8000-000000000000"),
    }


def _security_schemes() -> Json:
    return {
        API_KEY: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "jsl_live_…",
            "description": "An API key as a bearer token (RFC 6750); its scopes decide what it may do.",
        },
        CLIENT_SECRET: {
            "type": "http",
            "scheme": "basic",
            "description": "An API key's id as user name and the key as password, both form-encoded before (RFC 6749, "
            "2.3.1); or `client_id` and `client_secret` in the form.",
        },
        OAUTH: {
            "type": "oauth2",
            "description": "A short-lived access token, got with an API key as client secret (RFC 6749, 4.4).",
            "flows": {
                "clientCredentials": {
                    "tokenUrl": TOKEN_PATH,
                    "scopes": {str(scope): SCOPES[scope] for scope in Scope},
                }
            },
        },
    }


def _give_examples(operation: Json, document: Json) -> None:
    """Show each JSON body and form by an example, made of those that the schemas have."""
    bodies = [operation.get("requestBody", {})]
    bodies += [body for status, body in operation["responses"].items() if int(status) in _SUCCESS]
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            if media_type in _WITH_EXAMPLES and not {"example", "examples"} & content.keys():
                content["example"] = example_of(content["schema"], document)


def _hoist(schemas: Json, schema: Json) -> Json:
    """Move a schema and what it defines among the components; give the reference to it.

    Raises:
        DescriptionError: another schema has this name.

    """
    for name, inner in {**schema.pop("$defs", {}), schema["title"]: schema}.items():
        if schemas.setdefault(name, inner) != inner:
            raise DescriptionError(f"two bodies have the name {name}; rename one")
    return {"$ref": SCHEMA_REF.format(model=schema["title"])}


def _scopes(app: FastAPI) -> Iterator[tuple[tuple[str, str], Scope]]:
    """Give the scope that each operation demands, where it demands one."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        scope = None if dependant is None else _demanded(dependant)
        if scope is not None and route.path_format is not None:
            for method in route.methods or ():
                yield (route.path_format, method.lower()), scope


def _demanded(dependant: Dependant) -> Scope | None:
    for inner in dependant.dependencies:
        scope = getattr(inner.call, "scope", None) or _demanded(inner)
        if scope is not None:
            return Scope(scope)
    return None
