"""`jobseal admin chain …` on a real database and a real chain, as an operator meets it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from eth_hash.backends.pysha3 import keccak256
from typer.testing import CliRunner, Result

from relayer.batches.advice import HUMAN, NONCE
from relayer.batches.reasons import HoldReason, HumanReason
from relayer.chain.registry import RegistryClient
from relayer.cli.admin.app import app
from relayer.local.anvil import Anvil
from relayer.local.deploy import ADMIN, deploy_registry
from relayer.local.process import free_port
from relayer.model.ids import new_id
from relayer.seal.tree import Seal, seal_batch

SEALED_AT = datetime.now(UTC) - timedelta(hours=26, minutes=5)


@dataclass
class Operator:
    """A shell of the operator's, a registry, and batches put there as the relayer would have left them."""

    environment: dict[str, str]
    anvil: Anvil
    registry: bytes
    rows: psycopg.Connection[Any]

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["chain", *arguments], env=self.environment)

    def does(self, *arguments: str) -> Result:
        outcome = self.run(*arguments)
        assert outcome.exit_code == 0, outcome.output
        return outcome

    def reads(self, *arguments: str) -> Any:
        return json.loads(self.does(*arguments, "--json").stdout)

    def refuses(self, *arguments: str) -> str:
        outcome = self.run(*arguments)
        assert (outcome.exit_code, outcome.stdout) == (1, ""), outcome.output
        assert (outcome.stderr.count("\n"), outcome.stderr[:9]) == (1, "jobseal: "), outcome.stderr
        return outcome.stderr

    def audited(self) -> list[dict[str, Any]]:
        outcome = CliRunner().invoke(app, ["audit", "list", "--json"], env=self.environment)
        events: list[dict[str, Any]] = json.loads(outcome.stdout)
        return events

    def batch(self, state: str, reason: str | None = None, *, tickets: int = 3) -> tuple[UUID, Seal]:
        batch_id = new_id()
        seal = seal_batch({(self.count + 1) << 8 | bit: keccak256(b"%d" % bit) for bit in range(tickets)})
        self.rows.execute(
            """INSERT INTO batches (id, registry_id, lane, root, state, reason, detail, leaf_count, sealed_at, retry_at)
               SELECT %s, id, 0, %s, %s, %s, 'in words', %s, %s, %s FROM registries""",
            [
                batch_id,
                seal.root,
                state,
                reason,
                tickets,
                SEALED_AT + timedelta(seconds=self.count),
                SEALED_AT if state == "held" else None,
            ],
        )
        for word in seal.words:
            self.rows.execute(
                "INSERT INTO batch_words (batch_id, index, mask, root) VALUES (%s, %s, %s, %s)",
                [batch_id, word.index, word.mask.to_bytes(32), word.root],
            )
        return batch_id, seal

    def state(self, batch_id: UUID) -> str:
        ((state,),) = self.rows.execute("SELECT state FROM batches WHERE id = %s", [batch_id]).fetchall()
        return str(state)

    @property
    def count(self) -> int:
        ((count,),) = self.rows.execute("SELECT count(*) FROM batches").fetchall()
        return int(count)

    def slot(self, batch_id: UUID | None, state: str, *, nonce: int = 7, settled: int | None = None) -> None:
        slot = new_id()
        purpose = "fill" if batch_id is None else "confirm_batch"
        self.rows.execute(
            """INSERT INTO chain_txs (id, chain_id, sender, nonce, purpose, batch_id, target, calldata, state,
                                      lease_epoch, created_at, updated_at, settled_number, settled_hash)
               VALUES (%(id)s, %(chain)s, %(sender)s, %(nonce)s, %(purpose)s, %(batch)s, %(target)s, '\\x00', %(state)s,
                       1, now(), now(), %(settled)s, %(hash)s)""",
            {
                "id": slot,
                "chain": self.anvil.chain_id,
                "sender": bytes(20),
                "nonce": nonce,
                "purpose": purpose,
                "batch": batch_id,
                "target": self.registry,
                "state": state,
                "settled": settled,
                "hash": None if settled is None else bytes(32),
            },
        )
        self.rows.execute(
            """INSERT INTO tx_attempts (hash, chain_tx_id, raw, gas_limit, max_fee_per_gas, max_priority_fee_per_gas,
                                        created_at, purpose, last_class, last_answer, refusals)
               VALUES (%s, %s, '\\x02', 90000, 30, 2, now(), %s, 'unknown', 'computer says no', 3)""",
            [keccak256(slot.bytes), slot, purpose],
        )

    def confirm(self, seal: Seal) -> None:
        call = {
            "from": ADMIN,
            "to": f"0x{self.registry.hex()}",
            "data": f"0x{RegistryClient.encode_confirm_batch(seal.words).hex()}",
        }
        digest = self.anvil._rpc("eth_sendTransaction", call)
        self.anvil._rpc("anvil_mine", "0x3")
        assert self.anvil._rpc("eth_getTransactionReceipt", digest)["status"] == "0x1"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Anvil, bytes, int]]:
    folder = tmp_path_factory.mktemp("chain")
    with Anvil(folder, mining="auto", persist=False) as anvil:
        deployment = deploy_registry(anvil.rpc_url, [ADMIN], folder / "broadcast")
        anvil._rpc("anvil_mine", "0x3")
        yield anvil, deployment.address, deployment.first_block


@pytest.fixture
def operator(
    urls: Any,
    superuser: psycopg.Connection[Any],
    deployed: tuple[Anvil, bytes, int],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Operator]:
    monkeypatch.delenv("JOBSEAL_CHAIN_RPC_URLS", raising=False)
    anvil, address, first_block = deployed
    environment = {
        "JOBSEAL_ADMIN_DATABASE_URL": urls.admin,
        "JOBSEAL_OWNER_DATABASE_URL": urls.owner,
        "JOBSEAL_CHAIN_RPC_URLS": anvil.rpc_url,
        "JOBSEAL_REGISTRY_ADDRESS": f"0x{address.hex()}",
        "JOBSEAL_REGISTRY_CHAIN_ID": str(anvil.chain_id),
    }
    made = CliRunner().invoke(app, ["register", "--first-block", str(first_block)], env=environment)
    assert made.exit_code == 0, made.output
    before = anvil._rpc("evm_snapshot")
    yield Operator(environment, anvil, address, superuser)
    assert anvil._rpc("evm_revert", before)


def test_a_frozen_registry_is_listed_though_no_batch_waits(operator: Operator) -> None:
    operator.rows.execute(
        "INSERT INTO registry_states (registry_id, frozen_at, frozen_reason) SELECT id, now(), 'block 7' FROM registries"
    )
    address = f"0x{operator.registry.hex()}"
    assert operator.reads("list")["registries"] == [
        {"registry": address, "chain_id": operator.anvil.chain_id, "hold": "frozen", "detail": "block 7"}
    ]
    assert re.search(rf"{address} +{operator.anvil.chain_id} +frozen +block 7", operator.does("list").stdout)


def test_what_waits_is_listed_the_oldest_first(operator: Operator) -> None:
    assert operator.reads("list") == {"batches": [], "nonces": [], "registries": []}
    held, _ = operator.batch("held", "paused")
    operator.batch("sealed")
    human, seal = operator.batch("needs_human", "gas", tickets=5)
    operator.slot(human, "broadcast")
    assert [one["id"] for one in operator.reads("list")["batches"]] == [str(held), str(human)]
    shown = operator.reads("list")["batches"][1]
    assert (shown["state"], shown["reason"], shown["detail"]) == ("needs_human", "gas", "in words")
    assert (shown["jobs"], shown["nonce"], shown["slot_state"]) == (5, 7, "broadcast")
    assert shown["root"] == f"0x{seal.root.hex()}"
    table = operator.does("list").stdout
    assert re.search(rf"{human} +needs_human +gas +1 d 2 h +5 +7 +in words", table)


def test_a_batch_is_explained_by_the_record_and_the_registry(operator: Operator) -> None:
    batch, seal = operator.batch("needs_human", "unknown_answer")
    operator.slot(batch, "broadcast")
    told = operator.reads("explain", str(batch))
    assert told["slots"][0]["nonce"] == 7
    (attempt,) = told["attempts"]
    assert (attempt["class"], attempt["answer"], attempt["refusals"]) == ("unknown", "computer says no", 3)
    assert told["advice"] == vars(HUMAN[HumanReason.UNKNOWN_ANSWER])
    assert {name: told["chain"][name] for name in ("known", "known_at_head", "paused", "spent")} == {
        "known": False,
        "known_at_head": False,
        "paused": False,
        "spent": 0,
    }
    operator.confirm(seal)
    after = operator.reads("explain", str(batch))["chain"]
    assert (after["known"], after["known_at_head"], after["spent"]) == (True, True, 3)

    shown = operator.does("explain", str(batch))
    assert re.search(r"chain.spent +3\n", shown.stdout)
    assert "computer says no" in shown.stdout
    assert f"jobseal admin chain retry {batch} --reason" in shown.stderr


def test_tickets_that_somebody_else_spent_are_counted(operator: Operator) -> None:
    batch, seal = operator.batch("needs_human", "integrity", tickets=3)
    (word,) = seal.words
    operator.confirm(seal_batch({word.index << 8 | bit: keccak256(b"theirs") for bit in (1, 2, 9)}))
    chain = operator.reads("explain", str(batch))["chain"]
    assert (chain["known"], chain["spent"]) == (False, 2)


def test_without_a_node_the_record_is_explained_all_the_same(operator: Operator) -> None:
    batch, _ = operator.batch("held", "provider")
    operator.environment["JOBSEAL_CHAIN_RPC_URLS"] = f"http://127.0.0.1:{free_port()}/key"
    told = operator.reads("explain", str(batch))
    assert "127.0.0.1" in told["chain"]["not_asked"]
    assert "/key" not in told["chain"]["not_asked"]
    assert told["batch"]["reason"] == "provider"
    del operator.environment["JOBSEAL_CHAIN_RPC_URLS"]
    told = operator.reads("explain", str(batch))
    assert "JOBSEAL_CHAIN_RPC_URLS" in told["chain"]["not_asked"]


def test_a_refused_nonce_without_a_batch_that_waits_is_shown_explained_and_sent_again(
    operator: Operator,
) -> None:
    stopped, _ = operator.batch("needs_human", "unknown_answer")
    operator.slot(stopped, "broadcast", nonce=6)
    operator.slot(None, "signed", nonce=7)
    (refused,) = operator.reads("list")["nonces"]
    assert (refused["nonce"], refused["purpose"], refused["class"], refused["batch"]) == (
        7,
        "fill",
        "unknown",
        None,
    )
    assert re.search(rf"{refused['id']} .* 7 +fill +signed +- +unknown", operator.does("list").stdout)
    told = operator.reads("explain", refused["id"])
    assert (told["nonce"], told["attempts"][0]["refusals"], told["advice"]) == (refused, 3, vars(NONCE))
    assert (
        f"jobseal admin chain retry {refused['id']} --reason"
        in operator.does("explain", refused["id"]).stderr
    )
    assert (
        "nonce 7 is sent again"
        in operator.does("retry", refused["id"], "--reason", "the cap is raised").stderr
    )
    assert operator.reads("list")["nonces"] == []
    assert operator.rows.execute(
        "SELECT last_class, refusals FROM tx_attempts ORDER BY refusals"
    ).fetchall() == [
        (None, 0),
        ("unknown", 3),
    ]
    (event,) = [one for one in operator.audited() if one["action"] == "nonce.retried"]
    assert event["targets"] == [{"type": "nonce", "id": refused["id"], "name": None}]
    assert (event["metadata"]["nonce"], event["metadata"]["reason"]) == (7, "the cap is raised")
    # Its refusals are forgotten: there is nothing to retry.
    assert "there is no batch" in operator.refuses("retry", refused["id"], "--reason", "again")


def test_every_reason_is_explained(operator: Operator) -> None:
    del operator.environment["JOBSEAL_CHAIN_RPC_URLS"]
    for state, reasons in (("held", HoldReason), ("needs_human", HumanReason)):
        for reason in reasons:
            batch, _ = operator.batch(state, reason)
            assert operator.reads("explain", str(batch))["advice"]["never"]


def test_an_action_and_its_reason_are_on_record(operator: Operator) -> None:
    batch, seal = operator.batch("needs_human", "unknown_answer")
    operator.slot(batch, "broadcast")
    said = operator.does("retry", str(batch), "--reason", "the node was updated").stderr
    assert said == f"batch {batch} is sending; the relayer goes on with it\n"
    assert "nonce 7" in operator.does("cancel", str(batch), "--reason", "it hangs").stderr
    assert "cannot be released" in operator.refuses("release", str(batch), "--reason", "now")
    events = operator.audited()
    assert [event["action"] for event in events[:2]] == ["batch.cancelled", "batch.retried"]
    retried = events[1]
    assert retried["targets"] == [{"type": "batch", "id": str(batch), "name": None}]
    assert retried["metadata"] == {
        "reason": "the node was updated",
        "chain_id": operator.anvil.chain_id,
        "root": f"0x{seal.root.hex()}",
        "was": "needs_human: unknown_answer",
    }
    assert retried["before_hash"] != retried["after_hash"] == events[0]["before_hash"]
    verified = CliRunner().invoke(app, ["audit", "verify"], env=operator.environment)
    assert verified.exit_code == 0, verified.output


def test_a_batch_is_released_only_when_nothing_of_it_can_land(operator: Operator) -> None:
    dead, _ = operator.batch("needs_human", "cancelled")
    operator.slot(dead, "cancelled", settled=1)
    alive, _ = operator.batch("needs_human", "unknown_answer")
    operator.slot(alive, "broadcast", nonce=6)
    young, _ = operator.batch("needs_human", "cancelled")
    operator.slot(young, "cancelled", nonce=8, settled=1_000_000)
    spent, _ = operator.batch("needs_human", "integrity")
    confirmed, seal = operator.batch("needs_human", "cancelled")
    operator.confirm(seal)
    for batch, why in (
        (alive, "nonce 6 .* may still land"),
        (young, "nonce 8 .* may still land"),
        (spent, "spent under another root"),
        (confirmed, "confirmed on chain"),
        (new_id(), "no batch"),
    ):
        assert re.search(why, operator.refuses("release", str(batch), "--reason", "let go"))
    assert "3 jobs" in operator.does("release", str(dead), "--reason", "let go").stderr
    assert operator.state(dead) == "released"
    assert [event["action"] for event in operator.audited()[:-1]] == ["batch.released"]
    assert "is released" in operator.refuses("retry", str(dead), "--reason", "again")


def test_a_release_asks_the_chain_or_is_not_made(operator: Operator) -> None:
    batch, _ = operator.batch("needs_human", "cancelled")
    operator.environment["JOBSEAL_CHAIN_RPC_URLS"] = f"http://127.0.0.1:{free_port()}"
    assert "no usable node" in operator.refuses("release", str(batch), "--reason", "let go")
    del operator.environment["JOBSEAL_CHAIN_RPC_URLS"]
    assert "JOBSEAL_CHAIN_RPC_URLS" in operator.refuses("release", str(batch), "--reason", "let go")
    assert operator.state(batch) == "needs_human"


def test_code_is_accepted_by_its_hash(operator: Operator) -> None:
    seen, trusted = keccak256(b"new code"), keccak256(b"old code")
    argument = f"0x{seen.hex()}"
    assert "nobody has looked" in operator.refuses("accept-code", argument, "--reason", "release 2")
    operator.rows.execute(
        """INSERT INTO registry_states (registry_id, implementation, code_hash, accepted_hash, block_number, block_hash,
                                        observed_at)
           SELECT id, address, %s, %s, 5, %s, now() FROM registries""",
        [seen, trusted, bytes(32)],
    )
    batch, _ = operator.batch("held", "code_changed")
    registry = operator.reads("explain", str(batch))["registry"]
    assert (registry["hold"], registry["code_hash"]) == ("code_changed", argument)
    assert f"0x{seen.hex()}" in operator.refuses("accept-code", f"0x{trusted.hex()}", "--reason", "release 2")
    operator.does("accept-code", argument, "--reason", "release 2")
    assert operator.reads("explain", str(batch))["registry"]["hold"] is None
    (event, _) = operator.audited()
    assert (event["action"], event["metadata"]["code_hash"]) == ("registry.code_accepted", argument)


def test_wrong_input_is_one_line_that_names_it(operator: Operator) -> None:
    batch, _ = operator.batch("needs_human", "gas")
    assert "no id of a batch" in operator.refuses("retry", "17", "--reason", "x")
    assert "there is no batch" in operator.refuses("explain", str(new_id()))
    for reason in ("", "two\nlines", "x" * 201):
        assert "reason: say why" in operator.refuses("retry", str(batch), "--reason", reason)
    for arguments in (("retry", str(batch)), ("accept-code", "0x12", "--reason", "x")):
        assert operator.run(*arguments).exit_code == 2
    assert operator.state(batch) == "needs_human"


def test_the_runbook_has_a_section_for_each_reason() -> None:
    """What they say is compared by `make lint`."""
    page = (Path(__file__).parents[3] / "docs/runbook.md").read_text()
    titles = set(re.findall(r"^### (\w+): (\w+)$", page, re.MULTILINE))
    assert titles == {("nonce", "refused")} | {("held", reason.value) for reason in HoldReason} | {
        ("needs_human", reason.value) for reason in HumanReason
    }
