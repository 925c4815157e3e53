import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayer.tenants.keys import KEY_LENGTH, PREFIX_LENGTH, PREFIXES, generate_key, is_well_formed, key_digest
from relayer.tenants.principal import Mode

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


@pytest.mark.parametrize(("mode", "prefix"), [(Mode.LIVE, "jsl_live_"), (Mode.TEST, "jsl_test_")])
def test_a_new_key_is_well_formed_and_its_own(mode: Mode, prefix: str) -> None:
    keys = {generate_key(mode) for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith(prefix)
        assert len(key) == KEY_LENGTH == 45
        assert is_well_formed(key)


@given(position=st.integers(PREFIX_LENGTH, KEY_LENGTH - 1), other=st.sampled_from(BASE62))
def test_one_wrong_character_is_noticed(position: int, other: str) -> None:
    key = generate_key()
    changed = key[:position] + other + key[position + 1 :]
    assert is_well_formed(changed) == (changed == key)


@given(st.text(max_size=60))
def test_other_text_is_no_key(text: str) -> None:
    assert not is_well_formed(text)
    for prefix in PREFIXES.values():
        assert not is_well_formed(prefix + text)


def test_a_live_key_is_no_test_key() -> None:
    assert not is_well_formed(generate_key().replace("live", "test"))


def test_the_checksum_is_the_crc32_of_what_stands_before_it() -> None:
    body = (PREFIXES[Mode.LIVE] + "0" * 30).encode()
    register = 0xFFFFFFFF
    for byte in body:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xEDB88320 if register & 1 else 0)
    value, digits = register ^ 0xFFFFFFFF, ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = BASE62[digit] + digits
    assert is_well_formed(body.decode() + digits)


def test_the_digest_depends_on_the_pepper() -> None:
    key = generate_key()
    assert len(key_digest(key, b"one")) == 32
    assert key_digest(key, b"one") == key_digest(key, b"one") != key_digest(key, b"two")
