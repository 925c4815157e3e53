import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayer.batches.manifest import Manifest, ManifestCipher, ManifestError
from relayer.seal.commitment import Domain, JobConfirmation

DOMAIN = Domain(31337, bytes(range(20)))
ROOT = bytes(range(32))
HASH = st.binary(min_size=32, max_size=32)
UINT64 = st.integers(0, 2**64 - 1)
JOBS = st.builds(
    JobConfirmation,
    ticket=UINT64,
    job_id=st.binary(min_size=16, max_size=16),
    input_hash=HASH,
    output_hash=HASH,
    completed_at=UINT64,
    salt=HASH,
)


@given(st.lists(JOBS, max_size=5))
def test_what_was_written_is_read_back(jobs: list[JobConfirmation]) -> None:
    cipher = ManifestCipher(secrets.token_bytes(32))
    manifest = Manifest(DOMAIN, jobs)
    assert cipher.decrypt(ROOT, cipher.encrypt(ROOT, manifest)) == manifest


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
    data = ManifestCipher(bytes(32)).encrypt(ROOT, Manifest(DOMAIN, [job]))
    assert salt not in data
    assert salt.hex().encode() not in data


def test_a_key_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match="JOBSEAL_BATCHER_MANIFEST_KEY: expected 32 bytes, not 16"):
        ManifestCipher(bytes(16))
