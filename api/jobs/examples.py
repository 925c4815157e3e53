"""What a job looks like, for the description of the API."""

from typing import Any

_ID = "job_01970000-0000-7000-8000-000000000000"

JOB: dict[str, Any] = {
    "id": _ID,
    "ticket": "0x0000000000000011",
    "kind": "digest",
    "priority": "normal",
    "state": "confirmed",
    "status_reason": None,
    "state_version": 5,
    "queue_position_hint": None,
    "input_hash": f"0x{'2c' * 32}",
    "metadata": {"order": "17"},
    "rerun_of": None,
    "created_at": "2030-01-31T12:00:00Z",
    "run_at": "2030-01-31T12:00:00Z",
    "attempt": 1,
    "max_attempts": 3,
    "progress": {"percent": 100},
    "cancel_requested_at": None,
    "started_at": "2030-01-31T12:00:00.2Z",
    "result_ready_at": "2030-01-31T12:00:01Z",
    "confirmed_at": "2030-01-31T12:01:30Z",
    "revoked_at": None,
    "finished_at": None,
    "output_hash": f"0x{'9f' * 32}",
    "output": {"size": 120, "media_type": "application/json"},
    "batch_root": f"0x{'ab' * 32}",
    "inclusion": {"transaction_hash": f"0x{'08' * 32}", "block_number": 4711},
    "error": None,
    "usage": {"compute_seconds": 0.8},
    "retry": {
        "max_attempts": 3,
        "first_backoff_seconds": 2,
        "longest_backoff_seconds": 300,
        "codes": None,
    },
    "limits": {"queue_seconds": None, "run_seconds": 86400, "total_seconds": None},
}

VALIDATED = {
    name: JOB[name] for name in ("kind", "priority", "input_hash", "metadata", "run_at", "retry", "limits")
}

EVENT: dict[str, Any] = {
    "seq": 2,
    "from_state": "created",
    "to_state": "processing",
    "actor": "worker",
    "reason": None,
    "details": {"attempt": 1},
    "occurred_at": "2030-01-31T12:00:00.2Z",
}

ATTEMPT: dict[str, Any] = {
    "number": 1,
    "state": "failed",
    "mode": "isolated",
    "dispatched_at": "2030-01-31T12:00:00.1Z",
    "started_at": "2030-01-31T12:00:00.2Z",
    "finished_at": "2030-01-31T12:00:01Z",
    "progress": {"percent": 40},
    "error": {"code": "busy", "message": "try later", "retryable": True, "attempt": 1},
    "log_tail": "last words\n",
}
