"""The audit log, as its tenant and as the platform's operator read it."""
