"""Which jobs share a batch and a word, and what that costs: the batching policy in simulation."""
