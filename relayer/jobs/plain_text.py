"""What a handler says, made fit for the database: valid UTF-8 without NUL, and no longer than it may be."""

import json
from typing import Any

LONGEST_PROGRESS_BYTES = 16_384
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def plain(value: object, longest: int) -> str:
    """Give the text of anything, even of what has none, in at most `longest` characters."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - a handler's own exception may fail to describe itself
        text = f"<{type(value).__name__}>"
    # A lone surrogate is a character to Python, and none to PostgreSQL or UTF-8.
    whole = text[:longest].encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\0", _REPLACEMENT)


def progress_text(progress: dict[str, Any]) -> str:
    """Give a handler's progress as JSON text.

    Raises:
        ValueError: it is no JSON object, or larger than 16 KiB.

    """
    try:
        text = json.dumps(progress, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the progress is no JSON: {error}") from error
    if not text.startswith("{"):
        raise ValueError("the progress is no JSON object")
    if len(text) > LONGEST_PROGRESS_BYTES:
        raise ValueError(
            f"the progress has {len(text)} bytes; at most {LONGEST_PROGRESS_BYTES} are shown, so report less"
        )
    return storable(text)


def storable(text: str) -> str:
    """Replace what `jsonb` refuses of ASCII JSON text: the escapes of NUL and of lone surrogates."""
    if "\\u" not in text:
        return text
    return json.dumps(_storable(json.loads(text)))


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value, len(value))
    if isinstance(value, dict):
        return {_storable(key): _storable(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_storable(member) for member in value]
    return value
