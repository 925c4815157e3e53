"""One node with a registry for all tests of faults of a process, taken back before each of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from chaos.store import Store
from chaos.world import Connections, connections
from faultproxy.chain import Chain
from faultproxy.proxy import FaultProxy
from ground import Ground, ground


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("ground")) as here:
        yield here


@pytest.fixture(scope="session")
async def opened(deployed: Ground, postgres_urls: Any) -> AsyncIterator[Connections]:
    async with connections(deployed, postgres_urls.owner, postgres_urls.relayer) as one:
        yield one


@pytest.fixture
def empty(postgres_urls: Any) -> Callable[[], None]:
    """Empty the tables between two runs of a test."""
    return Store(postgres_urls.owner, postgres_urls.relayer, postgres_urls.superuser).empty


@pytest.fixture
def here(deployed: Ground) -> Ground:
    deployed.reset()
    return deployed


@pytest.fixture
async def proxy(here: Ground) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(here.url) as one:
        yield one


@pytest.fixture
def chain(here: Ground, proxy: FaultProxy) -> Chain:
    return Chain(proxy, here.registry)
