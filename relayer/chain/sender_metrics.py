"""What the sender counts and shows, for Prometheus."""

from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from relayer.chain.answers import AnswerClass
from relayer.chain.fee import Keep
from relayer.chain.ledger import View
from relayer.chain.slots import Slot, SlotState

_OPEN = (SlotState.RESERVED, SlotState.SIGNED, SlotState.BROADCAST, SlotState.INCLUDED)


class SenderMetrics:
    """The metrics of one account."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "jobseal_sender_answers",
            "Answers of nodes to transactions, by class",
            ["answer_class"],
            registry=registry,
        )
        self._signed = Counter(
            "jobseal_sender_signed", "Transactions signed, replacements included", registry=registry
        )
        self._signing = Histogram(
            "jobseal_sender_signing_seconds",
            "How long the signer took for a transaction, also where it gave none",
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 30),
            registry=registry,
        )
        self._bumps = Counter("jobseal_sender_bumps", "Replacements of stuck transactions", registry=registry)
        self._kept = Counter(
            "jobseal_sender_fees_kept",
            "Times that a stuck transaction kept its fee, by why",
            ["why"],
            registry=registry,
        )
        self._foreign = Counter(
            "jobseal_sender_foreign_transactions",
            "Transactions of the account that were not signed here",
            registry=registry,
        )
        self._fee_ratio = Gauge(
            "jobseal_sender_fee_cap_ratio",
            "Fee of the last stuck transaction, in parts of the most that may be paid",
            registry=registry,
        )
        self._balance = Gauge(
            "jobseal_sender_balance_transactions",
            "How many transactions at the most that would be paid the balance covers",
            registry=registry,
        )
        self._slots = Gauge(
            "jobseal_sender_open_slots", "Nonces that are not settled, by state", ["state"], registry=registry
        )
        self._attempts = Gauge(
            "jobseal_sender_attempts", "Most transactions signed for one open nonce", registry=registry
        )
        self._nonces = Gauge(
            "jobseal_sender_nonce",
            "Next nonce: of the latest block, of the finalized one, of the database",
            ["of"],
            registry=registry,
        )

    def answered(self, kind: AnswerClass) -> None:
        """Count the answer of one node to one transaction."""
        self._answers.labels(kind.value).inc()

    def signing(self) -> AbstractContextManager[object]:
        """Time a call of the signer."""
        return self._signing.time()

    def signed(self) -> None:
        """Count a signed transaction."""
        self._signed.inc()

    def bumped(self) -> None:
        """Count a replacement."""
        self._bumps.inc()

    def kept(self, why: Keep) -> None:
        """Count a stuck transaction that keeps its fee."""
        self._kept.labels(why.value).inc()

    def exhausted(self) -> None:
        """Count a stuck transaction that was replaced as often as may be."""
        self._kept.labels("attempts").inc()

    def foreign(self) -> None:
        """Count a transaction of the account that was not signed here."""
        self._foreign.inc()

    def priced(self, fee: int, most: int) -> None:
        """Show what a stuck transaction pays of what may be paid, in wei for a unit of gas."""
        self._fee_ratio.set(fee / most if most else 1)

    def balance(self, transactions: int) -> None:
        """Show how many transactions the balance covers."""
        self._balance.set(transactions)

    def saw(self, slots: Sequence[Slot], view: View) -> None:
        """Show how the account stands after a pass."""
        tally = Tally(slot.state for slot in slots)
        for state in _OPEN:
            self._slots.labels(state.value).set(tally[state])
        self._attempts.set(max((len(slot.attempts) for slot in slots), default=0))
        self._nonces.labels("latest").set(view.account.nonce)
        self._nonces.labels("finalized").set(view.account.finalized_nonce)
        highest = max((slot.nonce + 1 for slot in slots), default=view.account.nonce)
        self._nonces.labels("database").set(max(highest, view.account.nonce))
