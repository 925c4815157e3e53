"""The registry on ape's anvil, deployed from Foundry's artifacts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ape import accounts, chain
from ape.contracts import ContractContainer, ContractInstance
from eth_account.messages import SignableMessage, encode_typed_data
from eth_utils.crypto import keccak
from ethpm_types import ContractType

ROOT = Path(__file__).resolve().parents[3]

JOB_TYPE = [
    {"name": "ticket", "type": "uint64"},
    {"name": "jobId", "type": "bytes16"},
    {"name": "inputHash", "type": "bytes32"},
    {"name": "outputHash", "type": "bytes32"},
    {"name": "completedAt", "type": "uint64"},
    {"name": "salt", "type": "bytes32"},
]

APPROVAL_TYPE = [{"name": "root", "type": "bytes32"}, {"name": "deadline", "type": "uint256"}]

Account = Any  # ape's TestAccount, which it does not export


def artifact(name: str) -> ContractContainer:
    """What forge built of the contract `name`."""
    built = json.loads((ROOT / f"out/{name}.sol/{name}.json").read_text())
    return ContractContainer(
        ContractType(
            contractName=name,
            abi=built["abi"],
            deploymentBytecode={"bytecode": built["bytecode"]["object"]},
            runtimeBytecode={"bytecode": built["deployedBytecode"]["object"]},
        )
    )


@pytest.fixture(scope="session")
def admin() -> Account:
    return accounts.test_accounts[0]


@pytest.fixture(scope="session")
def confirmer() -> Account:
    return accounts.test_accounts[1]


@pytest.fixture(scope="session")
def pauser() -> Account:
    return accounts.test_accounts[2]


@pytest.fixture(scope="session")
def revoker() -> Account:
    return accounts.test_accounts[3]


@pytest.fixture(scope="session")
def outsider() -> Account:
    """Holds no role."""
    return accounts.test_accounts[4]


@pytest.fixture(scope="session")
def registry_type() -> ContractContainer:
    return artifact("JobRegistry")


@pytest.fixture(scope="session")
def proxy_type() -> ContractContainer:
    return artifact("ERC1967Proxy")


@pytest.fixture(scope="session")
def registry(
    registry_type: ContractContainer,
    proxy_type: ContractContainer,
    admin: Account,
    confirmer: Account,
    pauser: Account,
    revoker: Account,
) -> ContractInstance:
    implementation = admin.deploy(registry_type)
    set_up = implementation.initialize.encode_input(
        (admin.address, 86_400, admin.address, revoker.address, pauser.address, [confirmer.address])
    )
    proxy = admin.deploy(proxy_type, implementation.address, set_up)
    return registry_type.at(proxy.address)


@pytest.fixture
def confirmers(registry: ContractInstance, admin: Account, confirmer: Account) -> list[Account]:
    """Three confirmers by ascending address, of whom lane 1 needs two."""
    others = accounts.test_accounts[5:7]
    for other in others:
        registry.grantRole(registry.CONFIRMER_ROLE(), other.address, sender=admin)
    registry.setQuorum(1, 2, sender=admin)
    return sorted([confirmer, *others], key=lambda account: int(account.address, 16))


@pytest.fixture
def leaf_of(registry: ContractInstance) -> Callable[[dict[str, Any]], bytes]:
    """The leaf of a job as an EIP-712 library makes it, without asking the contract."""
    return lambda job: digest(typed_data(registry, {"JobConfirmation": JOB_TYPE}, job))


@pytest.fixture
def approval_of(registry: ContractInstance) -> Callable[[bytes, int], bytes]:
    """The digest that approves a root until a deadline, made likewise."""
    return lambda root, deadline: digest(approval(registry, root, deadline))


@pytest.fixture
def sign(registry: ContractInstance) -> Callable[[Account, bytes, int], bytes]:
    """An account's signature under the approval of a root until a deadline: r, s, v."""

    def signature(account: Account, root: bytes, deadline: int) -> bytes:
        return bytes(account.sign_message(approval(registry, root, deadline)).encode_rsv())

    return signature


def approval(registry: ContractInstance, root: bytes, deadline: int) -> SignableMessage:
    return typed_data(registry, {"ConfirmBatch": APPROVAL_TYPE}, {"root": root, "deadline": deadline})


def typed_data(
    registry: ContractInstance, types: dict[str, list[dict[str, str]]], values: dict[str, Any]
) -> SignableMessage:
    """A struct in the registry's domain."""
    return encode_typed_data(
        domain_data={
            "name": "JobRegistry",
            "version": "1",
            "chainId": chain.chain_id,
            "verifyingContract": registry.address,
        },
        message_types=types,
        message_data=values,
    )


def digest(signable: SignableMessage) -> bytes:
    return keccak(b"\x19" + signable.version + signable.header + signable.body)
