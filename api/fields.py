"""The types of fields that several bodies and queries have."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_INTEGER = re.compile(r"-?[0-9]{1,20}")


def _plain(value: Any) -> Any:
    """Refuse what Python alone takes for an integer, such as 1_0.

    Raises:
        PydanticCustomError: it is no sequence of ASCII digits, or a minus and one.

    """
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise PydanticCustomError("integer", "give an integer in digits")
    return value


def no_nul(text: str) -> str:
    """Refuse what PostgreSQL cannot store.

    Raises:
        ValueError: the text has a U+0000.

    """
    if "\0" in text:
        raise ValueError("the character U+0000 cannot be stored")
    return text


def _to_instant(value: Any) -> datetime:
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError(
        "rfc_3339",
        "give a time of the years 1 to 9999 as in RFC 3339, with its offset: 2030-01-31T12:00:00Z or "
        "2030-01-31T13:00:00+01:00 (in a query %2B stands for +)",
    )


QueryInteger = Annotated[int, BeforeValidator(_plain)]
"""An integer in the query of a URL."""

Instant = Annotated[
    datetime, BeforeValidator(_to_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""A time with an offset, to the microsecond; read into UTC."""

Kind = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(no_nul)]
ErrorCode = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(no_nul)]
MetadataName = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(no_nul)]
MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(no_nul)]
