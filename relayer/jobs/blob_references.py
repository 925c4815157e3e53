"""Blob references inside a job's input: `{"blob": "sha256:<64 hex digits>"}` at any depth."""

import re
from collections.abc import Iterator
from typing import Any

from relayer.seal.json_pointer import below

_REFERENCE = re.compile(r"sha256:([0-9a-f]{64})")


def parse_reference(text: str) -> bytes | None:
    """Read `sha256:<64 lower-case hex digits>` as 32 bytes; None for anything else."""
    match = _REFERENCE.fullmatch(text)
    return bytes.fromhex(match.group(1)) if match else None


def to_reference(blob_hash: bytes) -> str:
    """Write a hash as a reference."""
    return f"sha256:{blob_hash.hex()}"


def find_references(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Give (JSON pointer, reference text) for every `blob` member that holds a reference."""
    if isinstance(value, dict):
        for key, member in value.items():
            place = below(pointer, key)
            if key == "blob" and isinstance(member, str) and member.startswith("sha256:"):
                yield place, member
            else:
                yield from find_references(member, place)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from find_references(member, below(pointer, index))
