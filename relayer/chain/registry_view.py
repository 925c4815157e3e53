"""What a registry is at one block: paused or not, who may confirm, and which code it runs."""

from dataclasses import dataclass

from eth_hash.backends.pysha3 import keccak256

from relayer.chain.node import Block, Node
from relayer.chain.registry import RegistryClient

# ERC-1967: keccak256("eip1967.proxy.implementation") - 1.
_IMPLEMENTATION_SLOT = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
_CONFIRMER_ROLE = keccak256(b"CONFIRMER_ROLE")


@dataclass(frozen=True)
class RegistryView:
    """A registry at one block.

    Attributes:
        confirmer_role: whether the sender's account may confirm.
        implementation: the address in the proxy's ERC-1967 slot, 20 bytes.
        code_hash: keccak256 of the code there.

    """

    paused: bool
    confirmer_role: bool
    implementation: bytes
    code_hash: bytes
    block_number: int
    block_hash: bytes


async def view_registry(node: Node, address: bytes, account: bytes, block: Block) -> RegistryView:
    """Look at a registry at a block, which is named by its hash (EIP-1898), for an account that confirms.

    Raises:
        RpcUnavailableError: no usable answer.
        RpcError: the node does not have the block any more.

    """
    at = {"blockHash": f"0x{block.hash.hex()}", "requireCanonical": True}
    registry = RegistryClient(node.rpc, 0, address)
    slot = await node.rpc.call("eth_getStorageAt", (f"0x{address.hex()}", _IMPLEMENTATION_SLOT, at))
    try:
        implementation = bytes.fromhex(slot.removeprefix("0x")).rjust(32, b"\0")[-20:]
        code = await node.rpc.call("eth_getCode", (f"0x{implementation.hex()}", at))
        code_hash = keccak256(bytes.fromhex(code.removeprefix("0x")))
    except (AttributeError, ValueError):
        raise node.rpc.nonsense(
            "storage or code of the registry was answered with something that is none"
        ) from None
    return RegistryView(
        paused=await registry.paused(at),
        confirmer_role=await registry.has_role(_CONFIRMER_ROLE, account, at),
        implementation=implementation,
        code_hash=code_hash,
        block_number=block.number,
        block_hash=block.hash,
    )
