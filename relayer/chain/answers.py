"""What a node's refusal to take a transaction means. Clients word it differently; the words are the only sign."""

import re
from enum import StrEnum


class AnswerClass(StrEnum):
    """What an answer to `eth_sendRawTransaction` says about the transaction."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    UNAVAILABLE = "unavailable"
    """No answer: the node may have it or not."""
    NONCE_TOO_LOW = "nonce_too_low"
    NONCE_GAP = "nonce_gap"
    UNDERPRICED = "underpriced"
    POOL_FULL = "pool_full"
    NO_FUNDS = "no_funds"
    GAS = "gas"
    UNKNOWN = "unknown"

    @property
    def in_pool(self) -> bool:
        """Whether the node has the transaction."""
        return self in (AnswerClass.ACCEPTED, AnswerClass.KNOWN)


_PATTERNS = (
    (AnswerClass.KNOWN, r"already known|already imported|(?<!un)known transaction|alreadyknown"),
    (AnswerClass.NONCE_TOO_LOW, r"nonce too low|oldnonce|invalid transaction nonce|stale"),
    (AnswerClass.NONCE_GAP, r"nonce too high|noncegap|exceeds next nonce"),
    (AnswerClass.UNDERPRICED, r"underpriced|replacementnotallowed|feetoolow|less than block base fee"),
    (AnswerClass.POOL_FULL, r"pool is full|queue full|limit reached|in-flight"),
    (AnswerClass.NO_FUNDS, r"insufficient (funds|balance)"),
    (AnswerClass.GAS, r"intrinsic gas|floor data gas|block gas limit"),
)


def classify(message: str) -> AnswerClass:
    """Read a node's error message."""
    lowered = message.lower()
    return next((kind for kind, pattern in _PATTERNS if re.search(pattern, lowered)), AnswerClass.UNKNOWN)
