"""What every run of faults stands on: a node that makes blocks only when told to, a registry on it, and the way back."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import orjson
from eth_account import Account

from relayer.chain.keystore import KeystoreSigner
from relayer.local.anvil import CHAIN_ID, Anvil
from relayer.local.deploy import deploy_registry

ETHER = 10**18
PASSWORD = "open"
# Deeper than the deepest reorganisation.
_BLOCKS_BELOW = 80


# anvil's second and third account, known to everyone; the node can sign for them too.
OUR_KEY = bytes.fromhex("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")
THEIR_KEY = bytes.fromhex("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
OURS, THEIRS = (bytes.fromhex(Account.from_key(key).address[2:]) for key in (OUR_KEY, THEIR_KEY))


@dataclass
class Ground:
    """A node with a deployed registry; `ours` and `theirs` may confirm, `theirs` belonging to somebody else."""

    url: str
    registry: bytes
    first_block: int
    keystore: Path
    password_file: Path
    ours: bytes = OURS
    theirs: bytes = THEIRS
    _deployed: str = field(default="")

    def rpc(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        with closing(HTTPConnection("127.0.0.1", int(self.url.rpartition(":")[2]), timeout=30)) as connection:
            connection.request("POST", "/", orjson.dumps(request), {"Content-Type": "application/json"})
            answer = orjson.loads(connection.getresponse().read())
        if "error" in answer:
            raise RuntimeError(f"anvil refused {method}: {answer['error']}")
        return answer["result"]

    def reset(self) -> None:
        """Take the chain back to where it was after the deployment, and make blocks enough for reorganisations.

        The node begins anew: after a snapshot it keeps the states of blocks that are gone, until it forgets others for them.
        """
        self.rpc("anvil_reset")
        self.rpc("anvil_loadState", self._deployed)
        self.rpc("anvil_mine", hex(_BLOCKS_BELOW), "0xc")

    def signer(self) -> KeystoreSigner:
        return KeystoreSigner(self.keystore, self.password_file)


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Start the node and deploy."""
    keystore, password_file = folder / "keystore.json", folder / "password"
    keystore.write_bytes(orjson.dumps(Account.encrypt(OUR_KEY, PASSWORD, kdf="pbkdf2", iterations=1)))
    password_file.write_text(f"{PASSWORD}\n")
    with Anvil(folder, chain_id=CHAIN_ID, mining="auto", persist=False) as anvil:
        deployment = deploy_registry(
            anvil.rpc_url, [f"0x{one.hex()}" for one in (OURS, THEIRS)], folder / "broadcast"
        )
        here = Ground(anvil.rpc_url, deployment.address, deployment.first_block, keystore, password_file)
        here.rpc("evm_setAutomine", False)
        for account in (OURS, THEIRS):
            here.rpc("anvil_setBalance", f"0x{account.hex()}", hex(100 * ETHER))
        here._deployed = here.rpc("anvil_dumpState")
        yield here
