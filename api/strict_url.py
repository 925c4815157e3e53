"""URLs that two programs read differently are refused: a proxy in front may have let another request through."""

from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from api.errors import Code, Fault, ProblemError

_WITH_SLASHES = (b"/v1/admin/kind-caps/", b"/v1/admin/kind-lanes/")
"""Behind these comes the name of a kind, which may have a slash."""


def url_problem(scope: Scope) -> ProblemError | None:
    """Give what is wrong with the URL of a request before it is looked at what it asks for.

    An encoded slash divides no path (RFC 3986, 2.2), everything is UTF-8, and each parameter comes once.
    """
    path, query = scope.get("raw_path") or b"", scope["query_string"]
    if b"%" in path:
        is_divided = b"%2f" in path.lower() and not path.startswith(_WITH_SLASHES)
        if is_divided or _text(path) is None:
            return ProblemError(Code.NOT_FOUND, "no resource has this path; the paths are listed at /docs")
    if b"%" in query or b"&" in query:
        return _query_problem(query)
    return None


def _query_problem(query: bytes) -> ProblemError | None:
    seen = set[str]()
    for part in filter(None, query.split(b"&")):
        name, _, value = part.partition(b"=")
        text = _text(name.replace(b"+", b" "))
        if text is None or _text(value) is None:
            return _refused(name.decode("ascii", "replace"), "write it in UTF-8")
        if text in seen:
            return _refused(text, "give it once")
        seen.add(text)
    return None


def _text(escaped: bytes) -> str | None:
    try:
        return unquote_to_bytes(escaped).decode()
    except UnicodeDecodeError:
        return None


def _refused(parameter: str, remedy: str) -> ProblemError:
    return ProblemError(
        Code.INVALID_PARAMETER, f"{parameter}: {remedy}", [Fault("ambiguous", remedy, parameter=parameter)]
    )
