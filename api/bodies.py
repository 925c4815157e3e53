"""JSON in and out: strict reading with faults by JSON Pointer, and quick writing."""

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from api.body_size import limited_body
from api.errors import MOST_FAULTS, Code, Fault, ProblemError
from relayer.seal.json_pointer import below
from relayer.seal.strict_json import JsonError, parse_json, parse_json_list

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")

JSON = ("application/json",)
MERGE_PATCH = ("application/merge-patch+json", "application/json")

MOST_VALUES = 20_000
"""Values that a body may have, or an item of a batch: reading one takes time and memory, however few bytes it has."""

_AT_ONCE_UP_TO = 16 * 1024
_READERS = ThreadPoolExecutor(2, "json")
"""Reads large bodies for every request of the process, so that the small ones get their turns meanwhile."""
_BATCH_READER = ThreadPoolExecutor(1, "json-batch")
"""Reads batches, one after another: each may take many times its size in memory."""

BODY_PROBLEMS = (
    Code.INVALID_JSON,
    Code.BODY_TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.INVALID_BODY,
)
"""What the reading of a JSON body may end with."""

_CHARSET = r'\s*(;\s*charset="?utf-8"?\s*)?'


async def read_json(request: Request, max_bytes: int, *, media_types: Sequence[str] = JSON) -> Any:
    """Read the body as strict JSON of one of some media types.

    Raises:
        ProblemError: another media type, too many bytes, or JSON that two parsers could read differently.

    """
    return await read_json_as(request, max_bytes, lambda value: value, media_types=media_types)


async def read_json_as(
    request: Request, max_bytes: int, read: Callable[[Any], T], *, media_types: Sequence[str] = JSON
) -> T:
    """Read the body as `read_json` does and make something of its value, in a thread where that may take a while.

    Raises:
        ProblemError: as `read_json` does, and what `read` raises.

    """
    content = await _content(request, max_bytes, media_types)

    def parse_and_read() -> T:
        try:
            value = parse_json(content, MOST_VALUES)
        except JsonError as error:
            raise _invalid_json(error) from None
        return read(value)

    if len(content) <= _AT_ONCE_UP_TO:
        return parse_and_read()
    return await asyncio.get_running_loop().run_in_executor(_READERS, parse_and_read)


async def read_json_list(
    request: Request, max_bytes: int, member: str
) -> tuple[Any, dict[int, ProblemError]]:
    """Read the body as strict JSON whose `member` is a list; give it, and by position the problems of its items.

    The pointers of such a problem begin at the item.

    Raises:
        ProblemError: as `read_json` does, for what is not inside one item.

    """
    content = await _content(request, max_bytes, JSON)
    try:
        value, errors = await asyncio.get_running_loop().run_in_executor(
            _BATCH_READER, parse_json_list, content, member, MOST_VALUES
        )
    except JsonError as error:
        raise _invalid_json(error) from None
    return value, {position: _invalid_json(error) for position, error in errors.items()}


def validate(model: type[Model], value: Any) -> Model:
    """Check a JSON value against a model.

    Raises:
        ProblemError: with a fault for each place that does not fit.

    """
    if isinstance(value, dict) and model.model_config.get("extra") == "forbid":
        _refuse_many_unknown(value.keys() - _members(model))
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = [
            Fault(item["type"], item["msg"], pointer=_pointer(item["loc"]))
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        places = ", ".join(fault.pointer or "the whole body" for fault in faults[:5])
        raise ProblemError(
            Code.INVALID_BODY, f"the body does not fit the schema at {places}", faults
        ) from None


def to_json(value: Any) -> bytes:
    """Write JSON; times in UTC are written with Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON, as `to_json` writes it."""
    return Response(to_json(value), status, headers, "application/json")


async def _content(request: Request, max_bytes: int, media_types: Sequence[str]) -> bytes:
    said = request.headers.get("content-type", "")
    if not any(re.fullmatch(re.escape(known) + _CHARSET, said, re.IGNORECASE) for known in media_types):
        raise ProblemError(Code.UNSUPPORTED_MEDIA_TYPE, f"send the body as {' or '.join(media_types)}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemError(Code.UNSUPPORTED_MEDIA_TYPE, "send the body as it is, without a Content-Encoding")
    return await limited_body(request, max_bytes)


def _members(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _refuse_many_unknown(names: set[str]) -> None:
    """Refuse what no schema has to be asked about: an error of pydantic's takes far more than the name it is about."""
    if len(names) > MOST_FAULTS:
        faults = [
            Fault("extra_forbidden", "Extra inputs are not permitted", pointer=_pointer((name,)))
            for name in sorted(names)
        ]
        raise ProblemError(Code.INVALID_BODY, f"the body has {len(names)} unknown members", faults)


def _invalid_json(error: JsonError) -> ProblemError:
    faults = [] if error.pointer is None else [Fault(error.code, error.sentence, pointer=error.pointer)]
    meta = {} if error.position is None else {"position": error.position}
    return ProblemError(Code.INVALID_JSON, str(error), faults, meta=meta)


def _pointer(location: tuple[int | str, ...]) -> str:
    return reduce(below, (part for part in location if part != "[key]"), "")
