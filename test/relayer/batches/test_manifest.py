import secrets
import zlib
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from relayer.batches.manifest import JobRecord, Manifest, ManifestCipher, ManifestError, ManifestJob
from relayer.seal.commitment import Domain, JobConfirmation

DOMAIN = Domain(31337, bytes(range(20)))
ROOT = bytes(range(32))
HASH = st.binary(min_size=32, max_size=32)
UINT64 = st.integers(0, 2**64 - 1)
CONFIRMATIONS = st.builds(
    JobConfirmation,
    ticket=UINT64,
    job_id=st.binary(min_size=16, max_size=16),
    input_hash=HASH,
    output_hash=HASH,
    completed_at=UINT64,
    salt=HASH,
)
TIMES = st.datetimes(timezones=st.just(UTC))
RECORDS = st.builds(
    JobRecord,
    tenant_id=st.uuids(),
    kind=st.text(),
    metadata=st.dictionaries(st.text(), st.text(), max_size=3),
    output_size=st.integers(0, 2**53),
    output_media_type=st.text(),
    created_at=TIMES,
    result_ready_at=TIMES,
)
JOBS = st.builds(ManifestJob, CONFIRMATIONS, RECORDS)


@given(st.lists(JOBS, max_size=5), st.dictionaries(st.uuids(), st.text(), max_size=3))
def test_what_was_written_is_read_back(jobs: list[ManifestJob], tenants: dict[UUID, str]) -> None:
    cipher = ManifestCipher(secrets.token_bytes(32))
    manifest = Manifest(DOMAIN, jobs, tenants)
    assert cipher.decrypt(ROOT, cipher.encrypt(ROOT, manifest)) == manifest


def test_the_leaves_of_version_1_are_still_read() -> None:
    key, nonce = bytes(32), bytes(12)
    job = JobConfirmation(7, bytes(range(16)), b"\x01" * 32, b"\x02" * 32, 1_700_000_000, b"\x03" * 32)
    document = {
        "chainId": DOMAIN.chain_id,
        "registry": DOMAIN.registry.hex(),
        "jobs": [[7, job.job_id.hex(), "01" * 32, "02" * 32, 1_700_000_000, "03" * 32]],
    }
    sealed = AESGCM(key).encrypt(nonce, zlib.compress(orjson.dumps(document)), ROOT)
    manifest = ManifestCipher(key).decrypt(ROOT, b"JSM\x01" + nonce + sealed)
    assert manifest == Manifest(DOMAIN, [ManifestJob(job, None)])


@pytest.mark.parametrize("header", [b"", b"JSM", b"JSM\x00", b"JSM\x03", b"JSN\x02"])
def test_another_format_is_named(header: bytes) -> None:
    with pytest.raises(ManifestError, match="format that this version does not read"):
        ManifestCipher(bytes(32)).decrypt(ROOT, header)


def test_another_key_does_not_open_it() -> None:
    data = ManifestCipher(bytes(32)).encrypt(ROOT, Manifest(DOMAIN, []))
    with pytest.raises(ManifestError, match="MANIFEST_KEY"):
        ManifestCipher(b"\x01" * 32).decrypt(ROOT, data)


def test_it_cannot_stand_in_for_another_batch() -> None:
    cipher = ManifestCipher(bytes(32))
    with pytest.raises(ManifestError, match=bytes(32).hex()):
        cipher.decrypt(bytes(32), cipher.encrypt(ROOT, Manifest(DOMAIN, [])))


@given(st.data())
def test_no_altered_byte_passes(data: st.DataObject) -> None:
    cipher = ManifestCipher(bytes(32))
    sealed = bytearray(cipher.encrypt(ROOT, Manifest(DOMAIN, [])))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ManifestError):
        cipher.decrypt(ROOT, bytes(sealed))


@given(st.integers(0, 60))
def test_no_truncation_passes(length: int) -> None:
    cipher = ManifestCipher(bytes(32))
    with pytest.raises(ManifestError):
        cipher.decrypt(ROOT, cipher.encrypt(ROOT, Manifest(DOMAIN, []))[:length])


def test_content_cannot_be_read_from_it() -> None:
    salt = b"a salt of thirty-two bytes here!"
    job = JobConfirmation(1, bytes(16), bytes(32), bytes(32), 1, salt)
    at = datetime(2030, 1, 1, tzinfo=UTC)
    record = JobRecord(UUID(int=1), "digest", {}, 0, "text/plain", at, at)
    data = ManifestCipher(bytes(32)).encrypt(ROOT, Manifest(DOMAIN, [ManifestJob(job, record)]))
    assert salt not in data
    assert salt.hex().encode() not in data


def test_a_key_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match="JOBSEAL_BATCHER_MANIFEST_KEY: expected 32 bytes, not 16"):
        ManifestCipher(bytes(16))
