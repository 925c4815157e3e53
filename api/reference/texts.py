"""What the description says in words, where no endpoint or model says it."""

from relayer.tenants.scopes import Scope

DESCRIPTION = """\
Submit long-running jobs over REST, and hold a receipt for each that anybody can check against an EVM chain.

* **Submit** with `POST /v1/jobs`: it answers at once, with the job and its ticket.
* **Wait** with `Prefer: wait=20` on `GET /v1/jobs/{job_id}`, or read `GET /v1/jobs/{job_id}/events`.
* **Read** the output once `result_ready_at` is set, and the receipt once the job is `confirmed`.

Bodies are JSON in UTF-8, times RFC 3339 in UTC, hashes of jobs `0x` and 64 hex digits. `HEAD` works wherever `GET` does. Every answer
carries `Request-Id`. Every error is a problem document (RFC 9457) whose `code` is explained at `/docs/errors/{code}`.
"""

TAGS = {
    "jobs": "Submit jobs, follow them, and fetch what they leave: output and receipt.",
    "dead letters": "Failed jobs, and giving them another turn.",
    "blobs": "Content that the input of a job names, and that jobs make.",
    "usage": "What the tenant uses of its quotas, and how fast it may ask.",
    "keys": "The tenant's API keys: made, replaced and revoked.",
    "oauth": "Access tokens of ten minutes in place of keys (RFC 6749, 7009, 8414). Clients are API keys: `client_id` is a key's "
    "id, `client_secret` the key itself. Errors are those of OAuth, as `error` and `error_description`.",
    "audit": "What was changed, by whom and from where, chained so that nothing can be taken out.",
    "administration": "Tenants, plans, keys and the caps of kinds over all tenants, for the platform's operator. A process that "
    "does not administer answers 404.",
    "health": "Whether the process lives, and whether it can serve, and its metrics. No key is needed.",
}

SCOPES: dict[Scope, str] = {
    Scope.JOBS_READ: "Read jobs, their history, attempts, outputs and receipts, dead letters and redrives",
    Scope.JOBS_WRITE: "Submit jobs and run them again",
    Scope.JOBS_CANCEL: "Cancel jobs",
    Scope.JOBS_REDRIVE: "Redrive dead letters",
    Scope.BLOBS_WRITE: "Upload, read and delete blobs",
    Scope.USAGE_READ: "Read what the tenant uses",
    Scope.WEBHOOKS_READ: "Read webhook endpoints; nothing asks for it yet",
    Scope.WEBHOOKS_WRITE: "Change webhook endpoints; nothing asks for it yet",
    Scope.KEYS_READ: "Read API keys, without their secrets",
    Scope.KEYS_WRITE: "Make, rotate and revoke API keys",
    Scope.AUDIT_READ: "Read the tenant's audit events",
    Scope.ADMIN_READ: "Read all tenants; keys of the platform's own tenants only",
    Scope.ADMIN_WRITE: "Change all tenants; keys of the platform's own tenants only",
}

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_EXAMPLE_UUID = "01970000-0000-7000-8000-000000000000"

PATH_PARAMETERS = {
    "job_id": ("The id of a job.", f"^job_{_UUID}$", f"job_{_EXAMPLE_UUID}"),
    "redrive_id": ("The id of a redrive.", f"^rdr_{_UUID}$", f"rdr_{_EXAMPLE_UUID}"),
    "key_id": ("The id of an API key.", f"^key_{_UUID}$", f"key_{_EXAMPLE_UUID}"),
    "tenant_id": ("The id of a tenant.", f"^tnt_{_UUID}$", f"tnt_{_EXAMPLE_UUID}"),
    "kind": ("The name of a kind of job.", "^[!-~]([ -~]{0,62}[!-~])?$", "digest"),
    "blob": ("The reference of a blob.", "^sha256:[0-9a-f]{64}$", f"sha256:{'5d' * 32}"),
}
"""By name: what it is, the pattern that it has, and an example."""
