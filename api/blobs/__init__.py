"""Blobs: content that a job's input names."""
