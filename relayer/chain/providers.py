"""Several nodes of one chain: which of them to believe, which to read from, and whom to hand transactions to.

Reads of a pass come from one pinned node, so that they agree with each other. Transactions go to every usable node at
once. That a node gave no answer never means that it did not take the transaction.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from eth_hash.backends.pysha3 import keccak256

from relayer.chain.answers import AnswerClass, classify
from relayer.chain.health import (
    FinalityViolationError,
    HealthPolicy,
    NodeHealth,
    NodeState,
    WrongChainError,
)
from relayer.chain.node import BlockRef, Node
from relayer.chain.rpc import JsonRpc, RpcError, RpcThrottledError, RpcUnavailableError
from relayer.model.breaker import Breaker
from relayer.model.clock import Clock
from relayer.store.shared_look import SharedLook

# Facts that an operator must look at; anything else may pass by itself.
_ALARMING = (NodeState.WRONG_CHAIN, NodeState.FINALITY_BACK)
# Nodes of the chain that answer, and are not known to lie.
_ANSWERING = (NodeState.ALIVE, NodeState.LAGGING, NodeState.NO_NEW_HEADS)

_log = structlog.get_logger()


@dataclass(frozen=True)
class SendAnswer:
    """What one node said to `eth_sendRawTransaction`.

    Attributes:
        address: the node, without path, query and credentials.
        kind: UNAVAILABLE when no answer came: the node may have the transaction or not.
        text: the node's own words, None when it accepted.

    """

    address: str
    kind: AnswerClass
    text: str | None


class Providers:
    """The nodes of one chain, in the order in which they are preferred.

    Args:
        nodes: one or more.
        chain_id: the chain that they have to be of (EIP-155).
        policy: what is asked of a node.
        clock: by which a head that stands still is told.

    """

    def __init__(
        self,
        nodes: Sequence[JsonRpc],
        chain_id: int,
        *,
        policy: HealthPolicy | None = None,
        clock: Clock,
    ) -> None:
        if not nodes:
            raise ValueError("JOBSEAL_CHAIN_RPC_URLS: expected at least one address")
        self.chain_id = chain_id
        self._policy = policy or HealthPolicy()
        self._health = {rpc: NodeHealth(chain_id, self._policy, clock) for rpc in nodes}
        self._looks: SharedLook[None, None] = SharedLook()
        self._looked_at: float | None = None

    # --- health ---------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Look at every node at once, unless that was done a moment ago; bounded in time, raises nothing."""
        fresh = self._policy.fresh_for.total_seconds()
        if self._looked_at is None or time.monotonic() - self._looked_at >= fresh:
            await self._looks(None, self._look)

    def health(self) -> list[tuple[str, NodeState, int]]:
        """Each node's address, state, and how many blocks its head lies below the highest."""
        highest = self._highest()
        return [(rpc.address, health.state, health.lag(highest)) for rpc, health in self._health.items()]

    @property
    def breakers(self) -> Sequence[Breaker]:
        """The breaker of every node."""
        return [rpc.breaker for rpc in self._health]

    @property
    def finality_stalled(self) -> bool:
        """Whether on every usable node the finalized block is far older than it should be."""
        usable = self._fit()
        return bool(usable) and all(self._health[rpc].finality_stalled for rpc in usable)

    def remember(self, known: BlockRef) -> None:
        """Hold the nodes that have shown no final block yet to one that is on record."""
        for health in self._health.values():
            health.remember(known)

    def distrust(self, rpc: JsonRpc, reason: str) -> None:
        """Never use a node again: what it says contradicts what is final."""
        health = self._health[rpc]
        before = health.state
        health.distrust(reason)
        self._tell(rpc, before)

    # --- use ------------------------------------------------------------------------------------------------

    def pinned(self) -> JsonRpc:
        """Give the node that a pass reads from.

        Raises:
            RpcUnavailableError: none is usable; it tells the trouble of each.
            WrongChainError: all of them are of another chain.
            FinalityViolationError: all that could be read from contradict what was final.

        """
        return self.usable()[0]

    def usable(self) -> tuple[JsonRpc, ...]:
        """Give every node that is fit for reads, the pinned one first; raises as `pinned` does."""
        if fit := self._fit():
            return fit
        states = {health.state for health in self._health.values()}
        troubles = "; ".join(f"{rpc.address}: {health.trouble}" for rpc, health in self._health.items())
        if states == {NodeState.WRONG_CHAIN}:
            raise WrongChainError(
                f"no node is of chain {self.chain_id} ({troubles}); correct JOBSEAL_CHAIN_RPC_URLS"
            )
        if all(health.broken for health in self._health.values()):
            raise FinalityViolationError(
                f"{troubles}; check that chain {self.chain_id} is still the same before going on"
            )
        raise RpcUnavailableError(f"no usable node of chain {self.chain_id}: {troubles}")

    def witnesses(self) -> tuple[JsonRpc, ...]:
        """Give every node of the chain that answers, those that lag too: all are asked about what cannot be taken back.

        One node alone, whose head seems to be far ahead of all others, would else be its own witness.
        """
        return tuple(rpc for rpc, health in self._health.items() if health.state in _ANSWERING)

    async def broadcast(self, raw: bytes) -> list[SendAnswer]:
        """Hand a signed transaction to every usable node at once, each bounded in time.

        Raises:
            RpcUnavailableError: no node is usable, and none was sent anything.

        """
        return list(await asyncio.gather(*(self._hand(rpc, raw) for rpc in self.usable())))

    # --- inside ---------------------------------------------------------------------------------------------

    def _fit(self) -> tuple[JsonRpc, ...]:
        for state in (NodeState.ALIVE, NodeState.NO_NEW_HEADS):
            if fit := tuple(rpc for rpc, health in self._health.items() if health.state is state):
                return fit
        return ()

    def _highest(self) -> int:
        heads = [one.latest.number for one in self._health.values() if one.latest and one.state in _ANSWERING]
        return max(heads, default=0)

    async def _look(self) -> None:
        before = {rpc: health.state for rpc, health in self._health.items()}
        stalled = self.finality_stalled
        asked = [rpc for rpc in self._health if self._may_ask(rpc)]
        await asyncio.gather(*(self._look_at(rpc) for rpc in asked))
        if not self._fit():
            # A pause is of use only while another node serves.
            await asyncio.gather(*(self._look_at(rpc) for rpc in self._health if rpc not in asked))
        highest = self._highest()
        for rpc, health in self._health.items():
            health.compare(highest)
            self._tell(rpc, before[rpc])
        if self.finality_stalled is not stalled:
            say = _log.warning if stalled else _log.error
            say("finality_moves_again" if stalled else "finality_stalled", chain=self.chain_id)
        self._looked_at = time.monotonic()

    def _may_ask(self, rpc: JsonRpc) -> bool:
        """Whether a node is not left alone for now, for what it did in passes as well as in looks."""
        health = self._health[rpc]
        if pause := rpc.throttle.seconds:
            health.did_not(NodeState.THROTTLED, f"it was asked too much, and is left alone for {pause:.0f} s")
            return False
        if not rpc.breaker.allows():
            pause = rpc.breaker.seconds_to_probe
            health.did_not(NodeState.SILENT, f"it did not answer, and is left alone for {pause:.0f} s")
            return False
        return True

    async def _look_at(self, rpc: JsonRpc) -> None:
        health = self._health[rpc]
        try:
            async with asyncio.timeout(self._policy.look_within.total_seconds()):
                health.saw(await Node(rpc).sight(health.remembered))
        except TimeoutError:
            rpc.breaker.failed()
            limit = self._policy.look_within.total_seconds()
            health.did_not(NodeState.SILENT, f"no answer within {limit:g} s")
        except RpcThrottledError as error:
            health.did_not(NodeState.THROTTLED, str(error))
        except RpcUnavailableError as error:
            health.did_not(NodeState.SILENT, str(error))
        except RpcError as error:
            health.did_not(
                NodeState.REFUSING,
                f"{error}; for a chain without finalized blocks set JOBSEAL_CHAIN_FINALITY_DEPTH",
            )

    async def _hand(self, rpc: JsonRpc, raw: bytes) -> SendAnswer:
        try:
            async with asyncio.timeout(self._policy.send_within.total_seconds()):
                answer = await rpc.call("eth_sendRawTransaction", (f"0x{raw.hex()}",))
        except TimeoutError:
            rpc.breaker.failed()
            return SendAnswer(rpc.address, AnswerClass.UNAVAILABLE, "no answer in time")
        except RpcUnavailableError as error:
            return SendAnswer(rpc.address, AnswerClass.UNAVAILABLE, str(error))
        except RpcError as error:
            return SendAnswer(rpc.address, classify(error.message), error.message)
        if answer != f"0x{keccak256(raw).hex()}":
            return SendAnswer(
                rpc.address, AnswerClass.UNAVAILABLE, f"accepted as another transaction: {str(answer)[:80]}"
            )
        return SendAnswer(rpc.address, AnswerClass.ACCEPTED, None)

    def _tell(self, rpc: JsonRpc, before: NodeState) -> None:
        health = self._health[rpc]
        if health.state is not before:
            say = _log.info if health.state is NodeState.ALIVE else _log.warning
            say = _log.error if health.state in _ALARMING else say
            say(
                "node_state",
                node=rpc.address,
                state=health.state.value,
                before=before.value,
                trouble=health.trouble or None,
            )
