"""Structured logs: one JSON object a line on standard error, times in UTC."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


def configure(process: str) -> None:
    """Set up logging for a process; the standard library's loggers keep to warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what loops would log, but for the gravest: a command tells of its outcome, once, by itself."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
