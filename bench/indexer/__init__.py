"""Logs read and decoded by the indexer's own code, beside web3.py's, from the same node, in one run."""
