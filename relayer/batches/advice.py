"""What an operator is told about a batch that waits: at the shell, and in `docs/runbook.md`, which is written from here.

Commands name the batch as BATCH, and the slot of a nonce without one as NONCE.
"""

from dataclasses import dataclass

from relayer.batches.reasons import HoldReason, HumanReason


@dataclass(frozen=True)
class Advice:
    """Whole sentences: what happened, what to look at, what to do, and what makes it worse."""

    why: str
    look: str
    do: str
    never: str


_RETRY = '`jobseal admin chain retry BATCH --reason "…"`'
_CANCEL = '`jobseal admin chain cancel BATCH --reason "…"`'
_RELEASE = '`jobseal admin chain release BATCH --reason "…"`'
_RECORD = "`jobseal admin chain explain BATCH`"

HOLDS: dict[HoldReason, Advice] = {
    HoldReason.PAUSED: Advice(
        why="A guardian or the Safe has paused the registry; confirming reverts with `EnforcedPause`.",
        look="Who paused it, and why: the transaction of the event `Paused`.",
        do="Nothing here. Once the reason is gone the admin unpauses the registry, and held batches go on by themselves.",
        never="Unpause to get the queue moving. What is held loses nothing but time.",
    ),
    HoldReason.ROLE_LOST: Advice(
        why="The account that signs does not have the registry's `CONFIRMER_ROLE`.",
        look="The event `RoleRevoked`, and whether the signer's account is the one that should have the role.",
        do="Where the role was taken by mistake, the admin grants it again. Where the key was replaced, start the relayer "
        "with the new one. Batches go on by themselves.",
        never="Grant the role again before it is clear why it was taken: it is also what one does with a stolen key.",
    ),
    HoldReason.CODE_CHANGED: Advice(
        why="The proxy runs other code than the platform has accepted.",
        look=f"The registry's `implementation` and `code_hash` in {_RECORD}, the event `Upgraded`, and whether the release "
        "has the same code: `script/Check.s.sol`, run from its checkout, compares it (docs/deploy.md).",
        do='Where the upgrade was meant: `jobseal admin chain accept-code HASH --reason "…"` with the hash of what was '
        "checked, `cast keccak $(cast code IMPLEMENTATION)`. Batches go on within a minute.",
        never="Accept a hash because it is the one that is shown.",
    ),
    HoldReason.FUNDS: Advice(
        why="The signer's account has too little for transactions at the price that may be asked.",
        look="The account and its balance in `detail`, and whether it fell faster than batches explain.",
        do="Send it what a week of batches costs. Batches go on by themselves.",
        never="Lower the gas limit, or raise the cap: neither brings money.",
    ),
    HoldReason.FEE_CAP: Advice(
        why="The market asks for more than may be paid: `JOBSEAL_CHAIN_MAX_FEE_CAP_GWEI`, or five times the usual.",
        look="The chain's base fee on two independent nodes. A price that only one of them sees is that node's fault.",
        do="Wait, or raise the cap and restart the relayer. Batches go on by themselves when the price falls below it.",
        never="Raise the cap for good because of one expensive hour.",
    ),
    HoldReason.FROZEN: Advice(
        why="Reconciliation found that the database claims more than the chain has. Nothing is sealed or sent.",
        look="The report of `jobseal admin reconcile`, block by block. The chain is right, the database is to be explained.",
        do="Find out what wrote the difference; restore or repair; then `jobseal admin thaw` with the reason. Batches go on within a minute.",
        never="Thaw to see whether it happens again, or edit rows until the difference is gone.",
    ),
    HoldReason.PROVIDER: Advice(
        why="No node gives answers that can be relied on: away, behind, of another chain, or with another final block.",
        look="The log's `node_state` of each node, and the chain itself on an explorer: it may have halted.",
        do="Mend or replace the node in `JOBSEAL_CHAIN_RPC_URLS`. Batches go on by themselves.",
        never="Point the relayer to a node that was not checked because it answers.",
    ),
    HoldReason.QUORUM: Advice(
        why="The batch's lane is closed (`LaneClosed`), or wants more confirmers to sign than the one that sends "
        "(`QuorumNotReached`). Other lanes go on. Further jobs of the lane stay `completed` and are sealed once it is open.",
        look="The custom error in `detail`, the registry's `quorum` of the lane, its events `QuorumSet`, and which kinds have "
        "the lane: `jobseal admin kind-lane list`.",
        do="Where the lane was to be open with a quorum of 1, have the admin set it: batches go on by themselves, within a "
        "minute. Where it is to have more: this platform does not collect signatures; let the kind's jobs go to another "
        "lane with `jobseal admin kind-lane set`, which holds for new jobs only.",
        never="Lower a quorum to get the queue moving: it protects every job of the lane, and consumers rely on it.",
    ),
}

HUMAN: dict[HumanReason, Advice] = {
    HumanReason.INTEGRITY: Advice(
        why="Tickets of the batch are spent on chain under another root: somebody who may confirm holds tickets of this "
        "platform. Another platform on the same registry, an old database that gave out tickets again, or a stolen key.",
        look=f"`spent` in {_RECORD}, and the `BatchConfirmed` that spent them: its submitter and its time.",
        do="Stop first: pause the registry if the submitter is not yours. Then find out how it came by the tickets. They are "
        "burnt (`burnt_tickets`), and new jobs get others; the batch stays as evidence until its jobs are run again as "
        "new ones.",
        never="Retry or release. The registry refuses these tickets for ever, and a second batch with them would only "
        "hide what happened.",
    ),
    HumanReason.ROLE: Advice(
        why="The registry refused the account (`AccessControlUnauthorizedAccount`), though it seemed to have the role.",
        look="The account in the error, the signer's account, and `CONFIRMER_ROLE` on the registry.",
        do=f"Have the role granted or the right key used, then {_RETRY}.",
        never="Grant another role than `CONFIRMER_ROLE` to a key that is online.",
    ),
    HumanReason.SHAPE: Advice(
        why="The registry refuses the batch as it is built: words out of order, too many, of two lanes. That is a defect of "
        "the platform, or a registry of another version.",
        look="The custom error and its arguments in `detail`, and the versions of platform and registry.",
        do=f"Report it with the output of {_RECORD}. With a version that builds the batch rightly: {_CANCEL}, then "
        f"{_RELEASE}, and its jobs are sealed anew.",
        never="Retry it again and again: the same words revert for ever, and each retry may cost a transaction.",
    ),
    HumanReason.BUSINESS: Advice(
        why="A rule of the registry forbids it: a deadline that has passed, a signature that is none.",
        look="The custom error in `detail`.",
        do=f"Where the rule is to change, have the admin change it, then {_RETRY}. Where it stays: {_CANCEL} and {_RELEASE}.",
        never="Retry it again and again: the same call reverts for ever, and each retry may cost a transaction.",
    ),
    HumanReason.GAS: Advice(
        why="It needs more gas than a transaction may have (2^24, EIP-7825) or than a block has, or ran out of it again and "
        "again.",
        look="`gas_limit` of the attempts, the number of its words, and the chain's block gas limit.",
        do=f"Lower `JOBSEAL_BATCHER_MAX_JOBS`, then {_CANCEL}; once that is final, {_RELEASE}: its jobs are sealed anew, in "
        "smaller batches.",
        never="Split a tree by hand: its root is in the manifest, and what was signed for it may still land.",
    ),
    HumanReason.REVERTED: Advice(
        why="It reverts for a reason that the registry's ABI does not know.",
        look="`detail`, which has the raw selector, and a trace of the transaction on a node that keeps them.",
        do=f"Find the contract that this error is of. Then {_RETRY}, or {_CANCEL} and {_RELEASE}.",
        never="Retry before the error has a name.",
    ),
    HumanReason.FOREIGN_NONCE: Advice(
        why="Its nonce was used up in a final block by a transaction that this platform did not sign: something else uses "
        "the signer's key.",
        look="The account's transaction of that nonce on an explorer: another relayer by mistake, a person with the "
        "keystore, or a thief.",
        do="Make sure that nobody else has the key; where that is not certain, have the role revoked, replace the key, and "
        f"empty the account. Then {_RETRY}: the contract refuses a repeat.",
        never="Let two relayers with databases of their own use one key.",
    ),
    HumanReason.UNKNOWN_ANSWER: Advice(
        why="Nodes refused its transaction three times with words that nobody knows. They may have it all the same. It is offered "
        "to them on; the batch goes on by itself when one takes it.",
        look="`answer` of its attempts, and whether the hash is known to any node.",
        do=f"Find out what the node means, then {_RETRY}: the same bytes are sent again, on the same nonce.",
        never="Send a transaction of your own on that nonce. To give it up, use `cancel`, which watches both.",
    ),
    HumanReason.NODE_LIMIT: Advice(
        why="A limit of a node, not of the chain, refuses its transaction, for example geth's `--rpc.txfeecap`, and what the "
        "market asks for is above it, or the node does not name it.",
        look="`answer` of its attempts, and the node's configuration.",
        do=f"Raise the node's limit, use another node, or lower `JOBSEAL_CHAIN_MAX_FEE_CAP_GWEI`; then {_RETRY}.",
        never="Switch the node's limit off for every user of it.",
    ),
    HumanReason.SIGNATURE: Advice(
        why="Nodes say that its transaction is signed wrongly, or for another chain. The platform checked the signature, so "
        "rather the node is of another chain, or does not know the transaction's type.",
        look="`eth_chainId` of every node, and whether the chain takes type-2 transactions: `JOBSEAL_CHAIN_FEES`.",
        do=f"Correct the node or the setting, restart the relayer, then {_RETRY}.",
        never="Sign without a chain id: such a transaction lands on every chain.",
    ),
    HumanReason.CANCELLED: Advice(
        why="An operator cancelled its transaction, and nothing of it can land any more.",
        look="Who cancelled it and why: `jobseal admin audit list --action batch.cancelled`.",
        do=f"{_RELEASE} gives its jobs back, to be sealed anew; {_RETRY} sends the same batch once more.",
        never="Leave it: its jobs are `confirming` until one of the two is done.",
    ),
}


NONCE = Advice(
    why="A nonce that is to be used up by nothing: it fills a gap, or its batch was confirmed otherwise. Nodes refuse its "
    "transaction, and everything above it waits.",
    look="`class` and `answer` of its attempts in `jobseal admin chain explain NONCE`, and whether any node knows a hash of "
    "it.",
    do="Mend what the nodes complain of: a node's limit, its chain, a setting of the fees. Then "
    '`jobseal admin chain retry NONCE --reason "…"`: the same bytes are sent again.',
    never="Send a transaction of your own on that nonce: it would count as somebody else's use of the key.",
)
"""What is told of a nonce that nodes refuse and no batch that waits shows; commands name its slot as NONCE."""


def advice(state: str, reason: str | None) -> Advice | None:
    """Give what is told of a batch in a state; None where it does not wait."""
    match state, reason:
        case "held", str():
            return HOLDS[HoldReason(reason)]
        case "needs_human", str():
            return HUMAN[HumanReason(reason)]
    return None
