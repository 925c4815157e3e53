"""The embedded servers of the demo and the tests: PostgreSQL, Valkey and anvil, on 127.0.0.1 only."""
