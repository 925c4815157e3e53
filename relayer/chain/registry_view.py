"""What a registry is at one block: paused or not, who may confirm, and which code it runs."""

from dataclasses import dataclass


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
