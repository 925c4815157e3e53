"""What nodes mean by the errors of `eth_sendRawTransaction`; each client says it in words of its own.

The words are those of geth (core/txpool, core/error.go), erigon (txpoolcfg), nethermind (AcceptTxResult), besu
(TransactionInvalidReason), reth (PoolError, InvalidTransaction) and anvil.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum


class AnswerClass(StrEnum):
    """What an answer to `eth_sendRawTransaction` says about the transaction."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    UNAVAILABLE = "unavailable"
    """No answer, or one that says nothing: the node may have it or not."""
    NONCE_TOO_LOW = "nonce_too_low"
    NONCE_GAP = "nonce_gap"
    REPLACEMENT = "replacement"
    """The pool has another transaction with this nonce that pays nearly as much or more."""
    UNDERPRICED = "underpriced"
    POOL_FULL = "pool_full"
    POOL_BUSY = "pool_busy"
    """The pool takes nothing more of this account until what it has is mined."""
    NO_FUNDS = "no_funds"
    GAS_TOO_LOW = "gas_too_low"
    GAS_TOO_HIGH = "gas_too_high"
    NODE_LIMIT = "node_limit"
    SIGNATURE = "signature"
    OVERSIZED = "oversized"
    UNKNOWN = "unknown"

    @property
    def in_pool(self) -> bool:
        """Whether the node has the transaction."""
        return self in (AnswerClass.ACCEPTED, AnswerClass.KNOWN)

    @property
    def is_hopeless(self) -> bool:
        """Whether the same bytes are refused for ever, and new ones for the same call as well."""
        return self in (
            AnswerClass.GAS_TOO_HIGH,
            AnswerClass.NODE_LIMIT,
            AnswerClass.SIGNATURE,
            AnswerClass.OVERSIZED,
        )


# The first that matches holds; what is more particular stands before what is more general.
_WORDS = {
    AnswerClass.KNOWN: (
        r"already ?known",
        r"already_known",
        r"already imported",
        r"already in (the )?(pool|mempool)",
        r"(?<!un)known[ _]transaction",
    ),
    AnswerClass.REPLACEMENT: (r"replacement", r"replacing"),
    AnswerClass.POOL_BUSY: (
        r"already reserved",
        r"in-?flight transaction limit",
        r"future transaction tries to replace pending",
    ),
    AnswerClass.NONCE_TOO_LOW: (
        r"nonce( is)? too low",
        r"nonce_too_low",
        r"old ?nonce",
        r"invalid transaction nonce",
        r"pool\(stale\)",
        r"^stale$",
        r"nonce below",
        r"nonce has already been used",
    ),
    AnswerClass.NONCE_GAP: (
        r"nonce( is)? too high",
        r"nonce_too_high",
        r"nonce ?gap",
        r"gapped",
        r"exceeds next nonce",
        r"nonce( is)? too (distant|far)",
        r"nonce_too_(distant|far)",
    ),
    AnswerClass.NODE_LIMIT: (
        r"exceeds the configured cap",
        r"configured fee cap",
        r"fee ?cap exceeded",
        r"tx_feecap_exceeded",
    ),
    AnswerClass.GAS_TOO_LOW: (
        r"intrinsic[ _]?gas",
        r"floor ?data ?gas",
        r"gas ?floor",
        r"gas below floor",
        r"gas limit.{0,12}too low",
        r"\bgas ?too ?low",
    ),
    AnswerClass.GAS_TOO_HIGH: (
        r"block gas limit",
        r"exceeds[ _]block[ _]?gas",
        r"gas ?limit ?exceeded",
        r"gas limit.{0,12}too high",
        r"exceeds transaction gas limit",
        r"transaction gas limit cap",
        r"gas limit is greater than the cap",
    ),
    AnswerClass.NO_FUNDS: (
        r"insufficient ?(funds|balance)",
        r"upfront[ _]cost[ _]exceeds",
        r"overshot",
        r"not enough (funds|balance)",
        r"lack of funds",
    ),
    AnswerClass.UNDERPRICED: (
        r"underpriced",
        r"fee ?too ?low",
        r"gas[ _]?price[ _]?too[ _]?low",
        r"(less|lower) than (the )?(block |current )?base ?fee",
        r"below[ _](the )?(current[ _])?base[ _]?fee",
        r"(price|tip|fee).{0,40}(below|minimum)",
    ),
    AnswerClass.POOL_FULL: (
        r"pool (is )?full",
        r"pool_full",
        r"queue full",
        r"limit reached",
        r"limitexceeded",
        r"pool overflow",
        r"not enough space",
        r"account slots",
    ),
    AnswerClass.SIGNATURE: (
        r"(invalid|wrong)[ _]?chain[ _]?id",
        r"chain ?id (does not match|mismatch)",
        r"replay[ -]protect",
        r"invalid ?(sender|signature|signer)",
        r"invalid transaction v, r, s",
        r"malleable",
    ),
    AnswerClass.OVERSIZED: (r"oversized", r"max ?tx ?size", r"transaction (is )?too large", r"tx too large"),
    AnswerClass.UNAVAILABLE: (
        r"^internal (server )?error$",
        r"timed? ?out",
        r"unavailable",
        r"too many requests",
        r"rate limit",
        r"try again",
        r"header not found",
        r"context (canceled|deadline)",
    ),
}
_PATTERNS = tuple((kind, re.compile("|".join(words))) for kind, words in _WORDS.items())

_CAP = re.compile(r"exceeds the configured cap \((\d{1,9}\.\d\d) ether\)")
_ROUNDED_BY = Decimal("0.005")
_ETHER = 10**18

_STRONGEST_FIRST = (
    AnswerClass.ACCEPTED,
    AnswerClass.KNOWN,
    AnswerClass.NONCE_TOO_LOW,
    AnswerClass.REPLACEMENT,
    # One node may have it: a refusal by another is no verdict.
    AnswerClass.UNAVAILABLE,
)


def classify(message: str) -> AnswerClass:
    """Read a node's error message."""
    lowered = message.lower().strip()
    return next((kind for kind, pattern in _PATTERNS if pattern.search(lowered)), AnswerClass.UNKNOWN)


def named_cap(text: str) -> int | None:
    """Give the highest cap on a transaction's whole fee that nodes name in what they say, in wei; None where they name none.

    geth rounds its cap to hundredths of an ether: what it names may be more than it takes by half of one.
    """
    caps = [int((Decimal(cap) - _ROUNDED_BY) * _ETHER) for cap in _CAP.findall(text)]
    return max((cap for cap in caps if cap > 0), default=None)


def strongest(kinds: Iterable[AnswerClass]) -> AnswerClass:
    """Give what several nodes' answers mean together; without any, the outcome is unknown."""
    given = list(kinds)
    for kind in _STRONGEST_FIRST:
        if kind in given:
            return kind
    return given[0] if given else AnswerClass.UNAVAILABLE
