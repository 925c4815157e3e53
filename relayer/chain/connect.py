"""From the settings to nodes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from relayer.chain.depth import DepthFinalRpc
from relayer.chain.providers import Providers
from relayer.chain.rpc import JsonRpc
from relayer.model.clock import utc_now
from relayer.settings import ChainSettings


def nodes_of(chain: ChainSettings) -> list[JsonRpc]:
    """Give the nodes of the settings, in the order in which they are preferred; whoever asks closes them."""
    urls = [url.get_secret_value() for url in chain.rpc_urls]
    if chain.finality_depth is None:
        return [JsonRpc(url, chain.request_timeout) for url in urls]
    return [DepthFinalRpc(url, chain.request_timeout, chain.finality_depth) for url in urls]


@asynccontextmanager
async def best_node(chain_id: int) -> AsyncIterator[JsonRpc]:
    """Give the best node of the settings, for a command that asks a chain something.

    Raises:
        RpcUnavailableError: none is usable.
        WrongChainError: all of them are of another chain.

    """
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(rpc) for rpc in nodes_of(ChainSettings())]
        providers = Providers(opened, chain_id, clock=utc_now)
        await providers.look()
        yield providers.pinned()
