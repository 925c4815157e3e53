"""The job engine beside RQ and Celery: `python -m bench.engine`; docs/reference/benchmarks.md says how to read it."""
