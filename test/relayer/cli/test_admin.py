"""`jobseal admin …` on a real database, in this process where nothing speaks against it."""

import getpass
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from relayer.cli.admin.app import app
from relayer.local.process import free_port
from relayer.store import database
from relayer.tenants.audit_chain import link_hash
from relayer.tenants.keys import is_well_formed
from relayer.tenants.plans import PLANS
from relayer.tenants.scopes import EVERY_SCOPE, Scope

Document = dict[str, Any]


class Shell:
    """An operator's shell."""

    def __init__(self, **environment: str) -> None:
        self.environment = environment

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, env=self.environment)

    def does(self, *arguments: str) -> str:
        """Run what must succeed; give its standard output."""
        outcome = self.run(*arguments)
        assert outcome.exit_code == 0, outcome.output
        return outcome.stdout

    def reads(self, *arguments: str) -> Any:
        return json.loads(self.does(*arguments, "--json"))

    def refuses(self, *arguments: str) -> str:
        """Run what must fail; give its one line."""
        outcome = self.run(*arguments)
        assert (outcome.exit_code, outcome.stdout) == (1, ""), outcome.output
        assert (outcome.stderr.count("\n"), outcome.stderr[:9]) == (1, "jobseal: "), outcome.stderr
        return outcome.stderr

    def misuses(self, *arguments: str) -> str:
        outcome = self.run(*arguments)
        assert outcome.exit_code == 2, outcome.output
        return re.sub(r"[\s│]+", " ", outcome.stderr)


@pytest.fixture
def shell(urls: Any, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("JOBSEAL_ADMIN_DATABASE_URL", "JOBSEAL_OWNER_DATABASE_URL", "JOBSEAL_KEYS_PEPPER"):
        monkeypatch.delenv(name, raising=False)
    return Shell(JOBSEAL_ADMIN_DATABASE_URL=urls.admin, JOBSEAL_KEYS_PEPPER="pepper of the tests")


def test_a_tenant_is_made_changed_suspended_and_shown(shell: Shell) -> None:
    made = shell.does("tenant", "create", "acme", "--plan", "free", "--limit", "jobs_per_day=7").strip()
    other = shell.does("tenant", "create", "other").strip()
    assert [one["id"] for one in shell.reads("tenant", "list")] == [other, made]
    shown = shell.reads("tenant", "show", "acme")
    assert shown == shell.reads("tenant", "show", made)
    assert shown["limits"] == PLANS["free"].to_document() | {"jobs_per_day": 7}
    assert shown["usage"] == {"storage_bytes": 0, "running_jobs": 0, "waiting_jobs": 0}

    changed = shell.run("tenant", "set", "acme", "--weight", "3", "--limit", "jobs_per_day=plan")
    assert changed.stderr == "acme is changed\n"
    assert shell.run("tenant", "set", made, "--weight", "3").stderr == "acme was so already\n"
    shell.does("tenant", "plan", "acme", "standard")
    shell.does("tenant", "suspend", "acme", "--reason", "unpaid")
    assert [one["name"] for one in shell.reads("tenant", "list", "--suspended")] == ["acme"]
    after = shell.reads("tenant", "show", "acme")
    assert (after["plan"], after["weight"], after["suspension_reason"]) == ("standard", 3, "unpaid")
    assert after["limits"] == PLANS["standard"].to_document()
    shell.does("tenant", "resume", "acme")
    assert [one["name"] for one in shell.reads("tenant", "list", "--active", "--name", "ac")] == ["acme"]

    table = shell.does("tenant", "list")
    assert (made in table, "acme" in table, table.count("\n")) == (True, True, 3)
    assert re.search(r"limits.jobs_per_day +1000000\n", shell.does("tenant", "show", "acme"))


def test_every_change_names_the_user_and_the_machine(shell: Shell) -> None:
    tenant = shell.does("tenant", "create", "acme").strip()
    shell.does("tenant", "set", "acme", "--weight", "3")
    shell.does("kind-cap", "set", "digest", "4")
    events = shell.reads("audit", "list")
    assert [(event["action"], event["tenant_id"]) for event in events] == [
        ("kind_cap.set", None),
        ("tenant.changed", tenant),
        ("tenant.created", tenant),
    ]
    user = getpass.getuser()
    for event in events:
        assert event["actor"] == {
            "type": "cli",
            "id": f"cli:{user}@{socket.gethostname()}",
            "name": user,
        }
    assert [event["seq"] for event in shell.reads("audit", "list", "--tenant", "acme")] == [2, 1]
    assert len(shell.reads("audit", "list", "--tenant", "platform")) == 1
    assert len(shell.reads("audit", "list", "--limit", "2")) == 2
    assert len(shell.reads("audit", "list", "--target", tenant, "--action", "tenant.changed")) == 1
    assert "kind_cap.set" in shell.does("audit", "list")


def test_a_kind_is_given_a_lane(shell: Shell) -> None:
    assert (
        shell.run("kind-lane", "set", "digest", "3").stderr
        == "new jobs of 'digest' are confirmed in lane 3\n"
    )
    shell.does("kind-lane", "set", "digest", "3")
    shell.does("kind-lane", "set", "a", "31")
    assert shell.reads("kind-lane", "list") == [{"kind": "a", "lane": 31}, {"kind": "digest", "lane": 3}]
    assert re.search(r"digest +3\n", shell.does("kind-lane", "list"))
    shell.does("kind-lane", "set", "a", "0")
    assert shell.reads("kind-lane", "list") == [{"kind": "digest", "lane": 3}]
    assert "give a lane from 0 to 31" in shell.refuses("kind-lane", "set", "digest", "32")
    assert "1 to 64 printable characters" in shell.refuses("kind-lane", "set", "k" * 65, "1")
    events = shell.reads("audit", "list", "--action", "kind_lane.set")
    assert [(event["targets"][0]["id"], event["metadata"]) for event in events] == [
        ("a", {"lane": 0}),
        ("a", {"lane": 31}),
        ("digest", {"lane": 3}),
    ]


def test_a_secret_is_printed_once_alone_and_kept_nowhere(
    shell: Shell, superuser: psycopg.Connection[Any]
) -> None:
    shell.does("tenant", "create", "acme")
    made = shell.run(
        "key", "create", "acme", "ci", "--scope", "jobs:read", "--days", "3", "--address", "192.0.2.0/24"
    )
    secret = made.stdout.removesuffix("\n")
    assert is_well_formed(secret)
    assert secret not in made.stderr
    (key,) = shell.reads("key", "list", "acme")
    assert (key["name"], key["state"], key["scopes"], key["last4"]) == (
        "ci",
        "live",
        ["jobs:read"],
        secret[-4:],
    )
    assert key["allowed_addresses"] == ["192.0.2.0/24"]
    assert key["id"] in made.stderr

    second = shell.does("key", "rotate", key["id"], "--overlap-hours", "0").strip()
    assert is_well_formed(second)
    assert second != secret
    shell.does("key", "create", "acme", "test", "--mode", "test")
    shell.does("key", "revoke", shell.reads("key", "list", "acme")[1]["id"])
    assert [(one["name"], one["mode"], one["state"]) for one in shell.reads("key", "list", "acme")] == [
        ("test", "test", "live"),
        ("ci", "live", "revoked"),
        ("ci", "live", "expired"),
    ]
    assert set(shell.reads("key", "list", "acme")[0]["scopes"]) == EVERY_SCOPE
    whole = superuser.execute(
        "SELECT string_agg(k::text, '') || (SELECT string_agg(event, '') FROM audit_events) FROM api_keys k"
    )
    row = whole.fetchone()
    assert row is not None
    assert secret[9:-4] not in row[0]
    assert [event["action"] for event in shell.reads("audit", "list")] == [
        "api_key.revoked",
        "api_key.created",
        "api_key.rotated",
        "api_key.created",
        "tenant.created",
    ]


def test_the_first_key_of_administration_is_made_once(shell: Shell) -> None:
    assert is_well_formed(shell.does("bootstrap").strip())
    operator = shell.reads("tenant", "show", "operator")
    assert operator["is_operator"]
    (key,) = shell.reads("key", "list", "operator")
    assert set(key["scopes"]) == set(Scope)
    assert "administers already" in shell.refuses("bootstrap")
    shell.does("key", "revoke", key["id"])
    assert is_well_formed(shell.does("bootstrap").strip())
    shell.does("tenant", "create", "acme")
    assert "not the platform's own" in shell.refuses("bootstrap", "--name", "acme")
    assert "cannot be suspended" in shell.refuses("tenant", "suspend", "operator", "--reason", "x")
    assert "scopes" in shell.refuses("key", "create", "acme", "root", "--scope", "admin:write")


def test_kinds_are_capped(shell: Shell) -> None:
    shell.does("kind-cap", "set", "digest", "4")
    shell.does("kind-cap", "set", "digest", "0")
    assert shell.reads("kind-cap", "list") == [{"kind": "digest", "running_jobs": 0}]
    assert "digest" in shell.does("kind-cap", "list")
    shell.does("kind-cap", "clear", "digest")
    assert shell.reads("kind-cap", "list") == []
    assert "no cap" in shell.refuses("kind-cap", "clear", "digest")
    assert "running_jobs" in shell.refuses("kind-cap", "set", "digest", "2147483648")


def test_a_broken_chain_is_told_of_with_a_status_that_is_not_0(
    shell: Shell, superuser: psycopg.Connection[Any], tmp_path: Path
) -> None:
    tenant = shell.does("tenant", "create", "acme").strip()
    shell.does("tenant", "set", "acme", "--weight", "2")
    shell.does("kind-cap", "set", "digest", "4")
    kept = tmp_path / "heads.json"
    kept.write_text(shell.does("audit", "verify", "--json"))
    heads = {entry["tenant"]: entry for entry in json.loads(kept.read_text())}
    assert {name: (entry["verdict"], entry["seq"]) for name, entry in heads.items()} == {
        "platform": ("intact", 1),
        tenant: ("intact", 2),
    }
    shell.does("audit", "verify", "--tenant", "acme", "--known", str(kept))
    assert "intact" in shell.does("audit", "verify", "--tenant", "platform")

    # Whoever may do everything to the database writes the chain anew, so that it fits in itself.
    rows = superuser.execute(
        "SELECT seq, event FROM audit_events WHERE seq = 1 AND tenant_id::text = %s", [tenant[4:]]
    )
    ((_, event),) = rows.fetchall()
    superuser.execute("DELETE FROM audit_events WHERE tenant_id::text = %s AND seq = 2", [tenant[4:]])
    superuser.execute(
        "UPDATE audit_heads SET seq = 1, hash = %s WHERE tenant_id::text = %s",
        [link_hash(bytes(32), event), tenant[4:]],
    )
    shell.does("audit", "verify")
    for arguments in ((), ("--tenant", "acme")):
        outcome = shell.run("audit", "verify", "--known", str(kept), *arguments)
        assert outcome.exit_code == 1
        assert "broken: event 2 was known and is missing" in outcome.stdout
    superuser.execute("UPDATE audit_events SET event = replace(event, 'acme', 'evil') WHERE seq = 1")
    outcome = shell.run("audit", "verify", "--json")
    assert outcome.exit_code == 1
    assert [entry["verdict"][:15] for entry in json.loads(outcome.stdout)] == ["intact", "broken: event 1"]

    kept.write_text("{}")
    shell.does("audit", "list")
    for wrong in ("[1]", '[{"tenant": "x", "seq": 1, "hash": "0x00", "verdict": "intact"}]', "not JSON"):
        kept.write_text(wrong)
        assert "--known" in shell.refuses("audit", "verify", "--known", str(kept))
    assert "--known" in shell.refuses("audit", "verify", "--known", str(tmp_path / "nowhere"))


def test_the_schema_is_brought_up_to_date_and_a_registry_registered(urls: Any, shell: Shell) -> None:
    owner = Shell(
        JOBSEAL_OWNER_DATABASE_URL=urls.owner,
        JOBSEAL_REGISTRY_CHAIN_ID="31337",
        JOBSEAL_REGISTRY_ADDRESS="0x5fbdb2315678afecb367f032d93f642f64180aa3",
    )
    assert owner.run("migrate").stderr == "the schema is up to date\n"
    assert "is registered" in owner.run("register", "--first-block", "7").stderr
    assert "is known" in owner.run("register", "--first-block", "9").stderr
    (event,) = shell.reads("audit", "list")
    assert (event["action"], event["metadata"]["first_block"]) == ("registry.registered", 7)


def test_wrong_input_is_one_line_that_names_it(shell: Shell, urls: Any) -> None:
    shell.does("tenant", "create", "acme")
    assert "already" in shell.refuses("tenant", "create", "acme")
    assert "tenant name" in shell.refuses("tenant", "create", "Acme")
    assert "free, standard" in shell.refuses("tenant", "plan", "acme", "gold")
    assert "limits.jobs_per_day" in shell.refuses(
        "tenant", "set", "acme", "--limit", "jobs_per_day=2147483648"
    )
    assert "no tenant 'nobody'" in shell.refuses("tenant", "show", "nobody")
    assert "key_…" in shell.refuses("key", "revoke", "x")
    assert "--limit" in shell.misuses("tenant", "set", "acme", "--limit", "jobs=1")
    assert "NAME=NUMBER" in shell.misuses("tenant", "set", "acme", "--limit", "jobs_per_day=many")
    assert "say what to change" in shell.misuses("tenant", "set", "acme")
    assert "--address" in shell.misuses("key", "create", "acme", "ci", "--address", "here")

    no_pepper = Shell(JOBSEAL_ADMIN_DATABASE_URL=urls.admin)
    assert "JOBSEAL_KEYS_PEPPER" in no_pepper.refuses("key", "create", "acme", "ci")
    other_role = Shell(JOBSEAL_ADMIN_DATABASE_URL=urls.relayer)
    assert "permission denied" in other_role.refuses("tenant", "create", "other")
    assert "JOBSEAL_ADMIN_DATABASE_URL" in Shell().refuses("tenant", "list")
    assert "JOBSEAL_OWNER_DATABASE_URL" in Shell().refuses("migrate")
    assert "permission denied" in Shell(JOBSEAL_OWNER_DATABASE_URL=urls.api).refuses("migrate")


def test_an_absent_server_is_named_and_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_POOL_WAIT_S", 0.2)
    port = free_port()
    url = f"postgresql://someone:secretword@127.0.0.1:{port}/jobseal"
    line = Shell(JOBSEAL_ADMIN_DATABASE_URL=url).refuses("tenant", "list")
    assert line == f"jobseal: PostgreSQL at 127.0.0.1:{port} does not answer\n"


def test_the_tree_hangs_on_the_command() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "relayer.cli.main", "admin", "tenant", "list", "--json"],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("jobseal: JOBSEAL_ADMIN_DATABASE_URL: Field required")
