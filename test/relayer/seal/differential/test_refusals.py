"""Whatever words the contract refuses to confirm, the seal refuses to make a batch of, and no others."""

from collections.abc import Sequence

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from relayer.chain.registry import RegistryClient, decode_error
from relayer.chain.rpc import RpcError
from relayer.seal.tree import MAX_WORDS, BatchTree, Word

from .conftest import Contract, thoroughly

LAST = (1 << 48) - 1
DENSE = (1 << 256) - 1
ZERO = bytes(32)

MALFORMED = {
    "WordCountOutOfRange",
    "LanesDiffer",
    "LaneClosed",
    "WordsNotAscending",
    "EmptyMask",
    "EmptyRoot",
}


def opaque(*indices: int) -> list[Word]:
    """Words whose trees nobody opens."""
    return [Word(index, 1, keccak(index.to_bytes(8))) for index in indices]


def root_by_the_seal(words: Sequence[Word]) -> bytes | None:
    """The batch's root; None where it is refused."""
    try:
        return BatchTree(words).root
    except ValueError:
        return None


async def root_by_the_contract(contract: Contract, words: Sequence[Word]) -> bytes | str:
    """The batch's root; the error's name where it is refused."""
    try:
        (root,) = await contract.ask([RegistryClient.encode_confirm_batch(words)])
    except RpcError as error:
        return decode_error(error.data or b"").name
    return root


LANE_EDGES = [lane << 48 for lane in (0, 1, 2, 31, 32, 255, 256, 257, (1 << 16) - 1)]
indices = st.sampled_from([edge + step for edge in LANE_EDGES for step in (0, 1, 2, LAST - 1, LAST)])
any_words = st.builds(
    Word,
    index=indices | st.integers(0, 2**64 - 1),
    mask=st.integers(1, DENSE) | st.just(0),
    root=st.binary(min_size=32, max_size=32) | st.just(ZERO),
)
sound_words = st.builds(
    Word, index=st.integers(0, LAST), mask=st.integers(1, DENSE), root=st.just(keccak(b"root"))
)
word_lists = (
    st.lists(any_words, max_size=4)
    | st.lists(sound_words, max_size=4)
    | st.lists(sound_words, max_size=4).map(lambda words: sorted(words, key=lambda one: one.index))
    | st.integers(MAX_WORDS - 2, MAX_WORDS + 2).map(lambda count: opaque(*range(count)))
)


@thoroughly
@given(words=word_lists)
async def test_both_refuse_the_same_batches(contract: Contract, words: list[Word]) -> None:
    root = root_by_the_seal(words)
    answer = await root_by_the_contract(contract, words)
    if root is None:
        assert answer in MALFORMED
    else:
        assert answer == root


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (opaque(), "WordCountOutOfRange"),
        (opaque(*range(513)), "WordCountOutOfRange"),
        (opaque(4, 4), "WordsNotAscending"),
        (opaque(5, 4), "WordsNotAscending"),
        (opaque(1, 3, 2, 4), "WordsNotAscending"),
        (opaque(1, 1 << 48, 3), "WordsNotAscending"),
        (opaque(LAST, 1 << 48), "LanesDiffer"),
        (opaque(1, 256 << 48), "LanesDiffer"),
        (opaque(32 << 48), "LaneClosed"),
        (opaque(255 << 48), "LaneClosed"),
        (opaque(256 << 48), "LaneClosed"),
        (opaque((1 << 64) - 1), "LaneClosed"),
        ([*opaque(1), Word(2, 0, keccak(b"root"))], "EmptyMask"),
        ([*opaque(1), Word(2, 1, ZERO)], "EmptyRoot"),
    ],
)
async def test_both_refuse_a_batch_with_one_fault(
    contract: Contract, words: list[Word], refusal: str
) -> None:
    assert root_by_the_seal(words) is None
    assert await root_by_the_contract(contract, words) == refusal
