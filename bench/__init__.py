"""Benchmarks: what is fast is measured beside what it is compared with, in one run."""
