"""How the database draws tickets, for simulations that have none; a test holds the two to each other."""

import math

CLASSES = 32

_SHORTEST_S = 10.0
_LONGEST_S = 86_400.0
_RATIOS = 29


def duration_class(seconds: float | None) -> int:
    """Give the class of an expected duration, 0 to 31; 0 where none is known."""
    if seconds is None:
        return 0
    if seconds < _SHORTEST_S:
        return 1
    if seconds >= _LONGEST_S:
        return CLASSES - 1
    share = math.log(seconds / _SHORTEST_S) / math.log(_LONGEST_S / _SHORTEST_S)
    return 2 + int(share * _RATIOS)


def ticket_of(duration_class: int, place: int) -> int:
    """Give the ticket of lane 0 that its class hands out after `place` others."""
    return ((place >> 8) * CLASSES + duration_class) << 8 | (place & 255)
