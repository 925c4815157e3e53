"""Finds the handlers that are installed, by entry points of the group `jobseal.handlers`."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from relayer.jobs.handlers.base import Handler
from relayer.jobs.handlers.policy import RetryPolicy, TimeLimits
from relayer.model.errors import JobsealError

GROUP = "jobseal.handlers"
Handlers = Mapping[str, Handler]


class HandlerError(JobsealError):
    """An installed handler cannot be used."""


def load_handlers() -> Handlers:
    """Load every installed handler, by kind.

    Raises:
        HandlerError: two plug-ins offer the same kind, or one cannot be loaded.

    """
    found: dict[str, Handler] = {}
    # One installation may be seen through two folders of the path; that is one plug-in.
    for point in {(point.name, point.value): point for point in entry_points(group=GROUP)}.values():
        if point.name in found:
            raise HandlerError(f"two plug-ins offer the kind '{point.name}'; uninstall one")
        found[point.name] = _load(point)
    return found


def load_handler(kind: str) -> Handler:
    """Load the handler of one kind, and no other plug-in's code."""
    points = list(entry_points(group=GROUP, name=kind))
    if not points:
        raise HandlerError(f"no plug-in offers the kind '{kind}'")
    return _load(points[0])


def _load(point: EntryPoint) -> Handler:
    try:
        handler: Handler = point.load()()
    except Exception as error:
        raise HandlerError(f"the handler '{point.name}' ({point.value}) cannot be loaded: {error}") from error
    if handler.kind != point.name:
        raise HandlerError(f"the handler '{point.name}' ({point.value}) calls itself '{handler.kind}'")
    return handler


def retry_of(handler: Handler) -> RetryPolicy:
    """Give how often a handler's jobs are tried."""
    policy: RetryPolicy = getattr(handler, "retry", RetryPolicy())
    return policy


def limits_of(handler: Handler) -> TimeLimits:
    """Give how long a handler's jobs may take."""
    limits: TimeLimits = getattr(handler, "limits", TimeLimits())
    return limits
