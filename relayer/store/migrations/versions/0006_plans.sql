-- What a tenant may use. A plan is written onto a tenant when it is assigned; the numbers may then be changed one by
-- one. running_cap, waiting_cap and storage_cap are part of it.

ALTER TABLE tenants
    ADD COLUMN plan                   text NOT NULL DEFAULT 'standard' CHECK (plan IN ('free', 'standard')),
    ADD COLUMN submissions_per_minute integer NOT NULL DEFAULT 6000 CHECK (submissions_per_minute >= 1),
    ADD COLUMN submissions_burst      integer NOT NULL DEFAULT 200 CHECK (submissions_burst >= 1),
    ADD COLUMN reads_per_minute       integer NOT NULL DEFAULT 30000 CHECK (reads_per_minute >= 1),
    ADD COLUMN reads_burst            integer NOT NULL DEFAULT 1000 CHECK (reads_burst >= 1),
    ADD COLUMN jobs_per_day           integer NOT NULL DEFAULT 1000000 CHECK (jobs_per_day >= 0),
    ADD COLUMN compute_per_month      interval NOT NULL DEFAULT '5000 h' CHECK (compute_per_month >= interval '0');

-- The one read that happens before the tenant is known gives the tenant's limits as well, in the same round trip.
DROP FUNCTION authenticate_api_key;
CREATE FUNCTION authenticate_api_key(digest bytea, at timestamptz)
RETURNS TABLE (key_id uuid, tenant_id uuid, scopes text[], submissions_per_minute integer, submissions_burst integer,
               reads_per_minute integer, reads_burst integer, jobs_per_day integer, compute_per_month interval,
               storage_bytes bigint, running_jobs integer, waiting_jobs integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT k.id, k.tenant_id, k.scopes, t.submissions_per_minute, t.submissions_burst, t.reads_per_minute,
           t.reads_burst, t.jobs_per_day, t.compute_per_month, t.storage_cap, t.running_cap, t.waiting_cap
    FROM public.api_keys k JOIN public.tenants t ON t.id = k.tenant_id
    WHERE k.digest = $1 AND k.revoked_at IS NULL AND k.expires_at > $2
$$;
REVOKE ALL ON FUNCTION authenticate_api_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION authenticate_api_key TO jobseal_api;
