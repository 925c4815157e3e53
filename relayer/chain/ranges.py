"""How many blocks to ask logs of at once: providers limit it, each in its own words, few of them documented."""

import re

_START = 1_000
_MAX = 10_000
_GOOD_SECONDS = 2.0
_GOOD_PASSES = 3
_GROWTH_PERCENT = 25

_HEX_RANGE = re.compile(r"(0x[0-9a-f]+)\s*[,-]\s*(0x[0-9a-f]+)")
_DECIMAL_RANGE = re.compile(r"range\s+(\d+)\s*-\s*(\d+)")
# As in "limited to a 10,000 range", "up to a 2K block range", "max is 1k blocks" or "max block range: 5000".
_LIMIT = re.compile(
    r"(?:limited to|up to|at most|maximum(?: allowed)?(?: block)?(?: range)?|max(?: block)?(?: range)?)"
    r"(?: is|:| of)?\s*(?:an?\s+)?(\d[\d,]*)\s*(k?)\b"
)


def suggested(message: str) -> int | None:
    """How many blocks a refusal says would be given, where it says so."""
    lowered = message.lower()
    if (found := _HEX_RANGE.search(lowered)) is not None:
        return _blocks(int(found[1], 16), int(found[2], 16))
    if (found := _DECIMAL_RANGE.search(lowered)) is not None:
        return _blocks(int(found[1]), int(found[2]))
    if (found := _LIMIT.search(lowered)) is not None:
        return _blocks(1, int(found[1].replace(",", "")) * (1_000 if found[2] else 1))
    return None


def _blocks(first: int, last: int) -> int | None:
    return last - first + 1 if last >= first else None


class RangeSize:
    """How many blocks to ask for, at most `most`: fewer after every refusal, more after some that came quickly."""

    def __init__(self, most: int = _MAX) -> None:
        self.blocks = min(_START, most)
        self._most = most
        self._good = 0

    def came(self, blocks: int, seconds: float) -> None:
        """Note that the logs of so many blocks came within a time."""
        if blocks < self.blocks:
            # Less was left to ask for: it shows nothing.
            return
        self._good = self._good + 1 if seconds < _GOOD_SECONDS else 0
        if self._good >= _GOOD_PASSES:
            self._good = 0
            self.blocks = min(self.blocks + max(1, self.blocks * _GROWTH_PERCENT // 100), self._most)

    def refused(self, blocks: int, message: str = "") -> None:
        """Note that so many blocks were too many. A suggestion counts only where it asks for less."""
        self._good = 0
        hint = suggested(message)
        self.blocks = hint if hint is not None and hint < blocks else max(1, blocks // 2)
