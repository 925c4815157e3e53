"""Deploys the registry on a local chain with the project's own Foundry script."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from relayer.local.process import ServerError

# The checkout: contracts, script and Foundry's artifacts lie here, so a local chain needs a checkout.
ROOT = Path(__file__).resolve().parents[2]
# anvil's first account: its key is public, which suits a chain that lives on one machine.
ADMIN = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
_ADMIN_DELAY_S = 3_600


@dataclass(frozen=True)
class Deployment:
    """Where a registry is: its proxy's 20 bytes, and a block before which it has no event."""

    address: bytes
    first_block: int


def deploy_registry(rpc_url: str, confirmers: Sequence[str], broadcast_folder: Path) -> Deployment:
    """Run `script/Deploy.s.sol`; anvil's first account gets every role but the confirmers'.

    Deploying again with the same confirmers gives the same address and changes nothing.

    Raises:
        ServerError: forge is missing or the script failed.

    """
    forge = shutil.which("forge", path=f"{ROOT / '.tools' / 'bin'}:{os.environ.get('PATH', '')}")
    if forge is None:
        raise ServerError("forge is not installed; run `make setup`")
    completed = subprocess.run(
        [
            *(forge, "script", "script/Deploy.s.sol", "--rpc-url", rpc_url),
            # One transaction at a time: anvil has been seen to leave the later ones of a burst in its queue for ever.
            *("--broadcast", "--slow", "--json", "--unlocked", "--sender", ADMIN),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "ADMIN": ADMIN,
            "ADMIN_IS_KEY": "1",
            "ADMIN_DELAY": str(_ADMIN_DELAY_S),
            "CONFIRMERS": ",".join(confirmers),
            "PAUSER": ADMIN,
            "REVOKER": ADMIN,
            "TIMELOCK_DELAY": "0",
            "FOUNDRY_BROADCAST": str(broadcast_folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode != 0:
        last = (completed.stderr.strip().splitlines() or ["no message"])[-1]
        raise ServerError(f"the registry was not deployed at {rpc_url}: {last}")
    returned = json.loads(completed.stdout.splitlines()[0])["returns"]
    return Deployment(
        address=bytes.fromhex(returned["registry"]["value"].removeprefix("0x")),
        first_block=int(returned["fromBlock"]["value"]),
    )
