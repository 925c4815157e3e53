"""Why a batch waits: closed lists, which the database holds too. `docs/runbook.md` says what each asks of an operator."""

from enum import StrEnum


class HoldReason(StrEnum):
    """Why no nonce is taken for a batch. It goes on by itself when the reason is gone."""

    PAUSED = "paused"
    """The registry is paused."""
    ROLE_LOST = "role_lost"
    """The sender's account has the registry's CONFIRMER_ROLE no longer."""
    CODE_CHANGED = "code_changed"
    """The registry's code is not the one that was registered, until an operator accepts it."""
    FUNDS = "funds"
    """The sender's account cannot pay for three transactions at the cap."""
    FEE_CAP = "fee_cap"
    """The market asks for more than the cap."""
    FROZEN = "frozen"
    """The database claims more than the chain has, until an operator thaws the registry."""
    PROVIDER = "provider"
    """No node gives answers that can be relied on; what has a nonce already is sent again when one does."""
    QUORUM = "quorum"
    """The batch's lane is closed, or more confirmers than one have to sign; other lanes go on."""


class HumanReason(StrEnum):
    """Why a batch waits for an operator. Nothing retries it by itself."""

    INTEGRITY = "integrity"
    """Tickets of the batch are spent on chain under another root."""
    ROLE = "role"
    """The registry does not let this account do it, though it seemed to have the role."""
    SHAPE = "shape"
    """The registry refuses the batch as it is built."""
    BUSINESS = "business"
    """A rule of the registry forbids it, and time does not change that: a deadline that has passed, a signature that is none."""
    GAS = "gas"
    """It needs more gas than a transaction may have, or ran out of it again and again."""
    REVERTED = "reverted"
    """It reverts for a reason that nobody knows."""
    FOREIGN_NONCE = "foreign_nonce"
    """Its nonce was used by a transaction that this platform did not sign: somebody else has the key."""
    UNKNOWN_ANSWER = "unknown_answer"
    """Nodes refuse its transaction with words that nobody knows."""
    NODE_LIMIT = "node_limit"
    """A node's own limits refuse its transaction, for example its cap on fees."""
    SIGNATURE = "signature"
    """Nodes say that its transaction is signed wrongly, or for another chain."""
    CANCELLED = "cancelled"
    """An operator cancelled its transaction, and nothing of it can land any more."""
