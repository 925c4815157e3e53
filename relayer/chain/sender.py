"""Sending calls so that each lands once, whatever dies in between.

Row before effect: the nonce's row is committed before anything is signed for it, the signed bytes before they are
sent. A pass always begins with what earlier passes left, sends stored bytes again, asks for every hash ever signed, and
only then takes a new nonce. That something was broadcast is a hint and never evidence.
"""

from relayer.chain import log_repository
from relayer.chain.bumping import Bumping
from relayer.chain.calls import CallSource
from relayer.chain.fees import Fees
from relayer.chain.health import FinalityViolationError, WrongChainError
from relayer.chain.ledger import Ledger, View
from relayer.chain.node import Node
from relayer.chain.opening import Opening
from relayer.chain.posting import Posting
from relayer.chain.providers import Providers
from relayer.chain.rpc import RpcError, RpcUnavailableError
from relayer.chain.sender_metrics import SenderMetrics
from relayer.chain.settling import Settling
from relayer.chain.signer import Signer, SignerUnavailableError
from relayer.chain.simulation import Simulation
from relayer.chain.slot_repository import Account
from relayer.chain.transaction import SignerError
from relayer.model.clock import Clock
from relayer.store.database import Database


class Sender:
    """Sends the calls of a source from one account.

    Args:
        db: in the relayer's role.
        providers: the nodes that are asked and sent to, and the chain for which is signed (EIP-155).
        signer: holds the account's key.
        source: gives the calls, and is told what became of them.
        fees: what may be paid.
        metrics: where is counted what happens.
        clock: gives the time of sending, by which stuck transactions are bumped.

    """

    def __init__(
        self,
        db: Database,
        providers: Providers,
        *,
        signer: Signer,
        source: CallSource,
        fees: Fees,
        metrics: SenderMetrics,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._address = signer.address
        self._source = source
        self._metrics = metrics
        self._ledger = Ledger(db, Account(providers.chain_id, signer.address), clock)
        simulation = Simulation(signer.address)
        self._posting = Posting(
            self._ledger,
            providers,
            signer=signer,
            source=source,
            fees=fees,
            simulation=simulation,
            metrics=metrics,
            clock=clock,
        )
        self._settling = Settling(
            self._ledger, providers, source=source, simulation=simulation, metrics=metrics
        )
        self._bumping = Bumping(
            self._ledger, self._posting, fees=fees, simulation=simulation, metrics=metrics, clock=clock
        )
        self._opening = Opening(
            self._ledger,
            self._posting,
            providers,
            source=source,
            fees=fees,
            simulation=simulation,
            metrics=metrics,
        )

    async def run_pass(self, epoch: int) -> int:
        """Do once everything that can be done now, under the lease's epoch.

        Returns:
            How many slots were reserved, sent, settled or refused; 0 if there was nothing to do.

        Raises:
            UnavailableError: nodes, database or signer are away; a transaction's outcome may be unknown, its bytes are
                kept.
            WrongChainError: every node is of another chain.
            FinalityViolationError: every node contradicts what was final.
            RpcError: the node refuses a read.
            SignerError: the signer gave back something else than it was asked for.
            LeaseLostError: another process leads; nothing was written.

        """
        # An old leader stops here, before it asks or sends anything.
        async with self._ledger.write(epoch) as entry:
            known = await log_repository.last_final(entry.conn, self._providers.chain_id)
        if known is not None:
            self._providers.remember(known)
        await self._providers.look()
        try:
            rpc = self._providers.pinned()
        except (RpcUnavailableError, WrongChainError, FinalityViolationError) as trouble:
            async with self._ledger.write(epoch) as entry:
                await self._source.halted(entry.conn, str(trouble))
            raise
        view = View(epoch, rpc, await Node(rpc).account(self._address))
        done, unsigned = 0, None
        try:
            done += await self._posting.resend(view)
        except (SignerUnavailableError, SignerError, RpcError) as error:
            unsigned = error
        done += await self._settling.poll(view)
        if unsigned is not None:
            # What is on its way is followed all the same; nothing else can be done before what was taken is signed.
            raise unsigned
        done += await self._opening.fill_gaps(view)
        done += await self._bumping.bump(view)
        done += await self._opening.open(view)
        self._metrics.saw(await self._ledger.load(), view)
        return done
