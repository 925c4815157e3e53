"""Tokens as they are written and read, and whatever else pretends to be one."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from relayer.tenants.token_claims import TokenClaims
from relayer.tenants.token_format import TokenFormat, looks_like_token, thumbprint, to_jwk

from .conftest import NOW

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key()
KID = thumbprint(PUBLIC)
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLISHED = {thumbprint(OTHER.public_key()): OTHER.public_key(), KID: PUBLIC}
FORMAT = TokenFormat("https://jobs.example.com", "https://jobs.example.com")
CLAIMS = TokenClaims(
    jti=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    key_id=UUID("01890a5d-ac96-774b-bcce-b302099a8058"),
    tenant_id=UUID("01890a5d-ac96-774b-bcce-b302099a8059"),
    scopes=frozenset({"jobs:read", "jobs:write"}),
    issued_at=NOW,
    expires_at=NOW + timedelta(minutes=10),
)
TOKEN = FORMAT.write(CLAIMS, KID, PRIVATE)
HEAD, BODY, SIGNATURE = TOKEN.split(".")
HEADER = {"alg": "EdDSA", "kid": KID, "typ": "at+jwt"}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


PAYLOAD: dict[str, Any] = decoded(TOKEN.split(".")[1])


def forged(header: object = HEADER, payload: object = PAYLOAD, key: Ed25519PrivateKey = PRIVATE) -> str:
    """A token that is signed like a good one, whatever it says."""
    text = f"{b64(json.dumps(header, separators=(',', ':')).encode())}.{b64(json.dumps(payload).encode())}"
    return f"{text}.{b64(key.sign(text.encode()))}"


def signed(payload: bytes) -> str:
    text = f"{HEAD}.{b64(payload)}"
    return f"{text}.{b64(PRIVATE.sign(text.encode()))}"


def test_a_token_says_what_rfc_9068_wants() -> None:
    assert decoded(TOKEN.split(".")[0]) == HEADER
    assert {
        "iss": "https://jobs.example.com",
        "aud": "https://jobs.example.com",
        "sub": f"key_{CLAIMS.key_id}",
        "client_id": f"key_{CLAIMS.key_id}",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 600,
        "jti": str(CLAIMS.jti),
        "scope": "jobs:read jobs:write",
        "tenant": f"tnt_{CLAIMS.tenant_id}",
    } == PAYLOAD
    assert len(TOKEN) < 1_000
    assert looks_like_token(TOKEN)
    assert FORMAT.read(TOKEN, PUBLISHED, NOW) == CLAIMS
    assert FORMAT.read(forged(), PUBLISHED, NOW) == CLAIMS


def test_a_key_is_published_as_rfc_8037_says() -> None:
    # The example of RFC 8037, appendix A.
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    assert thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert to_jwk("a", public) == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "kid": "a",
        "use": "sig",
        "alg": "EdDSA",
    }


def test_a_token_is_good_from_its_beginning_to_its_end() -> None:
    second = timedelta(seconds=1)
    for now, good in (
        (CLAIMS.expires_at - timedelta(microseconds=1), True),
        (CLAIMS.expires_at, False),
        (NOW - 60 * second, True),
        (NOW - 61 * second, False),
    ):
        assert (FORMAT.read(TOKEN, PUBLISHED, now) is not None) == good


def signed_with_the_public_key_as_a_secret(secret: bytes) -> str:
    text = f"{b64(json.dumps(HEADER | {'alg': 'HS256'}).encode())}.{TOKEN.split('.')[1]}"
    return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def signed_with_another_curve() -> str:
    text = f"{b64(json.dumps(HEADER | {'alg': 'ES256'}).encode())}.{TOKEN.split('.')[1]}"
    signature = generate_private_key(SECP256R1()).sign(text.encode(), ECDSA(SHA256()))
    r, s = decode_dss_signature(signature)
    return f"{text}.{b64(r.to_bytes(32) + s.to_bytes(32))}"


HOSTILE = {
    "alg none": f"{b64(json.dumps(HEADER | {'alg': 'none'}).encode())}.{BODY}.",
    "alg none, signed": forged(HEADER | {"alg": "none"}),
    "no alg": forged({"kid": KID, "typ": "at+jwt"}),
    "no signature": f"{HEAD}.{BODY}.",
    "HS256, public key raw": signed_with_the_public_key_as_a_secret(PUBLIC.public_bytes_raw()),
    "HS256, public key PEM": signed_with_the_public_key_as_a_secret(
        PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "ES256": signed_with_another_curve(),
    "typ JWT": forged(HEADER | {"typ": "JWT"}),
    "no typ": forged({"alg": "EdDSA", "kid": KID}),
    "unknown kid": forged(HEADER | {"kid": "x"}),
    "kid of another key": forged(HEADER | {"kid": thumbprint(OTHER.public_key())}),
    "kid as a path": forged(HEADER | {"kid": "../../dev/null"}),
    "no kid": forged({"alg": "EdDSA", "typ": "at+jwt"}),
    "key in the header": forged(
        {"alg": "EdDSA", "jwk": to_jwk("x", OTHER.public_key()), "kid": KID, "typ": "at+jwt"}, key=OTHER
    ),
    "address of keys in the header": forged(HEADER | {"jku": "https://evil.example.com/jwks"}, key=OTHER),
    "critical extension": forged(HEADER | {"crit": ["b64"], "b64": False}),
    "signed by another key": forged(key=OTHER),
    "another issuer": forged(payload=PAYLOAD | {"iss": "https://evil.example.com"}),
    "another audience": forged(payload=PAYLOAD | {"aud": "https://other.example.com"}),
    "several audiences": forged(payload=PAYLOAD | {"aud": ["https://jobs.example.com", "x"]}),
    "another subject": forged(payload=PAYLOAD | {"sub": "key_01890a5d-ac96-774b-bcce-b302099a8050"}),
    "subject of nobody": forged(payload=PAYLOAD | {"sub": "x", "client_id": "x"}),
    "expired": forged(payload=PAYLOAD | {"exp": int(NOW.timestamp())}),
    "expires as text": forged(payload=PAYLOAD | {"exp": "4102444800"}),
    "expires never": forged(payload={name: value for name, value in PAYLOAD.items() if name != "exp"}),
    "expires at infinity": forged(payload=PAYLOAD | {"exp": float("inf")}),
    "expires beyond the calendar": forged(payload=PAYLOAD | {"exp": 10**18}),
    "issued in the future": forged(payload=PAYLOAD | {"iat": int(NOW.timestamp()) + 61}),
    "no jti": forged(payload={name: value for name, value in PAYLOAD.items() if name != "jti"}),
    "jti of no use": forged(payload=PAYLOAD | {"jti": "x"}),
    "no scope": forged(payload={name: value for name, value in PAYLOAD.items() if name != "scope"}),
    "scope as a list": forged(payload=PAYLOAD | {"scope": ["jobs:read"]}),
    "tenant of no use": forged(payload=PAYLOAD | {"tenant": "tnt_x"}),
    "payload a list": forged(payload=[PAYLOAD]),
    "payload no JSON": signed(b"{"),
    "payload nested deeply": signed(b"[" * 1000),
    "deeply nested header": f"{b64(b'[' * 1400)}.{BODY}.{SIGNATURE}",
    "too long": f"{HEAD}.{BODY}.{SIGNATURE}{'A' * 2048}",
    "four parts": f"{TOKEN}.{SIGNATURE}",
    "padding": f"{HEAD}=.{BODY}.{SIGNATURE}",
    "not ASCII": f"{HEAD}.{BODY}.{SIGNATURE[:-1]}é",
    "empty": "..",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_written_by_this_issuer_is_refused(name: str) -> None:
    assert FORMAT.read(HOSTILE[name], PUBLISHED, NOW) is None


@given(st.integers(0, len(TOKEN) - 2), st.sampled_from("ABCDEFabcdef0189-_."))
def test_a_token_with_one_other_character_is_refused(position: int, other: str) -> None:
    changed = TOKEN[:position] + other + TOKEN[position + 1 :]
    assert (FORMAT.read(changed, PUBLISHED, NOW) is not None) == (changed == TOKEN)


def test_a_token_is_no_more_than_what_was_signed() -> None:
    wider = PAYLOAD | {"scope": "admin:write"}
    assert FORMAT.read(f"{HEAD}.{b64(json.dumps(wider).encode())}.{SIGNATURE}", PUBLISHED, NOW) is None
    narrow = FORMAT.write(replace(CLAIMS, scopes=frozenset({"jobs:read"})), KID, PRIVATE)
    read = FORMAT.read(narrow, PUBLISHED, NOW)
    assert read is not None
    assert read.scopes == {"jobs:read"}
    assert FORMAT.read(TOKEN, {}, NOW) is None
