"""The life of nonces as a state machine: passes, answers, blocks, reorganisations, operators and deaths, in any order.

Everything is real but the answers of nodes and the rules of their pools: the sender, batcher and indexer on PostgreSQL,
anvil and the registry, called step by step, so that Hypothesis can put any step between any two others. After every step
the rows must tell a sound story; in the end every batch is confirmed, released, or waits for a human.
"""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import structlog
from chaos import judge
from chaos.process import LOOPS
from chaos.store import Store
from chaos.world import FINAL_AFTER, World, begin, connections
from faultproxy.answers import SEND, FalseError, FalseSuccess, Lose, Refuse
from faultproxy.calls import Fault, Loss
from faultproxy.scope import Only
from faultproxy.transactions import read
from ground import Ground
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from relayer.batches import desk, nonce_desk
from relayer.batches.desk import DeskError
from relayer.batches.reasons import HumanReason
from relayer.chain.node import Node
from relayer.chain.slots import TRANSITIONS, SlotState
from relayer.store.runner import Runner

T = TypeVar("T")
ASKS = frozenset(HumanReason) - {HumanReason.INTEGRITY}
TERMINAL = {SlotState.FINAL, SlotState.REVERTED, SlotState.SUPERSEDED, SlotState.CANCELLED}
_MOST_TURNS = 60
_WELL = 4
"""So many of the answers are those of nodes that are well."""
ANSWERS: list[Fault | None] = [
    *[None] * _WELL,
    Lose(Loss.CLOSED),
    Lose(Loss.CLOSED, before=True),
    FalseSuccess(),
    FalseError("internal error", -32603),
    *(
        Refuse(text)
        for text in (
            "already known",
            "nonce too low",
            "nonce too high",
            "replacement transaction underpriced",
            "transaction underpriced",
            "txpool is full",
            "already reserved",
            "insufficient funds for gas * price + value",
            "intrinsic gas too low",
            "tx fee (1.20 ether) exceeds the configured cap (1.00 ether)",
            "invalid sender",
            "oversized data",
            "the moon is in the wrong house",
        )
    ),
]


def _reachable() -> set[tuple[SlotState, SlotState]]:
    """Every pair of states of which the second may follow the first within one step."""
    found = {(state, state) for state in SlotState} | set(TRANSITIONS)
    while more := {(a, d) for a, b in found for c, d in TRANSITIONS if b == c} - found:
        found |= more
    return found


REACHABLE = _reachable()


class House:
    """What all runs share: an event loop, the servers, and connections to them."""

    def __init__(self, ground: Ground, store: Store, folder: Path) -> None:
        self.ground = ground
        self.store = store
        self.folder = folder
        self.runner = Runner()
        self._stack = AsyncExitStack()
        self.opened = self.run(
            self._stack.enter_async_context(connections(ground, store.owner, store.relayer))
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def close(self) -> None:
        self.run(self._stack.aclose())
        self.runner.close()


class Nonces(RuleBasedStateMachine):
    """One run, in which two processes may lead."""

    house: House

    @initialize()
    def begin(self) -> None:
        house = self.house
        house.store.empty()
        self.world: World = house.run(begin(house.ground, house.opened, house.folder, 0))
        self.slots: dict[UUID, SlotState] = {}
        self.ended: dict[UUID, str] = {}
        self.seal(4)
        self.run(self.world.leader.run("sender"))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.house.run(work)

    # --- passes -------------------------------------------------------------------------------------------------

    @rule(count=st.integers(4, 9))
    def seal(self, count: int) -> None:
        self.run(self.world.finish_jobs(count))
        self.run(self.world.leader.run("batcher"))

    @rule(answer=st.sampled_from(ANSWERS), both=st.booleans())
    def send(self, answer: Fault | None, both: bool) -> None:
        """Take nonces, sign, send, settle; one node or both answer as said."""
        proxies = self.world.connections.proxies[: 2 if both else 1]
        fault = None if answer is None else Only(answer, SEND)
        if fault is not None:
            for proxy in proxies:
                proxy.faults.insert(0, fault)
        self.run(self.world.leader.run("sender"))
        if fault is not None:
            for proxy in proxies:
                proxy.faults.remove(fault)

    @rule()
    def take_turns(self) -> None:
        """Let every loop do a pass, and a block pass."""
        self.run(self._turn())

    async def _turn(self) -> None:
        for loop in LOOPS:
            await self.world.leader.run(loop)
        await self.world.pass_block()

    @rule()
    def index(self) -> None:
        self.run(self.world.leader.run("indexer"))

    @rule(after=st.integers(1, 8))
    def die(self, after: int) -> None:
        """Be killed after so many effects, and be followed by the next process."""
        self.world.leader.life.die(after)
        self.run(self.world.leader.run("sender"))

    @rule()
    def change_leader(self) -> None:
        """Another process leads; the old one wakes up, and nothing of it counts."""
        self.world.processes.reverse()
        self.run(self.world.leader.lead())
        old = self.world.processes[-1]
        old.life.rise()
        assert self.run(old.run("sender")) == "LeaseLostError"

    # --- the chain ----------------------------------------------------------------------------------------------

    @rule(blocks=st.sampled_from([1, 1, 2, FINAL_AFTER + 1]))
    def mine(self, blocks: int) -> None:
        """Make blocks of what the pools hold; of so many, what was mined before them is final."""
        for _ in range(blocks):
            self.run(self.world.pass_block())

    @rule(pick=st.integers(0, 9), sees=st.booleans())
    def mine_any_attempt(self, pick: int, sees: bool) -> None:
        """Mine any of what was ever signed for the next nonce, not only the dearest."""

        async def work() -> None:
            nonce = await self.world.nonce()
            signed = await self.world.rows(
                "SELECT a.raw FROM tx_attempts a JOIN chain_txs t ON t.id = a.chain_tx_id WHERE t.nonce = %s "
                "ORDER BY a.max_fee_per_gas, a.hash",
                nonce,
            )
            if signed:
                await self._forget()
                raw = f"0x{signed[pick % len(signed)][0].hex()}"
                await self.world.connections.direct.call(SEND, (raw,))
                await self.world.chain.mine()

        self.run(work())
        self._look(sees)

    @rule(depth=st.integers(1, FINAL_AFTER - 1), sees=st.booleans())
    def reorganise(self, depth: int, sees: bool) -> None:
        self.run(self.world.chain.reorganise(depth))
        self._look(sees)

    @rule()
    def lose_the_pools(self) -> None:
        self.run(self._forget())

    @rule(sees=st.booleans())
    def use_the_key_elsewhere(self, sees: bool) -> None:
        async def work() -> None:
            await self._forget()
            self.world.foreign_nonces.add(await self.world.nonce())
            await self.world.chain.transact(self.world.ground.ours, b"", target=self.world.ground.ours)
            await self.world.chain.mine()

        self.run(work())
        self._look(sees)

    def _look(self, sees: bool) -> None:
        """Let the sender see it at once, or only together with what comes next."""
        if sees:
            self.run(self.world.leader.run("sender"))

    async def _forget(self) -> None:
        for pool in self.world.pools:
            pool.forget()
        await self.world.chain.drop_transactions()

    # --- operators ----------------------------------------------------------------------------------------------

    @rule(pick=st.integers(0, 9), act=st.sampled_from(["retry", "cancel", "release", "release"]))
    def operate(self, pick: int, act: str) -> None:
        """Do something about any batch; what does not fit is refused."""

        async def work() -> None:
            batches = await self.world.rows("SELECT id FROM batches ORDER BY sealed_at, id")
            if not batches:
                return
            (batch,) = batches[pick % len(batches)]
            async with self.world.connections.owner.transaction() as conn:
                waiting = (await desk.explain(conn, batch)).batch
            sight = await desk.look(self.house.opened.clients[0][0], waiting)
            async with self.world.connections.owner.transaction() as conn:
                match act:
                    case "retry":
                        await desk.retry(conn, batch)
                    case "cancel":
                        await desk.cancel(conn, batch, self.world.clock())
                    case _:
                        await desk.release(conn, batch, sight)

        with suppress(DeskError):
            self.run(work())

    # --- what holds -----------------------------------------------------------------------------------------------

    @invariant()
    def is_sound(self) -> None:
        self.run(self._require_sound())

    async def _require_sound(self) -> None:
        rows = await self.world.rows("SELECT id, nonce, state, batch_id FROM chain_txs ORDER BY nonce")
        nonces = [nonce for _, nonce, _, _ in rows]
        assert len(nonces) == len(set(nonces)), "a nonce was given twice"
        states = {one: SlotState(state) for one, _, state, _ in rows}
        final = await self._final_nonce()
        for one, nonce, _, _ in rows:
            before, now = self.slots.get(one, SlotState.RESERVED), states[one]
            assert (before, now) in REACHABLE, f"{before} became {now}"
            if now in TERMINAL - {before}:
                assert nonce < final, f"nonce {nonce} is {now} before a final block has used it"
        self.slots = states
        open_ = [(nonce, batch) for one, nonce, _, batch in rows if states[one] not in TERMINAL]
        batches = [batch for _, batch in open_ if batch is not None]
        assert len(batches) == len(set(batches)), "a batch has two open slots"
        if open_:
            below = set(range(await self.world.nonce(), open_[-1][0])) - set(nonces)
            assert below <= self.world.foreign_nonces, f"nonces {below} are missing below open ones"
        for nonce, raw in await self.world.rows(
            "SELECT t.nonce, a.raw FROM tx_attempts a JOIN chain_txs t ON t.id = a.chain_tx_id"
        ):
            assert read(f"0x{raw.hex()}").nonce == nonce, "something was signed for another nonce"
        await self._require_ends()

    async def _final_nonce(self) -> int:
        """How many nonces final blocks have used."""
        node = Node(self.house.opened.clients[0][0])
        return (await node.account(self.world.ground.ours)).finalized_nonce

    async def _require_ends(self) -> None:
        """What is final stays so. What was released cannot land; jobs that are sealed together again make the batch it was."""
        ended = dict(
            await self.world.rows("SELECT id, state FROM batches WHERE state IN ('final', 'released')")
        )
        for one, state in self.ended.items():
            assert state == "released" or ended.get(one) == "final", "a batch was final and is not any more"
        for one, state in ended.items():
            if state == "released" and self.ended.get(one) != "released":
                await self._require_dead(one)
        self.ended = ended

    async def _require_dead(self, batch: UUID) -> None:
        final = await self._final_nonce()
        for nonce, state in await self.world.rows(
            "SELECT nonce, state FROM chain_txs WHERE batch_id = %s", batch
        ):
            assert nonce < final, f"a batch was released while nonce {nonce} is not used for good"
            assert SlotState(state) in TERMINAL - {SlotState.FINAL}
        ((root,),) = await self.world.rows("SELECT root FROM batches WHERE id = %s", batch)
        assert await self.world.client.batch(root) is None

    # --- the end --------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.run(self._end())

    async def _end(self) -> None:
        """Let nodes be well, and an operator have sent again what they refused: everything comes to rest."""
        self.world.leader.life.rise()
        for _ in range(_MOST_TURNS):
            await self._turn()
            if await judge.at_rest(self.world):
                break
            await self._send_again()
        await self._require_sound()
        assert await judge.at_rest(self.world), await self.world.rows("SELECT nonce, state FROM chain_txs")
        assert await judge.flaws(self.world, ASKS) == []

    async def _send_again(self) -> None:
        async with self.world.connections.owner.transaction() as conn:
            for batch in await desk.list_waiting(conn):
                if batch.state == "needs_human" and batch.nonce is not None:
                    with suppress(DeskError):
                        await desk.retry(conn, batch.id)
            for refused in await nonce_desk.list_refused(conn):
                await nonce_desk.retry(conn, refused.slot.id)


def test_any_order_of_steps_keeps_nonces_sound(
    deployed: Ground, postgres_urls: Any, tmp_path: Path, empty: Callable[[], None]
) -> None:
    empty()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    house = House(
        deployed, Store(postgres_urls.owner, postgres_urls.relayer, postgres_urls.superuser), tmp_path
    )
    try:
        deep = settings.default is not None and settings.default.max_examples > 1_000
        run_state_machine_as_test(
            type("TheNonces", (Nonces,), {"house": house}),
            settings=settings(
                max_examples=150 if deep else 4,
                stateful_step_count=60 if deep else 40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        house.close()
        structlog.reset_defaults()
