"""The two trees: 256 positions of a word, and the words of a batch.

A word's tree has depth 8, is bound to positions and never sorted; an unused position is 32 zero bytes. A batch's tree has
one leaf a word in strictly ascending index, sorts each pair and promotes an odd node.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from eth_hash.backends.pysha3 import keccak256

from relayer.seal.commitment import bit, lane, ticket_hex, word

DEPTH = 8
WORD_TICKETS = 1 << DEPTH
MAX_WORDS = 512
MAX_LANE = 31
MAX_BATCH_PROOF = (MAX_WORDS - 1).bit_length()

_ZERO = bytes(32)


def _zero_roots() -> tuple[bytes, ...]:
    """The root of an unused subtree of each height, 0 to 8."""
    roots = [_ZERO]
    for _ in range(DEPTH):
        roots.append(keccak256(roots[-1] + roots[-1]))
    return tuple(roots)


_ZERO_ROOTS = _zero_roots()


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a batch, as the contract's struct: index (uint64), mask of its jobs (uint256), root (32 bytes)."""

    index: int
    mask: int
    root: bytes


class Proof(NamedTuple):
    """What leads from a leaf to its batch's root, as the contract's struct.

    `word` are 8 siblings from the leaf upwards, `mask` the word's mask, `batch` the siblings in the batch's tree from the
    word upwards, without an entry where the node is promoted. A batch makes thousands at once, and a tuple costs half of
    what a frozen dataclass does.
    """

    word: tuple[bytes, ...]
    mask: int
    batch: tuple[bytes, ...]


class WordTree:
    """The tree of one word, from its leaves by position (0 to 255).

    Raises:
        ValueError: no leaf, a position out of range, a leaf that is not 32 bytes or is the zero of an unused position.

    """

    def __init__(self, leaves: Mapping[int, bytes]) -> None:
        if not leaves:
            raise ValueError("a word needs at least one leaf")
        level = [_ZERO] * WORD_TICKETS
        mask = 0
        for position, leaf in leaves.items():
            if not 0 <= position < WORD_TICKETS:
                raise ValueError(f"position {position} lies outside 0 to {WORD_TICKETS - 1}")
            if len(leaf) != len(_ZERO) or leaf == _ZERO:
                raise ValueError(f"position {position}: a leaf is 32 bytes and not zero")
            level[position] = leaf
            mask |= 1 << position
        self._levels = [level]
        for zero, parent in pairwise(_ZERO_ROOTS):
            # Identity is enough: an unused subtree is always the one precomputed object.
            level = [
                parent if left is zero and right is zero else keccak256(left + right)
                for left, right in zip(level[::2], level[1::2], strict=True)
            ]
            self._levels.append(level)
        self.mask = mask
        self.root = level[0]

    def proof(self, position: int) -> tuple[bytes, ...]:
        """The 8 siblings of a used position, from the leaf upwards.

        Raises:
            KeyError: the position holds no leaf.

        """
        if not self.mask >> position & 1:
            raise KeyError(position)
        leaves, pairs, fours, eights, sixteens, thirties, sixties, halves, _ = self._levels
        return (
            leaves[position ^ 1],
            pairs[position >> 1 ^ 1],
            fours[position >> 2 ^ 1],
            eights[position >> 3 ^ 1],
            sixteens[position >> 4 ^ 1],
            thirties[position >> 5 ^ 1],
            sixties[position >> 6 ^ 1],
            halves[position >> 7 ^ 1],
        )


class BatchTree:
    """The tree over a batch's words.

    Raises:
        ValueError: not 1 to 512 words, indices that do not strictly ascend, words of several lanes or of no lane, a word
            whose mask or root is zero.

    """

    def __init__(self, words: Sequence[Word]) -> None:
        if not 1 <= len(words) <= MAX_WORDS:
            raise ValueError(f"a batch holds 1 to {MAX_WORDS} words, not {len(words)}")
        if any(one.index >= following.index for one, following in pairwise(words)):
            raise ValueError("the words of a batch must strictly ascend by index")
        first, last = (end.index >> 48 for end in (words[0], words[-1]))
        if first != last or first > MAX_LANE:
            raise ValueError(f"a batch lies in one lane, 0 to {MAX_LANE}; this one spans {first} to {last}")
        if any(one.mask == 0 or one.root == _ZERO for one in words):
            raise ValueError("each of the words of a batch names a job, and has a root that is not zero")
        level = [batch_leaf(one) for one in words]
        self._levels = [level]
        while len(level) > 1:
            parents = [_pair(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
            if len(level) % 2:
                parents.append(level[-1])
            level = parents
            self._levels.append(level)
        self.root = level[0]

    def proof(self, position: int) -> tuple[bytes, ...]:
        """The siblings of the word at `position` in the batch, from the leaf upwards, none where it is promoted."""
        siblings = []
        for level in self._levels[:-1]:
            if position ^ 1 < len(level):
                siblings.append(level[position ^ 1])
            position >>= 1
        return tuple(siblings)


class Seal:
    """A sealed batch: its words in order, its root, and the proof of each of its tickets."""

    def __init__(self, trees: Mapping[int, WordTree]) -> None:
        indices = sorted(trees)
        self.words = tuple(Word(index, trees[index].mask, trees[index].root) for index in indices)
        batch = BatchTree(self.words)
        self.root = batch.root
        self._trees = trees
        self._batch_proofs = {index: batch.proof(position) for position, index in enumerate(indices)}

    def proof(self, ticket: int) -> Proof:
        """The proof of a ticket of this batch.

        Raises:
            KeyError: the ticket is not in this batch.

        """
        index = word(ticket)
        tree = self._trees[index]
        return Proof(tree.proof(bit(ticket)), tree.mask, self._batch_proofs[index])


def seal_batch(leaves: Mapping[int, bytes]) -> Seal:
    """Seal leaves (32 bytes each) by ticket into one batch.

    Raises:
        ValueError: no leaf, a malformed leaf or ticket, tickets of several lanes, or more than 512 words.

    """
    by_word: dict[int, dict[int, bytes]] = {}
    for ticket, leaf in leaves.items():
        if not 0 <= lane(ticket) <= MAX_LANE:
            raise ValueError(f"ticket {ticket_hex(ticket)} lies in no lane")
        by_word.setdefault(word(ticket), {})[bit(ticket)] = leaf
    return Seal({index: WordTree(positions) for index, positions in by_word.items()})


def word_root(leaf: bytes, position: int, siblings: Sequence[bytes]) -> bytes:
    """The root that a leaf at `position` and its 8 siblings lead to."""
    node = leaf
    for height, sibling in enumerate(siblings):
        node = keccak256(sibling + node) if position >> height & 1 else keccak256(node + sibling)
    return node


def batch_leaf(one: Word) -> bytes:
    """`keccak256(abi.encode(uint64 index, uint256 mask, bytes32 root))`."""
    return keccak256(one.index.to_bytes(32) + one.mask.to_bytes(32) + one.root)


def batch_root(leaf: bytes, siblings: Iterable[bytes]) -> bytes:
    """The root that a batch leaf and its siblings lead to."""
    node = leaf
    for sibling in siblings:
        node = _pair(node, sibling)
    return node


def _pair(one: bytes, other: bytes) -> bytes:
    """One hash for both orders: proofs need no positions (OpenZeppelin's `Hashes.commutativeKeccak256`)."""
    return keccak256(one + other) if one < other else keccak256(other + one)
