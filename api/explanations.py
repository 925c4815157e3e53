"""Why each error comes, and what to do about it: the source of its page and of `docs/reference/errors.md`.

The texts are Markdown of one paragraph, with `code` as the only mark-up.
"""

from dataclasses import dataclass

from api.errors import Code


@dataclass(frozen=True, slots=True)
class Explanation:
    """`cause` completes "It comes when …"; `remedy` is what the caller can do."""

    cause: str
    remedy: str


_WAIT = "Ask again after `Retry-After` seconds"
_NOT_FOUND = "the id is malformed, unknown or another tenant's, which all look the same"

EXPLANATIONS: dict[Code, Explanation] = {
    Code.BAD_REQUEST: Explanation(
        "the request is no well-formed HTTP, or cannot be read",
        "Look at what your HTTP client sends: its headers must be printable, and its framing that of HTTP/1.1.",
    ),
    Code.INVALID_JSON: Explanation(
        "the body is not UTF-8, not JSON, nested deeper than 64, has more than 20,000 values, names a key twice, or has an "
        "integer beyond ±(2^53 - 1) or a lone surrogate; `errors[0].pointer` or `meta.position` (in bytes) says where",
        "Send JSON that every parser reads the same way; write larger numbers as strings, and send large contents as a blob.",
    ),
    Code.INVALID_PARAMETER: Explanation(
        "a query parameter or a header is unknown, malformed or out of range, or a parameter comes twice; "
        "`errors[].parameter` names it",
        "Correct or leave out the parameter; the reference of the operation lists those there are.",
    ),
    Code.INVALID_PAGE_TOKEN: Explanation(
        "the token was made for another list, for other filters, for another tenant, or never",
        "Use `next_page_token` as it came, with the same filters, or start again without a token.",
    ),
    Code.IDEMPOTENCY_KEY_REQUIRED: Explanation(
        "`POST /v1/jobs` comes without `Idempotency-Key`, or an item of a batch without `idempotency_key`",
        "Send a new key for each new job, and the same key when you repeat a request.",
    ),
    Code.INVALID_IDEMPOTENCY_KEY: Explanation(
        "the key is not 1 to 255 printable ASCII characters, or the header comes twice",
        "Send one key, for example a UUID, bare or as a quoted string.",
    ),
    Code.API_KEY_MISSING: Explanation(
        "there is no `Authorization` header", "Send an API key as `Authorization: Bearer …`."
    ),
    Code.API_KEY_INVALID: Explanation(
        "what was sent is no bearer token, or a key that is malformed, unknown, revoked or expired",
        "Send a live key; a key that ended does not come back, so make a new one.",
    ),
    Code.ACCESS_TOKEN_INVALID: Explanation(
        "an access token is malformed, forged, revoked or expired, or the key that it was issued through has ended",
        "Get a new one at `POST /oauth/token`.",
    ),
    Code.INSUFFICIENT_SCOPE: Explanation(
        "the key lacks the scope in `meta.scope`",
        "Use a key that has the scope; scopes cannot be added to a key.",
    ),
    Code.ADDRESS_NOT_ALLOWED: Explanation(
        "the key is good, but its `allowed_addresses` do not hold the client's address, `meta.address`",
        "Send the request from an allowed address, or use a key that allows this one.",
    ),
    Code.PRIVILEGE_EXCEEDED: Explanation(
        "a key to be made or rotated would allow more than the key that asks; `errors` point at what goes too far",
        "Ask for no more than the key has that you ask with.",
    ),
    Code.TENANT_SUSPENDED: Explanation(
        "the platform has suspended the tenant, for the reason in `meta.reason`",
        "Write to the operator, who can lift that; what is stored stays.",
    ),
    Code.NOT_FOUND: Explanation(
        "no resource has this path",
        "Look up the path in the reference, `/docs`; paths do not end in a slash.",
    ),
    Code.JOB_NOT_FOUND: Explanation(
        _NOT_FOUND, "Check the id, and that the key is of the tenant that submitted the job."
    ),
    Code.REDRIVE_NOT_FOUND: Explanation(
        _NOT_FOUND,
        "Take the id from the answer to `POST /v1/dead-letters:redrive`; its address is in the header `Location`.",
    ),
    Code.BLOB_NOT_FOUND: Explanation(
        "no blob of this tenant has this hash, or the reference is malformed",
        "Upload it with `POST /v1/blobs`; only the tenant that uploaded a blob, or whose job made it, can name it.",
    ),
    Code.KEY_NOT_FOUND: Explanation(
        _NOT_FOUND, "List the keys with `GET /v1/keys`; an id begins with `key_`, a secret with `jsl_`."
    ),
    Code.TENANT_NOT_FOUND: Explanation(
        "no tenant has this id, or the id is malformed", "List the tenants with `GET /v1/admin/tenants`."
    ),
    Code.KIND_CAP_NOT_FOUND: Explanation(
        "the kind in `meta.kind` has no cap of its own", "List the caps with `GET /v1/admin/kind-caps`."
    ),
    Code.OUTPUT_NOT_READY: Explanation(
        "the job is not completed yet; `meta.state` is where it stands",
        f"{_WAIT}, or wait with `Prefer: wait=20` until `result_ready_at` is set.",
    ),
    Code.OUTPUT_ABSENT: Explanation(
        "the job failed, or was cancelled or rejected",
        "Read the job: its `error` says why there is no output.",
    ),
    Code.RECEIPT_NOT_READY: Explanation(
        "the job is not confirmed yet; `meta.state` is where it stands",
        f"{_WAIT}; a receipt comes when the block of the job's batch is final.",
    ),
    Code.RECEIPT_ABSENT: Explanation(
        "the job ended without being confirmed", "There will be no receipt; run the job again as a new one."
    ),
    Code.METHOD_NOT_ALLOWED: Explanation(
        "the resource does not take this method", "Use one of those in the header `Allow`."
    ),
    Code.JOB_ALREADY_ENDED: Explanation(
        "the job to be cancelled has come to another end: the work was done, or had failed, before the request came; "
        "`meta.state` is its state, and `meta.billed` says whether its work was metered, which is so when it has an output",
        "Nothing: there is nothing to cancel any more. A job that failed stays as it is until it is redriven.",
    ),
    Code.JOB_NOT_ENDED: Explanation(
        "the job to be run again still waits or runs, so that the same work would be done twice at once; `meta.state` is "
        "where it stands",
        "Wait for its end, or cancel it, then ask again.",
    ),
    Code.BLOB_IN_USE: Explanation(
        "a job that has not ended names the blob in its input; `meta.job` is one such job",
        "Wait for the job, or cancel it, then delete the blob.",
    ),
    Code.STORAGE_FULL: Explanation(
        "the blob does not fit: of `meta.cap` bytes `meta.used` are used",
        "Delete blobs that are not needed, or ask the operator for more.",
    ),
    Code.KEY_ENDED: Explanation("an expired or revoked key is to be rotated", "Make a new key."),
    Code.KEY_LIMIT_REACHED: Explanation(
        "the tenant has `meta.limit` live keys", "Revoke a key that is not needed any more."
    ),
    Code.TENANT_NAME_TAKEN: Explanation(
        "the tenant `meta.tenant` has the name already", "Use that tenant, or choose another name."
    ),
    Code.OPERATOR_TENANT: Explanation(
        "a tenant of the platform's own is to be suspended", "Revoke its keys instead."
    ),
    Code.REQUEST_TIMEOUT: Explanation(
        "the body comes too slowly: it has 10 s, and one second more for every 32 KiB that have come",
        "Send it faster, or in parts; upload large content with `POST /v1/blobs`.",
    ),
    Code.OUTPUT_DELETED: Explanation(
        "the job made an output, `meta.blob`, and its owner deleted it",
        "Run the job again if the bytes are needed; its hash and its receipt stay.",
    ),
    Code.PRECONDITION_FAILED: Explanation(
        "`If-Match` names another version than `meta.version`",
        "Read it again, then decide whether to change it.",
    ),
    Code.BODY_TOO_LARGE: Explanation(
        "the body, or one item of a batch, has more than `meta.max_bytes`",
        "Upload large content with `POST /v1/blobs` and name it in the input; split a batch.",
    ),
    Code.UNSUPPORTED_MEDIA_TYPE: Explanation(
        "a JSON body is not sent as `application/json`, or has a `Content-Encoding`, or a blob has a malformed `Content-Type`",
        "Set `Content-Type` to what the body is, and send it uncompressed.",
    ),
    Code.INVALID_BODY: Explanation(
        "a field is unknown, missing, or of the wrong type or size; `errors[].pointer` names each such place. An empty "
        "filter of a redrive is the fault `empty_filter`",
        'Correct the body; name at least one member of a filter, or say `"all": true` alone.',
    ),
    Code.UNKNOWN_KIND: Explanation(
        "no handler runs this kind of job; `meta.known` lists those there are",
        "Correct `kind`, or ask the operator to install its handler.",
    ),
    Code.INVALID_INPUT: Explanation(
        "the input does not fit the kind, or a limit, a backoff or `run_at` is more than the kind allows",
        "Correct what `errors[].pointer` names.",
    ),
    Code.UNKNOWN_BLOB: Explanation(
        "the input names a blob that this tenant neither uploaded nor made",
        "Upload it first with `POST /v1/blobs`.",
    ),
    Code.IDEMPOTENCY_KEY_REUSED: Explanation(
        "the key came before with another body",
        "Use a new key for a new request; send the old body to learn what became of the old one.",
    ),
    Code.WAITING_CAP_REACHED: Explanation(
        "`meta.cap` jobs of the tenant wait, and no more may. Running jobs and jobs that have ended do not count; "
        "scheduled ones do. Nothing of the request was kept, and its key is free",
        "Send the same request again after `Retry-After` seconds, or cancel jobs that are not needed. A request whose key "
        "made a job before is answered with that job all the same.",
    ),
    Code.RATE_LIMITED: Explanation(
        "requests come faster than the rates in `meta.violated_policies` allow",
        "Wait for `Retry-After` seconds; the headers `RateLimit` and `RateLimit-Policy` tell how much is left.",
    ),
    Code.QUOTA_EXCEEDED: Explanation(
        "the quota `meta.meter` is used up until `meta.resets_at`",
        "Wait until then, or ask the operator for more; `GET /v1/usage` tells how much is used.",
    ),
    Code.TOO_MANY_FAILURES: Explanation(
        "too many requests from the address had an invalid key, so that it is locked out",
        "Correct the key, and try again after `Retry-After` seconds; a key that worked from the address is heard all the same.",
    ),
    Code.TOO_MANY_STREAMS: Explanation(
        "the tenant has `meta.cap` streams and waits open", "Close one of them, or ask without waiting."
    ),
    Code.HEADERS_TOO_LARGE: Explanation(
        "the line and headers of the request are larger than `meta.max_bytes`",
        "Send fewer or shorter headers.",
    ),
    Code.REQUEST_FAILED: Explanation(
        "the HTTP layer refuses the request for another reason, which `detail` gives",
        "Correct what `detail` says.",
    ),
    Code.INTERNAL_ERROR: Explanation(
        "the platform made a mistake",
        "Send the same request again, with the same `Idempotency-Key`; if it stays, give the operator the `request_id`.",
    ),
    Code.SERVICE_UNAVAILABLE: Explanation(
        "PostgreSQL is away, or the registry is not registered yet",
        "Send the same request again after `Retry-After` seconds, with the same `Idempotency-Key`.",
    ),
    Code.TEMPORARILY_REDUCED_CAPACITY: Explanation(
        "Redis is away, and this process accepts only so much by itself",
        "Send the same request again after `Retry-After` seconds, with the same `Idempotency-Key`.",
    ),
    Code.DEADLINE_EXCEEDED: Explanation(
        "the answer took longer than a request may: 10 s, without the arrival of its body and the sending of the answer; a "
        "long poll has what it asked for on top of that",
        "What it changed may have been kept or not: send it again with the same `Idempotency-Key`.",
    ),
}


def explain(code: Code) -> Explanation:
    """Give the explanation of a code."""
    return EXPLANATIONS[code]


def table() -> str:
    """Write every code as a Markdown table."""
    lines = ["| code | status | retryable | when | what to do |", "|---|---|---|---|---|"]
    for code in Code:
        definition, text = code.value, explain(code)
        status = "4xx" if code is Code.REQUEST_FAILED else definition.status
        retryable = "yes" if definition.retryable else "no"
        lines.append(f"| `{code.slug}` | {status} | {retryable} | {text.cause} | {text.remedy} |")
    return "\n".join(lines)
