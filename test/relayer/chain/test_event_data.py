"""Events decoded by slicing are what eth_abi encodes, and nothing else is taken for one."""

from contextlib import suppress

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, JOBS_REVOKED_TOPIC, RegistryClient
from relayer.seal.tree import Word

U64 = st.integers(min_value=0, max_value=2**64 - 1)
U256 = st.integers(min_value=0, max_value=2**256 - 1)
BYTES32 = st.binary(min_size=32, max_size=32)
BATCH = ["uint32", "uint8", "(uint64,uint256,bytes32)[]"]
TOPICS = [BATCH_CONFIRMED_TOPIC, b"\x01" * 32, bytes(12) + b"\x02" * 20, (3).to_bytes(32)]
REVOKED = [JOBS_REVOKED_TOPIC, bytes(32), bytes(32)]


@given(
    jobs=st.integers(min_value=0, max_value=2**32 - 1),
    approvals=st.integers(min_value=0, max_value=255),
    words=st.lists(st.tuples(U64, U256, BYTES32), max_size=5),
)
def test_batches_are_read_as_they_were_written(
    jobs: int, approvals: int, words: list[tuple[int, int, bytes]]
) -> None:
    batch = RegistryClient.decode_batch_confirmed(TOPICS, encode(BATCH, [jobs, approvals, words]))
    assert (batch.jobs, batch.approvals, batch.lane, batch.submitter) == (jobs, approvals, 3, b"\x02" * 20)
    assert list(batch.words) == [Word(index, mask, root) for index, mask, root in words]


@given(words=st.lists(st.tuples(U64, U256), max_size=5, unique_by=lambda word: word[0]))
def test_revocations_are_read_as_they_were_written(words: list[tuple[int, int]]) -> None:
    data = encode(["(uint64,uint256)[]"], [words])
    assert RegistryClient.decode_jobs_revoked(REVOKED, data) == dict(words)


def test_masks_of_a_word_that_is_named_twice_add_up() -> None:
    data = encode(["(uint64,uint256)[]"], [[(7, 1), (7, 6)]])
    assert RegistryClient.decode_jobs_revoked(REVOKED, data) == {7: 7}


@given(data=st.binary(max_size=300))
def test_nonsense_is_refused_or_read_but_never_breaks(data: bytes) -> None:
    with suppress(ValueError):
        RegistryClient.decode_batch_confirmed(TOPICS, data)


def test_data_that_end_too_early_or_overflow_are_refused() -> None:
    whole = encode(BATCH, [1, 1, [(5, 1, bytes(32))]])
    for broken in (
        b"",
        whole[:-1],
        whole[:96],
        b"\xff" * 32 + whole[32:],
        whole[:64] + b"\xff" * 32 + whole[96:],
        # A number above 64 bits, where the tuple's first member lies.
        whole[:128] + b"\x01" + whole[129:],
        whole[:151] + b"\x01" + whole[152:],
    ):
        with pytest.raises(ValueError, match="event's data"):
            RegistryClient.decode_batch_confirmed(TOPICS, broken)
    with pytest.raises(ValueError, match="no BatchConfirmed"):
        RegistryClient.decode_batch_confirmed(REVOKED, whole)
