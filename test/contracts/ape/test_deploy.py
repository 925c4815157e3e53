"""The deploy, check and upgrade scripts, run against the chain as an operator runs them."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import ape
import httpx2
import pytest
from ape import accounts, chain, networks
from ape.contracts import ContractContainer, ContractInstance
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from ethpm_types import ContractType

ROOT = Path(__file__).resolve().parents[3]
TIMELOCK_DELAY = 7_200
EARLIER_VERSION = "0.0.1"
DETERMINISTIC_DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
SALT = keccak(text="jobseal.JobRegistry")

Environment = dict[str, str]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Deploy = Callable[[Environment], dict[str, str]]


@pytest.fixture
def plan(admin: Any, confirmer: Any, pauser: Any) -> Environment:
    """A deployment without a timelock."""
    return {
        "ADMIN": admin.address,
        "ADMIN_IS_KEY": "1",
        "ADMIN_DELAY": "3600",
        "CONFIRMERS": f"{confirmer.address},{admin.address}",
        "PAUSER": pauser.address,
    }


@pytest.fixture
def timelock_plan(plan: Environment) -> Environment:
    """A deployment whose admin announces its upgrades."""
    return {**plan, "TIMELOCK_DELAY": str(TIMELOCK_DELAY)}


@pytest.fixture
def deployer() -> Any:
    """Whoever has money for the gas, and no role."""
    return accounts.test_accounts[5]


@pytest.fixture
def run(tmp_path: Path, deployer: Any) -> Run:
    """Runs a script; the deployer pays for what it broadcasts."""

    def run(
        script: str, environment: Environment, *options: str, uri: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        command = ["forge", "script", f"script/{script}.s.sol", "--slow", *options]
        command += ["--rpc-url", uri or networks.provider.http_uri]
        return subprocess.run(
            [*command, "--unlocked", "--sender", deployer.address],
            cwd=ROOT,
            env={**os.environ, **environment, "FOUNDRY_BROADCAST": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def deploy(run: Run) -> Deploy:
    """Deploys, and gives what the script returns, by name."""

    def deploy(plan: Environment) -> dict[str, str]:
        completed = run("Deploy", plan, "--broadcast", "--json")
        assert completed.returncode == 0, completed.stderr
        outcome = json.loads(completed.stdout.splitlines()[0])
        return {name: returned["value"] for name, returned in outcome["returns"].items()}

    return deploy


class NarrowNode(BaseHTTPRequestHandler):
    """The chain's node, but for questions about the events of more than 7 blocks, which it refuses."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body)
        if isinstance(request, dict) and request["method"] == "eth_getLogs":
            (wanted,) = request["params"]
            if int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) >= 7:
                error = {"code": -32000, "message": "range too large"}
                self._answer(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode())
                return
        headers = {"Content-Type": "application/json"}
        self._answer(httpx2.post(networks.provider.http_uri, content=body, headers=headers).content)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def narrow_node() -> Iterator[str]:
    """Where a `NarrowNode` listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), NarrowNode) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def earlier(
    deploy: Deploy,
    timelock_plan: Environment,
    registry_type: ContractContainer,
    proxy_type: ContractContainer,
    admin: Any,
) -> tuple[ContractInstance, str]:
    """A registry by that plan with an implementation that is not this checkout's, and its birth: the version differs."""
    deployed = deploy(timelock_plan)
    version = registry_type.at(deployed["implementation"]).version().encode().hex()
    built = registry_type.contract_type
    bytecode = built.get_deployment_bytecode().hex()
    assert bytecode.count(version) == 1
    bytecode = bytecode.replace(version, EARLIER_VERSION.encode().hex())
    earlier_type = ContractType(
        contractName="EarlierRegistry", abi=built.abi, deploymentBytecode={"bytecode": bytecode}
    )
    implementation = admin.deploy(ContractContainer(earlier_type))
    set_up = implementation.initialize.encode_input(
        (
            timelock_plan["ADMIN"],
            int(timelock_plan["ADMIN_DELAY"]),
            deployed["upgrader"],
            timelock_plan["ADMIN"],
            timelock_plan["PAUSER"],
            sorted(timelock_plan["CONFIRMERS"].split(","), key=str.lower),
        )
    )
    created = proxy_type.constructor.encode_input(implementation.address, set_up)
    creation = proxy_type.contract_type.get_deployment_bytecode() + created
    admin.transfer(DETERMINISTIC_DEPLOYER, 0, data=SALT + creation)
    address = keccak(b"\xff" + bytes.fromhex(DETERMINISTIC_DEPLOYER[2:]) + SALT + keccak(creation))[12:]
    birth = deployed["birth"].replace(
        deployed["implementation"][2:].lower(), implementation.address[2:].lower()
    )
    return registry_type.at(to_checksum_address(address)), birth


def checksum(batch: dict[str, Any]) -> str:
    """The checksum by which the Safe app's Transaction Builder knows that nobody has changed a file."""

    def canonical(value: Any) -> str:
        if isinstance(value, list):
            return f"[{','.join(map(canonical, value))}]"
        if isinstance(value, dict):
            keys = sorted(value)
            values = "".join(f"{canonical(value[key])}," for key in keys)
            return f"{{{json.dumps(keys, separators=(',', ':'))}{values}}}"
        return json.dumps(value)

    meta = {key: value for key, value in batch["meta"].items() if key != "checksum"}
    return f"0x{keccak(text=canonical({**batch, 'meta': {**meta, 'name': None}})).hex()}"


def test_deploys_once_and_finds_it_again(
    deploy: Deploy, plan: Environment, registry_type: ContractContainer
) -> None:
    first = deploy(plan)
    head = chain.blocks.height
    registry = registry_type.at(first["registry"])
    assert registry.defaultAdmin() == plan["ADMIN"]
    assert registry.defaultAdminDelay() == 3600
    for account in plan["CONFIRMERS"].split(","):
        assert registry.hasRole(registry.CONFIRMER_ROLE(), account)
    assert registry.hasRole(registry.PAUSER_ROLE(), plan["PAUSER"])
    assert registry.hasRole(registry.REVOKER_ROLE(), plan["ADMIN"])
    assert registry.hasRole(registry.UPGRADER_ROLE(), plan["ADMIN"])
    assert first["upgrader"] == plan["ADMIN"]

    second = deploy(plan)
    assert chain.blocks.height == head
    assert (second["registry"], second["implementation"]) == (first["registry"], first["implementation"])

    (created,) = registry.Upgraded.query("*", start_block=0).itertuples()
    assert int(first["fromBlock"]) <= int(second["fromBlock"]) == created.block_number


def test_deploys_for_no_admin_that_is_nothing_on_this_chain(run: Run, plan: Environment) -> None:
    head = chain.blocks.height
    completed = run("Deploy", {**plan, "ADMIN_IS_KEY": ""}, "--broadcast")
    assert completed.returncode != 0
    assert "ADMIN has no code on this chain" in completed.stderr
    assert chain.blocks.height == head


def test_from_block_is_not_later_than_a_shared_timelock(
    deploy: Deploy, timelock_plan: Environment, registry_type: ContractContainer, deployer: Any
) -> None:
    first = deploy(timelock_plan)
    other = deploy({**timelock_plan, "PAUSER": deployer.address})
    assert other["registry"] != first["registry"]
    assert other["upgrader"] == first["upgrader"]

    created = registry_type.at(first["registry"]).Upgraded.query("*", start_block=0).itertuples()
    assert int(other["fromBlock"]) <= min(event.block_number for event in created)


def test_check_says_what_is_wrong(
    run: Run, deploy: Deploy, timelock_plan: Environment, registry_type: ContractContainer, deployer: Any
) -> None:
    deployed = deploy(timelock_plan)
    environment = {
        **timelock_plan,
        "REGISTRY": deployed["registry"],
        "FROM_BLOCK": deployed["fromBlock"],
        "DEPLOYER": deployer.address,
    }
    completed = run("Check", environment)
    assert completed.returncode == 0, completed.stderr
    assert f"registry {deployed['registry']} on chain {chain.chain_id} is in order" in completed.stdout

    registry = registry_type.at(deployed["registry"])
    admin = accounts.test_accounts[0]
    registry.grantRole(registry.CONFIRMER_ROLE(), deployer.address, sender=admin)
    registry.setQuorum(1, 2, sender=admin)
    completed = run("Check", environment)
    assert completed.returncode != 0
    assert completed.stderr.endswith(
        "Error: script failed: the deployment is not in order\n"
        f"CONFIRMER_ROLE: {deployer.address} holds it, and should not\n"
        "quorum of lane 1: is 2, should be 0\n"
        f"deployer {deployer.address}: holds CONFIRMER_ROLE of registry, and should hold nothing\n"
    )


def test_check_asks_for_what_the_node_answers(
    run: Run, deploy: Deploy, plan: Environment, narrow_node: str
) -> None:
    environment = {**plan, "REGISTRY": deploy(plan)["registry"], "PAUSER": plan["ADMIN"]}
    chain.mine(20)
    completed = run("Check", environment, uri=narrow_node)
    assert completed.stderr.endswith(
        f"PAUSER_ROLE: {plan['PAUSER']} holds it, and should not\n"
        f"PAUSER_ROLE: {plan['ADMIN']} does not hold it, and should\n"
    )


def test_upgrade_prepares_what_the_admin_sends(
    run: Run,
    earlier: tuple[ContractInstance, str],
    timelock_plan: Environment,
    admin: Any,
    confirmer: Any,
) -> None:
    registry, birth = earlier
    receipt = registry.confirmBatch([(3, 1, keccak(text="word"))], sender=confirmer)
    (confirmed,) = receipt.decode_logs(registry.BatchConfirmed)
    out = ROOT / ".build" / "test" / "upgrade-ape"
    environment = {
        **timelock_plan,
        "REGISTRY": registry.address,
        "ROOTS": f"0x{confirmed.root.hex()}",
        "WORDS": "2,3",
        "OUT": str(out.relative_to(ROOT)),
    }
    completed = run("Upgrade", environment, "--broadcast")
    assert completed.returncode == 0, completed.stderr

    (folder,) = out.glob(f"{chain.chain_id}-{registry.address}-*")
    schedule, execute = (
        json.loads((folder / f"{step}.json").read_text()) for step in ("schedule", "execute")
    )
    for batch in (schedule, execute):
        assert batch["meta"]["checksum"] == checksum(batch)
        assert batch["meta"]["createdFromSafeAddress"] == admin.address
    (announcement,) = (log for log in send(admin, schedule).logs if len(log["data"]) > 0)
    operation = f"0x{announcement['topics'][1].hex()}"
    named = {**environment, "BIRTH": birth, "ANNOUNCED": operation}
    assert f"operation {operation} may be executed from " in run("Check", environment).stderr
    completed = run("Check", named)
    assert completed.returncode != 0  # the earlier implementation is not this checkout's
    assert "may be executed from" not in completed.stderr
    with ape.reverts():
        send(admin, execute)
    assert registry.version() == EARLIER_VERSION
    chain.mine(deltatime=TIMELOCK_DELAY)
    send(admin, execute)
    assert registry.version() != EARLIER_VERSION
    assert registry.isConfirmed(3 << 8)

    completed = run("Check", {**environment, "BIRTH": birth})
    assert completed.returncode == 0, completed.stderr
    completed = run("Check", environment)
    assert "registry: BIRTH, else the plan with this checkout, leads to " in completed.stderr
    completed = run("Upgrade", environment)
    assert completed.returncode != 0
    assert "the registry runs the implementation of this checkout already" in completed.stderr


def send(account: Any, batch: dict[str, Any]) -> Any:
    """Send the transaction of a batch file, as a Safe would, and give its receipt."""
    (transaction,) = batch["transactions"]
    return account.transfer(transaction["to"], int(transaction["value"]), data=transaction["data"])
