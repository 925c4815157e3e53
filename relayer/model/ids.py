"""Identifiers: UUIDv7 (RFC 9562), so that keys sort by time, with a prefix that names the kind in the API."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id() -> UUID:
    """Make a UUIDv7."""
    return uuid7()


def first_id(at: datetime, later: timedelta = timedelta(0)) -> UUID:
    """Give the least UUIDv7 of a millisecond, `later` than a time: whatever was made from then on is not less."""
    since = (at - _EPOCH + later) // timedelta(milliseconds=1)
    return UUID(int=max(0, since) << 80)


def to_public(prefix: str, value: UUID) -> str:
    """Write an id as the API shows it, for example `job_01890a5d-ac96-774b-bcce-b302099a8057`."""
    return f"{prefix}_{value}"


def from_public(prefix: str, text: str) -> UUID | None:
    """Read an id as the API shows it; None where it is not exactly what `to_public` writes."""
    head, separator, tail = text.partition("_")
    if head != prefix or not separator:
        return None
    try:
        value = UUID(tail)
    except ValueError:
        return None
    return value if str(value) == tail else None
