"""How many blocks are asked for at once, and what providers' refusals say about it."""

import pytest

from relayer.chain.bloom import may_hold
from relayer.chain.ranges import RangeSize, suggested

# As providers word it, each in its own way.
REFUSALS = {
    "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the "
    "response size. Based on your parameters, this block range should work: [0x100, 0x1ff]": 256,
    "query returned more than 10000 results. Try with this block range [0x1B4, 0x1B5].": 2,
    "eth_getLogs is limited to a 10,000 range": 10_000,
    "query exceeds max results 20000, retry with the range 24383075-24383096": 22,
    "query exceeds max block range 100000": 100_000,
    "range is too large, max is 1k blocks": 1_000,
    "exceed maximum block range: 5000": 5_000,
    "You cannot query logs for more than that, please limit the query to at most 1000 blocks": 1_000,
    "Max range: 800": 800,
    "block range is too wide": None,
    "query timeout exceeded": None,
    "this block range should work: [0x200, 0x1ff]": None,
}


@pytest.mark.parametrize(("refusal", "blocks"), REFUSALS.items())
def test_what_a_refusal_suggests_is_read(refusal: str, blocks: int | None) -> None:
    assert suggested(refusal) == blocks


def test_a_suggestion_counts_only_where_it_asks_for_less() -> None:
    size = RangeSize()
    size.refused(1_000, "query exceeds max block range 100000")
    assert size.blocks == 500
    size.refused(500, "eth_getLogs is limited to a 128 range")
    assert size.blocks == 128
    size.refused(1)
    assert size.blocks == 1


def test_it_grows_by_a_quarter_after_three_quick_passes_up_to_ten_thousand() -> None:
    size = RangeSize()
    for _ in range(2):
        size.came(1_000, 0.1)
    size.came(999, 0.1)
    assert size.blocks == 1_000
    size.came(1_000, 0.1)
    assert size.blocks == 1_250
    for seconds in (0.1, 0.1, 2.5, 0.1, 0.1):
        size.came(1_250, seconds)
    assert size.blocks == 1_250
    for _ in range(100):
        size.came(size.blocks, 0.1)
    assert size.blocks == 10_000
    small = RangeSize()
    small.refused(1)
    for _ in range(3):
        small.came(1, 0.1)
    assert small.blocks == 2


def test_a_filter_without_the_contract_excludes_it() -> None:
    address, topic = b"\x01" * 20, b"\x02" * 32
    assert not may_hold(bytes(256), address, [topic])
    assert may_hold(b"\xff" * 256, address, [topic])
