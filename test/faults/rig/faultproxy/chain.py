"""What a chain can do to its users, by anvil's own tools."""

from collections.abc import Sequence
from typing import Any

import orjson
import rlp
from eth_abi.abi import encode
from eth_hash.backends.pysha3 import keccak256

from faultproxy.proxy import FaultProxy
from relayer.local.deploy import ADMIN, ROOT

CONFIRMER_ROLE = keccak256(b"CONFIRMER_ROLE")
_ARTIFACT = ROOT / "out/JobRegistry.sol/JobRegistry.json"


class Chain:
    """The chain behind a proxy: makes blocks only when told to.

    Args:
        proxy: any of the node's proxies; its faults are passed by.
        registry: the contract, 20 bytes.

    """

    def __init__(self, proxy: FaultProxy, registry: bytes) -> None:
        self._call = proxy.call
        self._registry = f"0x{registry.hex()}"

    async def height(self) -> int:
        return int(await self._call("eth_blockNumber"), 16)

    async def mine(self, blocks: int = 1, seconds: int = 12) -> None:
        """Make blocks, so many seconds apart."""
        await self._call("anvil_mine", hex(blocks), hex(seconds))

    async def reorganise(self, depth: int, blocks: Sequence[tuple[Any, int]] = ()) -> None:
        """Replace the last blocks by as many others, that hold these transactions (raw bytes in hex, or fields)."""
        await self._call("anvil_reorg", depth, [list(one) for one in blocks])

    async def drop_transactions(self) -> None:
        await self._call("anvil_dropAllTransactions")

    async def set_base_fee(self, wei: int) -> None:
        """Set the base fee of the next block."""
        await self._call("anvil_setNextBlockBaseFeePerGas", hex(wei))

    async def base_fee(self) -> int:
        block = await self._call("eth_getBlockByNumber", "latest", False)
        return int(block["baseFeePerGas"], 16)

    async def skew(self, seconds: int) -> None:
        """Let time on the chain run ahead."""
        await self._call("evm_increaseTime", hex(seconds))

    async def balance(self, account: bytes) -> int:
        return int(await self._call("eth_getBalance", f"0x{account.hex()}", "latest"), 16)

    async def set_balance(self, account: bytes, wei: int) -> None:
        await self._call("anvil_setBalance", f"0x{account.hex()}", hex(wei))

    # --- what the registry's administrator does ----------------------------------------------------------------

    def administration(self, signature: str, *arguments: Any) -> dict[str, str]:
        """Give a call of the registry by its administrator, such as `pause()`."""
        types = [one for one in signature.partition("(")[2].rstrip(")").split(",") if one]
        data = keccak256(signature.encode())[:4] + encode(types, arguments)
        return {"from": ADMIN, "to": self._registry, "data": f"0x{data.hex()}", "gas": hex(500_000)}

    async def administer(self, signature: str, *arguments: Any) -> None:
        """Send such a call; it is in the next block."""
        await self._call("eth_sendTransaction", self.administration(signature, *arguments))

    async def upgrade(self) -> None:
        """Deploy the implementation again and let the proxy go over to it; both are in the next block.

        Its code is other code, for the address of a UUPS implementation stands in it.
        """
        creation = {"from": ADMIN, "data": _creation_code(), "gas": hex(6_000_000)}
        nonce = int(await self._call("eth_getTransactionCount", ADMIN, "pending"), 16)
        await self._call("eth_sendTransaction", creation)
        made = keccak256(rlp.encode([bytes.fromhex(ADMIN[2:]), nonce]))[12:]
        await self.administer("upgradeToAndCall(address,bytes)", f"0x{made.hex()}", b"")

    async def transact(self, sender: bytes, data: bytes, *, target: bytes) -> None:
        """Send a call by an account that the node holds the key of; it is in the next block."""
        await self._call(
            "eth_sendTransaction",
            {
                "from": f"0x{sender.hex()}",
                "to": f"0x{target.hex()}",
                "data": f"0x{data.hex()}",
                "gas": hex(3_000_000),
            },
        )


def _creation_code() -> str:
    artifact = orjson.loads(_ARTIFACT.read_bytes())
    return str(artifact["bytecode"]["object"])
