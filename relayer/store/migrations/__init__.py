"""The schema as a chain of migrations (Alembic), each plain SQL, run by the owner of the database."""
