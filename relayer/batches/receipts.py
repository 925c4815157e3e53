"""Receipts of confirmed jobs, rebuilt from the tree that was sealed."""

from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import repository
from relayer.batches.records import ConfirmedJob
from relayer.seal.commitment import bit, word
from relayer.seal.receipt import Receipt
from relayer.seal.tree import BatchTree, Proof, WordTree
from relayer.seal.verify import Outcome, Pin, check
from relayer.store.database import Database


class ReceiptDefectError(Exception):
    """What the database holds of a confirmed job does not lead to its batch's root: a defect of the platform."""


class ReceiptService:
    """Gives tenants the receipts of their jobs. Connects as the role that row-level security binds."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def receipt(self, tenant: UUID, job_id: UUID) -> Receipt | None:
        """Give the receipt of a job of this tenant; None where there is no such job or it is not confirmed.

        Raises:
            ReceiptDefectError: the receipt would not pass its own check.

        """
        async with self._db.transaction(tenant) as conn:
            job = await repository.confirmed_job(conn, tenant, job_id)
            if job is None:
                return None
            try:
                proof = await _proof(conn, job)
            except (KeyError, ValueError) as error:
                raise ReceiptDefectError(f"the tree of job {job_id} is incomplete") from error
        receipt = Receipt(
            chain_id=job.chain_id,
            registry=job.registry,
            batch_root=job.root,
            transaction_hash=job.transaction_hash,
            block_number=job.block_number,
            block_hash=job.block_hash,
            job=job.confirmation,
            proof=proof,
        )
        verdict = check(receipt, Pin(job.chain_id, job.registry))
        if verdict.outcome is not Outcome.CONSISTENT:
            raise ReceiptDefectError(f"the receipt of job {job_id} fails its check: {verdict.sentence}")
        return receipt


async def _proof(conn: AsyncConnection[TupleRow], job: ConfirmedJob) -> Proof:
    index = word(job.ticket)
    words = await repository.words_of(conn, job.batch_id)
    tree = WordTree(await repository.leaves_of_word(conn, job.batch_id, index))
    position = [one.index for one in words].index(index)
    return Proof(tree.proof(bit(job.ticket)), tree.mask, BatchTree(words).proof(position))
