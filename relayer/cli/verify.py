"""`jobseal verify FILE`: one receipt, one line, one exit status. Needs nothing of the platform but, at best, an RPC address."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from eth_hash.backends.pysha3 import keccak256

from relayer.chain.verifier import Rpc, verify_on_chain
from relayer.seal.commitment import UINT64_MAX
from relayer.seal.receipt import MAX_RECEIPT_BYTES, Receipt, ReceiptError
from relayer.seal.verify import Outcome, Pin, Verdict, check, refused

EXIT_STATUS = {Outcome.VALID: 0, Outcome.REFUSED: 1, Outcome.CONSISTENT: 3, Outcome.UNCHECKED: 4}
UNREADABLE = 2


def _registry(text: str) -> bytes:
    digits = text.removeprefix("0x")
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise typer.BadParameter("expected an address: 0x and 40 hex digits")
    if digits not in (digits.lower(), digits.upper(), _checksummed(digits)):
        raise typer.BadParameter(
            "the mix of capitals is not the address's checksum (EIP-55): a digit is wrong"
        )
    return bytes.fromhex(digits)


def _checksummed(digits: str) -> str:
    """The EIP-55 spelling of 40 hex digits."""
    lower = digits.lower()
    nibbles = keccak256(lower.encode()).hex()
    return "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(lower, nibbles, strict=False)
    )


def _chain_id(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,20}|0x[0-9a-fA-F]{1,16}", text):
        value = int(text, 16 if text.startswith("0x") else 10)
        if 1 <= value <= UINT64_MAX:
            return value
    raise typer.BadParameter("expected a chain id: a number above 0, decimal or 0x-hex")


def _rpc(url: str) -> Rpc:
    try:
        return Rpc(url)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def verify(
    file: Annotated[str, typer.Argument(help="The receipt; - reads standard input.")],
    rpc: Annotated[
        Rpc | None,
        typer.Option(parser=_rpc, metavar="URL", envvar="JOBSEAL_VERIFY_RPC", help="A node of the chain."),
    ] = None,
    registry: Annotated[
        bytes | None,
        typer.Option(
            parser=_registry,
            metavar="ADDRESS",
            envvar="JOBSEAL_VERIFY_REGISTRY",
            help="The registry you trust.",
        ),
    ] = None,
    chain_id: Annotated[
        int | None,
        typer.Option(
            parser=_chain_id, metavar="N", envvar="JOBSEAL_VERIFY_CHAIN_ID", help="The chain it lives on."
        ),
    ] = None,
) -> None:
    """Check a receipt against a chain, trusting only the chain id and registry address given here.

    Exit status: 0 valid, 1 refused, 2 wrong usage or unreadable file, 3 consistent but not pinned or not checked on
    chain, 4 the chain could not be asked.
    """
    try:
        data = _read(file)
    except OSError as error:
        name = "standard input" if file == "-" else file
        typer.echo(f"cannot read {name!a}: {error.strerror}", err=True)
        raise typer.Exit(UNREADABLE) from None
    verdict = _verdict(data, rpc, Pin(chain_id, registry))
    typer.echo(
        f"{verdict.outcome} ({verdict.code}): {verdict.sentence}", err=verdict.outcome is Outcome.UNCHECKED
    )
    raise typer.Exit(EXIT_STATUS[verdict.outcome])


def _read(file: str) -> bytes:
    """The file's bytes, one more than a receipt may have at most."""
    if file == "-":
        return sys.stdin.buffer.read(MAX_RECEIPT_BYTES + 1)
    with Path(file).open("rb") as stream:
        return stream.read(MAX_RECEIPT_BYTES + 1)


def _verdict(data: bytes, rpc: Rpc | None, pin: Pin) -> Verdict:
    try:
        receipt = Receipt.from_json(data)
    except ReceiptError as error:
        return refused("malformed", f"not a receipt: {error}")
    if rpc is None:
        return check(receipt, pin)
    with rpc:
        return verify_on_chain(receipt, rpc, pin)
