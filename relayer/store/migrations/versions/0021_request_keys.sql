-- An idempotency key may stand for what made or changed a key or a tenant.

-- No foreign key: it is of one table or another, as the route says, and of neither is a row ever deleted.
ALTER TABLE idempotency_keys ADD COLUMN made_id uuid;

-- Whoever administers has keys for the requests of the platform's own tenants, and sees none of others.
CREATE POLICY operators_own ON idempotency_keys TO jobseal_admin
    USING (EXISTS (SELECT FROM tenants t WHERE t.id = tenant_id AND t.is_operator))
    WITH CHECK (EXISTS (SELECT FROM tenants t WHERE t.id = tenant_id AND t.is_operator));
GRANT SELECT (tenant_id, route, key, fingerprint, made_id, created_at, expires_at),
      INSERT (tenant_id, route, key, fingerprint, made_id, created_at, expires_at),
      UPDATE (fingerprint, made_id, created_at, expires_at)
    ON idempotency_keys TO jobseal_admin;
