"""The verifier's RPC connection against servers that are no node, or a broken one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from relayer.chain.verifier import MAX_ANSWER_BYTES, CannotCheckError, NodeError, Rpc


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None], *, timeout_s: float = 5) -> Iterator[Rpc]:
    """A connection to a server that answers each request with `answer`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            try:
                answer(self)
            except OSError:
                self.close_connection = True

        def log_request(self, *args: object) -> None:
            """Keeps the test's output clean."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with Rpc(f"http://127.0.0.1:{listener.server_port}/key", timeout_s=timeout_s) as rpc:
            yield rpc
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def body(content: bytes, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'"0x1"',
        b'{"id":1,"result":NaN}',
        b'{"id":77,"result":"0x1"}',
        b'{"result":"0x1"}',
        b'{"id":1,"result":"0x1","error":null}',
        b"[" * 100_000,
        b" " * (MAX_ANSWER_BYTES + 1),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(content: bytes) -> None:
    with server(body(content)) as rpc, pytest.raises(CannotCheckError) as caught:
        rpc.call("eth_chainId")
    assert caught.value.code == "rpc_answer"
    assert str(caught.value).startswith(f"{rpc.address}: ")


@pytest.mark.parametrize(
    ("content", "reverted"),
    [
        (b'{"id":1,"error":{"code":3,"message":"x"}}', True),
        (b'{"id":1,"error":{"code":-32000,"message":"execution reverted"}}', True),
        (b'{"id":1,"error":{"code":-32000,"message":"header not found"}}', False),
        (b'{"id":null,"error":"no"}', False),
        (b'{"error":null}', False),
    ],
)
def test_a_node_s_own_error_says_whether_a_call_reverted(content: bytes, reverted: bool) -> None:
    with server(body(content)) as rpc, pytest.raises(NodeError) as caught:
        rpc.call("eth_call")
    assert caught.value.reverted is reverted


def test_an_error_status_counts_where_the_body_is_no_json() -> None:
    with server(body(b"Bad gateway", 502)) as rpc, pytest.raises(CannotCheckError, match="502") as caught:
        rpc.call("eth_chainId")
    assert caught.value.code == "rpc_unreachable"
    with (
        server(body(b'{"id":1,"error":{"message":"slow down"}}', 429)) as rpc,
        pytest.raises(NodeError, match="slow"),
    ):
        rpc.call("eth_chainId")


def test_an_answer_that_never_ends_is_cut_off() -> None:
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        body(b"")(handler)
        # A byte now and then defeats a limit on the wait for each.
        while not stop.wait(0.02):
            handler.wfile.write(b" ")

    with server(drip, timeout_s=0.3) as rpc:
        with pytest.raises(CannotCheckError, match=r"more than 0\.3 s") as caught:
            rpc.call("eth_chainId")
        stop.set()
    assert caught.value.code == "rpc_unreachable"


def test_a_connection_that_breaks_off_is_no_answer() -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"{")

    with server(hang_up) as rpc, pytest.raises(CannotCheckError) as caught:
        rpc.call("eth_chainId")
    assert caught.value.code == "rpc_unreachable"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8545",
        "ws://127.0.0.1",
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://a..b",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="RPC address"):
        Rpc(url)
