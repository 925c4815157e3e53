"""A sign of life from a work-horse to its worker, in memory that a fork shares; needs no store."""

import mmap
import struct
import time

_FORMAT = "d"


class Pulse:
    """When the horse last looked after its lease, by the clock that all processes of a machine share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize(_FORMAT))
        self.beat()

    def beat(self) -> None:
        """Show that this process lives."""
        struct.pack_into(_FORMAT, self._memory, 0, time.monotonic())

    def age_s(self) -> float:
        """Give how many seconds ago the last beat was."""
        (at,) = struct.unpack_from(_FORMAT, self._memory)
        return time.monotonic() - float(at)
