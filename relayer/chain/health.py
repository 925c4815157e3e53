"""What one node is good for, judged by what it was seen to answer. No input or output happens here."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from relayer.chain.node import Block, BlockRef, Sight
from relayer.model.clock import Clock
from relayer.model.errors import JobsealError


class NodeState(StrEnum):
    """What a node is good for."""

    UNSEEN = "unseen"
    """Nobody has looked at it yet."""
    ALIVE = "alive"
    LAGGING = "lagging"
    """Its head lies too far below that of another node."""
    NO_NEW_HEADS = "no_new_heads"
    """Its head stands still. Where no node has a newer one the chain itself stands still, and the node is read from."""
    SILENT = "silent"
    """It does not answer; after three failures it is left alone for a minute."""
    THROTTLED = "throttled"
    """It wants to be asked less, and is left alone for as long."""
    REFUSING = "refusing"
    """It answers the plainest questions with errors."""
    WRONG_CHAIN = "wrong_chain"
    """It belongs to another chain."""
    FINALITY_BACK = "finality_back"
    """A block that it called final is not final any more, or is another one now."""


class WrongChainError(JobsealError):
    """Every node belongs to another chain than the registry."""


class FinalityViolationError(JobsealError):
    """A finalized block has changed: another chain answers at this address, or the chain broke its promise."""


@dataclass(frozen=True)
class HealthPolicy:
    """What is asked of a node.

    Attributes:
        max_lag: blocks by which its head may lie below the highest of all nodes.
        no_new_heads_after: how long its head may stand still; zero where blocks come only with transactions.
        finality_lag: by how much the finalized block is normally older than the latest one; three times as much is a
            stall of finality.
        fresh_for: how long what a look found holds.
        look_within: limit on a look at one node.
        send_within: limit on handing a transaction to one node.

    """

    max_lag: int = 5
    no_new_heads_after: timedelta = timedelta(minutes=3)
    finality_lag: timedelta = timedelta(minutes=17)
    fresh_for: timedelta = timedelta(seconds=1)
    look_within: timedelta = timedelta(seconds=3)
    send_within: timedelta = timedelta(seconds=10)


class NodeHealth:
    """The health of one node, moved by what is seen of it."""

    def __init__(self, chain_id: int, policy: HealthPolicy, clock: Clock) -> None:
        self.state = NodeState.UNSEEN
        self.trouble = "nobody has looked at it yet"
        self.latest: Block | None = None
        self.finalized: Block | None = None
        self.finality_stalled = False
        self._chain_id = chain_id
        self._policy = policy
        self._clock = clock
        self._head_moved_at = clock()
        self._broken: str | None = None
        self._known: BlockRef | None = None

    @property
    def remembered(self) -> Block | BlockRef | None:
        """The final block that the next look asks for: the last one that it had itself, else one that is on record."""
        return self.finalized or self._known

    def remember(self, known: BlockRef) -> None:
        """Hold it to a final block that is on record, as long as it has shown none itself."""
        self._known = known

    @property
    def broken(self) -> bool:
        """Whether it contradicted what is final, for which it is never used again."""
        return self._broken is not None

    def saw(self, sight: Sight) -> None:
        """Judge what it answered by itself; `compare` judges it beside the others."""
        if sight.chain_id != self._chain_id:
            self._be(NodeState.WRONG_CHAIN, f"it is of chain {sight.chain_id}, not {self._chain_id}")
            return
        if self.latest is None or sight.latest.hash != self.latest.hash:
            self._head_moved_at = self._clock()
        self.latest = sight.latest
        if (reason := self._finality_broken(sight)) is not None:
            self._be(NodeState.FINALITY_BACK, reason)
            return
        self.finalized = sight.finalized or self.finalized
        self.finality_stalled = self._stalls()
        stood = self._clock() - self._head_moved_at
        if self._policy.no_new_heads_after and stood > self._policy.no_new_heads_after:
            self._be(NodeState.NO_NEW_HEADS, f"its head {sight.latest.number} stands still")
        else:
            self._be(NodeState.ALIVE, "")

    def compare(self, highest: int) -> None:
        """Judge it beside the highest head of all nodes."""
        if self.state is NodeState.ALIVE and self.lag(highest) > self._policy.max_lag:
            self._be(
                NodeState.LAGGING, f"its head lies {self.lag(highest)} blocks below that of another node"
            )

    def lag(self, highest: int) -> int:
        """How many blocks its head lies below a height."""
        return 0 if self.latest is None else max(0, highest - self.latest.number)

    def did_not(self, state: NodeState, reason: str) -> None:
        """Note that it gave no answer that could be judged. What is known of its finality stays known."""
        if self._broken is None:
            self._be(state, reason)

    def distrust(self, reason: str) -> None:
        """Never use it again: it contradicts what is final."""
        self._broken = reason
        self._be(NodeState.FINALITY_BACK, reason)

    def _finality_broken(self, sight: Sight) -> str | None:
        known = self.remembered
        if self._broken is None and known is not None:
            height, now = known.number, sight.remembered
            is_final = self.finalized is not None or (sight.finalized and sight.finalized.number >= height)
            # What is on record may have moved on while the node was asked for what was known before.
            if is_final and now is not None and now.number == height and now.hash != known.hash:
                self._broken = (
                    f"its block {height} was final as 0x{known.hash.hex()} and is 0x{now.hash.hex()} now"
                )
            elif self.finalized and (sight.finalized is None or sight.finalized.number < height):
                # Many machines may stand behind one address, and some lag: this may pass.
                return f"its finalized block fell back below {height}"
        return self._broken

    def _stalls(self) -> bool:
        if self.latest is None or self.finalized is None:
            return False
        return self.latest.mined_at - self.finalized.mined_at > 3 * self._policy.finality_lag

    def _be(self, state: NodeState, trouble: str) -> None:
        self.state = state
        self.trouble = trouble
