"""What nodes say to a transaction, in the words of each client, and what it means."""

import pytest

from relayer.chain.answers import AnswerClass, classify, named_cap, strongest

GETH, ERIGON, NETHERMIND, BESU, RETH, ANVIL = "geth", "erigon", "nethermind", "besu", "reth", "anvil"

ANSWERS = [
    (GETH, "already known", AnswerClass.KNOWN),
    (GETH, "known transaction: 0x12ab", AnswerClass.KNOWN),
    (ERIGON, "ALREADY_EXISTS: already known", AnswerClass.KNOWN),
    (NETHERMIND, "AlreadyKnown", AnswerClass.KNOWN),
    (BESU, "Known transaction", AnswerClass.KNOWN),
    (RETH, "already known", AnswerClass.KNOWN),
    (ANVIL, "transaction already imported", AnswerClass.KNOWN),
    (GETH, "unknown transaction", AnswerClass.UNKNOWN),
    (GETH, "nonce too low: next nonce 5, tx nonce 4", AnswerClass.NONCE_TOO_LOW),
    (ERIGON, "nonce too low", AnswerClass.NONCE_TOO_LOW),
    (NETHERMIND, "OldNonce, Current nonce: 5, nonce of rejected tx: 4", AnswerClass.NONCE_TOO_LOW),
    (BESU, "Nonce too low", AnswerClass.NONCE_TOO_LOW),
    (ANVIL, "nonce too low", AnswerClass.NONCE_TOO_LOW),
    (GETH, "nonce too high", AnswerClass.NONCE_GAP),
    (NETHERMIND, "NonceGap, Future nonce. Expected nonce: 3", AnswerClass.NONCE_GAP),
    (BESU, "Transaction nonce is too distant from current sender nonce", AnswerClass.NONCE_GAP),
    (RETH, "nonce too high", AnswerClass.NONCE_GAP),
    (GETH, "replacement transaction underpriced", AnswerClass.REPLACEMENT),
    (ERIGON, "replacement transaction underpriced", AnswerClass.REPLACEMENT),
    (NETHERMIND, "ReplacementNotAllowed, existing tx is not replaceable", AnswerClass.REPLACEMENT),
    (BESU, "Replacement transaction underpriced", AnswerClass.REPLACEMENT),
    (RETH, "replacement transaction underpriced", AnswerClass.REPLACEMENT),
    (ANVIL, "replacement transaction underpriced", AnswerClass.REPLACEMENT),
    (GETH, "transaction underpriced: gas tip cap 1, minimum needed 2", AnswerClass.UNDERPRICED),
    (
        GETH,
        "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1 baseFee: 2",
        AnswerClass.UNDERPRICED,
    ),
    (ERIGON, "fee too low", AnswerClass.UNDERPRICED),
    (NETHERMIND, "FeeTooLow, MaxFeePerGas too low.", AnswerClass.UNDERPRICED),
    (BESU, "Gas price below configured minimum gas price", AnswerClass.UNDERPRICED),
    (RETH, "transaction underpriced", AnswerClass.UNDERPRICED),
    (ANVIL, "max fee per gas less than block base fee", AnswerClass.UNDERPRICED),
    (GETH, "txpool is full", AnswerClass.POOL_FULL),
    (BESU, "Transaction pool is full", AnswerClass.POOL_FULL),
    (RETH, "txpool is full", AnswerClass.POOL_FULL),
    (GETH, "address already reserved", AnswerClass.POOL_BUSY),
    (
        GETH,
        "in-flight transaction limit reached for delegated accounts",
        AnswerClass.POOL_BUSY,
    ),
    (GETH, "future transaction tries to replace pending", AnswerClass.POOL_BUSY),
    (
        GETH,
        "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1",
        AnswerClass.NO_FUNDS,
    ),
    (NETHERMIND, "InsufficientFunds, Balance is 0 less than sending value", AnswerClass.NO_FUNDS),
    (BESU, "Upfront cost exceeds account balance", AnswerClass.NO_FUNDS),
    (ANVIL, "Insufficient funds for gas * price + value", AnswerClass.NO_FUNDS),
    (GETH, "intrinsic gas too low: gas 1, minimum needed 21000", AnswerClass.GAS_TOO_LOW),
    (GETH, "insufficient gas for floor data gas cost", AnswerClass.GAS_TOO_LOW),
    (BESU, "Intrinsic gas exceeds gas limit", AnswerClass.GAS_TOO_LOW),
    (NETHERMIND, "GasLimitExceeded", AnswerClass.GAS_TOO_HIGH),
    (GETH, "exceeds block gas limit", AnswerClass.GAS_TOO_HIGH),
    (BESU, "Transaction gas limit exceeds block gas limit", AnswerClass.GAS_TOO_HIGH),
    (
        GETH,
        "tx fee (1.50 ether) exceeds the configured cap (1.00 ether)",
        AnswerClass.NODE_LIMIT,
    ),
    (BESU, "Transaction fee cap exceeded", AnswerClass.NODE_LIMIT),
    (GETH, "invalid sender", AnswerClass.SIGNATURE),
    (GETH, "invalid chain id for signer: have 1 want 5", AnswerClass.SIGNATURE),
    (BESU, "Wrong chainId", AnswerClass.SIGNATURE),
    (
        GETH,
        "only replay-protected (EIP-155) transactions allowed over RPC",
        AnswerClass.SIGNATURE,
    ),
    (GETH, "oversized data: transaction size 200000, limit 131072", AnswerClass.OVERSIZED),
    (NETHERMIND, "Internal error", AnswerClass.UNAVAILABLE),
    ("a provider", "Too Many Requests", AnswerClass.UNAVAILABLE),
    ("a provider", "request timed out", AnswerClass.UNAVAILABLE),
    ("nobody", "the cat sat on the mat", AnswerClass.UNKNOWN),
]


@pytest.mark.parametrize(("message", "kind"), [(message, kind) for _, message, kind in ANSWERS])
def test_every_client_s_words_are_understood(message: str, kind: AnswerClass) -> None:
    assert classify(message) is kind
    assert classify(message.upper()) is kind


def test_every_class_but_that_of_acceptance_has_words() -> None:
    assert {kind for *_, kind in ANSWERS} == set(AnswerClass) - {AnswerClass.ACCEPTED}


@pytest.mark.parametrize(
    ("answers", "together"),
    [
        ((AnswerClass.UNDERPRICED, AnswerClass.ACCEPTED), AnswerClass.ACCEPTED),
        ((AnswerClass.SIGNATURE, AnswerClass.KNOWN), AnswerClass.KNOWN),
        ((AnswerClass.UNAVAILABLE, AnswerClass.NONCE_TOO_LOW), AnswerClass.NONCE_TOO_LOW),
        ((AnswerClass.UNKNOWN, AnswerClass.UNAVAILABLE), AnswerClass.UNAVAILABLE),
        ((AnswerClass.NO_FUNDS, AnswerClass.POOL_FULL), AnswerClass.NO_FUNDS),
        ((), AnswerClass.UNAVAILABLE),
    ],
)
def test_several_nodes_answers_have_one_meaning(
    answers: tuple[AnswerClass, ...], together: AnswerClass
) -> None:
    assert strongest(answers) is together


def test_a_cap_that_a_node_names_may_be_rounded_up() -> None:
    text = "tx fee (1.50 ether) exceeds the configured cap (1.00 ether)"
    assert named_cap(text) == 995 * 10**15
    other = "tx fee (1.50 ether) exceeds the configured cap (0.25 ether)"
    # One of them has to take it.
    assert named_cap(f"one: {text}; other: {other}") == 995 * 10**15
    for silent in ("exceeds the configured cap", other.replace("0.25", "0.00"), other.replace("0.25", "1e9")):
        assert named_cap(silent) is None
