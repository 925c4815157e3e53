-- Access: kinds of keys, where they may be used from, access tokens and what signs them; changes are announced.

-- The platform's own tenants: their keys alone may carry the scopes of administration.
ALTER TABLE tenants ADD COLUMN is_operator boolean NOT NULL DEFAULT false;

ALTER TABLE api_keys
    ADD COLUMN mode              text NOT NULL DEFAULT 'live' CHECK (mode IN ('live', 'test')),
    ADD COLUMN allowed_addresses cidr[] NOT NULL DEFAULT '{}',
    ADD COLUMN last_used_at      timestamptz,
    ADD COLUMN rotated_from      uuid REFERENCES api_keys,
    ADD CHECK (expires_at - created_at <= interval '365 days');
DROP INDEX api_keys_tenant;
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id DESC);
CREATE INDEX api_keys_rotated_from ON api_keys (rotated_from) WHERE rotated_from IS NOT NULL;

-- The digest is not among what the API can read: it finds keys by the function below, or by their ids.
GRANT SELECT (id, tenant_id, name, mode, last4, scopes, allowed_addresses, created_at, expires_at, revoked_at,
              last_used_at, rotated_from),
      INSERT (id, tenant_id, name, mode, digest, pepper_version, last4, scopes, allowed_addresses, created_at,
              expires_at, rotated_from),
      UPDATE (expires_at, revoked_at)
    ON api_keys TO jobseal_api;
CREATE POLICY administration_is_the_operators ON api_keys AS RESTRICTIVE FOR INSERT TO jobseal_api
    WITH CHECK (NOT scopes && ARRAY['admin:read', 'admin:write']
                OR EXISTS (SELECT FROM tenants t WHERE t.id = tenant_id AND t.is_operator));

-- Finds a live key by a digest under any of the peppers, or by its id for a token that was issued through it.
DROP FUNCTION authenticate_api_key;
CREATE FUNCTION authenticate_api_key(digests bytea[], key uuid, at timestamptz)
RETURNS TABLE (key_id uuid, tenant_id uuid, scopes text[], key_name text, mode text, allowed_addresses cidr[],
               expires_at timestamptz, is_operator boolean, submissions_per_minute integer, submissions_burst integer,
               reads_per_minute integer, reads_burst integer, jobs_per_day integer, compute_per_month interval,
               storage_bytes bigint, running_jobs integer, waiting_jobs integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT k.id, k.tenant_id, k.scopes, k.name, k.mode, k.allowed_addresses, k.expires_at, t.is_operator,
           t.submissions_per_minute, t.submissions_burst, t.reads_per_minute, t.reads_burst, t.jobs_per_day,
           t.compute_per_month, t.storage_cap, t.running_cap, t.waiting_cap
    FROM public.api_keys k JOIN public.tenants t ON t.id = k.tenant_id
    WHERE (k.digest = ANY($1) OR k.id = $2) AND k.revoked_at IS NULL AND k.expires_at > $3
$$;
REVOKE ALL ON FUNCTION authenticate_api_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION authenticate_api_key TO jobseal_api;

-- Says when keys of any tenant were last used. Locks in one order, so that two processes never wait for each other.
CREATE FUNCTION touch_api_keys(keys uuid[], used_at timestamptz[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH used AS (SELECT * FROM unnest($1, $2) AS u (id, at)),
    held AS (SELECT k.id FROM public.api_keys k JOIN used u ON u.id = k.id ORDER BY k.id FOR NO KEY UPDATE OF k)
    UPDATE public.api_keys k SET last_used_at = u.at
    FROM held h JOIN used u ON u.id = h.id
    WHERE k.id = h.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)
$$;
REVOKE ALL ON FUNCTION touch_api_keys FROM PUBLIC;
GRANT EXECUTE ON FUNCTION touch_api_keys TO jobseal_api;

-- --- access tokens -----------------------------------------------------------------------------------

-- Ed25519 keys that sign access tokens; the private half is encrypted under a secret that this database never sees.
-- A key is published as the next one before it signs, and stays published until the last token under it has ended.
CREATE TABLE signing_keys (
    kid          text PRIMARY KEY,
    state        text NOT NULL CHECK (state IN ('next', 'current', 'retired')),
    public_key   bytes32 NOT NULL,
    private_key  bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    activated_at timestamptz,
    retired_at   timestamptz,
    CHECK (state <> 'current' OR activated_at IS NOT NULL),
    CHECK ((state = 'retired') = (retired_at IS NOT NULL))
);
CREATE UNIQUE INDEX signing_keys_one_of_each ON signing_keys (state) WHERE state <> 'retired';
GRANT SELECT, INSERT, DELETE, UPDATE (state, activated_at, retired_at) ON signing_keys TO jobseal_api;

CREATE TABLE revoked_tokens (
    jti        uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants,
    key_id     uuid NOT NULL REFERENCES api_keys,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz NOT NULL
);
CREATE INDEX revoked_tokens_expiry ON revoked_tokens (expires_at);
ALTER TABLE revoked_tokens ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON revoked_tokens TO jobseal_api USING (tenant_id = current_tenant())
    WITH CHECK (tenant_id = current_tenant());
CREATE POLICY every_tenant ON revoked_tokens TO jobseal_relayer USING (true);
GRANT SELECT, INSERT ON revoked_tokens TO jobseal_api;
GRANT SELECT, DELETE ON revoked_tokens TO jobseal_relayer;

-- Every API process keeps the whole list in memory, which is of all tenants and says nothing of them.
CREATE FUNCTION live_revoked_tokens(at timestamptz) RETURNS TABLE (jti uuid, expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT r.jti, r.expires_at FROM public.revoked_tokens r WHERE r.expires_at > $1
$$;
REVOKE ALL ON FUNCTION live_revoked_tokens FROM PUBLIC;
GRANT EXECUTE ON FUNCTION live_revoked_tokens TO jobseal_api;

-- --- news --------------------------------------------------------------------------------------------

-- Processes remember who may come in; whoever changes it, by whatever means, is heard by all of them.
CREATE FUNCTION announce_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('jobseal_access', CASE TG_TABLE_NAME
        WHEN 'api_keys' THEN 'key ' || (to_jsonb(OLD) ->> 'id')
        WHEN 'tenants' THEN 'tenant ' || (to_jsonb(OLD) ->> 'id')
        ELSE TG_TABLE_NAME END);
    RETURN NULL;
END $$;

CREATE TRIGGER announce_access AFTER UPDATE ON api_keys FOR EACH ROW
    WHEN ((OLD.digest, OLD.scopes, OLD.allowed_addresses, OLD.expires_at, OLD.revoked_at)
          IS DISTINCT FROM (NEW.digest, NEW.scopes, NEW.allowed_addresses, NEW.expires_at, NEW.revoked_at))
    EXECUTE FUNCTION announce_access();
CREATE TRIGGER announce_deletion AFTER DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION announce_access();
CREATE TRIGGER announce_access AFTER UPDATE ON tenants FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION announce_access();
CREATE TRIGGER announce_access AFTER INSERT OR UPDATE OR DELETE ON signing_keys FOR EACH STATEMENT
    EXECUTE FUNCTION announce_access();
CREATE TRIGGER announce_access AFTER INSERT ON revoked_tokens FOR EACH STATEMENT
    EXECUTE FUNCTION announce_access();
