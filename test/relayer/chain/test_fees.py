"""Fees: rules that hold for every market, and what real nodes of both kinds make of them."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relayer.chain.dynamic_market import DynamicMarket
from relayer.chain.fee import GWEI, DynamicFee, Fee, Keep, LegacyFee, Market
from relayer.chain.fees import Ceiling, Fees, Limit
from relayer.chain.gas import MAX_GAS, eip7623_floor, gas_limit
from relayer.chain.legacy_market import LegacyMarket
from relayer.chain.rpc import JsonRpc
from relayer.local.anvil import Anvil

WEI = st.integers(min_value=0, max_value=10**15)
DYNAMIC = st.builds(lambda tip, more: DynamicFee(tip + more, tip), WEI, WEI)
FEES = st.one_of(DYNAMIC, st.builds(LegacyFee, WEI))
MARKETS = st.one_of(
    st.builds(DynamicMarket, WEI, WEI, st.one_of(st.none(), WEI)), st.builds(LegacyMarket, WEI)
)


def geth_takes(old: Fee, new: Fee) -> bool:
    """What geth's pool asks of a replacement (`list.Add`): more, and a tenth more, in both fields."""
    return all(
        after > before and 10 * after >= 11 * before
        for before, after in ((old.max_fee, new.max_fee), (old.max_tip, new.max_tip))
    )


@given(old=FEES, market=MARKETS, ceiling=WEI, refused=st.booleans())
def test_a_bump_replaces_and_stays_under_the_ceiling_or_is_not_made(
    old: Fee, market: Market, ceiling: int, refused: bool
) -> None:
    new = market.bump(old, ceiling, refused=refused)
    match new:
        case Keep.CAPPED:
            assert 9 * old.max_fee > 8 * ceiling or old.max_fee + 1 > ceiling
        case Keep():
            assert not refused
            assert old.max_fee >= market.ask
        case _:
            assert geth_takes(old, new)
            assert new.max_tip <= new.max_fee <= ceiling
            # As much as the market asks, where the ceiling lets it.
            assert new.max_fee >= min(market.fair, ceiling)


@given(market=MARKETS, ceiling=WEI)
def test_a_bid_is_the_market_s_under_the_ceiling(market: Market, ceiling: int) -> None:
    fee = market.bid(ceiling)
    assert fee.max_tip <= fee.max_fee == min(market.fair, ceiling)
    assert market.ask <= market.fair


@given(old=FEES, market=MARKETS)
def test_bumps_climb_to_the_ceiling_and_end_there(old: Fee, market: Market) -> None:
    ceiling = 10**16
    while not isinstance(new := market.bump(old, ceiling, refused=True), Keep):
        assert geth_takes(old, new)
        old = new
    assert new is Keep.CAPPED
    assert 8 * old.max_fee <= 8 * ceiling < 9 * old.max_fee + 8


def test_what_pays_the_market_is_not_bumped_unless_a_node_refused_it() -> None:
    market = DynamicMarket(base_fee=100, tip=4, high_tip=8)
    for enough in (DynamicFee(129, 4), DynamicFee(1_000, 9)):
        assert market.bump(enough, 10_000, refused=False) is Keep.PAID
        assert isinstance(market.bump(enough, 10_000, refused=True), DynamicFee)
    assert market.bump(DynamicFee(128, 4), 10_000, refused=False) == DynamicFee(205, 5)
    assert market.bump(DynamicFee(129, 3), 10_000, refused=False) == DynamicFee(204, 4)
    assert LegacyMarket(100).bump(LegacyFee(125), 10_000, refused=False) is Keep.PAID
    assert LegacyMarket(100).bump(LegacyFee(124), 10_000, refused=False) == LegacyFee(140)


def test_who_tips_more_than_nearly_everyone_suspects_the_node() -> None:
    market = DynamicMarket(base_fee=100, tip=4, high_tip=8)
    assert market.bump(DynamicFee(104, 9), 10_000, refused=False) is Keep.IMPLAUSIBLE
    # It is the base fee that it does not pay.
    assert market.bump(DynamicFee(103, 9), 10_000, refused=False) == DynamicFee(211, 11)
    silent = DynamicMarket(base_fee=100, tip=4, high_tip=None)
    assert isinstance(silent.bump(DynamicFee(104, 9), 10_000, refused=False), DynamicFee)


def test_a_legacy_transaction_is_replaced_by_a_dynamic_one_and_the_other_way() -> None:
    assert DynamicMarket(8, 1, None).bump(LegacyFee(16), 100, refused=True) == DynamicFee(34, 18)
    assert LegacyMarket(8).bump(DynamicFee(16, 1), 100, refused=True) == LegacyFee(18)


def test_the_lowest_ceiling_holds() -> None:
    fees = Fees(500 * GWEI)
    market = DynamicMarket(10 * GWEI, GWEI, None)
    rich = 10**20
    assert fees.ceiling(market, gas=100_000, balance=rich) == Ceiling(105 * GWEI, Limit.MARKET)
    assert fees.most(market) == 105 * GWEI
    assert fees.ceiling(DynamicMarket(90 * GWEI, 0, None), gas=1, balance=rich) == Ceiling(
        500 * GWEI, Limit.CAP
    )
    assert fees.ceiling(market, gas=100_000, balance=2 * 10**15) == Ceiling(10 * GWEI, Limit.BALANCE)
    assert fees.ceiling(market, gas=100_000, balance=0) == Ceiling(0, Limit.BALANCE)
    # Five times next to nothing is still next to nothing.
    assert fees.ceiling(LegacyMarket(7), gas=100_000, balance=rich) == Ceiling(GWEI, Limit.MARKET)


def test_gas_has_a_floor_by_the_call_data_and_a_limit() -> None:
    calldata = b"\x01" * 1000 + b"\x00" * 10
    assert gas_limit(100_000, b"") == 120_000
    assert gas_limit(21_000, calldata) == eip7623_floor(calldata) == 21_000 + 40 * 1000 + 10 * 10
    assert gas_limit(21_000, calldata, floor=len) == 25_200
    assert gas_limit(MAX_GAS, b"") == MAX_GAS


# --- on nodes ----------------------------------------------------------------------------------------------

SENDER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


async def pay(rpc: JsonRpc, fields: dict[str, str]) -> Any:
    digest = await rpc.call("eth_sendTransaction", [{"from": SENDER, "to": SENDER, **fields}])
    await rpc.call("evm_mine")
    return await rpc.call("eth_getTransactionReceipt", [digest])


async def test_the_market_of_a_chain_with_base_fees(make_anvil: Callable[..., Anvil]) -> None:
    anvil = make_anvil("manual")
    async with JsonRpc(anvil.rpc_url, timedelta(seconds=10)) as rpc:
        fees = Fees(500 * GWEI)
        quiet = await fees.market(rpc)
        assert isinstance(quiet, DynamicMarket)
        assert (quiet.tip, quiet.high_tip) == (GWEI // 1000, None)
        for tip in (2, 4, 6):
            await pay(rpc, {"maxPriorityFeePerGas": hex(tip * GWEI), "maxFeePerGas": hex(20 * GWEI)})
        busy = await fees.market(rpc)
        assert isinstance(busy, DynamicMarket)
        assert (busy.tip, busy.high_tip) == (4 * GWEI, 6 * GWEI)
        header = await rpc.call("eth_getBlockByNumber", ["latest", False])
        assert 0 < busy.base_fee <= int(header["baseFeePerGas"], 16)
        assert await Fees(GWEI, "legacy").market(rpc) == LegacyMarket(int(await rpc.call("eth_gasPrice"), 16))


async def test_the_market_of_a_chain_without_base_fees(tmp_path: Path) -> None:
    with Anvil(tmp_path, mining="manual", persist=False, hardfork="berlin") as anvil:
        async with JsonRpc(anvil.rpc_url, timedelta(seconds=10)) as rpc:
            market = await Fees(500 * GWEI).market(rpc)
            assert market == LegacyMarket(int(await rpc.call("eth_gasPrice"), 16))
            receipt = await pay(rpc, {"gasPrice": hex(market.bid(500 * GWEI).max_fee)})
            assert receipt["status"] == "0x1"
