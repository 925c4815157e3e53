"""A signing service for the tests: `eth_accounts` and `eth_signTransaction` over HTTP, honest until told otherwise.

It is a process of its own, with another implementation of transactions (eth-account) than the code under test. Its key
and the `Authorization` that it wants come by environment, its port goes to standard output. `test_fault` makes it answer
the next calls wrongly, each fault in its own way; without a fault every answer is honest.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import rlp
from eth_account import Account

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
QUANTITIES = ("gas", "nonce", "value", "chainId", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas")
STALL_SECONDS = 1

KEY = os.environ["SIGNER_KEY"]
AUTHORIZATION = os.environ.get("SIGNER_AUTHORIZATION")


def sign(transaction: dict[str, Any], fault: str | None) -> Any:
    """Sign what `eth_signTransaction` was given; give the bytes in hex, or geth's object."""
    fields = {name: value for name, value in transaction.items() if name not in {"from", *QUANTITIES}}
    fields |= {name: int(transaction[name], 16) for name in QUANTITIES if name in transaction}
    if fault is not None and fault.startswith("changed:"):
        name = fault.removeprefix("changed:")
        fields[name] = {"to": "0x" + "77" * 20, "data": "0x77"}.get(name) or fields[name] + 1
    if fault == "swapped":
        fields["maxFeePerGas"], fields["gas"] = fields["gas"], fields["maxFeePerGas"]
        fields["maxPriorityFeePerGas"] = 0
    fields["to"] = bytes.fromhex(fields["to"][2:])  # eth-account wants a checksum in text
    if fault == "access_list":
        fields["accessList"] = [{"address": "0x" + "77" * 20, "storageKeys": []}]
    if fault == "other_type":
        fields["gasPrice"] = fields.pop("maxFeePerGas")
        del fields["maxPriorityFeePerGas"]
    if fault == "no_chain_id":
        del fields["chainId"]
    key = "0x" + "11" * 32 if fault == "other_key" else KEY
    raw = bytes(Account.sign_transaction(fields, key).raw_transaction)
    if fault in SPOILT:
        kind = b"" if raw[0] >= 0xC0 else raw[:1]
        items = rlp.decode(raw[len(kind) :])
        SPOILT[fault](items)
        raw = kind + rlp.encode(items)
    if fault == "trailing":
        raw += b"\x00"
    digits = f"0x{raw.hex()}"
    return {"raw": digits, "tx": {"hash": "0x00"}} if fault == "geth" else digits


def high_s(items: list[Any]) -> None:
    """The other of the two signatures that everyone can make of one (EIP-2)."""
    v, s = int.from_bytes(items[-3]), int.from_bytes(items[-1])
    flipped = v ^ 1 if v < 2 else v + (1 if v % 2 else -1)
    items[-3] = flipped.to_bytes((flipped.bit_length() + 7) // 8)
    items[-1] = (ORDER - s).to_bytes(32)


def padded(items: list[Any]) -> None:
    """A number with a zero in front."""
    items[-2] = b"\x00" + items[-2]


def wrong_parity(items: list[Any]) -> None:
    """The recovery id of the other point."""
    items[-3] = b"" if items[-3] else b"\x01"


def recovery_id(items: list[Any]) -> None:
    """A recovery id that there is not."""
    items[-3] = b"\x1b"


def no_signature(items: list[Any]) -> None:
    """Zeros, which sign nothing."""
    items[-2:] = [b"", b""]


def one_more(items: list[Any]) -> None:
    """A field that does not belong there."""
    items.append(b"\x01")


SPOILT = {one.__name__: one for one in (high_s, padded, wrong_parity, recovery_id, no_signature, one_more)}


# What no JSON-RPC server says: status, body, headers.
NO_ANSWERS: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "429": (429, b"try again later", {"Retry-After": "1"}),
    "500": (500, b"an error", {}),
    "redirect": (307, b"", {"Location": "http://127.0.0.1:9/"}),
    "garbage": (200, b"\xff\x00 no JSON", {}),
}
# What one says, whatever it was asked.
ANSWERS: dict[str, dict[str, Any]] = {
    "refused": {"error": {"code": -32000, "message": "the key is locked"}},
    "no_key": {"result": []},
    "no_hex": {"result": "0xno"},
    "no_text": {"result": [1]},
    "nonsense": {"result": "0x02deadbeef"},
    "nested": {"result": "0x02" + "c1" * 500},
    "long": {"result": "0x02" + "00" * (1 << 16)},
}


class Handler(BaseHTTPRequestHandler):
    """Answers one call a request."""

    protocol_version = "HTTP/1.1"
    fault: str | None = None

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if request["method"] == "test_fault":
            Handler.fault = request["params"][0]
            self.reply(200, {"jsonrpc": "2.0", "id": request["id"], "result": True})
        elif AUTHORIZATION is not None and self.headers["Authorization"] != AUTHORIZATION:
            self.reply(401, b"who are you?")
        else:
            self.answer(request)

    def answer(self, request: dict[str, Any]) -> None:
        fault = Handler.fault
        envelope = {"jsonrpc": "2.0", "id": request["id"]}
        if fault == "timeout":
            time.sleep(STALL_SECONDS)
        if fault == "close":
            self.close_connection = True
        elif fault in NO_ANSWERS:
            self.reply(*NO_ANSWERS[fault])
        elif fault in ANSWERS:
            self.reply(200, envelope | ANSWERS[fault])
        elif request["method"] == "eth_accounts":
            self.reply(200, envelope | {"result": [Account.from_key(KEY).address]})
        else:
            self.reply(200, envelope | {"result": sign(request["params"][0], fault)})

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
