"""What the OP stack takes for a transaction beside its gas: for its data on the parent chain, and for the operator.

Asked of the predeploy `GasPriceOracle` (specification of the OP stack, `predeploys` of Ecotone, Fjord, Isthmus and Jovian): it
knows the formula of the chain's present version.
"""

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_hash.backends.pysha3 import keccak256

from relayer.chain.rpc import JsonRpc, RpcError
from relayer.chain.transaction import TransactionFields, unsigned_bytes

_ORACLE = "0x420000000000000000000000000000000000000f"
# What the parent chain's base fee can rise by in a block, which may come before ours.
_ROOM_NUMERATOR, _ROOM_DENOMINATOR = 9, 8


async def read_cost_beside_gas(rpc: JsonRpc, fields: TransactionFields) -> int:
    """Give what a transaction may cost beside its gas, in wei: the fee for its data and an eighth, and that of the operator.

    Raises:
        RpcUnavailableError: no answer, or the chain has no such oracle.
        RpcError: the node refuses to tell.

    """
    data_fee = await _ask(rpc, "getL1Fee(bytes)", "bytes", unsigned_bytes(fields))
    try:
        operator_fee = await _ask(rpc, "getOperatorFee(uint256)", "uint256", fields.gas_limit)
    except RpcError as error:
        if "revert" not in error.message.lower():
            raise
        # The oracle is older than this fee.
        operator_fee = 0
    return -(-data_fee * _ROOM_NUMERATOR // _ROOM_DENOMINATOR) + operator_fee


async def _ask(rpc: JsonRpc, function: str, kind: str, value: bytes | int) -> int:
    data = keccak256(function.encode())[:4] + encode([kind], [value])
    answer = await rpc.call("eth_call", ({"to": _ORACLE, "data": f"0x{data.hex()}"}, "latest"))
    try:
        (fee,) = decode(["uint256"], bytes.fromhex(answer.removeprefix("0x")))
    except (AttributeError, ValueError, DecodingError):
        raise rpc.nonsense(
            f"nothing at {_ORACLE} answers {function}: JOBSEAL_CHAIN_ROLLUP says that the chain is of the OP stack"
        ) from None
    return int(fee)
