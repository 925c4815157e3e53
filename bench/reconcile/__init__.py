"""How long reconciliation takes over very many confirmed jobs."""
