"""The real contract behind its proxy, on a real node, for the seal to be compared with."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import settings

from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.local import deploy
from relayer.local.anvil import CHAIN_ID, Anvil
from relayer.seal.commitment import Domain
from relayer.seal.tree import MAX_LANE
from relayer.seal.verify import Pin

GAS = 1 << 24  # no transaction may take more (EIP-7825)

Test = TypeVar("Test", bound=Callable[..., object])


def thoroughly(test: Test) -> Test:
    """With 40 examples, or as many as the profile asks for if that is more.

    A function, because pytest may load this file before it knows the profile.
    """
    return settings(max_examples=max(40, settings().max_examples), deadline=None)(test)


class Contract:
    """A registry whose administrator is its one confirmer, with every lane open to it."""

    def __init__(self, rpc: JsonRpc, address: bytes) -> None:
        self.domain = Domain(CHAIN_ID, address)
        self.pin = Pin(CHAIN_ID, address)
        self.client = RegistryClient(rpc, CHAIN_ID, address)
        self._rpc = rpc

    async def ask(self, calls: Sequence[bytes]) -> list[bytes]:
        """What each call returns to the administrator, in one exchange and without a trace."""
        answers = await self._rpc.batch([("eth_call", (self._from_admin(call), "latest")) for call in calls])
        return [bytes.fromhex(answer[2:]) for answer in answers]

    async def send(self, call: bytes) -> dict[str, Any]:
        """The receipt of the administrator's transaction."""
        mined: dict[str, Any] = await self._rpc.call("eth_sendTransactionSync", [self._from_admin(call)])
        assert mined["status"] == "0x1"
        return mined

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """At the end the chain is again what it was at the beginning."""
        snapshot = await self._rpc.call("evm_snapshot")
        try:
            yield
        finally:
            assert await self._rpc.call("evm_revert", [snapshot])

    def _from_admin(self, call: bytes) -> dict[str, str]:
        registry = f"0x{self.domain.registry.hex()}"
        return {"from": deploy.ADMIN, "to": registry, "data": f"0x{call.hex()}", "gas": hex(GAS)}


@pytest.fixture(scope="session")
async def contract(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Contract]:
    home = tmp_path_factory.mktemp("contract")
    with Anvil(home, mining="auto", persist=False) as anvil:
        deployed = deploy.deploy_registry(anvil.rpc_url, [deploy.ADMIN], home / "broadcast")
        async with JsonRpc(anvil.rpc_url, timedelta(seconds=30)) as rpc:
            contract = Contract(rpc, deployed.address)
            for lane in range(1, MAX_LANE + 1):
                await contract.send(call_of("setQuorum", ["uint8", "uint8"], lane, 1))
            yield contract


def call_of(name: str, types: Sequence[str], *arguments: Any) -> bytes:
    """The call data of a function, encoded by the ABI library."""
    return keccak(f"{name}({','.join(types)})".encode())[:4] + encode(types, arguments)
