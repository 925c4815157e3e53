"""The manifest of a batch: its leaves and salts, encrypted, kept in the blob store under the batch's root.

The chain keeps roots and masks only, so this is what lets a restored database rebuild the receipts of batches it has
never heard of. The bytes are `JSM`, a version byte, a nonce of 12 bytes, and AES-256-GCM (NIST SP 800-38D) over
zlib-compressed JSON, with the root as associated data: a manifest cannot stand in for another.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relayer.model.errors import JobsealError
from relayer.seal.commitment import Domain, JobConfirmation

SPACE = "manifests"
KEY_BYTES = 32

_HEADER = b"JSM\x01"
_NONCE_BYTES = 12


class ManifestError(JobsealError):
    """Bytes that are no manifest of this root under this key."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every job of one batch, and the domain its leaves are computed under."""

    domain: Domain
    jobs: Sequence[JobConfirmation]


class ManifestCipher:
    """Seals and opens manifests under one key of 32 bytes.

    Raises:
        ValueError: the key has another length.

    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(
                f"JOBSEAL_BATCHER_MANIFEST_KEY: expected {KEY_BYTES} bytes, not {len(key)}; generate a new key"
            )
        self._cipher = AESGCM(key)

    def encrypt(self, root: bytes, manifest: Manifest) -> bytes:
        """Write `manifest` as the bytes kept under `root`."""
        nonce = os.urandom(_NONCE_BYTES)
        return _HEADER + nonce + self._cipher.encrypt(nonce, zlib.compress(_to_json(manifest)), root)

    def decrypt(self, root: bytes, data: bytes) -> Manifest:
        """Read the bytes kept under `root`.

        Raises:
            ManifestError: another format or version, another key, another root, or altered bytes.

        """
        name = f"the manifest of batch 0x{root.hex()}"
        if not data.startswith(_HEADER):
            raise ManifestError(f"{name} has a format that this version does not read")
        nonce, sealed = data[len(_HEADER) :][:_NONCE_BYTES], data[len(_HEADER) + _NONCE_BYTES :]
        try:
            plain = self._cipher.decrypt(nonce, sealed, root)
        except (InvalidTag, ValueError):
            raise ManifestError(
                f"{name} does not open; it was altered, or JOBSEAL_BATCHER_MANIFEST_KEY is not the key it was written with"
            ) from None
        return _from_json(zlib.decompress(plain))


def _to_json(manifest: Manifest) -> bytes:
    return orjson.dumps(
        {
            "chainId": manifest.domain.chain_id,
            "registry": manifest.domain.registry.hex(),
            "jobs": [
                [
                    job.ticket,
                    job.job_id.hex(),
                    job.input_hash.hex(),
                    job.output_hash.hex(),
                    job.completed_at,
                    job.salt.hex(),
                ]
                for job in manifest.jobs
            ],
        }
    )


def _from_json(data: bytes) -> Manifest:
    document = orjson.loads(data)
    return Manifest(
        Domain(document["chainId"], bytes.fromhex(document["registry"])),
        [
            JobConfirmation(
                ticket,
                bytes.fromhex(job_id),
                bytes.fromhex(input_hash),
                bytes.fromhex(output_hash),
                completed_at,
                bytes.fromhex(salt),
            )
            for ticket, job_id, input_hash, output_hash, completed_at, salt in document["jobs"]
        ],
    )
