"""Both trees against a naive reference, and what their proofs prove."""

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from relayer.seal.commitment import bit, word
from relayer.seal.tree import (
    BatchTree,
    Proof,
    Seal,
    Word,
    WordTree,
    batch_leaf,
    batch_root,
    seal_batch,
    word_root,
)

ZERO = bytes(32)

hashes = st.binary(min_size=32, max_size=32).filter(lambda value: value != ZERO)
positions = st.dictionaries(st.integers(0, 255), hashes, min_size=1, max_size=256)
# Few words, so that tickets share words, and words of every part of the lane.
tickets = st.builds(
    lambda high, low: high << 8 | low, st.sampled_from([0, 1, 2, 3, 7, 2**48 - 1]), st.integers(0, 255)
)


def naive_word_root(leaves: dict[int, bytes]) -> bytes:
    level = [leaves.get(position, ZERO) for position in range(256)]
    while len(level) > 1:
        level = [keccak(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def naive_batch_root(words: list[Word]) -> bytes:
    level = [
        keccak(encode(["uint64", "uint256", "bytes32"], [one.index, one.mask, one.root])) for one in words
    ]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [keccak(b"".join(sorted(level[i : i + 2]))) for i in range(0, len(level) - 1, 2)] + odd
    return level[0]


def some_words(count: int) -> list[Word]:
    return [Word(7 * n, n + 1, keccak(n.to_bytes(4))) for n in range(count)]


def proven_root(ticket: int, leaf: bytes, proof: Proof) -> bytes:
    root = word_root(leaf, bit(ticket), proof.word)
    return batch_root(batch_leaf(Word(word(ticket), proof.mask, root)), proof.batch)


@settings(max_examples=40)
@given(positions)
def test_a_word_tree_is_the_naive_one_and_every_proof_leads_to_its_root(leaves: dict[int, bytes]) -> None:
    tree = WordTree(leaves)
    assert tree.root == naive_word_root(leaves)
    assert tree.mask == sum(1 << position for position in leaves)
    for position, leaf in leaves.items():
        assert word_root(leaf, position, tree.proof(position)) == tree.root


@given(leaves=positions, shift=st.integers(1, 255))
def test_a_word_proof_is_bound_to_its_position(leaves: dict[int, bytes], shift: int) -> None:
    tree = WordTree(leaves)
    position, leaf = next(iter(leaves.items()))
    elsewhere = (position + shift) % 256
    # Equal siblings on the way would make both positions the same tree: a leaf beside its own double.
    if leaf not in [other for at, other in leaves.items() if at != position]:
        assert word_root(leaf, elsewhere, tree.proof(position)) != tree.root


def test_an_unused_position_has_no_proof() -> None:
    with pytest.raises(KeyError):
        WordTree({3: b"\1" * 32}).proof(2)


@pytest.mark.parametrize("leaves", [{}, {256: b"\1" * 32}, {-1: b"\1" * 32}, {0: ZERO}, {0: b"\1" * 31}])
def test_a_malformed_word_is_refused(leaves: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match=r"leaf|position"):
        WordTree(leaves)


@pytest.mark.parametrize("count", [*range(1, 21), 255, 256, 257, 511, 512])
def test_a_batch_tree_is_the_naive_one_for_every_count(count: int) -> None:
    words = some_words(count)
    tree = BatchTree(words)
    assert tree.root == naive_batch_root(words)
    for position, one in enumerate(words):
        proof = tree.proof(position)
        assert len(proof) <= (count - 1).bit_length()
        assert batch_root(batch_leaf(one), proof) == tree.root


def test_a_promoted_word_skips_the_levels_it_is_promoted_through() -> None:
    tree = BatchTree(some_words(5))
    assert [len(tree.proof(position)) for position in range(5)] == [3, 3, 3, 3, 1]


def test_an_odd_word_is_not_doubled() -> None:
    words = some_words(3)
    doubled = [batch_leaf(one) for one in [*words, words[2]]]
    pairs = [keccak(b"".join(sorted(doubled[i : i + 2]))) for i in (0, 2)]
    assert BatchTree(words).root != keccak(b"".join(sorted(pairs)))


@pytest.mark.parametrize(
    "indices", [[], list(range(513)), [1, 1], [2, 1], [0, 1 << 48], [32 << 48], [1 << 56, 2 << 56]]
)
def test_a_batch_that_the_contract_refuses_is_refused(indices: list[int]) -> None:
    with pytest.raises(ValueError, match=r"words|lane"):
        BatchTree([Word(index, 1, b"\1" * 32) for index in indices])


@pytest.mark.parametrize("empty", [Word(8, 0, b"\1" * 32), Word(8, 1, ZERO)])
def test_a_word_without_jobs_or_root_is_refused(empty: Word) -> None:
    with pytest.raises(ValueError, match="not zero"):
        BatchTree([Word(7, 1, b"\1" * 32), empty])


@settings(max_examples=40)
@given(st.dictionaries(tickets, hashes, min_size=1, max_size=60))
def test_every_ticket_of_a_seal_is_proven(leaves: dict[int, bytes]) -> None:
    seal = seal_batch(leaves)
    assert [one.index for one in seal.words] == sorted({word(ticket) for ticket in leaves})
    assert sum(one.mask.bit_count() for one in seal.words) == len(leaves)
    for ticket, leaf in leaves.items():
        proof = seal.proof(ticket)
        assert proof.mask >> bit(ticket) & 1
        assert proven_root(ticket, leaf, proof) == seal.root


@settings(max_examples=40)
@given(
    leaves=st.dictionaries(tickets, hashes, min_size=1, max_size=60),
    flip=st.integers(0, 255),
    other=hashes,
    data=st.data(),
)
def test_no_other_leaf_ticket_mask_or_sibling_is_proven(
    leaves: dict[int, bytes], flip: int, other: bytes, data: st.DataObject
) -> None:
    seal = seal_batch(leaves)
    ticket = data.draw(st.sampled_from(sorted(leaves)))
    leaf, proof = leaves[ticket], seal.proof(ticket)
    if other != leaf:
        assert proven_root(ticket, other, proof) != seal.root
    assert proven_root(ticket, leaf, proof._replace(mask=proof.mask ^ 1 << flip)) != seal.root
    assert proven_root(ticket ^ 1 << 8, leaf, proof) != seal.root
    for at, sibling in enumerate(proof.word):
        if sibling != other:
            changed = (*proof.word[:at], other, *proof.word[at + 1 :])
            assert proven_root(ticket, leaf, proof._replace(word=changed)) != seal.root
    for shorter in {proof.batch[1:], proof.batch[:-1]} - {proof.batch}:
        assert proven_root(ticket, leaf, proof._replace(batch=shorter)) != seal.root


@pytest.mark.parametrize("count", [1, 512])
def test_the_smallest_and_the_largest_seal(count: int) -> None:
    leaves = {n << 8 | n & 255: keccak(n.to_bytes(4)) for n in range(count)}
    seal: Seal = seal_batch(leaves)
    assert len(seal.words) == count
    assert all(proven_root(ticket, leaf, seal.proof(ticket)) == seal.root for ticket, leaf in leaves.items())


@pytest.mark.parametrize("absent", [6, 5 << 8])
def test_a_ticket_outside_the_seal_has_no_proof(absent: int) -> None:
    with pytest.raises(KeyError):
        seal_batch({5: b"\1" * 32}).proof(absent)


@pytest.mark.parametrize("ticket", [-1, 32 << 56, 1 << 64])
def test_a_ticket_of_no_lane_is_refused(ticket: int) -> None:
    with pytest.raises(ValueError, match="lane"):
        seal_batch({ticket: b"\1" * 32})


def test_tickets_of_two_lanes_are_refused() -> None:
    with pytest.raises(ValueError, match="lane"):
        seal_batch({1: b"\1" * 32, 1 << 56: b"\1" * 32})
