"""What no honest client sends: each is answered with a problem document of 4xx, and the platform goes on."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from api.app import Settings, create_app
from api.reference.document import operations

from .conftest import Body, Caller, assert_problem, listening
from .operators import Operator

GOOD = b'{"kind":"digest","input":{"text":"a"}}'
DEEP = 5_000

JSON_TEXTS: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \t\r\n",
    "bom": b"\xef\xbb\xbf" + GOOD,
    "utf-16": GOOD.decode().encode("utf-16"),
    "utf-32": GOOD.decode().encode("utf-32-le"),
    "nul": b"\x00",
    "nul-behind": GOOD + b"\x00",
    "two-texts": GOOD + GOOD,
    "cut-off": GOOD[:-1],
    "overlong-slash": b'{"kind":"\xc0\xaf","input":{}}',
    "overlong-nul": b'{"kind":"\xc0\x80","input":{}}',
    "beyond-unicode": b'{"kind":"\xf4\x90\x80\x80","input":{}}',
    "surrogate-in-utf-8": b'{"kind":"\xed\xa0\x80","input":{}}',
    "lone-surrogate": b'{"kind":"digest","input":{"text":"\\udfff"}}',
    "surrogates-swapped": b'{"kind":"digest","input":{"text":"\\udc00\\ud800"}}',
    "surrogate-key": b'{"kind":"digest","input":{"\\ud800":1}}',
    "arrays": b"[" * DEEP,
    "closed-arrays": b'{"kind":"digest","input":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep-string": b'{"kind":"digest","input":"' + b"[" * DEEP,
    "huge-integer": b'{"kind":"digest","input":{"n":' + b"9" * 100_000 + b"}}",
    "huge-exponent": b'{"kind":"digest","input":{"n":1e999999999}}',
    "hidden-integer": b'{"kind":"digest","input":{"n":9007199254740993.0}}',
    "long-fraction": b'{"kind":"digest","input":{"n":0.' + b"1" * 200_000 + b"e400}}",
    "nan": b'{"kind":"digest","input":{"n":NaN}}',
    "infinity": b'{"kind":"digest","input":{"n":-Infinity}}',
    "hex": b'{"kind":"digest","input":{"n":0x10}}',
    "leading-zero": b'{"kind":"digest","input":{"n":01}}',
    "plus": b'{"kind":"digest","input":{"n":+1}}',
    "arabic-digits": '{"kind":"digest","input":{"n":٣}}'.encode(),
    "wide-digits": '{"kind":"digest","input":{"n":\uff11}}'.encode(),
    "twice": b'{"kind":"digest","input":{},"kind":"digest"}',
    "twice-escaped": b'{"kind":"digest","input":{"a":1,"\\u0061":1}}',
    "trailing-comma": b'{"kind":"digest","input":{},}',
    "comment": b'{"kind":"digest",/* */"input":{}}',
    "single-quotes": b"{'kind':'digest','input':{}}",
    "raw-newline": b'{"kind":"di\ngest","input":{}}',
    "no-object": b"[]",
    "null": b"null",
    "string": b'"digest"',
    "number": b"1",
    "prototype": b'{"kind":"digest","input":{"text":"a"},"__proto__":{"admin":true}}',
    "class": b'{"kind":"digest","input":{"text":"a"},"__class__":"x"}',
    "nul-kind": b'{"kind":"a\\u0000","input":{}}',
    "nul-metadata": b'{"kind":"digest","input":{"text":"a"},"metadata":{"a":"\\u0000"}}',
    "path-in-blob": b'{"kind":"digest","input":{"blob":"sha256:../../../etc/passwd"}}',
    "far": b'{"kind":"digest","input":{"text":"a"},"run_at":"9999-12-31T23:59:59.999999999-23:59"}',
    "early": b'{"kind":"digest","input":{"text":"a"},"run_at":"0001-01-01T00:00:00+23:59"}',
    "second-60": b'{"kind":"digest","input":{"text":"a"},"run_at":"2030-01-31T23:59:60Z"}',
    "digits": '{"kind":"digest","input":{"text":"a"},"run_at":"٢030-01-31T12:00:00Z"}'.encode(),
    "bool-as-number": b'{"kind":"digest","input":{"text":"a"},"retry":{"max_attempts":true}}',
    "number-as-text": b'{"kind":"digest","input":{"text":"a"},"retry":{"max_attempts":"1"}}',
    "tiny-limit": b'{"kind":"digest","input":{"text":"a"},"limits":{"run_seconds":1e-320}}',
    "sql": b'{"kind":"\'; DROP TABLE jobs; --","input":{}}',
}

IDS = [
    "..",
    "../../etc/passwd",
    "job_",
    "job_00000000-0000-0000-0000-00000000000g",
    "job_{00000000-0000-7000-8000-000000000000}",
    "job_00000000000070008000000000000000",
    "urn:uuid:00000000-0000-7000-8000-000000000000",
    "JOB_01970000-0000-7000-8000-00000000000A",
    "job_01970000-0000-7000-8000-00000000000٣",
    "job_\uff101970000-0000-7000-8000-000000000000",
    "sha256:" + "G" * 64,
    "sha256:" + "A" * 64,
    "sha256:../../../../etc/passwd",
    "\x00",
    "a\r\nSet-Cookie: x=y",
    "%2e%2e%2f",
    "' OR 1=1 --",
    "\ud7ff\ufffe",
    "x" * 8_000,
]

QUERIES = [
    "page_size=٣",
    "page_size=1e3",
    "page_size=0x10",
    "page_size=-0x1",
    "page_size=NaN",
    "page_size=1&page_size=2x",
    "page_size=1&page_size=2",
    "page_size=1&page%5Fsize=2",
    "state=created&state=failed",
    "metadata.a=1&metadata.%61=2",
    "page_size=1_0",
    "page_size=%2B5",
    "page_size=+5",
    "kind=%ff",
    "metadata.a=%ED%A0%80",
    "metadata.%C0%AF=1",
    "page_token=..%2F..",
    "page_token=%00",
    f"page_token={'A' * 128}",
    f"page_token={'A' * 129}",
    "page_token=%F0%9F%92%A9",
    "state[]=created",
    "state=CREATED",
    "kind=%ED%A0%80%00",
    "created_after=2030-01-31",
    "created_after=2030-01-31T12:00:00",
    "created_after=0",
    "created_after=99999-01-01T00:00:00Z",
    "created_before=2030-01-31T12:00:00%2B99:99",
    "created_before=٢٠٣٠-01-31T12:00:00Z",
    "metadata.=1",
    "metadata.a=%00",
    "metadata[a]=1",
    f"metadata.{'x' * 65}=1",
    "a" * 20_000 + "=1",
    "__proto__=1",
]

OWN_TEXTS: dict[str, bytes] = {
    "nul-name": b'{"name":"a\\u0000","scopes":["jobs:read"]}',
    "line-in-name": b'{"name":"a\\r\\nb","scopes":["jobs:read"]}',
    "unknown-scope": b'{"name":"a","scopes":["root"]}',
    "no-scopes": b'{"name":"a","scopes":[]}',
    "scope-object": b'{"name":"a","scopes":[{"$ne":null}]}',
    "many-addresses": b'{"name":"a","scopes":["jobs:read"],"allowed_addresses":['
    + b'"::1",' * 999
    + b'"::1"]}',
    "odd-address": '{"name":"a","scopes":["jobs:read"],"allowed_addresses":["٣.0.0.0/8"]}'.encode(),
    "zone": b'{"name":"a","scopes":["jobs:read"],"allowed_addresses":["fe80::1%eth0"]}',
    "for-ever": b'{"name":"a","scopes":["jobs:read"],"expires_at":"9999-12-31T23:59:59Z"}',
    "long-overlap": b'{"overlap_seconds":1e9}',
    "negative-overlap": b'{"overlap_seconds":-1}',
    "operator": b'{"name":"a","is_operator":true}',
    "plan": b'{"name":"a","plan":"__proto__"}',
    "weight": b'{"name":"a","weight":1e308}',
    "limit": b'{"limits":{"jobs_per_day":9007199254740991}}',
    "limit-name": b'{"limits":{"tenant_id":1}}',
    "reason": b'{"reason":"\\u001b[2J"}',
    "cap": b'{"running_jobs":2147483648}',
    "cap-bool": b'{"running_jobs":true}',
}

OWN_QUERIES = [
    "/v1/audit-events?target=%00",
    "/v1/audit-events?action=A",
    "/v1/audit-events?occurred_from=0",
    "/v1/audit-events?tenant=platform",
    "/v1/keys?page_size=-1",
    "/v1/admin/audit-events?tenant=tnt_x",
    "/v1/admin/tenants?name=%25",
    "/v1/admin/tenants?plan=x",
    "/v1/admin/tenants?is_operator=true",
    f"/v1/admin/tenants?page_token={'A' * 43}",
]

FORMS: dict[str, bytes] = {
    "empty": b"",
    "no-form": b"{}",
    "no-pair": b"grant_type",
    "nul": b"grant_type=client_credentials&client_id=%00&client_secret=%00",
    "not-utf-8": b"grant_type=%ff%fe&client_id=a&client_secret=b",
    "raw-bytes": b"grant_type=\xff\xfe",
    "cut-off-escape": b"grant_type=client_credentials&client_id=%k",
    "surrogate": b"grant_type=client_credentials&client_id=%ED%A0%80",
    "twice": b"grant_type=client_credentials&grant_type=client_credentials",
    "many": b"&".join(b"p%d=1" % number for number in range(1_000)),
    "large": b"grant_type=" + b"a" * 100_000,
    "scope": b"grant_type=client_credentials&scope=%0d%0aSet-Cookie:%20x",
    "sql": b"grant_type=client_credentials&client_id=' OR 1=1 --&client_secret=' OR 1=1 --",
}

RAW: dict[str, bytes] = {
    "no-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "garbage": b"\x00\xff\x00\xff\r\n\r\n",
    "no-version": b"GET /v1/jobs\r\n\r\n",
    "other-version": b"GET /v1/jobs HTTP/3.7\r\nHost: a\r\n\r\n",
    "no-host": b"GET /v1/jobs HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "odd-host": b"GET /v1/jobs HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "space-in-path": b"GET /v1/ jobs HTTP/1.1\r\nHost: a\r\n\r\n",
    "no-colon": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n",
    "space-before-colon": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nAccept : b\r\n\r\n",
    "folded": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n Authorization: b\r\n\r\n",
    "nul-in-header": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nAccept: a\x00b\r\n\r\n",
    "cr-in-header": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nAccept: a\rb\r\n\r\n",
    "long-header": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nAccept: " + b"a" * 100_000 + b"\r\n\r\n",
    "many-headers": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    "length-and-chunks": b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-lengths": b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "negative-length": b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "odd-length": b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n",
    "odd-coding": b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    "options-star": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "absolute": b"GET http://elsewhere/v1/jobs HTTP/1.1\r\nHost: a\r\n\r\n",
    "traversal": b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad-escape": b"GET /v1/jobs/%zz%u0000 HTTP/1.1\r\nHost: a\r\n\r\n",
    "not-utf-8-path": b"GET /v1/jobs/%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n",
    "odd-authorization": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    "odd-prefer": b'GET /v1/jobs HTTP/1.1\r\nHost: a\r\nPrefer: wait=\xb2, =;"\r\n\r\n',
    "upgrade": b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
}


@pytest.fixture
def operator(client: httpx2.AsyncClient, operator_key: str) -> Operator:
    return Operator(client, operator_key)


def fits(answer: httpx2.Response) -> Body:
    """Whatever it was, the answer is a problem of the client's making."""
    assert 400 <= answer.status_code < 500, answer.text
    return assert_problem(answer, answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch", "/v1/dead-letters:redrive"])
async def test_hostile_json_is_refused(acme: Caller, path: str) -> None:
    for name, text in JSON_TEXTS.items():
        body = b'{"idempotency_key":"' + name.encode() + b'",' + text[1:] if text[:1] == b"{" else text
        sent = b'{"jobs":[' + body + b"]}" if path.endswith("batch") else text
        answer = await acme.post(path, sent, content_type="application/json", idempotency_key=name)
        if answer.status_code == 207:
            (result,) = answer.json()["results"]
            assert 400 <= result["status"] < 500, name
        else:
            fits(answer)
    assert (await acme.get("/v1/jobs")).json() == {"data": []}


async def test_hostile_json_of_keys_and_administration_is_refused(operator: Operator) -> None:
    texts = {name: text for name, text in JSON_TEXTS.items() if text[:2] != b'{"' or len(text) > 1_000}
    texts |= OWN_TEXTS
    key = await operator.post_json("/v1/keys", {"name": "a", "scopes": ["jobs:read"]})
    tenant = await operator.made("acme")
    before = (await operator.get("/v1/audit-events")).json()
    for method, path in (
        ("POST", "/v1/keys"),
        ("POST", f"/v1/keys/{key.json()['id']}/rotate"),
        ("POST", "/v1/admin/tenants"),
        ("PATCH", f"/v1/admin/tenants/{tenant['id']}"),
        ("POST", f"/v1/admin/tenants/{tenant['id']}/suspend"),
        ("PUT", "/v1/admin/kind-caps/digest"),
    ):
        for name, text in texts.items():
            headers = operator.headers(content_type="application/json")
            answer = await operator.client.request(method, path, content=text, headers=headers)
            assert fits(answer)["status"] in {400, 422}, (name, path)
    assert (await operator.get("/v1/audit-events")).json() == before


async def test_hostile_forms_are_refused(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/oauth/token", "/oauth/revoke"):
        for name, form in FORMS.items():
            answer = await client.post(path, content=form, headers=headers)
            assert answer.status_code in {400, 401, 413, 429}, name
            if answer.status_code != 429:
                assert answer.json().keys() == {"error", "error_description"}, name
        for value in (b"Basic", b"Basic =", b"Basic /w==", b"Basic " + b"A" * 10_000, b"Bearer \xff"):
            authorization = [(b"authorization", value), (b"content-type", headers["Content-Type"].encode())]
            answer = await client.post(path, content=b"token=a&grant_type=b", headers=authorization)
            assert answer.status_code in {400, 401, 429}, value


async def test_hostile_ids_and_queries_are_refused(
    acme: Caller, operator: Operator, client: httpx2.AsyncClient
) -> None:
    document = (await client.get("/openapi.json")).json()
    for number, (path, method, operation) in enumerate(operations(document)):
        names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        caller = operator if path.startswith("/v1/admin") else acme
        # A third for each: there are more operations of every parameter.
        for text in IDS[number % 3 :: 3] if names else ():
            target = path.format(**dict.fromkeys(names, quote(text, safe="").replace(".", "%2E")))
            answer = await client.request(method, target, headers=caller.headers())
            # A kind may have any printable name, so that what is missed is its body.
            expected = {404, 405, 415} if path.endswith("{kind}") else {404, 405}
            assert fits(answer)["status"] in expected, (target, method)
    for query in QUERIES:
        assert fits(await acme.get(f"/v1/jobs?{query}"))["status"] == 400, query
    for query in OWN_QUERIES:
        assert fits(await operator.get(query))["status"] == 400, query
    for name, value in _hostile_headers():
        answer = await client.post(
            "/v1/jobs",
            content=GOOD,
            headers=[(b"authorization", f"Bearer {acme.secret}".encode()), (name, value)],
        )
        fits(answer)


async def test_a_path_is_read_in_one_way_only(acme: Caller, operator: Operator) -> None:
    """What a proxy in front lets through is what is answered: an encoded slash is none that divides a path."""
    job = await acme.submitted()
    for path in (
        "/v1%2fjobs",
        f"/v1/jobs%2F{job['id']}",
        f"/v1/jobs/{job['id']}%2Fhistory",
        "/v1%2Fadmin/tenants",
        "/v1/admin%2fkind-caps/digest",
        "/%2Fv1/jobs",
        "/v1/jobs/%ff",
        "/docs%2ferrors",
    ):
        answer = await operator.get(path)
        assert fits(answer)["status"] == 404, path
    # But in the name of a kind.
    for kind in ("a%2Fb", "%C3%BC"):
        path = f"/v1/admin/kind-caps/{kind}"
        assert (await operator.call("PUT", path, {"running_jobs": 1})).status_code == 200
    assert (await operator.call("PUT", "/v1/admin/kind-caps/%ff", {"running_jobs": 1})).status_code == 404
    caps = (await operator.get("/v1/admin/kind-caps")).json()["data"]
    assert {cap["kind"] for cap in caps} == {"a/b", "ü"}


async def test_a_body_is_what_it_was_sent_as(acme: Caller) -> None:
    for coding in ("gzip", "br", "identity, gzip", "gzip, identity", "x"):
        answer = await acme.post(
            "/v1/jobs", GOOD, content_type="application/json", idempotency_key="k", content_encoding=coding
        )
        assert_problem(answer, 415, "unsupported_media_type")
    answer = await acme.post(
        "/v1/jobs", GOOD, content_type="application/json", idempotency_key="k", content_encoding="Identity"
    )
    assert answer.status_code == 202


def _hostile_headers() -> Iterator[tuple[bytes, bytes]]:
    for value in (
        b"\xb2",
        b"\xff" * 100,
        b"application/json\x0b",
        b"application/json; charset=utf-7",
        b"*/*",
        b";;;",
    ):
        yield b"content-type", value
    for value in (b"\xc2\xa0", "\uff11".encode(), b'"' * 1_000, b"\x7f", b"a" * 60_000):
        yield b"idempotency-key", value


def _sent(address: str, text: bytes) -> tuple[int, dict[str, str], Any]:
    """Send bytes as they are; give status, headers and body of the answer."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(text)
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(65_536)
            assert chunk, "the connection ended without an answer"
            received += chunk
        head, _, rest = received.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(rest) < int(headers["content-length"]):
            rest += connection.recv(65_536)
    return int(start.split()[1]), headers, json.loads(rest)


def test_what_is_no_http_is_refused_like_everything_else(settings: Settings) -> None:
    with listening(create_app(settings)) as address:
        for name, text in RAW.items():
            status, headers, body = _sent(address, text)
            assert 400 <= status < 500, name
            assert headers["content-type"] == "application/problem+json", name
            assert headers["request-id"] == body["request_id"], name
            assert body["status"] == status, name
            assert body["type"] == f"urn:jobseal:problem:{body['code']}", name
        assert httpx2.get(f"{address}/health/live").status_code == 200
