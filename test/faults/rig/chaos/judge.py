"""What must hold when a run has come to rest."""

from collections import Counter

from chaos.world import World
from relayer.chain.registry import RegistryClient

_OPEN_SLOTS = (
    "SELECT nonce, state FROM chain_txs WHERE state NOT IN ('final', 'reverted', 'superseded', 'cancelled')"
)


async def at_rest(world: World) -> bool:
    """Whether every job is confirmed or waits for a human, and no nonce is open."""
    ((moving,),) = await world.rows(
        """SELECT (SELECT count(*) FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
                   WHERE j.state <> 'confirmed' AND b.state IS DISTINCT FROM 'needs_human')
                + (SELECT count(*) FROM chain_txs
                   WHERE state NOT IN ('final', 'reverted', 'superseded', 'cancelled'))"""
    )
    return bool(moving == 0)


async def flaws(world: World, asks: frozenset[str]) -> list[str]:
    """Say everything that is wrong; `asks` are the reasons for which batches may wait for a human."""
    return [
        *await _jobs(world, asks),
        *await _roots(world),
        *await _nonces(world),
        *await _tickets(world),
    ]


async def _jobs(world: World, asks: frozenset[str]) -> list[str]:
    found = await world.rows(
        """SELECT j.ticket, j.state, b.state, b.reason FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
           WHERE NOT (j.state = 'confirmed' AND b.state = 'final') ORDER BY j.ticket"""
    )
    return [
        f"job {ticket} is {job}, its batch {batch} ({reason})"
        for ticket, job, batch, reason in found
        if not (job == "confirming" and batch == "needs_human" and reason in asks)
    ]


async def _roots(world: World) -> list[str]:
    """Every root was announced once if its batch is final, else never, and where the database says."""
    logs = await world.announced()
    times = Counter(bytes.fromhex(log["topics"][1][2:]) for log in logs)
    places = {bytes.fromhex(log["topics"][1][2:]): (log["blockHash"], log["transactionHash"]) for log in logs}
    found = await world.rows(
        "SELECT root, state, block_hash, transaction_hash FROM batches ORDER BY sealed_at"
    )
    wrong = []
    for root, state, block, transaction in found:
        if times[root] != (state == "final"):
            wrong.append(f"root 0x{root.hex()[:8]} is {state} and was confirmed {times[root]} times")
        elif state == "final" and places[root] != (f"0x{block.hex()}", f"0x{transaction.hex()}"):
            wrong.append(f"root 0x{root.hex()[:8]} is said to be in another block than it is")
    return wrong


async def _nonces(world: World) -> list[str]:
    """Every nonce that the chain has used is a settled slot of ours or was used by somebody else, and none is left."""
    wrong = [f"slot {nonce} is {state}" for nonce, state in await world.rows(_OPEN_SLOTS)]
    slots = [nonce for (nonce,) in await world.rows("SELECT nonce FROM chain_txs ORDER BY nonce")]
    used = set(range(await world.nonce()))
    if missing := used - set(slots) - world.foreign_nonces:
        wrong.append(f"nonces {sorted(missing)} were used by nobody")
    if beyond := set(slots) - used:
        wrong.append(f"nonces {sorted(beyond)} were given and never used")
    return wrong


async def _tickets(world: World) -> list[str]:
    """The contract holds exactly the tickets of final batches, and those that another confirmer has spent."""
    spent: Counter[int] = Counter()
    for index, mask in await world.rows(
        """SELECT w.index, w.mask FROM batch_words w JOIN batches b ON b.id = w.batch_id WHERE b.state = 'final'"""
    ):
        spent[index] |= int.from_bytes(mask)
    ours = {root for (root,) in await world.rows("SELECT root FROM batches")}
    for log in await world.announced():
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        if topics[1] not in ours:
            event = RegistryClient.decode_batch_confirmed(topics, bytes.fromhex(log["data"][2:]))
            for word in event.words:
                spent[word.index] |= word.mask
    wrong = []
    for index in range((world.tickets >> 8) + 1):
        confirmed, _ = await world.client.word(index, "latest")
        if confirmed != spent[index]:
            wrong.append(f"word {index} is {confirmed:#x} on chain and {spent[index]:#x} in the database")
    return wrong
