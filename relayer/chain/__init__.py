"""The chain: what is sent to the registry, what is read from it, and the check of a receipt against it."""
