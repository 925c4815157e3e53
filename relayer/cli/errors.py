"""How a command fails: one clear line on standard error, and a status that is not 0."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer
from pydantic import ValidationError

from relayer.model.errors import JobsealError

P = ParamSpec("P")
T = TypeVar("T")


def one_line_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Turn the project's errors and wrong settings into one line each."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except JobsealError as error:
            sys.stderr.write(f"jobseal: {error}\n")
        except ValidationError as error:
            for fault in error.errors(include_input=False, include_url=False):
                name = _variable(error.title, fault["loc"])
                verb = "set" if fault["type"] == "missing" else "correct"
                message = fault["msg"].removeprefix("Value error, ")
                sys.stderr.write(f"jobseal: {name}: {message}; {verb} this environment variable\n")
        raise typer.Exit(1)

    return run


def _variable(model: str, location: tuple[int | str, ...]) -> str:
    """Give the environment variable that a field of a settings model is read from."""
    from relayer import settings  # noqa: PLC0415 - loaded already, wherever one of its models was refused

    prefix = getattr(settings, model).model_config["env_prefix"]
    return prefix + str(location[0]).upper() if location else f"{prefix}…"
