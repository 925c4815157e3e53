"""A chain full of the registry's logs: emitted by a few opcodes, because confirming thousands of batches takes gas."""

from collections.abc import Sequence

from relayer.chain.rpc import JsonRpc

EMITTER = bytes.fromhex("e0" * 20)
_SENDER = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
_HEADER_WORDS = 5


def code(topics: int) -> bytes:
    """Code that emits a log of 3 or 4 topics as often as its call data say: count, four topics, and the log's data."""
    start = bytes.fromhex("60a036038060a0600037600035")
    loads = b"".join(bytes((0x60, 0x20 * at, 0x35)) for at in range(topics, 0, -1))
    loop, end = len(start), len(start) + len(loads) + 17
    body = (
        bytes((0x5B, 0x80, 0x15, 0x60, end, 0x57))
        + loads
        # The data's size lies under the count and the topics.
        + bytes((0x81 + topics, 0x60, 0x00, 0xA0 + topics))
        + bytes((0x60, 0x01, 0x90, 0x03, 0x60, loop, 0x56))
    )
    return start + body + bytes((0x5B, 0x00))


async def emit(
    rpc: JsonRpc, topics: Sequence[bytes], data: bytes, *, blocks: int, logs_a_block: int
) -> tuple[int, int]:
    """Put so many logs into so many blocks, and make them final; give the first and the last of the blocks."""
    address = f"0x{EMITTER.hex()}"
    await rpc.call("anvil_setCode", [address, f"0x{code(len(topics)).hex()}"])
    words = [logs_a_block.to_bytes(32), *topics, *[bytes(32)] * (_HEADER_WORDS - 1 - len(topics))]
    call = {
        "from": _SENDER,
        "to": address,
        "data": f"0x{(b''.join(words) + data).hex()}",
        "gas": hex(29_000_000),
    }
    first = int(await rpc.call("eth_blockNumber"), 16) + 1
    for _ in range(blocks):
        transaction = await rpc.call("eth_sendTransaction", [call])
        await rpc.call("anvil_mine")
        receipt = await rpc.call("eth_getTransactionReceipt", [transaction])
        if receipt is None or receipt["status"] != "0x1" or len(receipt["logs"]) != logs_a_block:
            raise RuntimeError("the node did not emit what it was asked for")
    last = int(await rpc.call("eth_blockNumber"), 16)
    await rpc.call("anvil_mine", [hex(4)])
    return first, last
