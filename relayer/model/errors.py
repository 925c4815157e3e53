"""Errors that cross the borders between parts, each with what its reader can do about it."""


class JobsealError(Exception):
    """The root of the project's own errors; its text is one line fit for a user."""


class UnavailableError(JobsealError):
    """A store, queue or chain did not answer; the text names the address tried."""


class UnknownKindError(JobsealError):
    """No handler is installed for a kind of job."""

    def __init__(self, kind: str, known: list[str]) -> None:
        super().__init__(
            f"no handler for the kind '{kind}'; this platform runs: {', '.join(known) or 'none'}"
        )
        self.kind = kind
        self.known = known


class UnknownBlobError(JobsealError):
    """A blob is named that the tenant neither uploaded nor made."""

    def __init__(self, reference: str, pointer: str) -> None:
        super().__init__(f"the blob {reference} is unknown; upload it first with POST /v1/blobs")
        self.reference = reference
        self.pointer = pointer


class IdempotencyKeyReusedError(JobsealError):
    """An idempotency key came again with another request."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key '{key}' was used for another request; use a new key")
        self.key = key
