"""Every row of the rule table, produced for real: the database is edited as its owner, the chain is used by others."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from relayer.batches import registry_state
from relayer.batches.differences import RULES, Action, DifferenceClass
from relayer.batches.reconciler import FULL_EVERY, NAME, SHALLOW_EVERY, Mode, Report
from relayer.chain.health import HealthPolicy
from relayer.chain.node import Node
from relayer.chain.providers import Providers
from relayer.chain.registry import encode_call
from relayer.chain.registry_view import view_registry
from relayer.chain.rpc import JsonRpc
from relayer.model.ids import new_id
from relayer.seal.tree import Word
from relayer.store import leases
from relayer.store.leases import LeaseLostError

from .conftest import InsertFinished, MakeBatcher
from .house import (  # noqa: F401 - fixtures too
    ADMIN,
    CONFIRMER,
    WORST_CASE,
    House,
    deployed,
    house_beside_chain,
    node_of_house,
    registry_of_house,
)

PAUSE = "0x8456cb59"
Result = subprocess.CompletedProcess[str]


def kinds(report: Report) -> list[DifferenceClass]:
    return [one.kind for one in report.found]


async def require_clean(house: House) -> None:
    report = await house.full()
    assert report.found == []


async def confirmed(house: House, tickets: Sequence[int] = (0, 1, 300)) -> list[UUID]:
    ids = await house.seal(tickets)
    await house.confirm()
    await house.index()
    return ids


UNCONFIRM = [
    "UPDATE batches SET state = 'sending', final_at = NULL",
    "UPDATE jobs SET state = 'confirming', confirmed_at = NULL",
]
CONFIRM = [
    "UPDATE batches SET state = 'final', final_at = now(), transaction_hash = root, block_number = 1, block_hash = root",
    "UPDATE jobs SET state = 'confirmed', confirmed_at = now()",
]


# --- agreement -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", Mode)
async def test_what_agrees_is_left_alone_and_noted(house: House, mode: Mode) -> None:
    await confirmed(house)
    await house.seal([9_000])
    await house.index()
    before = await house.rows("SELECT state, state_version FROM jobs ORDER BY id")
    report = await house.reconciler().run(mode)
    assert (report.found, report.run.batches, report.run.words, report.run.events > 0) == ([], 2, 3, True)
    assert await house.rows("SELECT mode, batches, words FROM reconciliations") == [(mode, 2, 3)]
    assert await house.rows("SELECT state, state_version FROM jobs ORDER BY id") == before
    assert await house.frozen() is None
    for kind in DifferenceClass:
        assert house.metrics.get_sample_value("jobseal_reconciliation_differences", {"class": kind}) == 0
    ran = house.metrics.get_sample_value("jobseal_reconciliation_last_run_timestamp_seconds", {"mode": mode})
    assert ran == house.clock().timestamp()


def test_every_class_has_a_rule() -> None:
    assert list(RULES) == list(DifferenceClass)


# --- the chain has more: the database follows ------------------------------------------------------------------


async def test_a_batch_that_is_not_final_is_fixed_forward(house: House) -> None:
    await confirmed(house)
    for statement in UNCONFIRM:
        await house.edit(statement)
    report = await house.full()
    assert kinds(report) == [DifferenceClass.UNAPPLIED_BATCH]
    assert report.outcomes[0] is not None
    assert report.outcomes[0].startswith("applied block")
    assert await house.rows("SELECT state FROM batches") == [("final",)]
    assert await house.rows("SELECT DISTINCT state FROM jobs") == [("confirmed",)]
    await require_clean(house)


async def test_jobs_of_a_final_batch_are_fixed_forward(house: House) -> None:
    await confirmed(house)
    await house.edit("UPDATE jobs SET state = 'confirming', confirmed_at = NULL WHERE ticket = 1")
    assert kinds(await house.full()) == [DifferenceClass.UNAPPLIED_JOBS]
    assert await house.rows("SELECT DISTINCT state FROM jobs") == [("confirmed",)]
    await require_clean(house)


@pytest.mark.parametrize("mode", Mode)
async def test_a_lost_event_is_fetched_and_applied(house: House, mode: Mode) -> None:
    await house.index()
    await house.seal([0, 1, 300])
    await house.confirm()
    await house.skip()
    report = await house.reconciler().run(mode)
    assert kinds(report) == [DifferenceClass.UNAPPLIED_BATCH, DifferenceClass.MISSING_EVENT]
    assert await house.rows("SELECT DISTINCT state FROM jobs") == [("confirmed",)]
    await require_clean(house)


async def test_what_is_found_is_committed_before_it_is_repaired(house: House) -> None:
    await house.index()
    await house.seal([0])
    await house.confirm()
    await house.skip()

    async def dies(*_: Any) -> None:
        rows = await house.rows("SELECT class, outcome FROM reconciliation_differences ORDER BY number")
        assert rows == [("unapplied_batch", None), ("missing_event", None)]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await house.reconciler(dies).run(Mode.FULL)
    assert await house.rows("SELECT DISTINCT state FROM jobs") == [("confirming",)]
    assert kinds(await house.full()) == [DifferenceClass.UNAPPLIED_BATCH, DifferenceClass.MISSING_EVENT]
    await require_clean(house)


# --- the database claims more: freeze --------------------------------------------------------------------------


async def require_freeze(house: House, *expected: DifferenceClass) -> None:
    report = await house.full()
    assert kinds(report) == list(expected)
    assert {one.action for one in report.found} == {Action.FREEZE}
    reason = await house.frozen()
    assert reason is not None
    assert reason.startswith(expected[0].value)
    value = house.metrics.get_sample_value("jobseal_reconciliation_differences", {"class": expected[0]})
    assert value is not None
    assert value > 0
    assert await house.rows("SELECT 1 FROM chain_txs") == []


async def test_a_final_batch_that_the_registry_does_not_know_freezes_it(house: House) -> None:
    await house.index()
    await house.seal([0, 1])
    for statement in CONFIRM:
        await house.edit(statement)
    await require_freeze(house, DifferenceClass.UNCONFIRMED_BATCH, DifferenceClass.MISSING_BITS)


async def test_confirmed_jobs_of_a_batch_that_the_registry_does_not_know_freeze_it(house: House) -> None:
    await house.index()
    await house.seal([0, 1])
    await house.edit(CONFIRM[1])
    await require_freeze(house, DifferenceClass.UNCONFIRMED_JOBS)


async def test_a_released_batch_that_was_confirmed_freezes_it(house: House) -> None:
    await house.seal([0])
    await house.confirm()
    await house.index()
    await house.edit(
        """UPDATE batches SET state = 'released', released_number = block_number, released_hash = block_hash,
                  released_block_time = now()"""
    )
    await require_freeze(house, DifferenceClass.RELEASED_BATCH)


async def test_confirmed_tickets_that_are_not_spent_freeze_it(house: House) -> None:
    await confirmed(house)
    await house.edit("UPDATE batch_words SET mask = set_bit(mask, 7, 1) WHERE index = 0")
    await require_freeze(house, DifferenceClass.MISSING_BITS)


async def test_an_event_that_the_chain_does_not_have_freezes_it(house: House) -> None:
    await confirmed(house)
    await house.edit(
        "UPDATE event_logs SET log_index = log_index + 7 WHERE block_number = (SELECT max(block_number) FROM event_logs)"
    )
    report = await house.full()
    assert kinds(report) == [DifferenceClass.UNKNOWN_EVENT, DifferenceClass.MISSING_EVENT]
    reason = await house.frozen()
    assert reason is not None
    assert reason.startswith("unknown_event")


class Losing(JsonRpc):
    """Answers for logs with none, ever or so many times."""

    def __init__(self, url: str, times: int) -> None:
        super().__init__(url, timedelta(seconds=20))
        self.times = times

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        answer = await super().call(method, params)
        if method == "eth_getLogs" and self.times:
            self.times -= 1
            return []
        return answer


@pytest.mark.parametrize("is_alone", [False, True])
async def test_a_node_that_loses_logs_freezes_nothing(house: House, is_alone: bool) -> None:
    await confirmed(house)
    async with Losing(house.rpc.address, times=1 if is_alone else 100) as losing:
        nodes = [losing] if is_alone else [losing, house.rpc]
        house.providers = Providers(nodes, house.registry.chain_id, clock=house.clock)
        report = await house.full()
        assert report.found == []
        assert await house.frozen() is None
        # What is wrong with the database is found by either of them.
        await house.edit("UPDATE batch_words SET mask = set_bit(mask, 7, 1) WHERE index = 0")
        losing.times = 0
        assert kinds(await house.full()) == [DifferenceClass.MISSING_BITS]
    assert await house.frozen() is not None


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        ("UPDATE registries SET genesis_hash = sha256('another')", "genesis block"),
        ("UPDATE cursors SET last_hash = sha256('another')", "block "),
    ],
)
async def test_another_chain_freezes_it_and_nothing_else_is_compared(
    house: House, statement: str, subject: str
) -> None:
    await confirmed(house)
    for other in UNCONFIRM:
        await house.edit(other)
    await house.edit(statement)
    report = await house.full()
    assert kinds(report) == [DifferenceClass.CHAIN_CHANGED]
    assert report.found[0].subject.startswith(subject)
    assert await house.frozen() is not None
    assert await house.rows("SELECT DISTINCT state FROM jobs") == [("confirming",)]


async def test_a_node_that_went_over_to_another_chain_freezes_it_before_the_next_look(house: House) -> None:
    await confirmed(house)
    for other in UNCONFIRM:
        await house.edit(other)
    genuine = house.registry.chain_id
    policy = HealthPolicy(fresh_for=timedelta(hours=1))
    house.providers = Providers([house.rpc], genuine, policy=policy, clock=house.clock)
    await house.providers.look()
    await house.rpc.call("anvil_setChainId", [1])
    try:
        report = await house.full()
    finally:
        await house.rpc.call("anvil_setChainId", [genuine])
    (found,) = report.found
    assert (found.kind, found.subject) == (DifferenceClass.CHAIN_CHANGED, "chain id")
    assert (found.database, found.chain) == (str(genuine), "1")
    assert await house.frozen() is not None
    assert await house.rows("SELECT DISTINCT state FROM jobs") == [("confirming",)]


async def test_the_first_run_remembers_the_genesis_block(house: House) -> None:
    await confirmed(house)
    await house.full()
    genesis = await Node(house.rpc).block(0)
    assert genesis is not None
    assert await house.rows("SELECT genesis_hash FROM registries") == [(genesis.hash,)]


# --- what others did on chain ----------------------------------------------------------------------------------


async def test_spent_tickets_under_no_known_root_are_told_with_their_first_block(house: House) -> None:
    await confirmed(house, [0, 1])
    await house.rpc.call("anvil_mine", ["0x4"])
    await house.confirm([Word(0, 0b100, b"\x01" * 32)])
    at = await Node(house.rpc).block("latest")
    assert at is not None
    await house.index(5)
    await require_clean(house)
    await house.edit("DELETE FROM external_words")
    await house.edit("DELETE FROM external_batches")
    report = await house.full()
    assert kinds(report) == [DifferenceClass.FOREIGN_BATCH, DifferenceClass.FOREIGN_BITS]
    (bits,) = [one for one in report.found if one.kind is DifferenceClass.FOREIGN_BITS]
    assert (bits.subject, bits.chain, bits.block) == ("word 0", "1 tickets (bits 2)", at.number)
    assert await house.frozen() is None
    # The batch was imported again, so its bits are known.
    await require_clean(house)


async def test_another_number_of_leaves_is_told(house: House) -> None:
    await confirmed(house)
    await house.edit("UPDATE batches SET leaf_count = leaf_count + 1")
    report = await house.full()
    assert [(one.kind, one.database, one.chain) for one in report.found] == [
        (DifferenceClass.LEAF_COUNT, "4 leaves", "3 jobs")
    ]


async def test_a_pause_that_nobody_noticed_is_noticed(house: House) -> None:
    await house.index()
    await house.seal([0])
    await take_nonce(house, 0)
    latest = await Node(house.rpc).block("latest")
    assert latest is not None
    view = await view_registry(Node(house.rpc), house.registry.address, bytes.fromhex(CONFIRMER[2:]), latest)
    assert (view.paused, view.confirmer_role) == (False, True)
    async with house.db.transaction() as conn:
        await registry_state.observe(conn, house.registry.id, view, house.clock())
    await house.transact(ADMIN, PAUSE)
    await house.index()
    # The indexer may have observed it by itself.
    async with house.db.transaction() as conn:
        await registry_state.observe(conn, house.registry.id, replace(view, paused=False), house.clock())
    report = await house.full()
    assert [(one.kind, one.subject, one.database, one.chain) for one in report.found] == [
        (DifferenceClass.REGISTRY_STATE, "paused", "no", "yes")
    ]
    assert report.outcomes == ["observed"]
    assert await house.rows("SELECT state, reason FROM batches") == [("held", "paused")]
    await require_clean(house)


# --- slots and funds -------------------------------------------------------------------------------------------


async def take_nonce(house: House, nonce: int) -> None:
    await house.edit(
        """INSERT INTO chain_txs (id, chain_id, sender, nonce, purpose, batch_id, target, calldata, state,
                                  lease_epoch, created_at, updated_at)
           SELECT %s, %s, %s, %s, 'confirm_batch', b.id, %s, '\\x', 'reserved', 1, %s, %s FROM batches b LIMIT 1""",
        [
            new_id(),
            house.registry.chain_id,
            bytes.fromhex(CONFIRMER[2:]),
            nonce,
            house.registry.address,
            house.clock(),
            house.clock(),
        ],
    )


async def test_an_old_open_slot_is_told(house: House) -> None:
    await house.index()
    await house.seal([0])
    await take_nonce(house, 0)
    await require_clean(house)
    house.clock.now += timedelta(hours=1, seconds=1)
    report = await house.full()
    assert [(one.kind, one.subject) for one in report.found] == [(DifferenceClass.OVERDUE_SLOT, "nonce 0")]


async def test_a_nonce_that_somebody_else_used_is_told(house: House) -> None:
    await house.index()
    await house.seal([0])
    await take_nonce(house, 0)
    await house.confirm([Word(7, 1, b"\x01" * 32)])
    await house.index()
    report = await house.reconciler().run(Mode.SHALLOW)
    slots = [(one.kind, one.subject) for one in report.found if one.kind is not DifferenceClass.FOREIGN_BATCH]
    assert slots == [(DifferenceClass.SUPERSEDED_SLOT, "nonce 0")]


async def test_a_gap_below_the_lowest_slot_is_told(house: House) -> None:
    await house.index()
    await house.seal([0])
    await take_nonce(house, 3)
    report = await house.full()
    assert [(one.kind, one.subject) for one in report.found] == [(DifferenceClass.NONCE_GAP, "nonces 0 to 2")]


@pytest.mark.parametrize(
    ("lasts", "expected"),
    [
        (20, []),
        (19, [DifferenceClass.BALANCE_LOW]),
        (3, [DifferenceClass.BALANCE_LOW]),
        (2, [DifferenceClass.BALANCE_OUT]),
    ],
)
async def test_a_balance_that_runs_out_is_told(
    house: House, lasts: int, expected: list[DifferenceClass]
) -> None:
    await house.index()
    await house.seal([0])
    await take_nonce(house, 0)
    await house.rpc.call("anvil_setBalance", [CONFIRMER, hex(lasts * WORST_CASE)])
    assert kinds(await house.full()) == expected


# --- when ------------------------------------------------------------------------------------------------------


async def test_an_indexer_that_lies_behind_is_told_and_nothing_else_is_compared(house: House) -> None:
    await confirmed(house)
    for other in UNCONFIRM:
        await house.edit(other)
    await house.rpc.call("anvil_mine", ["0x60"])
    assert kinds(await house.full()) == [DifferenceClass.INDEXER_BEHIND]


async def test_a_run_is_due_every_five_minutes_and_in_full_every_day(house: House) -> None:
    async with house.db.transaction() as conn:
        epoch = await leases.acquire(conn, NAME, "test", timedelta(hours=1))
    assert epoch is not None
    reconciler = house.reconciler()

    async def modes() -> list[str]:
        await reconciler.run_pass(epoch)
        return [row[0] for row in await house.rows("SELECT mode FROM reconciliations ORDER BY started_at")]

    assert await modes() == []
    await house.index()
    assert await modes() == ["full"]
    house.clock.now += SHALLOW_EVERY - timedelta(seconds=1)
    assert await modes() == ["full"]
    house.clock.now += timedelta(seconds=1)
    assert await modes() == ["full", "shallow"]
    house.clock.now += FULL_EVERY
    assert await modes() == ["full", "shallow", "full"]
    with pytest.raises(LeaseLostError):
        await reconciler.run_pass(epoch + 1)


async def test_a_frozen_registry_seals_nothing(
    house: House, insert_finished: InsertFinished, make_batcher: MakeBatcher, epoch: int
) -> None:
    async with house.db.transaction() as conn:
        await registry_state.freeze(conn, house.registry.id, "a test")
    await insert_finished([0])
    assert await make_batcher(max_jobs=1).run_pass(epoch) == 0
    async with house.db.transaction() as conn:
        await registry_state.thaw(conn, house.registry.id)
    assert await make_batcher(max_jobs=1).run_pass(epoch) == 1


# --- the operator's commands -----------------------------------------------------------------------------------


@pytest.fixture
def shell(house: House, urls: Any, tmp_path: Path) -> Callable[..., Awaitable[Result]]:
    environment = {
        "JOBSEAL_DATABASE_URL": urls.relayer,
        "JOBSEAL_ADMIN_DATABASE_URL": urls.admin,
        "JOBSEAL_REGISTRY_CHAIN_ID": str(house.registry.chain_id),
        "JOBSEAL_REGISTRY_ADDRESS": f"0x{house.registry.address.hex()}",
        "JOBSEAL_CHAIN_RPC_URLS": house.rpc.address,
        "JOBSEAL_CHAIN_KEYSTORE": str(tmp_path / "not-read"),
        "JOBSEAL_CHAIN_KEYSTORE_PASSWORD_FILE": str(tmp_path / "not-read"),
    }

    async def run(*arguments: str) -> Result:
        command = [sys.executable, "-m", "relayer.cli.main", "admin", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=False
        )

    return run


async def test_a_person_reads_the_report(house: House, shell: Callable[..., Awaitable[Result]]) -> None:
    assert "was read yet" in (await shell("reconcile")).stderr
    await confirmed(house)
    clean = await shell("reconcile", "--full")
    assert (clean.returncode, clean.stderr) == (0, "database and chain agree\n")
    for statement in UNCONFIRM:
        await house.edit(statement)
    found = await shell("reconcile", "--json")
    assert found.returncode == 1
    report = json.loads(found.stdout)
    (difference,) = report["differences"]
    assert (report["mode"], difference["class"], difference["action"], difference["database"]) == (
        "shallow",
        "unapplied_batch",
        "fix",
        "sending",
    )
    assert difference["outcome"].startswith("applied block")
    await house.edit("UPDATE batches SET leaf_count = 9")
    table = await shell("reconcile")
    assert table.returncode == 1
    assert "9 leaves" in table.stdout
    assert "leaf_count: the registry counts another number of jobs" in table.stderr


async def test_an_operator_thaws_with_a_reason_on_record(
    house: House, shell: Callable[..., Awaitable[Result]]
) -> None:
    await house.index()
    await house.seal([0])
    await house.edit(CONFIRM[1])
    await house.full()
    assert (await shell("thaw")).returncode == 2
    thawed = await shell("thaw", "--reason", "restored from the wrong copy")
    assert (thawed.returncode, "unconfirmed_jobs" in thawed.stderr) == (0, True)
    assert await house.frozen() is None
    ((event,),) = await house.rows("SELECT event::jsonb FROM audit_events")
    assert (event["action"], event["metadata"]["reason"]) == (
        "registry.thawed",
        "restored from the wrong copy",
    )
    assert (await shell("thaw", "--reason", "again")).stderr == "the registry was not frozen\n"


async def test_a_revocation_that_was_lost_is_fetched_and_applied(house: House) -> None:
    await confirmed(house)
    revoke = encode_call("revoke", [(0, 0b10)], b"\x07" * 32)
    await house.transact(ADMIN, f"0x{revoke.hex()}")
    await house.index()
    assert await house.rows("SELECT ticket FROM jobs WHERE revoked_at IS NOT NULL") == [(1,)]
    await require_clean(house)
    await house.edit("UPDATE jobs SET revoked_at = NULL")
    report = await house.full()
    assert [(one.kind, one.subject, one.chain) for one in report.found] == [
        (DifferenceClass.UNAPPLIED_REVOCATION, "word 0", "1 tickets (bits 1) revoked")
    ]
    assert await house.rows("SELECT ticket FROM jobs WHERE revoked_at IS NOT NULL") == [(1,)]
    await require_clean(house)
