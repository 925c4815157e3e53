"""Rebuilds again and again in a process that is killed around a given commit.

`python dying_rebuild.py URL FOLDER RPC CHAIN_ID REGISTRY` reads numbers from its standard input. For each it forks; the child
rebuilds and gets SIGKILL, from itself: before the commit of that number where it is odd, after it where it is even. It
answers `killed`, or `done` where the rebuild came to its end first.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from relayer.batches.handlers import on_final_event
from relayer.batches.manifest import ManifestCipher
from relayer.batches.rebuild import Rebuilder
from relayer.chain.rpc import JsonRpc
from relayer.model.clock import utc_now
from relayer.settings import DatabaseSettings
from relayer.store import registries
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.tenants.audit import PLATFORM

KEY = bytes(range(32))


class DyingDatabase(Database):
    """Kills its process around one of its commits."""

    left = 0

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[Any]:
        async with super().transaction(tenant) as conn:
            yield conn
            self._step()
        self._step()

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def rebuild(number: int) -> None:
    url, folder, rpc_url, chain_id, address = sys.argv[1:]
    settings = DatabaseSettings(url=SecretStr(url), pool_size=2)
    async with DyingDatabase(settings) as db, JsonRpc(rpc_url, timedelta(seconds=20)) as rpc:
        async with db.transaction() as conn:
            row = await registries.find(conn, int(chain_id), bytes.fromhex(address))
        assert row is not None
        db.left = number
        blobs = LocalBlobStore(Path(folder))
        await Rebuilder(
            db,
            rpc,
            blobs,
            ManifestCipher(KEY),
            row,
            handler=on_final_event,
            origin=PLATFORM,
            clock=utc_now,
        ).run()


def main() -> None:
    for text in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(rebuild(int(text)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        answer = "killed" if killed else "done" if status == 0 else "failed"
        print(f"answer: {answer}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
