"""Trying a call before it is sent, and again after it has reverted."""

import re

from relayer.chain.calls import Cause, Refusal
from relayer.chain.gas import MAX_GAS, gas_limit
from relayer.chain.registry import decode_error
from relayer.chain.rpc import JsonRpc, RpcError
from relayer.chain.slots import Slot
from relayer.model.errors import JobsealError

# What geth and anvil give for a call that reverts, with or without data.
_REVERT_CODE = 3
_TOO_MUCH_GAS = re.compile(r"exceeds allowance|out ?of ?gas|gas limit", re.IGNORECASE)


class RefusedError(JobsealError):
    """The call does not go on, as things are."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class Simulation:
    """Calls as an account would make them."""

    def __init__(self, sender: bytes) -> None:
        self._sender = sender

    async def gas(self, rpc: JsonRpc, target: bytes, calldata: bytes) -> int:
        """Try a call on the latest block; give the gas limit that it needs.

        Raises:
            RefusedError: it would revert, or needs more gas than a transaction may have.
            RpcError: the node refuses to try it.

        """
        # Not every node tells with an estimate why a call reverts.
        await self.call(rpc, target, calldata, "latest")
        answer = await self._ask(rpc, "eth_estimateGas", target, calldata, "latest")
        try:
            estimate = int(answer, 16)
        except ValueError:
            raise rpc.nonsense("eth_estimateGas was answered with something that is none") from None
        if estimate > MAX_GAS:
            raise _too_much(f"it takes {estimate} gas, and no transaction may have more than {MAX_GAS}")
        return gas_limit(estimate, calldata)

    async def call(self, rpc: JsonRpc, target: bytes, calldata: bytes, block: str) -> None:
        """Try a call on the state of a block; raises as `gas` does."""
        await self._ask(rpc, "eth_call", target, calldata, block)

    async def reason(self, rpc: JsonRpc, slot: Slot, where: str, block: int) -> Refusal:
        """Say why a mined transaction reverted, by calling it again on the state of its block."""
        try:
            await self.call(rpc, slot.target, slot.calldata, hex(block))
        except RefusedError as refused:
            return Refusal(Cause.REVERTED, f"{where}: {refused}", refused.refusal.error)
        except RpcError as error:
            return Refusal(Cause.REVERTED, f"{where}; its replay failed: {error.message}")
        return Refusal(Cause.REVERTED, f"{where}; its replay does not show why")

    async def _ask(self, rpc: JsonRpc, method: str, target: bytes, calldata: bytes, block: str) -> str:
        transaction = {
            "from": f"0x{self._sender.hex()}",
            "to": f"0x{target.hex()}",
            "data": f"0x{calldata.hex()}",
        }
        try:
            return str(await rpc.call(method, (transaction, block)))
        except RpcError as error:
            if error.data:
                reason = decode_error(error.data)
                raise RefusedError(Refusal(Cause.REVERTS, str(reason), reason)) from None
            if _TOO_MUCH_GAS.search(error.message):
                raise _too_much(error.message) from None
            if error.code == _REVERT_CODE or "revert" in error.message.lower():
                raise RefusedError(Refusal(Cause.REVERTS, error.message)) from None
            raise


def _too_much(text: str) -> RefusedError:
    return RefusedError(Refusal(Cause.TOO_MUCH_GAS, text))
