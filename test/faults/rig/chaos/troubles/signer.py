"""J: the signer."""

from faultproxy.answers import THROTTLE, Lose
from faultproxy.calls import Fault, Loss
from faultproxy.scope import Only
from faultproxy.signing import AlteredRequest, HighS, OtherKey
from ground import THEIRS

from chaos.trouble import Stop, trouble
from chaos.world import World


def _signing(name: str, fault: Fault) -> None:
    @trouble("J signer", name)
    async def start(world: World) -> Stop:
        world.connections.signing.faults.append(fault)

        async def stop() -> None:
            world.connections.signing.faults.remove(fault)

        return stop


_signing("does not answer", Lose(Loss.CLOSED, before=True))
_signing("does not answer in time", Only(Lose(Loss.SILENT), "eth_signTransaction", times=1))
_signing("throttles", THROTTLE)
_signing("signs other fields", AlteredRequest(gas="0x5208"))
_signing("signs for another nonce", AlteredRequest(nonce="0x40"))
_signing("signs with another key", OtherKey(f"0x{THEIRS.hex()}"))
_signing("signs with a high s", HighS())
