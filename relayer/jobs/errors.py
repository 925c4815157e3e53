"""Errors of submission."""

from relayer.model.errors import JobsealError


class InvalidInputError(JobsealError):
    """The input does not fit the handler's model.

    `errors` holds (JSON pointer into the request, stable code, sentence) for every flaw.
    """

    def __init__(self, errors: list[tuple[str, str, str]]) -> None:
        pointer, _, detail = errors[0]
        super().__init__(f"{pointer}: {detail}")
        self.errors = errors
