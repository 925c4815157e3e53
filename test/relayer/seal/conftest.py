from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from relayer.seal.commitment import Domain, JobConfirmation, leaf
from relayer.seal.receipt import Receipt
from relayer.seal.tree import seal_batch

DOMAIN = Domain(31337, bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3"))
JOB = JobConfirmation(
    ticket=300,
    job_id=keccak(b"job")[:16],
    input_hash=keccak(b"input"),
    output_hash=keccak(b"output"),
    completed_at=1_700_000_000,
    salt=keccak(b"salt"),
)


@pytest.fixture(scope="session")
def receipt() -> Receipt:
    """One of 21 jobs in 3 words, so that it has siblings of every kind."""
    jobs = [replace(JOB, ticket=ticket, salt=keccak(ticket.to_bytes(8))) for ticket in range(300, 720, 20)]
    seal = seal_batch({job.ticket: leaf(DOMAIN, job) for job in jobs})
    return Receipt(
        chain_id=DOMAIN.chain_id,
        registry=DOMAIN.registry,
        batch_root=seal.root,
        transaction_hash=keccak(b"transaction"),
        block_number=7,
        block_hash=keccak(b"block"),
        job=jobs[0],
        proof=seal.proof(jobs[0].ticket),
    )
