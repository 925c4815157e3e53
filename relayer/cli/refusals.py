"""What the demo shows to be impossible: an altered receipt, an impostor registry, a ticket confirmed twice."""

import asyncio
import dataclasses
import secrets
from datetime import timedelta

from rich.console import Console

from relayer.chain.registry import RegistryClient, decode_error
from relayer.chain.rpc import JsonRpc, RpcError
from relayer.chain.verifier import Rpc, verify_on_chain
from relayer.local.platform import Addresses
from relayer.model.errors import JobsealError
from relayer.seal.commitment import Domain, bit, leaf, word
from relayer.seal.receipt import Receipt, ReceiptError
from relayer.seal.tree import Word, seal_batch
from relayer.seal.verify import Outcome, Pin, check

_TIMEOUT = timedelta(seconds=10)


class NotRefusedError(JobsealError):
    """Something was accepted that must not be."""


def show_refusals(console: Console, addresses: Addresses, receipt: Receipt) -> None:
    """Try each of the three, and say how it was refused; raises `NotRefusedError` where one was not."""
    pin = Pin(addresses.chain_id, bytes.fromhex(addresses.registry[2:]))
    with Rpc(addresses.rpc_url) as rpc:
        for name, reason in (
            ("a receipt with one flipped bit", _flipped(receipt, rpc, pin)),
            ("a receipt of an impostor registry", _impostor(receipt, rpc, pin)),
            ("confirming a spent ticket again", asyncio.run(_again(addresses, receipt))),
        ):
            console.print(f"[green]ok[/green]  {name} is refused: {reason}")


def _flipped(receipt: Receipt, rpc: Rpc, pin: Pin) -> str:
    """Flip one bit, chosen at random, of the receipt as it is handed out."""
    data = bytearray(receipt.to_json())
    position = secrets.randbelow(len(data) * 8)
    data[position // 8] ^= 1 << (position % 8)
    try:
        altered = Receipt.from_json(bytes(data))
    except ReceiptError as error:
        return f"bit {position}: {error}"
    verdict = verify_on_chain(altered, rpc, pin)
    if verdict.outcome is not Outcome.REFUSED:
        raise NotRefusedError(f"a receipt with bit {position} flipped was not refused: {verdict.sentence}")
    return f"bit {position}: {verdict.sentence}"


def _impostor(receipt: Receipt, rpc: Rpc, pin: Pin) -> str:
    """Forge a receipt of the same job that is consistent in itself, under a registry that somebody else made."""
    registry = secrets.token_bytes(20)
    forged_leaf = leaf(Domain(receipt.chain_id, registry), receipt.job)
    seal = seal_batch({receipt.job.ticket: forged_leaf})
    forged = dataclasses.replace(
        receipt, registry=registry, batch_root=seal.root, proof=seal.proof(receipt.job.ticket)
    )
    if check(forged).outcome is not Outcome.CONSISTENT:
        raise NotRefusedError("the forged receipt is not even consistent, so refusing it shows nothing")
    verdict = verify_on_chain(forged, rpc, pin)
    if verdict.outcome is not Outcome.REFUSED:
        raise NotRefusedError(f"the receipt of an impostor was not refused: {verdict.sentence}")
    return verdict.sentence


async def _again(addresses: Addresses, receipt: Receipt) -> str:
    """Call the registry, as the account that confirmed the ticket, to confirm it under another root."""
    ticket = receipt.job.ticket
    calldata = RegistryClient.encode_confirm_batch(
        [Word(index=word(ticket), mask=1 << bit(ticket), root=secrets.token_bytes(32))]
    )
    async with JsonRpc(addresses.rpc_url, _TIMEOUT) as rpc:
        registry = RegistryClient(rpc, receipt.chain_id, receipt.registry)
        confirmed = await registry.batch(receipt.batch_root)
        assert confirmed is not None, "the receipt was verified before"
        call = {
            "from": f"0x{confirmed.submitter.hex()}",
            "to": addresses.registry,
            "data": f"0x{calldata.hex()}",
        }
        try:
            await rpc.call("eth_call", [call, "latest"])
        except RpcError as error:
            revert = decode_error(error.data or b"")
            if revert.name == "AlreadyConfirmed":
                return f"ticket {ticket} reverts with {revert}"
            raise NotRefusedError(f"the registry refused for another reason: {error}") from error
    raise NotRefusedError(f"the registry would confirm the spent ticket {ticket} again")
