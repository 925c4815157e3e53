"""API keys of the tenant."""
