"""The remote signer against a signing service in a process of its own, honest and not."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from relayer.app import with_key
from relayer.chain.fee import DynamicFee, LegacyFee
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.remote_signer import RemoteSigner
from relayer.chain.rpc import JsonRpc
from relayer.chain.signer import SignerUnavailableError
from relayer.chain.transaction import SignerError, TransactionFields, check_signed
from relayer.settings import RemoteSignerSettings

SERVICE = Path(__file__).parents[2] / "support" / "remote_signer.py"
TOKEN = "a token that nobody must see"
FIELDS = TransactionFields(31337, 7, b"\x11" * 20, b"\x01\x00\xff", 90_000, DynamicFee(30, 2))
LEGACY = replace(FIELDS, fee=LegacyFee(30))


@dataclass
class Service:
    """The signing service, and how it is told to misbehave."""

    url: str
    address: bytes
    token_file: Path

    def settings(self, **changes: Any) -> RemoteSignerSettings:
        known: dict[str, Any] = {
            "url": self.url,
            "address": f"0x{self.address.hex()}",
            "token_file": self.token_file,
            "timeout": timedelta(seconds=20),
        }
        return RemoteSignerSettings(**(known | changes))

    async def has(self, fault: str | None) -> None:
        async with JsonRpc(self.url, timedelta(seconds=20)) as rpc:
            await rpc.call("test_fault", [fault])


@pytest.fixture(scope="session")
def running(keystore: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    signer = KeystoreSigner(*keystore)
    token_file = tmp_path_factory.mktemp("signer") / "token"
    token_file.write_text(f"{TOKEN}\n")
    environment = {"SIGNER_KEY": signer._account.key.to_0x_hex(), "SIGNER_AUTHORIZATION": f"Bearer {TOKEN}"}
    with subprocess.Popen(
        [sys.executable, SERVICE], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Service(f"http://127.0.0.1:{process.stdout.readline().strip()}", signer.address, token_file)
        process.terminate()


@pytest.fixture
async def service(running: Service) -> AsyncIterator[Service]:
    yield running
    await running.has(None)


@pytest.mark.parametrize("fault", [None, "geth"])
@pytest.mark.parametrize("fields", [FIELDS, LEGACY, replace(FIELDS, nonce=0, calldata=b"")])
async def test_it_signs_what_it_is_asked_for(
    service: Service, fields: TransactionFields, fault: str | None
) -> None:
    await service.has(fault)
    async with RemoteSigner(service.settings()) as signer:
        await signer.check_key()
        assert signer.address == service.address
        for nonce in range(6):
            asked = replace(fields, nonce=nonce)
            check_signed(await signer.sign(asked), asked, service.address)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        *[
            (f"changed:{name}", f"changed {name};")
            for name in (
                "nonce",
                "gas",
                "to",
                "data",
                "value",
                "maxFeePerGas",
                "maxPriorityFeePerGas",
                "chainId",
            )
        ],
        ("swapped", "changed maxPriorityFeePerGas, maxFeePerGas, gas;"),
        ("access_list", "changed accessList;"),
        ("other_type", "another type"),
        ("other_key", "instead of 0x"),
        ("wrong_parity", "instead of 0x"),
        ("recovery_id", "the recovery id 27 instead of 0 or 1"),
        ("high_s", r"out of range \(EIP-2\)"),
        ("no_signature", r"out of range \(EIP-2\)"),
        ("padded", "canonical encoding"),
        ("one_more", "of 13 fields"),
        ("trailing", "no transaction"),
        ("nonsense", "no transaction"),
        ("nested", "no transaction|fields"),
        ("long", "too many"),
        ("no_hex", "hexadecimal"),
        ("no_text", "hexadecimal"),
        ("refused", "refused eth_signTransaction: the key is locked"),
    ],
)
async def test_an_answer_that_is_not_exactly_right_is_refused(
    service: Service, fault: str, told: str
) -> None:
    await service.has(fault)
    async with RemoteSigner(service.settings()) as signer:
        with pytest.raises(SignerError, match=told):
            await signer.sign(FIELDS)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("changed:gasPrice", "changed gasPrice;"),
        ("changed:chainId", "the recovery id"),
        ("no_chain_id", "the recovery id 2[78] instead of 62709 or 62710"),
        ("high_s", "EIP-2"),
        ("other_key", "instead of 0x"),
    ],
)
async def test_so_is_one_to_a_legacy_transaction(service: Service, fault: str, told: str) -> None:
    await service.has(fault)
    async with RemoteSigner(service.settings()) as signer:
        with pytest.raises(SignerError, match=told):
            await signer.sign(LEGACY)


@pytest.mark.parametrize("fault", ["429", "500", "close", "garbage", "redirect", "timeout"])
async def test_no_answer_may_be_asked_for_again(service: Service, fault: str) -> None:
    await service.has(fault)
    timeout = timedelta(seconds=0.3 if fault == "timeout" else 20)
    async with RemoteSigner(service.settings(timeout=timeout)) as signer:
        with pytest.raises(SignerUnavailableError, match=service.url) as caught:
            await signer.sign(FIELDS)
        assert TOKEN not in str(caught.value)
    await service.has(None)
    async with RemoteSigner(service.settings()) as signer:
        check_signed(await signer.sign(FIELDS), FIELDS, service.address)


async def test_the_event_loop_goes_on_while_it_waits(service: Service) -> None:
    await service.has("timeout")
    async with RemoteSigner(service.settings()) as signer:
        signing = asyncio.create_task(signer.sign(FIELDS))
        turns = 0
        while not signing.done():
            await asyncio.sleep(0.01)
            turns += 1
        # The service sleeps for a second; a loop that waited with it would have turned once or twice.
        assert turns > 5
        check_signed(await signing, FIELDS, service.address)


async def test_it_is_the_account_of_the_settings_or_no_pass_begins(service: Service) -> None:
    passes: list[int] = []

    async def run_pass(epoch: int) -> int:
        passes.append(epoch)
        return 0

    async with RemoteSigner(service.settings()) as signer:
        guarded = with_key(signer, run_pass)
        await service.has("no_key")
        with pytest.raises(SignerError, match="JOBSEAL_SIGNER_ADDRESS"):
            await guarded(1)
        await service.has("500")
        with pytest.raises(SignerUnavailableError):
            await guarded(2)
        await service.has(None)
        await guarded(3)
        await service.has("500")
        await guarded(4)
    assert passes == [3, 4]


async def test_credentials_are_read_from_a_file_and_shown_nowhere(service: Service, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("user:another secret")
    settings = service.settings(token_file=None, basic_auth_file=wrong)
    async with RemoteSigner(settings) as signer:
        with pytest.raises(SignerUnavailableError, match="HTTP status 401") as caught:
            await signer.check_key()
    assert "another" not in f"{caught.value!r} {settings!r}"
    with pytest.raises(SignerError, match=r"JOBSEAL_SIGNER_TOKEN_FILE: .*nowhere cannot be read"):
        RemoteSigner(service.settings(token_file=tmp_path / "nowhere"))
    for content in (b"", b"\n", b"two\nlines", b"\xff"):
        wrong.write_bytes(content)
        with pytest.raises(SignerError, match=r"JOBSEAL_SIGNER_TOKEN_FILE: .*wrong holds no credentials"):
            RemoteSigner(service.settings(token_file=wrong))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"url": "http://signer.example:9000"}, "expected https"),
        ({"url": f"https://user:{TOKEN}@signer.example"}, "JOBSEAL_SIGNER_BASIC_AUTH_FILE"),
        ({"url": "signer.example"}, "expected https://host:port"),
        ({"address": "0x12"}, "address"),
        ({"basic_auth_file": "/dev/null"}, "JOBSEAL_SIGNER_TOKEN_FILE is given too"),
        ({"timeout": timedelta(0)}, "timeout"),
    ],
)
async def test_settings_that_cannot_be_are_named(service: Service, changes: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told) as caught:
        service.settings(**changes)
    assert TOKEN not in str(caught.value)


def test_another_machine_is_asked_by_https_unless_it_is_allowed(running: Service) -> None:
    for changes in (
        {"url": "https://signer.example/eth1"},
        {"url": "http://signer.example", "allow_http": True},
        {"url": "http://localhost:9000"},
        {"url": "http://[::1]:9000"},
    ):
        assert running.settings(**changes).url == SecretStr(str(changes["url"]))


# --- on the chain ------------------------------------------------------------------------------------------


async def test_a_slot_whose_signature_did_not_come_is_signed_again(chain: Any, service: Service) -> None:
    """While the signer is away, what is on its way is still followed, and the reserved nonce stays its batch's."""
    epoch = await chain.lease("sender")
    async with RemoteSigner(service.settings()) as signer:
        sender = chain.sender(signer=signer)
        first = await chain.seal()
        await sender.run_pass(epoch)
        second = await chain.seal()
        await service.has("500")
        with pytest.raises(SignerUnavailableError):
            await sender.run_pass(epoch)
        assert [state for _, state, _ in await chain.slots()] == ["included", "reserved"]
        await chain.mine(3)
        # Nor does an answer that is none keep it from that.
        await service.has("other_key")
        with pytest.raises(SignerError):
            await sender.run_pass(epoch)
        assert await chain.slots() == [(0, "final", 1), (1, "reserved", 0)]
        for fault in ("high_s", "changed:nonce"):
            await service.has(fault)
            with pytest.raises(SignerError):
                await sender.run_pass(epoch)
        assert await chain.slots() == [(0, "final", 1), (1, "reserved", 0)]
        await service.has(None)
        for _ in range(2):
            await sender.run_pass(epoch)
            await chain.mine(3)
        assert await chain.slots() == [(0, "final", 1), (1, "final", 1)]
    assert await chain.confirmed() == [first.root, second.root]


@pytest.mark.parametrize("remote", [False, True])
async def test_a_batch_is_confirmed_by_legacy_transactions(
    chain: Any, service: Service, remote: bool
) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    async with RemoteSigner(service.settings()) as service_signer:
        sender = chain.sender(signer=service_signer if remote else chain.signer, fees="legacy")
        await sender.run_pass(epoch)
        ((raw, price, tip),) = await chain.rows(
            "SELECT raw, max_fee_per_gas, max_priority_fee_per_gas FROM tx_attempts"
        )
        assert raw[0] >= 0xC0
        assert price == tip == int(await chain.rpc.call("eth_gasPrice"), 16)
        # What is stuck is replaced by one of its kind, which pays an eighth more.
        chain.clock.wait(seconds=46)
        await sender.run_pass(epoch)
        ((bumped,),) = await chain.rows("SELECT max(max_fee_per_gas) FROM tx_attempts")
        assert 8 * bumped >= 9 * price
        await chain.mine(3)
        await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "final", 2)]
    receipt = await chain.rpc.call("eth_getTransactionReceipt", [await inclusion(chain)])
    assert (receipt["type"], int(receipt["effectiveGasPrice"], 16)) == ("0x0", bumped)
    assert await chain.confirmed() == [seal.root]


async def inclusion(chain: Any) -> str:
    ((digest,),) = await chain.rows("SELECT included_hash FROM chain_txs")
    return f"0x{digest.hex()}"
