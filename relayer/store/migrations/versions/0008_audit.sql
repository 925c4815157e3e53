-- Administration: tenants can be changed and suspended; who changed what is in the audit log.

-- --- tenants -----------------------------------------------------------------------------------------

-- `version` rises with every change. The keys of a suspended tenant open nothing, and its jobs wait.
ALTER TABLE tenants
    ADD COLUMN suspended_at      timestamptz,
    ADD COLUMN suspension_reason text,
    ADD COLUMN version           integer NOT NULL DEFAULT 1,
    ADD CHECK ((suspended_at IS NULL) = (suspension_reason IS NULL)),
    ADD CHECK (suspended_at IS NULL OR NOT is_operator);

-- The one read that happens before the tenant is known also says why its tenant is suspended.
DROP FUNCTION authenticate_api_key;
CREATE FUNCTION authenticate_api_key(digests bytea[], key uuid, at timestamptz)
RETURNS TABLE (key_id uuid, tenant_id uuid, scopes text[], key_name text, mode text, allowed_addresses cidr[],
               expires_at timestamptz, is_operator boolean, suspension_reason text, submissions_per_minute integer,
               submissions_burst integer, reads_per_minute integer, reads_burst integer, jobs_per_day integer,
               compute_per_month interval, storage_bytes bigint, running_jobs integer, waiting_jobs integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT k.id, k.tenant_id, k.scopes, k.name, k.mode, k.allowed_addresses, k.expires_at, t.is_operator,
           t.suspension_reason, t.submissions_per_minute, t.submissions_burst, t.reads_per_minute, t.reads_burst,
           t.jobs_per_day, t.compute_per_month, t.storage_cap, t.running_cap, t.waiting_cap
    FROM public.api_keys k JOIN public.tenants t ON t.id = k.tenant_id
    WHERE (k.digest = ANY($1) OR k.id = $2) AND k.revoked_at IS NULL AND k.expires_at > $3
$$;
REVOKE ALL ON FUNCTION authenticate_api_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION authenticate_api_key TO jobseal_api;

ALTER TABLE active_queues DROP CONSTRAINT active_queues_held_by_check;
ALTER TABLE active_queues ADD CONSTRAINT active_queues_held_by_check
    CHECK (held_by IN ('tenant_cap', 'kind_cap', 'no_worker', 'unknown_kind', 'tenant_suspended'));

-- --- the audit log -----------------------------------------------------------------------------------

-- The audit log: who changed what of a tenant. Rows are only ever added, each chained to the one before it.
--
-- `event` is the text that is hashed, JSON in its RFC 8785 form, so that nobody needs more than SHA-256 to check a
-- chain. The other columns follow from it and from its place; no role writes them. The tenant of zeros is the
-- platform itself: what concerns no tenant.

CREATE FUNCTION audit_time(event text) RETURNS timestamptz
-- Immutable, although a cast to timestamptz in general is not: the text always ends in Z.
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS $$
    SELECT (event::jsonb ->> 'occurred_at')::timestamptz
$$;

CREATE TABLE audit_events (
    tenant_id   uuid NOT NULL,
    seq         bigint NOT NULL CHECK (seq >= 1),
    event       text NOT NULL,
    hash        bytes32 NOT NULL,
    id          uuid NOT NULL UNIQUE GENERATED ALWAYS AS (substr(event::jsonb ->> 'id', 5)::uuid) STORED,
    action      text NOT NULL GENERATED ALWAYS AS (event::jsonb ->> 'action') STORED,
    occurred_at timestamptz NOT NULL GENERATED ALWAYS AS (audit_time(event)) STORED,
    PRIMARY KEY (tenant_id, seq),
    CHECK (coalesce(substr(event::jsonb ->> 'tenant_id', 5)::uuid, '00000000-0000-0000-0000-000000000000') = tenant_id)
);
CREATE INDEX audit_events_of_tenant ON audit_events (tenant_id, id DESC);
CREATE INDEX audit_events_targets ON audit_events USING gin ((event::jsonb -> 'targets') jsonb_path_ops);

-- The end of each chain. Its row is what two events of one tenant take turns at.
CREATE TABLE audit_heads (
    tenant_id uuid PRIMARY KEY,
    seq       bigint NOT NULL,
    hash      bytes32 NOT NULL
);

-- By the owner, so that whoever may add an event needs no right to write the ends of chains.
CREATE FUNCTION on_audit_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO public.audit_heads AS h (tenant_id, seq, hash)
    VALUES (NEW.tenant_id, 1, sha256(decode(repeat('00', 32), 'hex') || convert_to(NEW.event, 'UTF8')))
    ON CONFLICT (tenant_id) DO UPDATE
    SET seq = h.seq + 1, hash = sha256(h.hash || convert_to(NEW.event, 'UTF8'))
    RETURNING h.seq, h.hash INTO NEW.seq, NEW.hash;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_events_chain BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION on_audit_event();

CREATE FUNCTION refuse_audit_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only ever added to; % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_heads_stay BEFORE DELETE OR TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
REVOKE ALL ON FUNCTION on_audit_event, refuse_audit_change FROM PUBLIC;

-- --- who may see what --------------------------------------------------------------------------------

-- The role of administration crosses tenants, and sees nothing of their jobs but how many there are.
ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON audit_events TO jobseal_api USING (tenant_id = current_tenant())
    WITH CHECK (tenant_id = current_tenant());
DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['audit_events', 'audit_heads', 'tenants', 'api_keys', 'tenant_storage',
                                        'jobs', 'attempts']
    LOOP
        EXECUTE format('CREATE POLICY every_tenant_for_administration ON %I TO jobseal_admin
                        USING (true) WITH CHECK (true)', tenant_table);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO jobseal_admin;
GRANT SELECT, INSERT (tenant_id, event) ON audit_events TO jobseal_api, jobseal_admin;
GRANT SELECT ON audit_heads TO jobseal_admin;
GRANT SELECT, INSERT, UPDATE ON tenants TO jobseal_admin;
GRANT SELECT (id, tenant_id, name, mode, last4, scopes, allowed_addresses, created_at, expires_at, revoked_at,
              last_used_at, rotated_from),
      INSERT (id, tenant_id, name, mode, digest, pepper_version, last4, scopes, allowed_addresses, created_at,
              expires_at, rotated_from),
      UPDATE (expires_at, revoked_at)
    ON api_keys TO jobseal_admin;
ALTER POLICY administration_is_the_operators ON api_keys TO jobseal_api, jobseal_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON kind_caps TO jobseal_admin;
GRANT SELECT ON tenant_storage TO jobseal_admin;
GRANT SELECT (tenant_id, state) ON jobs, attempts TO jobseal_admin;
