"""The Prefer header (RFC 7240), of which `wait=N` is honoured; what is unknown or malformed is ignored, as it says."""

import re

from fastapi import Request

_PREFERENCE = re.compile(
    r"""\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)
        (?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z-]*)))?
        (?:\s*;(?:[^",]|"(?:[^"\\]|\\.)*")*)?\s*(?:,|$)""",
    re.VERBOSE | re.ASCII,
)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def wait_preference(request: Request, at_most: int) -> int | None:
    """Give for how many seconds the client wants to wait, `at_most` so many; None where it does not say.

    Of preferences with the same name the first counts.
    """
    text = ",".join(request.headers.getlist("prefer"))
    position = 0
    while position < len(text) and (found := _PREFERENCE.match(text, position)):
        if found["name"].lower() == "wait":
            value = found["token"] or found["quoted"] or ""
            return min(int(value), at_most) if _SECONDS.fullmatch(value) else None
        position = found.end()
    return None


def applied(wait: int | None) -> dict[str, str]:
    """Give the headers that say that a wait was honoured."""
    return {} if wait is None else {"Preference-Applied": f"wait={wait}", "Vary": "Prefer"}
