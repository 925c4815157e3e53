"""From what a tenant asks for to the job that will be made: everything that needs no database."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from relayer.jobs.blob_references import find_references
from relayer.jobs.errors import InvalidInputError
from relayer.jobs.handlers.base import Handler
from relayer.jobs.handlers.registry import Handlers, limits_of, retry_of
from relayer.jobs.records import Priority
from relayer.jobs.submission_repository import NewJob
from relayer.model.errors import UnknownKindError
from relayer.model.ids import new_id
from relayer.seal.commitment import JsonError, canonical_json, input_hash_of
from relayer.seal.json_pointer import below

KEY_LIFETIME = timedelta(days=7)
_FURTHEST = timedelta(days=365)


@dataclass(frozen=True)
class Options:
    """How a job is to be run; None everywhere: as its kind has it.

    `max_attempts`, the backoffs and `retry_codes` make up the retry policy, the limits are times. No job may be tried
    more often, of other errors, or for longer than its kind allows.
    """

    priority: Priority = Priority.NORMAL
    run_at: datetime | None = None
    max_attempts: int | None = None
    first_backoff: timedelta | None = None
    longest_backoff: timedelta | None = None
    retry_codes: tuple[str, ...] | None = None
    queue_limit: timedelta | None = None
    run_limit: timedelta | None = None
    total_limit: timedelta | None = None


@dataclass(frozen=True)
class Submission:
    """A request for a job.

    Attributes:
        kind: which handler runs it.
        input: the JSON value as the client sent it.
        metadata: the client's own notes, a JSON object.
        idempotency_key: the same key with the same fingerprint gives the same job; None: always a new job.
        fingerprint: 32 bytes that differ for different requests.
        options: how it is to be run.
        rerun_of: the job that this one repeats.

    """

    kind: str
    input: Any
    metadata: dict[str, Any]
    idempotency_key: str | None
    fingerprint: bytes
    options: Options = Options()
    rerun_of: UUID | None = None


@dataclass(frozen=True)
class Prepared:
    """A job that may be made as soon as the blobs that its input names, by (pointer, reference), are the tenant's."""

    new: NewJob
    references: list[tuple[str, str]]


def prepare(
    submission: Submission, handlers: Handlers, *, tenant: UUID, registry: int, route: str, at: datetime
) -> Prepared:
    """Check a submission against its handler.

    Raises:
        UnknownKindError: no handler is installed for the kind.
        InvalidInputError: the input does not fit the handler, or an option is more than the kind allows.

    """
    handler = handlers.get(submission.kind)
    if handler is None:
        raise UnknownKindError(submission.kind, sorted(handlers))
    canonical = _canonical(submission, handler)
    options = submission.options
    new = NewJob(
        id=new_id(),
        tenant=tenant,
        registry=registry,
        kind=submission.kind,
        priority=options.priority,
        input=canonical.decode(),
        input_hash=input_hash_of(submission.kind, canonical),
        metadata=submission.metadata,
        salt=secrets.token_bytes(32),
        **_retry(options, handler),
        **_limits(options, handler),
        run_at=_run_at(options, at),
        rerun_of=submission.rerun_of,
        at=at,
        route=route,
        key=submission.idempotency_key,
        fingerprint=submission.fingerprint,
        key_expires_at=at + KEY_LIFETIME,
    )
    return Prepared(new, list(find_references(submission.input, "/input")))


def _canonical(submission: Submission, handler: Handler) -> bytes:
    """Give the RFC 8785 form of an input that its handler accepts."""
    try:
        canonical = canonical_json(submission.input)
        handler.input_model.model_validate_json(canonical)
    except JsonError as error:
        raise InvalidInputError([("/input", "not_canonical", str(error))]) from error
    except ValidationError as error:
        raise InvalidInputError(
            [(reduce(below, flaw["loc"], "/input"), flaw["type"], flaw["msg"]) for flaw in error.errors()]
        ) from error
    return canonical


def _retry(options: Options, handler: Handler) -> dict[str, Any]:
    policy = retry_of(handler)
    if options.max_attempts is not None and options.max_attempts > policy.max_attempts:
        raise _invalid(
            "/retry/max_attempts",
            "too_large",
            f"the kind '{handler.kind}' allows {policy.max_attempts} at most",
        )
    for number, code in enumerate(options.retry_codes or ()):
        if policy.codes is not None and code not in policy.codes:
            raise _invalid(
                f"/retry/codes/{number}",
                "not_allowed",
                f"the kind '{handler.kind}' allows another try only after {_listed(policy.codes)}",
            )
    first = policy.first_backoff if options.first_backoff is None else options.first_backoff
    longest = policy.longest_backoff if options.longest_backoff is None else options.longest_backoff
    if longest < first:
        raise _invalid(
            "/retry/longest_backoff_seconds",
            "too_small",
            f"the longest backoff, {_seconds(longest)}, is shorter than the first, {_seconds(first)}; set both",
        )
    codes = policy.codes if options.retry_codes is None else frozenset(options.retry_codes)
    return {
        "max_attempts": policy.max_attempts if options.max_attempts is None else options.max_attempts,
        "first_backoff": first,
        "longest_backoff": longest,
        "retry_codes": None if codes is None else sorted(codes),
    }


def _limits(options: Options, handler: Handler) -> dict[str, Any]:
    limits = limits_of(handler)
    for name, asked, allowed in (
        ("queue", options.queue_limit, limits.queue),
        ("run", options.run_limit, limits.run),
        ("total", options.total_limit, limits.total),
    ):
        if asked is not None and allowed is not None and asked > allowed:
            raise _invalid(
                f"/limits/{name}_seconds",
                "too_large",
                f"the kind '{handler.kind}' allows {_seconds(allowed)} at most",
            )
    return {
        "queue_limit": shorter(options.queue_limit, limits.queue),
        "run_limit": shorter(options.run_limit, limits.run),
        "total_limit": shorter(options.total_limit, limits.total),
    }


def shorter(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    """Give the shorter of two limits; None is no limit."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _run_at(options: Options, at: datetime) -> datetime:
    if options.run_at is None or options.run_at <= at:
        return at
    if options.run_at - at > _FURTHEST:
        raise _invalid("/run_at", "too_far", f"a job may be scheduled {_FURTHEST.days} days ahead at most")
    return options.run_at


def _seconds(time: timedelta) -> str:
    return f"{time.total_seconds():g} s"


def _listed(codes: frozenset[str]) -> str:
    return ", ".join(sorted(codes)) or "none"


def _invalid(pointer: str, code: str, sentence: str) -> InvalidInputError:
    return InvalidInputError([(pointer, code, sentence)])
