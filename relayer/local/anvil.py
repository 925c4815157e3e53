"""A real EVM node for the demo and the tests: Foundry's anvil, with a chain that outlives the process."""

import fcntl
import os
import shutil
import threading
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from relayer.local.process import LOCALHOST, ServerError, ServerProcess, free_port, require_free_port
from relayer.local.server import EmbeddedServer

Mining = int | Literal["auto", "manual"]
"""When blocks are made: every so many seconds; one a transaction; only by RPC (`anvil_mine`)."""

CHAIN_ID = 31337

_TOOLS = Path(__file__).parents[2] / ".tools" / "bin"
_RPC_SECONDS = 10
_DUMP_SECONDS = 1
_WATCH_SECONDS = 0.2
# With one slot an epoch the finalized block lies two behind the head.
_BLOCKS_TO_FINALITY = 2


class Anvil(EmbeddedServer):
    """An anvil node on 127.0.0.1. **Its accounts are public**: anvil's default mnemonic is known to everyone.

    `hardfork` is a past one, such as `berlin`; else it is the newest. With `persist` the chain goes on after a stop, and after a SIGKILL without what the last second or two brought. A
    finalized block is two behind the head; with blocks a second or more apart it is in a whole dump by then and is not
    lost, unless the machine takes most of a second for a dump.

    anvil's own `--preserve-historical-states` is not used: it writes the whole state of every block with every dump
    (450 MB after 2,500 blocks, seconds a dump) and still cannot read at `finalized` once more states than its limit
    were loaded. Instead two empty blocks are made after a restart; then `finalized` is a block whose state is known.
    Reads at older blocks fail after a restart; blocks, transactions, receipts and logs are all kept.
    """

    def __init__(
        self,
        home: Path,
        port: int | None = None,
        *,
        chain_id: int = CHAIN_ID,
        mining: Mining = 1,
        persist: bool = True,
        hardfork: str | None = None,
    ) -> None:
        super().__init__("anvil")
        self._folder = home.resolve() / "anvil"
        self._log = home.resolve() / "logs" / "anvil.log"
        self.port = port or free_port()
        self.chain_id = chain_id
        self._mining = mining
        self._hardfork = hardfork
        self._states = _StateFiles(self._folder) if persist else None

    @property
    def rpc_url(self) -> str:
        """The address of the JSON-RPC interface."""
        return f"http://{LOCALHOST}:{self.port}"

    def start(self) -> None:
        """Start the node, on its earlier chain if there is one, and return when it answers."""
        require_free_port(self.name, self.port)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            persistence = self._states.open() if self._states else []
            # anvil spills old states here and leaves them when it is killed.
            shutil.rmtree(self._folder / "cache", ignore_errors=True)
            self._process = ServerProcess(
                self.name,
                [_binary(), *self._flags(), *persistence],
                log=self._log,
                env={"HOME": str(self._folder)},
            )
            self._process.start()
            self._process.wait_ready(self._answers)
            if self._states and self._height() > 0:
                self._rpc("anvil_mine", hex(_BLOCKS_TO_FINALITY), "0x0")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the node; it writes its state first."""
        super().stop()
        if self._states:
            self._states.close()

    def _flags(self) -> list[str]:
        mining = {"auto": [], "manual": ["--no-mining"]}.get(
            str(self._mining), ["--block-time", str(self._mining)]
        )
        return [
            *("--host", LOCALHOST),
            *("--port", str(self.port)),
            *("--chain-id", str(self.chain_id)),
            *("--slots-in-an-epoch", "1"),
            # Each state holds the whole chain's block hashes: kept by the thousand they fill memory and disk.
            *("--max-persisted-states", "16"),
            *("--cache-path", str(self._folder / "cache")),
            "--quiet",
            *mining,
            *(["--hardfork", self._hardfork] if self._hardfork else []),
        ]

    def _answers(self) -> bool:
        try:
            chain_id = self._rpc("eth_chainId")
        except (OSError, HTTPException):
            return False
        return bool(chain_id == hex(self.chain_id))

    def _height(self) -> int:
        return int(self._rpc("eth_blockNumber"), 16)

    def _rpc(self, method: str, *parameters: Any) -> Any:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        with closing(HTTPConnection(LOCALHOST, self.port, timeout=_RPC_SECONDS)) as connection:
            connection.request("POST", "/", orjson.dumps(call), {"Content-Type": "application/json"})
            answer = orjson.loads(connection.getresponse().read())
        if "result" not in answer:
            raise ServerError(f"anvil refused {method}: {answer.get('error')}")
        return answer["result"]


class _StateFiles:
    """The node's state on disk, such that a whole one is there at every moment.

    anvil writes each dump over the last one in place, so a kill in the middle leaves a torn file. It never begins a
    dump before the last one has ended. So a thread moves every new dump out of its way:

        dump.json  ->  state.json  ->  previous.json

    A dump that appears proves the one before it whole. Whichever file a kill tears, the next older is whole.
    """

    def __init__(self, folder: Path) -> None:
        self._dump = folder / "dump.json"
        self._state = folder / "state.json"
        self._previous = folder / "previous.json"
        self._lock_path = folder / "lock"
        self._lock: IO[bytes] | None = None
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None

    def open(self) -> list[str]:
        """Settle on the newest whole state, begin to watch, and give anvil's flags."""
        self.close()
        self._lock = self._acquire()
        self._settle()
        self._closing.clear()
        self._watcher = threading.Thread(target=self._watch, name="anvil-state", daemon=True)
        self._watcher.start()
        load = ["--load-state", str(self._state)] if self._state.exists() else []
        return [*load, "--dump-state", str(self._dump), "--state-interval", str(_DUMP_SECONDS)]

    def close(self) -> None:
        """Stop watching and settle; anvil is dead by now. Does nothing if not open."""
        if self._watcher is not None:
            self._closing.set()
            self._watcher.join()
            self._watcher = None
            self._settle()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _acquire(self) -> IO[bytes]:
        """Keep a second node from writing the same files."""
        lock = self._lock_path.open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ServerError(
                f"anvil cannot start: another one runs on {self._lock_path.parent}; stop it first"
            ) from None
        return lock

    def _watch(self) -> None:
        while not self._closing.wait(_WATCH_SECONDS):
            if self._dump.exists():
                if self._state.exists():
                    self._state.replace(self._previous)
                self._dump.replace(self._state)

    def _settle(self) -> None:
        """Make the newest whole file `state.json`."""
        candidates = [path for path in (self._dump, self._state, self._previous) if path.exists()]
        whole = next((path for path in candidates if _is_whole(path)), None)
        if whole is None and self._previous in candidates:
            raise ServerError(
                f"anvil cannot go on: no whole state in {self._state.parent}; move that folder away to begin a new chain"
            )
        # Without a previous state a torn file is the first dump of a chain that lived for a second.
        if whole is not None and whole != self._state:
            whole.replace(self._state)
        elif whole is None:
            self._state.unlink(missing_ok=True)
        self._dump.unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """Whether the file is a JSON document: no proper beginning of a JSON object is one."""
    try:
        orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return False
    return True


def _binary() -> str:
    """Find anvil: the one that set-up has pinned, else the machine's own."""
    binary = shutil.which("anvil", path=os.pathsep.join((str(_TOOLS), os.environ.get("PATH", ""))))
    if binary is None:
        raise ServerError("anvil is missing: run `make setup`, or install Foundry and put anvil on PATH")
    return binary
