"""What database and chain may disagree about, and what is done about each: the rule table of reconciliation.

Whoever is wrong decides the action. Where the chain has more, the database follows. Where the database claims more than
the chain has, nothing is ever sent again by itself: the registry is frozen until a human has looked.
"""

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What reconciliation does about a difference."""

    FIX = "fix"
    """Fetch the event and apply it as the indexer does."""
    FREEZE = "freeze"
    """Stop sealing and sending for the registry, and page; an operator thaws it."""
    HOLD = "hold"
    """Keep what was seen of the registry, by which its batches are held."""
    ALERT = "alert"
    """Tell an operator; another loop, or a human, mends it."""
    WARN = "warn"
    """Tell an operator in time; nothing is wrong yet."""


class DifferenceClass(StrEnum):
    """A row of the rule table; also the label of its metric."""

    CHAIN_CHANGED = "chain_changed"
    UNCONFIRMED_BATCH = "unconfirmed_batch"
    UNCONFIRMED_JOBS = "unconfirmed_jobs"
    RELEASED_BATCH = "released_batch"
    MISSING_BITS = "missing_bits"
    UNKNOWN_EVENT = "unknown_event"
    UNAPPLIED_BATCH = "unapplied_batch"
    UNAPPLIED_JOBS = "unapplied_jobs"
    MISSING_EVENT = "missing_event"
    FOREIGN_BATCH = "foreign_batch"
    UNAPPLIED_REVOCATION = "unapplied_revocation"
    FOREIGN_BITS = "foreign_bits"
    LEAF_COUNT = "leaf_count"
    REGISTRY_STATE = "registry_state"
    OVERDUE_SLOT = "overdue_slot"
    SUPERSEDED_SLOT = "superseded_slot"
    NONCE_GAP = "nonce_gap"
    INDEXER_BEHIND = "indexer_behind"
    BALANCE_OUT = "balance_out"
    BALANCE_LOW = "balance_low"


@dataclass(frozen=True)
class Rule:
    """What a difference is, for a person, and what is done."""

    action: Action
    meaning: str


RULES = {
    DifferenceClass.CHAIN_CHANGED: Rule(
        Action.FREEZE, "chain id, genesis block or a final block is another one; nothing else is compared"
    ),
    DifferenceClass.UNCONFIRMED_BATCH: Rule(
        Action.FREEZE, "the batch is final in the database, and the registry does not know its root"
    ),
    DifferenceClass.UNCONFIRMED_JOBS: Rule(
        Action.FREEZE, "jobs are confirmed in the database, and the registry does not know their root"
    ),
    DifferenceClass.RELEASED_BATCH: Rule(
        Action.FREEZE, "the batch was released to be sealed again, and the registry knows its root"
    ),
    DifferenceClass.MISSING_BITS: Rule(
        Action.FREEZE, "tickets are confirmed in the database, and not spent in the registry"
    ),
    DifferenceClass.UNKNOWN_EVENT: Rule(
        Action.FREEZE, "the database keeps a final event that the chain does not have"
    ),
    DifferenceClass.UNAPPLIED_BATCH: Rule(
        Action.FIX, "the registry knows the root, and the batch is not final in the database"
    ),
    DifferenceClass.UNAPPLIED_JOBS: Rule(
        Action.FIX, "the batch is final, and some of its jobs are not confirmed"
    ),
    DifferenceClass.MISSING_EVENT: Rule(Action.FIX, "the chain has a final event that the database lacks"),
    DifferenceClass.FOREIGN_BATCH: Rule(
        Action.FIX,
        "somebody else confirmed a batch; it is imported, and its submitter should be known to you",
    ),
    DifferenceClass.UNAPPLIED_REVOCATION: Rule(
        Action.FIX, "tickets are revoked in the registry, and their jobs are not"
    ),
    DifferenceClass.FOREIGN_BITS: Rule(
        Action.ALERT, "tickets are spent in the registry under no root that the database knows"
    ),
    DifferenceClass.LEAF_COUNT: Rule(
        Action.ALERT, "the registry counts another number of jobs in the batch than the database"
    ),
    DifferenceClass.REGISTRY_STATE: Rule(
        Action.HOLD, "pause, role or code of the registry are not what was last observed"
    ),
    DifferenceClass.OVERDUE_SLOT: Rule(
        Action.ALERT, "a nonce slot is open for more than an hour; the sender sends it again and pays more"
    ),
    DifferenceClass.SUPERSEDED_SLOT: Rule(
        Action.ALERT, "the nonce was used in a final block, and nothing signed for the slot has a receipt"
    ),
    DifferenceClass.NONCE_GAP: Rule(
        Action.ALERT, "the account's next nonce lies below the lowest open slot; the sender fills the gap"
    ),
    DifferenceClass.INDEXER_BEHIND: Rule(
        Action.ALERT, "final blocks are not read; what they hold cannot be compared"
    ),
    DifferenceClass.BALANCE_OUT: Rule(
        Action.ALERT, "the sender can pay for fewer than 3 transactions at the cap; top it up now"
    ),
    DifferenceClass.BALANCE_LOW: Rule(
        Action.WARN, "the sender can pay for fewer than 20 transactions at the cap; top it up"
    ),
}
"""The rule table, the gravest first."""


@dataclass(frozen=True)
class Difference:
    """One disagreement: about what, what either side says, and in which block the event lies, where it is known.

    `database` and `chain` are for people; None where that side has nothing.
    """

    kind: DifferenceClass
    subject: str
    database: str | None = None
    chain: str | None = None
    block: int | None = None

    @property
    def action(self) -> Action:
        """What the rule table says is done."""
        return RULES[self.kind].action
