"""What the tables of jobs and batches hold, as the seal needs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from relayer.seal.commitment import JobConfirmation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class CommittedJob:
    """A job whose result is ready, with everything its leaf commits to."""

    id: UUID
    ticket: int
    input_hash: bytes
    output_hash: bytes
    result_ready_at: datetime
    salt: bytes

    @property
    def confirmation(self) -> JobConfirmation:
        """The six fields of its leaf; `completed_at` is the second in which the result was ready."""
        return JobConfirmation(
            ticket=self.ticket,
            job_id=self.id.bytes,
            input_hash=self.input_hash,
            output_hash=self.output_hash,
            completed_at=(self.result_ready_at - _EPOCH) // timedelta(seconds=1),
            salt=self.salt,
        )


@dataclass(frozen=True)
class FinishedJob(CommittedJob):
    """A job that may be sealed, with what its manifest tells of it beside the leaf; sizes in bytes."""

    state_version: int
    tenant_id: UUID
    tenant_name: str
    kind: str
    metadata: Mapping[str, str]
    output_size: int
    output_media_type: str
    created_at: datetime


@dataclass(frozen=True)
class ConfirmedJob(CommittedJob):
    """A job whose batch is final, with where on which chain it was confirmed."""

    batch_id: UUID
    chain_id: int
    registry: bytes
    root: bytes
    transaction_hash: bytes
    block_number: int
    block_hash: bytes
