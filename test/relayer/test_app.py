"""The composition root: what stands between a loop and the wrong chain."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from relayer.app import WrongChainError, on_chain
from relayer.chain.rpc import JsonRpc
from relayer.local.anvil import Anvil


async def test_no_pass_begins_on_another_chain(make_anvil: Callable[..., Anvil]) -> None:
    anvil = make_anvil()
    passes: list[int] = []

    async def run_pass(epoch: int) -> int:
        passes.append(epoch)
        return 1

    async with JsonRpc(anvil.rpc_url, timedelta(seconds=10)) as rpc:
        assert await on_chain(rpc, anvil.chain_id, run_pass)(7) == 1
        with pytest.raises(WrongChainError, match=rf"is of chain {anvil.chain_id}, not 1;"):
            await on_chain(rpc, 1, run_pass)(8)
    assert passes == [7]
