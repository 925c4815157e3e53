"""In which lane of the registry the jobs of a kind are confirmed: it says who has to stand behind their confirmation."""

from collections.abc import Sequence

from relayer.model.clock import Clock, utc_now
from relayer.seal.tree import MAX_LANE
from relayer.store.database import Database
from relayer.store.registries import STANDARD_LANE
from relayer.tenants import audit
from relayer.tenants import kind_lane_repository as repository
from relayer.tenants.administration_errors import FieldError
from relayer.tenants.audit import Event, Origin, Target
from relayer.tenants.kind_lane_repository import KindLane
from relayer.tenants.kinds import LONGEST_KIND, is_kind


class KindLanes:
    """The lanes of kinds, in the role of administration; a kind without one has the standard lane."""

    def __init__(self, db: Database, clock: Clock = utc_now) -> None:
        self._db = db
        self._clock = clock

    async def all(self) -> Sequence[KindLane]:
        """Give the kinds that have another than the standard lane."""
        async with self._db.statement() as conn:
            return await repository.kind_lanes(conn)

    async def set(self, kind: str, lane: int, origin: Origin) -> KindLane:
        """Give a kind a lane, the standard one too, for the jobs that are submitted from now on.

        Raises:
            FieldError: a value is out of range.

        """
        if not is_kind(kind):
            raise FieldError("kind", f"give 1 to {LONGEST_KIND} printable characters")
        if not STANDARD_LANE <= lane <= MAX_LANE:
            raise FieldError("lane", f"give a lane from {STANDARD_LANE} to {MAX_LANE}")
        after = KindLane(kind, lane)
        async with self._db.transaction() as conn:
            before = await repository.lock(conn, kind) or KindLane(kind, STANDARD_LANE)
            if after != before:
                await repository.write(conn, after)
                event = Event(
                    tenant_id=None,
                    action="kind_lane.set",
                    origin=origin,
                    occurred_at=self._clock(),
                    targets=(Target("kind", kind),),
                    before_hash=audit.fingerprint(before.to_document()),
                    after_hash=audit.fingerprint(after.to_document()),
                    metadata={"lane": lane},
                )
                await audit.record(conn, event)
        return after
