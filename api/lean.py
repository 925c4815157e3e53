"""Routes of requests that have to be quick.

FastAPI finds out anew with every request what an endpoint asks for, which takes longer than checking a key, its rates and a
body together. A route of this class finds it out once. It knows what endpoints of this API ask for: the request, the
services, an `Entry`, a model of the query, a part of the path.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from api.auth import Entry
from api.services import ServicesDep

Source = Callable[[Request], Any]


class LeanRoute(APIRoute):
    """A route that calls its endpoint directly; its description is FastAPI's all the same."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give what answers a request."""
        endpoint: Callable[..., Awaitable[Response]] = self.endpoint
        entries: dict[str, Entry] = {}
        sources: dict[str, Source] = {}
        hints = get_type_hints(endpoint, include_extras=True)
        for name in inspect.signature(endpoint).parameters:
            asked = _asked(hints[name], name)
            if isinstance(asked, Entry):
                entries[name] = asked
            else:
                sources[name] = asked

        async def handle(request: Request) -> Response:
            values: dict[str, Any] = {}
            # Whoever is not let in hears nothing else.
            for name, entry in entries.items():
                values[name] = await entry(request)
            for name, source in sources.items():
                values[name] = source(request)
            return await endpoint(**values)

        return handle


def _asked(hint: Any, name: str) -> Entry | Source:
    if hint is Request:
        return lambda request: request
    if hint is str:
        return lambda request: request.path_params[name]
    if hint == ServicesDep:
        return lambda request: request.app.state.services
    if get_origin(hint) is Annotated:
        kind, *marks = get_args(hint)
        for mark in marks:
            if isinstance(mark, Depends) and isinstance(mark.dependency, Entry):
                return mark.dependency
            if isinstance(mark, Query) and issubclass(kind, BaseModel):
                return lambda request: _read_query(request, kind)
    raise TypeError(f"a lean route has nothing to give for the parameter {name}: {hint}")


def _read_query(request: Request, model: type[BaseModel]) -> BaseModel:
    given = dict(request.query_params) if request.scope["query_string"] else {}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        faults = [fault | {"loc": ("query", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from None
