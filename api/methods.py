"""Which methods a path takes: HEAD wherever GET is, and all of them in the Allow header (RFC 9110, 10.2.1)."""

from collections.abc import Iterator, Sequence
from re import Pattern

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path

_ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def allowed_methods(app: FastAPI, path: str) -> str:
    """Give the value of the Allow header for a path."""
    paths: Sequence[tuple[Pattern[str], frozenset[str]]] | None = getattr(app.state, "methods", None)
    if paths is None:
        paths = app.state.methods = [*_methods(app)]
    found = frozenset[str]().union(*(methods for pattern, methods in paths if pattern.match(path)))
    if "GET" in found:
        found |= {"HEAD"}
    return ", ".join(sorted(found, key=lambda method: (*_ORDER, method).index(method)))


def _methods(app: FastAPI) -> Iterator[tuple[Pattern[str], frozenset[str]]]:
    for route in iter_route_contexts(app.routes):
        if route.path is not None:
            yield compile_path(route.path)[0], frozenset(route.methods or ())
