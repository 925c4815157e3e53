"""The deploy script, run against the chain as an operator runs it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ape import chain, networks
from ape.contracts import ContractContainer

ROOT = Path(__file__).resolve().parents[3]


def run_script(tmp_path: Path, admin: Any, confirmer: Any, pauser: Any) -> dict[str, Any]:
    uri: str = networks.provider.http_uri
    command = ["forge", "script", "script/Deploy.s.sol", "--rpc-url", uri, "--broadcast", "--json"]
    completed = subprocess.run(
        [*command, "--unlocked", "--sender", admin.address],
        cwd=ROOT,
        env={
            **os.environ,
            "ADMIN": admin.address,
            "ADMIN_DELAY": "3600",
            "CONFIRMERS": f"{confirmer.address},{admin.address}",
            "PAUSER": pauser.address,
            "FOUNDRY_BROADCAST": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    outcome = json.loads(completed.stdout.splitlines()[0])
    return {name: returned["value"] for name, returned in outcome["returns"].items()}


def test_deploys_once_and_finds_it_again(
    tmp_path: Path, registry_type: ContractContainer, admin: Any, confirmer: Any, pauser: Any
) -> None:
    first = run_script(tmp_path, admin, confirmer, pauser)
    head = chain.blocks.height
    registry = registry_type.at(first["registry"])
    assert registry.defaultAdmin() == admin.address
    assert registry.defaultAdminDelay() == 3600
    for account in (confirmer, admin):
        assert registry.hasRole(registry.CONFIRMER_ROLE(), account.address)
    assert registry.hasRole(registry.PAUSER_ROLE(), pauser.address)

    second = run_script(tmp_path, admin, confirmer, pauser)
    assert chain.blocks.height == head
    assert (second["registry"], second["implementation"]) == (first["registry"], first["implementation"])

    (created,) = registry.Upgraded.query("*", start_block=0).itertuples()
    assert int(first["fromBlock"]) <= int(second["fromBlock"]) == created.block_number
