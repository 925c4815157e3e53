"""What rollups take and how they take it, on a real node that plays one: no node of a real one can be had here."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.backends.pysha3 import keccak256
from hypothesis import given
from hypothesis import strategies as st

from relayer.chain.calls import Cause
from relayer.chain.fee import GWEI, DynamicFee, Keep, LegacyFee
from relayer.chain.fees import Fees
from relayer.chain.first_come_market import FirstComeMarket
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc, RpcUnavailableError
from relayer.chain.simulation import Simulation
from relayer.chain.transaction import TransactionFields, unsigned_bytes
from relayer.local.deploy import ROOT

ORACLE = "0x420000000000000000000000000000000000000F"
WEI = st.integers(min_value=0, max_value=10**15)
FEE = st.builds(lambda tip, more: DynamicFee(tip + more, tip), WEI, WEI)


@pytest.fixture(scope="session")
def oracles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The code of the contracts that stand for `GasPriceOracle`, by name."""
    forge = shutil.which("forge", path=f"{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}")
    assert forge is not None
    out, source = tmp_path_factory.mktemp("out"), "test/contracts/support/FeeOracle.sol"
    subprocess.run(
        [forge, "build", source, "--out", out, "--cache-path", out / "cache"], cwd=ROOT, check=True
    )
    artifacts = {name: out / f"FeeOracle.sol/{name}.json" for name in ("FeeOracle", "OldFeeOracle")}
    return {
        name: json.loads(Path(path).read_text())["deployedBytecode"]["object"]
        for name, path in artifacts.items()
    }


def fields(calldata: bytes = b"\x01\x02", gas: int = 90_000) -> TransactionFields:
    return TransactionFields(31337, 7, b"\x11" * 20, calldata, gas, DynamicFee(30 * GWEI, GWEI))


def test_what_is_signed_is_what_others_sign() -> None:
    one = fields()
    other = TypedTransaction.from_dict(
        {
            "type": 2,
            "chainId": one.chain_id,
            "nonce": one.nonce,
            "to": one.target,
            "value": 0,
            "data": one.calldata,
            "gas": one.gas_limit,
            "maxFeePerGas": one.fee.max_fee,
            "maxPriorityFeePerGas": one.fee.max_tip,
        }
    )
    assert keccak256(unsigned_bytes(one)) == bytes(other.hash())


async def test_the_op_stack_takes_for_data_and_for_its_operator(chain: Any, oracles: dict[str, str]) -> None:
    await chain.rpc.call("anvil_setCode", [ORACLE, oracles["FeeOracle"]])
    for one in (fields(), fields(bytes(5_000), 1_000_000)):
        data_fee = len(unsigned_bytes(one)) * 3 * GWEI
        cost = await Fees(GWEI, rollup="op-stack").beside_gas(chain.rpc, one)
        assert cost == -(-data_fee * 9 // 8) + one.gas_limit + 5 * GWEI
    assert await Fees(GWEI).beside_gas(chain.rpc, fields()) == 0


async def test_an_oracle_that_knows_no_operator_s_fee_is_older_than_it(
    chain: Any, oracles: dict[str, str]
) -> None:
    await chain.rpc.call("anvil_setCode", [ORACLE, oracles["OldFeeOracle"]])
    cost = await Fees(GWEI, rollup="op-stack").beside_gas(chain.rpc, fields())
    assert cost == -(-len(unsigned_bytes(fields())) * 3 * GWEI * 9 // 8)


async def test_a_chain_without_the_oracle_is_none_of_the_op_stack(chain: Any) -> None:
    await chain.seal()
    with pytest.raises(
        RpcUnavailableError, match="JOBSEAL_CHAIN_ROLLUP says that the chain is of the OP stack"
    ):
        await chain.sender(rollup="op-stack").run_pass(await chain.lease("sender"))
    assert await chain.slots() == []


async def test_the_balance_pays_for_data_too(chain: Any, oracles: dict[str, str]) -> None:
    await chain.rpc.call("anvil_setCode", [ORACLE, oracles["FeeOracle"]])
    calldata = RegistryClient.encode_confirm_batch((await chain.seal()).words)
    fees = Fees(500 * GWEI, rollup="op-stack")
    market = await fees.market(chain.rpc)
    most = fees.most(market)
    gas = await Simulation(chain.signer.address).gas(chain.rpc, chain.address, calldata)
    transaction = TransactionFields(31337, 0, chain.address, calldata, gas, market.bid(most))
    beside = await fees.beside_gas(chain.rpc, transaction)
    assert beside > 500 * GWEI
    least = 3 * (gas * most + beside)
    account = f"0x{chain.signer.address.hex()}"
    epoch = await chain.lease("sender")

    await chain.rpc.call("anvil_setBalance", [account, hex(least - 1)])
    await chain.sender(rollup="op-stack").run_pass(epoch)
    (_, refusal) = chain.source.told[-1]
    assert refusal.cause is Cause.FUNDS
    assert f"and {beside} wei beside it" in refusal.text
    assert await chain.slots() == []

    async with chain.db.transaction() as conn:
        await conn.execute("UPDATE batches SET state = 'sealed', reason = NULL")
    await chain.rpc.call("anvil_setBalance", [account, hex(least)])
    await chain.sender(rollup="op-stack").run_pass(epoch)
    assert await chain.slots() == [(0, "broadcast", 1)]


@given(old=FEE, base=WEI, ceiling=WEI, refused=st.booleans())
def test_who_comes_first_is_repriced_only_where_he_does_not_pay(
    old: DynamicFee, base: int, ceiling: int, refused: bool
) -> None:
    market = FirstComeMarket(base)
    match market.bump(old, ceiling, refused=refused):
        case Keep.PAID:
            assert not refused
            assert old.max_fee >= base
        case Keep.CAPPED:
            assert refused or old.max_fee < base
            assert old.max_fee >= min(ceiling, 2 * base)
        case DynamicFee(max_fee, max_tip):
            assert max_tip == 0
            assert old.max_fee < max_fee <= ceiling
            assert max_fee >= min(2 * base, ceiling)
        case _:
            raise AssertionError
    assert market.bid(ceiling) == DynamicFee(min(2 * base, ceiling), 0)
    assert market.bump(LegacyFee(old.max_fee), ceiling, refused=refused) == market.bump(
        old, ceiling, refused=refused
    )


class CountingRpc(JsonRpc):
    """Keeps the transactions that it hands on."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timedelta(seconds=20))
        self.sent: list[str] = []

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method == "eth_sendRawTransaction":
            self.sent.append(params[0])
        return await super().call(method, params)


async def test_arbitrum_gets_the_same_bytes_again_after_twenty_seconds_and_never_dearer_ones(
    chain: Any,
) -> None:
    await chain.rpc.call("evm_setAutomine", [False])
    await chain.seal()
    epoch = await chain.lease("sender")
    async with CountingRpc(chain.rpc.address) as rpc:
        sender = chain.sender(rpc=rpc, rollup="arbitrum")
        await sender.run_pass(epoch)
        # The sequencer answered, and lost it.
        await chain.rpc.call("anvil_dropAllTransactions")
        await chain.mine(5)
        chain.clock.wait(seconds=19)
        await sender.run_pass(epoch)
        assert len(rpc.sent) == 1
        for count in (2, 3):
            chain.clock.wait(seconds=20)
            await sender.run_pass(epoch)
            assert len(rpc.sent) == count
        assert len(set(rpc.sent)) == 1
        await chain.mine()
        await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "included", 1)]
    assert await chain.rows("SELECT max_priority_fee_per_gas FROM tx_attempts") == [(0,)]


async def test_arbitrum_is_asked_at_its_price_when_that_has_risen(chain: Any) -> None:
    await chain.rpc.call("evm_setAutomine", [False])
    await chain.seal()
    epoch = await chain.lease("sender")
    sender = chain.sender(rollup="arbitrum")
    await sender.run_pass(epoch)
    await chain.rpc.call("anvil_dropAllTransactions")
    await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(20 * GWEI)])
    await chain.mine()
    chain.clock.wait(seconds=20)
    await sender.run_pass(epoch)
    await chain.mine()
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "included", 2)]
    fees = await chain.rows(
        "SELECT max_fee_per_gas, max_priority_fee_per_gas FROM tx_attempts ORDER BY max_fee_per_gas"
    )
    assert [tip for _, tip in fees] == [0, 0]
    assert fees[0][0] < 20 * GWEI < fees[1][0] <= 40 * GWEI
