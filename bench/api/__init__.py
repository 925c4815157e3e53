"""The REST API under load, beside the barest FastAPI application that does the same durable work, in one run."""
