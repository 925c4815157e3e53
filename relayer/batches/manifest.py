"""The manifest of a batch: its leaves and salts, encrypted, kept in the blob store under the batch's root.

The chain keeps roots and masks only, so this is what lets a restored database rebuild the receipts of batches it has
never heard of, and the rows of their jobs. The bytes are `JSM`, a version byte, a nonce of 12 bytes, and AES-256-GCM
(NIST SP 800-38D) over zlib-compressed JSON, with header and root as associated data: a manifest cannot stand in for
another. Version 1 held the leaves alone, under the root alone; it is still read.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relayer.batches.records import FinishedJob
from relayer.model.errors import JobsealError
from relayer.seal.commitment import Domain, JobConfirmation

SPACE = "manifests"
KEY_BYTES = 32

_MAGIC = b"JSM"
_FIRST = _MAGIC + b"\x01"
_CURRENT = _MAGIC + b"\x02"
_HEADER_BYTES = len(_MAGIC) + 1
_NONCE_BYTES = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ManifestError(JobsealError):
    """Bytes that are no manifest of this root under this key."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What the row of a sealed job holds beside its leaf; the times are exact, the size is in bytes."""

    tenant_id: UUID
    kind: str
    metadata: Mapping[str, str]
    output_size: int
    output_media_type: str
    created_at: datetime
    result_ready_at: datetime


@dataclass(frozen=True, slots=True)
class ManifestJob:
    """One job: what its leaf commits to, and its record; None in a manifest of version 1."""

    confirmation: JobConfirmation
    record: JobRecord | None

    @classmethod
    def of(cls, job: FinishedJob) -> Self:
        """What is written of a job that is being sealed."""
        return cls(
            job.confirmation,
            JobRecord(
                tenant_id=job.tenant_id,
                kind=job.kind,
                metadata=job.metadata,
                output_size=job.output_size,
                output_media_type=job.output_media_type,
                created_at=job.created_at,
                result_ready_at=job.result_ready_at,
            ),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every job of one batch, the domain its leaves are computed under, and the names of the jobs' tenants."""

    domain: Domain
    jobs: Sequence[ManifestJob]
    tenants: Mapping[UUID, str] = field(default_factory=dict)


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
        """Write `manifest`, whose jobs all have a record, as the bytes kept under `root`."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, zlib.compress(_to_json(manifest)), _CURRENT + root)
        return _CURRENT + nonce + sealed

    def decrypt(self, root: bytes, data: bytes) -> Manifest:
        """Read the bytes kept under `root`.

        Raises:
            ManifestError: another format or version, another key, another root, or altered bytes.

        """
        name = f"the manifest of batch 0x{root.hex()}"
        header, body = data[:_HEADER_BYTES], data[_HEADER_BYTES:]
        if header not in (_FIRST, _CURRENT):
            raise ManifestError(f"{name} has a format that this version does not read")
        context = root if header == _FIRST else header + root
        try:
            plain = self._cipher.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], context)
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
            "tenants": {tenant.hex: name for tenant, name in manifest.tenants.items()},
            "jobs": [_confirmation_fields(job.confirmation) + _record_fields(job) for job in manifest.jobs],
        }
    )


def _confirmation_fields(job: JobConfirmation) -> list[Any]:
    return [
        job.ticket,
        job.job_id.hex(),
        job.input_hash.hex(),
        job.output_hash.hex(),
        job.completed_at,
        job.salt.hex(),
    ]


def _record_fields(job: ManifestJob) -> list[Any]:
    record = job.record
    if record is None:
        raise ValueError(f"the job of ticket {job.confirmation.ticket} has no record to write")
    return [
        record.tenant_id.hex,
        record.kind,
        dict(record.metadata),
        record.output_size,
        record.output_media_type,
        (record.created_at - _EPOCH) // _MICROSECOND,
        (record.result_ready_at - _EPOCH) // _MICROSECOND,
    ]


def _from_json(data: bytes) -> Manifest:
    document = orjson.loads(data)
    return Manifest(
        Domain(document["chainId"], bytes.fromhex(document["registry"])),
        [_job(fields) for fields in document["jobs"]],
        {UUID(hex=tenant): name for tenant, name in document.get("tenants", {}).items()},
    )


def _job(fields: Sequence[Any]) -> ManifestJob:
    ticket, job_id, input_hash, output_hash, completed_at, salt, *record = fields
    confirmation = JobConfirmation(
        ticket,
        bytes.fromhex(job_id),
        bytes.fromhex(input_hash),
        bytes.fromhex(output_hash),
        completed_at,
        bytes.fromhex(salt),
    )
    return ManifestJob(confirmation, _record(record) if record else None)


def _record(fields: Sequence[Any]) -> JobRecord:
    tenant, kind, metadata, output_size, output_media_type, created_at, result_ready_at = fields
    return JobRecord(
        UUID(hex=tenant),
        kind,
        metadata,
        output_size,
        output_media_type,
        _EPOCH + created_at * _MICROSECOND,
        _EPOCH + result_ready_at * _MICROSECOND,
    )
