-- Whose keys were shown after their end; and what was counted for quotas need not be kept for ever.

-- Of the given digests and ids those of keys that there are, live ones too, with what ended them. For the audit log:
-- whether a key lives is asked of authenticate_api_key.
CREATE FUNCTION refused_api_keys(digests bytea[], keys uuid[], at timestamptz)
RETURNS TABLE (digest bytea, key_id uuid, tenant_id uuid, name text, reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT k.digest, k.id, k.tenant_id, k.name,
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= $3 THEN 'expired' END
    FROM public.api_keys k WHERE k.digest = ANY($1) OR k.id = ANY($2)
$$;
REVOKE ALL ON FUNCTION refused_api_keys FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refused_api_keys TO jobseal_api;

CREATE INDEX quota_notices_period ON quota_notices (period);
GRANT DELETE ON usage_counters, quota_notices TO jobseal_relayer;
