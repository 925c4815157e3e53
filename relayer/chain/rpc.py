"""JSON-RPC 2.0 over HTTP, asynchronous, one reused connection pool a node.

Nothing is retried here: whoever calls knows whether a call may be repeated. Every exchange tells the node's breaker
and its throttle how it went; who to ask next is decided by `relayer.chain.providers`.

No more is read of an answer than an honest one to the call may have, so that no node can exhaust the memory.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import count
from types import TracebackType
from typing import Any, Self

import httpx2
import orjson

from relayer.chain.throttle import Throttle, says_too_many
from relayer.model.breaker import Breaker
from relayer.model.errors import JobsealError, UnavailableError

Request = tuple[str, Sequence[Any]]
"""A method and its parameters."""

_MAX_TEXT = 300
# So many failures in a row are no accident; a node that fell silent is left alone for so long (seconds).
FAILURES = 3
REST_S = 60.0

_MIB = 1 << 20
# A header with the hashes of 15,000 transactions, or the longest transaction that pools take.
_ANSWER_BYTES = _MIB
# The receipt of a transaction of 2^24 gas (EIP-7825) that spends all of it on logs has 4 MiB.
_LARGE_ANSWER_BYTES = {
    "eth_getTransactionReceipt": 8 * _MIB,
    "eth_getBlockReceipts": 32 * _MIB,
    "eth_getLogs": 32 * _MIB,
}
# Of all answers of one exchange together.
_MOST_BYTES = 32 * _MIB


class RpcUnavailableError(UnavailableError):
    """No usable answer came from the node; whether it carried the call out is unknown."""


class RpcOversizedError(RpcUnavailableError):
    """The answer is larger than an honest one to the call may be; the rest of it was not read."""


class RpcThrottledError(RpcUnavailableError):
    """The node refuses because it was asked too much."""


class RpcError(JobsealError):
    """The node answered a call with a JSON-RPC error.

    `code` and `message` are the node's; `data` holds the bytes of a revert, None if the error has none.
    """

    def __init__(self, address: str, method: str, error: Any) -> None:
        details = error if isinstance(error, dict) else {"message": str(error)}
        text = "".join(letter if letter.isprintable() else " " for letter in str(details.get("message")))
        self.code = details.get("code")
        self.message = text[:_MAX_TEXT]
        self.data = _revert_data(details.get("data"))
        super().__init__(f"{address} refused {method}: {self.message}")


class JsonRpc:
    """A node's JSON-RPC interface.

    Messages name the node by `address`, which leaves out path, query and credentials, because that is where
    providers put their keys.

    Args:
        url: http or https address.
        timeout: limit on each exchange as a whole.
        headers: sent with every exchange, such as credentials.

    Attributes:
        breaker: opens after three exchanges in a row without an answer, and rests for a minute.
        throttle: until when the node wants to be left alone.

    Raises:
        ValueError: `url` is no http or https address.

    """

    def __init__(self, url: str, timeout: timedelta, headers: Mapping[str, str] | None = None) -> None:
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            parsed = httpx2.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("JOBSEAL_CHAIN_RPC_URLS: expected addresses such as http://127.0.0.1:8545")
        self.address = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
        self.breaker = Breaker(self.address, threshold=FAILURES, rest=REST_S)
        self.throttle = Throttle()
        self._url = parsed
        self._timeout_s = timeout.total_seconds()
        # Uncompressed, so that the limit on the answer's size bounds memory as well.
        self._client = httpx2.AsyncClient(
            timeout=self._timeout_s, headers={**(headers or {}), "Accept-Encoding": "identity"}
        )
        self._ids = count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        """Give the `result` of one call.

        Raises:
            RpcUnavailableError: no connection, no answer in time, or an answer that is not JSON-RPC.
            RpcOversizedError: of these, the answer has more bytes than it may have.
            RpcThrottledError: of these, the node asks to be asked less.
            RpcError: the node answered with an error.

        """
        request = self._request(method, params)
        return self._result(method, request["id"], await self._exchange(request, _bytes_of(method)))

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """Give the results of several calls, in their order, from one exchange.

        Raises:
            RpcUnavailableError: as `call`.
            RpcError: the node answered one of them with an error.

        """
        if not requests:
            return []
        sent = [self._request(method, params) for method, params in requests]
        limit = min(sum(_bytes_of(method) for method, _ in requests), _MOST_BYTES)
        answers = await self._exchange(sent, limit)
        if not isinstance(answers, list):
            # Some nodes answer a batch as a whole with one error.
            self._result("a batch of calls", None, answers)
            raise self.nonsense("a batch of calls was answered with one result")
        by_id = {
            answer["id"]: answer
            for answer in answers
            if isinstance(answer, dict) and isinstance(answer.get("id"), int)
        }
        return [self._result(request["method"], request["id"], by_id.get(request["id"])) for request in sent]

    def nonsense(self, sentence: str) -> RpcUnavailableError:
        """The error for an answer that cannot be right."""
        return RpcUnavailableError(f"{self.address}: {sentence}")

    def _request(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    async def _exchange(self, body: Any, limit: int) -> Any:
        try:
            answer = await self._answer(body, limit)
        except RpcThrottledError:
            # It lives.
            self.breaker.succeeded()
            raise
        except RpcUnavailableError:
            self.breaker.failed()
            raise
        self.breaker.succeeded()
        return answer

    async def _answer(self, body: Any, limit: int) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                response, content = await self._post(orjson.dumps(body), limit)
        except TimeoutError:
            raise self._silent(f"no whole answer within {self._timeout_s:g} s") from None
        except httpx2.HTTPError as error:
            raise self._silent(str(error) or type(error).__name__) from None
        if response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            raise self._throttled("HTTP status 429", response.headers.get("Retry-After"))
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            if not response.is_success:
                raise self._silent(f"HTTP status {response.status_code}") from None
            raise self.nonsense("something else than JSON came as the answer") from None

    async def _post(self, body: bytes, limit: int) -> tuple[httpx2.Response, bytes]:
        received = bytearray()
        headers = {"Content-Type": "application/json"}
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) > limit:
                    raise RpcOversizedError(f"{self.address}: the answer has more than {limit} bytes")
        return response, bytes(received)

    def _throttled(self, reason: str, retry_after: str | None = None) -> RpcThrottledError:
        self.throttle.refused(retry_after)
        return RpcThrottledError(f"the node at {self.address} was asked too much: {reason}")

    def _silent(self, reason: str) -> RpcUnavailableError:
        return RpcUnavailableError(f"no answer from {self.address}: {reason}")

    def _result(self, method: str, request_id: int | None, answer: Any) -> Any:
        if not isinstance(answer, dict) or ("result" in answer) == (answer.get("error") is not None):
            raise self.nonsense(f"{method} was answered with something else than JSON-RPC")
        if "result" not in answer:
            error = RpcError(self.address, method, answer["error"])
            raise self._throttled(error.message) if says_too_many(error.code, error.message) else error
        if answer.get("id") != request_id:
            raise self.nonsense(f"{method} was answered out of order")
        self.throttle.passed()
        return answer["result"]


def _bytes_of(method: str) -> int:
    """How many bytes the answer to a call may have."""
    return _LARGE_ANSWER_BYTES.get(method, _ANSWER_BYTES)


def _revert_data(data: Any) -> bytes | None:
    """The bytes that a revert returned; some nodes nest them once more under `data`."""
    if isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str):
        return None
    try:
        return bytes.fromhex(data.removeprefix("0x"))
    except ValueError:
        return None
