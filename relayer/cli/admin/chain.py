"""`jobseal admin chain …`: batches that wait, and what operators do about them."""

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from relayer.batches import desk, nonce_desk, registry_state, repository
from relayer.batches.advice import NONCE, Advice, advice
from relayer.batches.chain_view import ChainView, look
from relayer.batches.desk import Explanation
from relayer.batches.desk_repository import WaitingBatch
from relayer.batches.nonce_desk import RefusedNonce
from relayer.batches.operations import Operations
from relayer.batches.registry_state import RegistryState
from relayer.chain.connect import best_node
from relayer.chain.health import WrongChainError
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import RpcError
from relayer.cli.admin.session import Session, SessionError, administer
from relayer.cli.admin.show import Json, say, show_fields, show_json, show_table
from relayer.cli.errors import one_line_errors
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import ChainSettings, RegistrySettings
from relayer.store.registries import RegistryRow
from relayer.tenants.audit import instant

app = typer.Typer(help="Batches that wait, for themselves or for a human.", no_args_is_help=True)

BatchId = Annotated[
    str, typer.Argument(metavar="BATCH", help="The id of the batch, or of the nonce, as `list` shows it.")
]
Reason = Annotated[
    str, typer.Option(help="Why, in a line of up to 200 characters; the audit log keeps it for ever.")
]


@dataclass(frozen=True)
class _Found:
    """All that is known of a batch; `chain` is None where the chain was not asked, and then `silence` says why."""

    record: Explanation
    registry: RegistryState
    chain: ChainView | None
    silence: str | None


@dataclass(frozen=True)
class _Waiting:
    """All that waits, and the registries that keep batches back."""

    batches: Sequence[WaitingBatch]
    nonces: Sequence[RefusedNonce]
    registries: Sequence[tuple[RegistryRow, RegistryState]]


@app.command("list")
@one_line_errors
def list_batches(*, as_json: Json = False) -> None:
    """List what is held or needs a human, the oldest first; beside it nonces that nodes refuse, and registries on hold."""

    async def work(session: Session) -> _Waiting:
        async with session.db.transaction() as conn:
            return _Waiting(
                await desk.list_waiting(conn),
                await nonce_desk.list_refused(conn),
                await desk.list_held_registries(conn),
            )

    found = administer(work)
    batches, nonces = found.batches, [_refused(one) for one in found.nonces]
    held = [_held(registry, state) for registry, state in found.registries]
    if as_json:
        show_json({"batches": [_document(batch) for batch in batches], "nonces": nonces, "registries": held})
        return
    now = utc_now()
    show_table(
        ("batch", "state", "reason", "age", "jobs", "nonce", "detail"),
        [
            [one.id, one.state, one.reason, _age(one.sealed_at, now), one.jobs, one.nonce, one.detail]
            for one in batches
        ],
    )
    for rows in (nonces, held):
        if rows:
            say("")
            show_table(list(rows[0]), [list(row.values()) for row in rows])


@app.command()
@one_line_errors
def explain(batch: BatchId, *, as_json: Json = False) -> None:
    """Show all that is on record of a batch, what the registry says of it, and what to do.

    The registry is asked where JOBSEAL_CHAIN_RPC_URLS is given.
    """
    wanted = _id(batch)

    async def work(session: Session) -> _Found | RefusedNonce:
        async with session.db.transaction() as conn:
            if (refused := await nonce_desk.find(conn, wanted)) is not None:
                return refused
            record = await desk.explain(conn, wanted)
            registry_id = await repository.registry_of(conn, wanted)
            state = await registry_state.read(conn, registry_id)
            words = await repository.words_of(conn, wanted)
        one = record.batch
        if "JOBSEAL_CHAIN_RPC_URLS" not in os.environ:
            return _Found(record, state, None, "JOBSEAL_CHAIN_RPC_URLS is not set")
        try:
            async with best_node(one.chain_id) as rpc:
                client = RegistryClient(rpc, one.chain_id, one.registry)
                return _Found(record, state, await look(client, rpc, one.root, words), None)
        except (UnavailableError, WrongChainError, RpcError) as error:
            return _Found(record, state, None, str(error))

    found = administer(work)
    if isinstance(found, RefusedNonce):
        _explain_nonce(found, as_json=as_json)
        return
    told = advice(found.record.batch.state, found.record.batch.reason)
    if as_json:
        show_json(_explained(found, told))
        return
    document = _explained(found, told)
    slots, attempts = document.pop("slots"), document.pop("attempts")
    document.pop("advice")
    show_fields(document)
    for rows in (slots, attempts):
        if rows:
            say("")
            show_table(list(rows[0]), [list(row.values()) for row in rows])
    if told is not None:
        _tell(told, "BATCH", wanted)


def _explain_nonce(refused: RefusedNonce, *, as_json: bool) -> None:
    attempts = [
        {
            "purpose": attempt.purpose,
            "hash": _hex(attempt.hash),
            "gas_limit": attempt.gas_limit,
            "max_fee": str(attempt.fee.max_fee),
            "max_tip": str(attempt.fee.max_tip),
            "sent_at": instant(attempt.last_broadcast_at),
            "class": attempt.last_class,
            "answer": attempt.last_answer,
            "refusals": attempt.refusals,
        }
        for attempt in refused.slot.attempts
    ]
    if as_json:
        show_json({"nonce": _refused(refused), "attempts": attempts, "advice": vars(NONCE)})
        return
    show_fields(_refused(refused))
    say("")
    show_table(list(attempts[0]), [list(row.values()) for row in attempts])
    _tell(NONCE, "NONCE", refused.slot.id)


@app.command()
@one_line_errors
def retry(batch: BatchId, *, reason: Reason) -> None:
    """Let a batch go on: by a new nonce, or by sending again what was signed for the one it has; also a refused nonce."""
    wanted = _id(batch)

    async def retry_nonce(session: Session) -> RefusedNonce | None:
        async with session.db.transaction() as conn:
            if await nonce_desk.find(conn, wanted) is None:
                return None
        return await Operations(session.db, utc_now, session.origin, reason).retry_nonce(wanted)

    if (refused := administer(retry_nonce)) is not None:
        say(f"nonce {refused.slot.nonce} is sent again; the relayer goes on with it")
        return
    after = _act(batch, reason, lambda operations, one: operations.retry(one))
    say(f"batch {after.id} is {after.state}; the relayer goes on with it")


@app.command()
@one_line_errors
def cancel(batch: BatchId, *, reason: Reason) -> None:
    """Stop a batch: let its nonce be used up by nothing. Which of the two is mined decides."""
    after = _act(batch, reason, lambda operations, one: operations.cancel(one))
    if after.nonce is None:
        say(f"batch {after.id} is cancelled; retry or release it")
    else:
        say(f"nonce {after.nonce} of batch {after.id} is being cancelled; `explain` shows how it ends")


@app.command()
@one_line_errors
def release(batch: BatchId, *, reason: Reason) -> None:
    """Give the jobs of a batch back, to be sealed again, if nothing of it can land any more."""

    async def act(operations: Operations, one: UUID) -> WaitingBatch:
        async with operations.db.transaction() as conn:
            chain_id = (await desk.explain(conn, one)).batch.chain_id
        async with best_node(chain_id) as rpc:
            return await operations.release(one, rpc)

    ChainSettings()  # a missing address is named before anything else
    after = _act(batch, reason, act)
    say(f"batch {after.id} is released; the relayer gives its {after.jobs} jobs back")


@app.command("accept-code")
@one_line_errors
def accept_code(
    code_hash: Annotated[
        str, typer.Argument(metavar="HASH", help="keccak256 of the implementation's code, 0x… of 64 digits.")
    ],
    *,
    reason: Reason,
) -> None:
    """Trust the code that the registry of JOBSEAL_REGISTRY_* runs now, if it is the one with this hash."""
    registry = RegistrySettings()
    try:
        wanted = bytes.fromhex(code_hash.removeprefix("0x"))
    except ValueError:
        wanted = b""
    if len(wanted) != 32:
        raise typer.BadParameter("expected 0x and 64 hexadecimal digits", param_hint="HASH")

    async def work(session: Session) -> None:
        operations = Operations(session.db, utc_now, session.origin, reason)
        await operations.accept_code(registry.chain_id, registry.address_bytes, wanted)

    administer(work)
    say(f"the registry {registry.address} may run this code; its batches go on within a minute")


def _act(
    batch: str, reason: str, act: Callable[[Operations, UUID], Coroutine[Any, Any, WaitingBatch]]
) -> WaitingBatch:
    wanted = _id(batch)

    async def work(session: Session) -> WaitingBatch:
        return await act(Operations(session.db, utc_now, session.origin, reason), wanted)

    return administer(work)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SessionError(
            f"'{text}' is no id of a batch; `jobseal admin chain list` shows those that wait"
        ) from None


def _document(batch: WaitingBatch) -> dict[str, Any]:
    return {
        "id": str(batch.id),
        "chain_id": batch.chain_id,
        "registry": _hex(batch.registry),
        "root": _hex(batch.root),
        "state": batch.state,
        "reason": batch.reason,
        "detail": batch.detail,
        "jobs": batch.jobs,
        "sealed_at": instant(batch.sealed_at),
        "retry_at": instant(batch.retry_at),
        "deadline": instant(batch.deadline),
        "nonce": batch.nonce,
        "slot_state": batch.slot_state,
        "slot_purpose": batch.slot_purpose,
    }


def _explained(found: _Found, told: Advice | None) -> dict[str, Any]:
    nonces = {slot.id: slot.nonce for slot in found.record.slots}
    return {
        "batch": _document(found.record.batch),
        "registry": _registry(found.registry),
        "chain": {"not_asked": found.silence} if found.chain is None else vars(found.chain),
        "slots": [
            {
                "nonce": slot.nonce,
                "purpose": slot.purpose,
                "state": slot.state,
                "block": slot.block_number,
                "settled_by_block": slot.settled_number,
                "updated_at": instant(slot.updated_at),
            }
            for slot in found.record.slots
        ],
        "attempts": [
            {
                "nonce": nonces[attempt.slot_id],
                "purpose": attempt.purpose,
                "hash": _hex(attempt.hash),
                "gas_limit": attempt.gas_limit,
                "max_fee": str(attempt.max_fee),
                "max_tip": str(attempt.max_tip),
                "signed_at": instant(attempt.created_at),
                "sent_at": instant(attempt.last_broadcast_at),
                "class": attempt.last_class,
                "answer": attempt.last_answer,
                "refusals": attempt.refusals,
            }
            for attempt in found.record.attempts
        ],
        "advice": None if told is None else vars(told),
    }


def _registry(state: RegistryState) -> dict[str, Any]:
    seen = state.observed
    return {
        "hold": state.hold,
        "frozen": state.frozen_reason,
        "paused": None if seen is None else seen.paused,
        "confirmer_role": None if seen is None else seen.confirmer_role,
        "implementation": None if seen is None else _hex(seen.implementation),
        "code_hash": None if seen is None else _hex(seen.code_hash),
        "accepted_code_hash": None if state.accepted_hash is None else _hex(state.accepted_hash),
        "block": None if seen is None else seen.block_number,
    }


def _held(registry: RegistryRow, state: RegistryState) -> dict[str, Any]:
    return {
        "registry": _hex(registry.address),
        "chain_id": registry.chain_id,
        "hold": state.hold,
        "detail": state.frozen_reason,
    }


def _refused(one: RefusedNonce) -> dict[str, Any]:
    slot, newest = one.slot, one.slot.newest
    return {
        "id": str(slot.id),
        "chain_id": one.account.chain_id,
        "sender": _hex(one.account.address),
        "nonce": slot.nonce,
        "purpose": slot.purpose,
        "state": slot.state,
        "batch": None if slot.batch_id is None else str(slot.batch_id),
        "class": None if newest is None else newest.last_class,
        "answer": None if newest is None else newest.last_answer,
    }


def _tell(told: Advice, placeholder: str, name: UUID) -> None:
    say("")
    for member, sentence in vars(told).items():
        say(f"{member + ':':<7}{sentence.replace(placeholder, str(name))}")


def _age(since: datetime, now: datetime) -> str:
    minutes = int((now - since).total_seconds()) // 60
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"
