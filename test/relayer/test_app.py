"""The composition root: what stands between a loop and the wrong chain."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from relayer.app import on_chain
from relayer.chain.health import WrongChainError
from relayer.chain.providers import Providers
from relayer.chain.rpc import JsonRpc
from relayer.local.anvil import Anvil
from relayer.model.clock import utc_now


async def test_no_pass_begins_on_another_chain(make_anvil: Callable[..., Anvil]) -> None:
    anvil = make_anvil()
    passes: list[int] = []

    async def run_pass(epoch: int) -> int:
        passes.append(epoch)
        return 1

    async with JsonRpc(anvil.rpc_url, timedelta(minutes=1)) as rpc:
        right, wrong = (Providers([rpc], chain_id, clock=utc_now) for chain_id in (anvil.chain_id, 1))
        assert await on_chain(right, run_pass)(7) == 1
        with pytest.raises(WrongChainError, match=rf"is of chain {anvil.chain_id}, not 1\)"):
            await on_chain(wrong, run_pass)(8)
    assert passes == [7]
