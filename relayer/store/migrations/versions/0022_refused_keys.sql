-- Whose keys were shown after their end; where a waiting job stands; and what was counted for quotas is not kept for ever.

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

-- The place of a waiting job in its queue, from 1 to 100, which is also where those behind are. A function, whose plan is
-- kept, so that a read of a job that does not wait pays nothing for it.
CREATE FUNCTION queue_position(tenant uuid, of_kind text, of_priority smallint, due timestamptz, job uuid)
RETURNS integer LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public AS $$
BEGIN
    RETURN 1 + (SELECT count(*) FROM (
        SELECT FROM public.jobs w
        WHERE w.tenant_id = tenant AND w.kind = of_kind AND w.priority = of_priority AND w.state = 'created'
          AND (w.run_at, w.id) < (due, job)
        LIMIT 99
    ) ahead);
END $$;
REVOKE ALL ON FUNCTION queue_position FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_position TO jobseal_api, jobseal_relayer;

CREATE INDEX quota_notices_period ON quota_notices (period);
GRANT DELETE ON usage_counters, quota_notices TO jobseal_relayer;
