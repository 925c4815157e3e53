"""A seeded campaign: the relayer on a real database, a real node and the real registry, and everything that can go wrong.

One scheduler drives every pass and every block, and time is its own, so that a seed repeats its run.
"""
