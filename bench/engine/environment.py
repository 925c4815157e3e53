"""What the processes of a contender are told, by environment variable; only the standard library is imported."""

MARKS = "JOBSEAL_BENCH_MARKS"
"""The file of the marks."""

REDIS_URL = "JOBSEAL_BENCH_REDIS_URL"
"""Where RQ and Celery find Valkey."""
