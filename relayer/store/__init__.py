"""PostgreSQL and the blob store: connections, migrations, roles, row-level security, leases, blobs."""
