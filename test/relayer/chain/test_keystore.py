"""The keystore signer, and what every signer's answer must say."""

from dataclasses import replace
from pathlib import Path

import pytest
import rlp

from relayer.chain.fee import DynamicFee, LegacyFee
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.transaction import SignerError, TransactionFields, check_signed, fee_of

FIELDS = TransactionFields(31337, 7, b"\x11" * 20, b"\x01\x00\xff", 90_000, DynamicFee(30, 2))
LEGACY = replace(FIELDS, fee=LegacyFee(30))


@pytest.mark.parametrize("fields", [FIELDS, LEGACY, replace(FIELDS, nonce=0, calldata=b"")])
async def test_signatures_of_both_recovery_ids_are_taken(
    keystore: tuple[Path, Path], fields: TransactionFields
) -> None:
    signer = KeystoreSigner(*keystore)
    await signer.check_key()
    first = 0 if isinstance(fields.fee, DynamicFee) else 2 * fields.chain_id + 35
    seen: set[int] = set()
    while seen != {first, first + 1}:
        raw = await signer.sign(fields)
        assert fee_of(raw, fields.fee.max_fee, fields.fee.max_tip) == fields.fee
        *_, v, _, _ = rlp.decode(raw.removeprefix(b"\x02"))
        seen.add(int.from_bytes(v))
        fields = replace(fields, nonce=fields.nonce + 1)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (replace(FIELDS, chain_id=1), "chainId"),
        (replace(FIELDS, nonce=8), "nonce"),
        (replace(FIELDS, target=b"\x12" * 20), "to"),
        (replace(FIELDS, calldata=b"\x01"), "data"),
        (replace(FIELDS, gas_limit=1), "gas"),
        (replace(FIELDS, fee=DynamicFee(31, 2)), "maxFeePerGas"),
        (replace(FIELDS, fee=DynamicFee(30, 1)), "maxPriorityFeePerGas"),
        (replace(LEGACY, fee=LegacyFee(31)), "gasPrice"),
        (replace(LEGACY, gas_limit=1, nonce=1), "nonce, gas"),
    ],
)
async def test_a_changed_field_is_named(
    keystore: tuple[Path, Path], changed: TransactionFields, named: str
) -> None:
    signer = KeystoreSigner(*keystore)
    fields = FIELDS if isinstance(changed.fee, DynamicFee) else LEGACY
    raw = await signer.sign(fields)
    check_signed(raw, fields, signer.address)
    with pytest.raises(SignerError, match=f"the signer changed {named};"):
        check_signed(raw, changed, signer.address)


async def test_a_legacy_transaction_is_bound_to_its_chain(keystore: tuple[Path, Path]) -> None:
    signer = KeystoreSigner(*keystore)
    raw = await signer.sign(LEGACY)
    with pytest.raises(SignerError, match="recovery id"):
        check_signed(raw, replace(LEGACY, chain_id=1), signer.address)


async def test_another_type_another_key_and_no_transaction_are_caught(keystore: tuple[Path, Path]) -> None:
    signer = KeystoreSigner(*keystore)
    raw = await signer.sign(FIELDS)
    with pytest.raises(SignerError, match="instead of 0x2222"):
        check_signed(raw, FIELDS, b"\x22" * 20)
    with pytest.raises(SignerError, match="another type"):
        check_signed(raw, LEGACY, signer.address)
    with pytest.raises(SignerError, match="another type"):
        check_signed(await signer.sign(LEGACY), FIELDS, signer.address)
    for nonsense in (b"", b"\x02", b"\x02nonsense", b"\x02\xc0", b"\x02\x80", raw + b"\x00", raw[:-1]):
        with pytest.raises(SignerError, match="the signer"):
            check_signed(nonsense, FIELDS, signer.address)


def test_a_keystore_that_does_not_open_is_named(keystore: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("another")
    with pytest.raises(SignerError, match=r"JOBSEAL_CHAIN_KEYSTORE: .*key\.json") as caught:
        KeystoreSigner(keystore[0], wrong)
    assert "another" not in str(caught.value)
    with pytest.raises(SignerError, match=r"KEYSTORE_PASSWORD_FILE: .*missing cannot be read"):
        KeystoreSigner(keystore[0], tmp_path / "missing")
