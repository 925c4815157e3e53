"""The registry on ape's anvil, deployed from Foundry's artifacts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ape import accounts, chain
from ape.contracts import ContractContainer, ContractInstance
from eth_account.messages import encode_typed_data
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
def registry_type() -> ContractContainer:
    return artifact("JobRegistry")


@pytest.fixture(scope="session")
def registry(
    registry_type: ContractContainer, admin: Account, confirmer: Account, pauser: Account
) -> ContractInstance:
    implementation = admin.deploy(registry_type)
    set_up = implementation.initialize.encode_input(
        (admin.address, 86_400, admin.address, admin.address, pauser.address, [confirmer.address])
    )
    proxy = admin.deploy(artifact("ERC1967Proxy"), implementation.address, set_up)
    return registry_type.at(proxy.address)


@pytest.fixture
def leaf_of(registry: ContractInstance) -> Callable[[dict[str, Any]], bytes]:
    """The leaf of a job as an EIP-712 library makes it, without asking the contract."""

    def hash_job(job: dict[str, Any]) -> bytes:
        signable = encode_typed_data(
            domain_data={
                "name": "JobRegistry",
                "version": "1",
                "chainId": chain.chain_id,
                "verifyingContract": registry.address,
            },
            message_types={"JobConfirmation": JOB_TYPE},
            message_data=job,
        )
        return keccak(b"\x19" + signable.version + signable.header + signable.body)

    return hash_job
