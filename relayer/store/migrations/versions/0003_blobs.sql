-- Small blobs in their rows, who uses which blob, how much each tenant stores, and what nobody owns.
--
-- Whoever writes both locks blob_owners before blobs before tenant_storage, each in the order of its key.

-- --- blobs and their owners --------------------------------------------------------------------------

-- A blob of up to 4 KiB lies here, a larger one in a file. unowned_since marks what the janitor may delete.
ALTER TABLE blobs
    ADD COLUMN content bytea,
    ADD COLUMN unowned_since timestamptz,
    ADD CONSTRAINT blobs_content CHECK (content IS NULL OR (octet_length(content) = size AND size <= 4096));
CREATE INDEX blobs_unowned ON blobs (unowned_since) WHERE unowned_since IS NOT NULL;
CREATE INDEX blob_owners_hash ON blob_owners (hash);

UPDATE blobs b SET unowned_since = clock_timestamp()
WHERE NOT EXISTS (SELECT FROM blob_owners o WHERE o.hash = b.hash);

-- The inputs of jobs. A use names an owned blob; without its owner it means nothing.
CREATE TABLE blob_uses (
    tenant_id uuid NOT NULL,
    hash      bytes32 NOT NULL,
    job_id    uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    PRIMARY KEY (tenant_id, hash, job_id),
    FOREIGN KEY (tenant_id, hash) REFERENCES blob_owners ON DELETE CASCADE
);
CREATE INDEX blob_uses_job ON blob_uses (job_id);

-- Inputs are RFC 8785 text: no white space, and a quotation mark inside a string is escaped.
INSERT INTO blob_uses (tenant_id, hash, job_id)
SELECT DISTINCT j.tenant_id, o.hash, j.id
FROM jobs j
CROSS JOIN LATERAL regexp_matches(j.input, '"blob":"sha256:([0-9a-f]{64})"', 'g') AS named (digits)
JOIN blob_owners o ON o.tenant_id = j.tenant_id AND o.hash = decode(named.digits[1], 'hex');

-- --- how much a tenant stores ------------------------------------------------------------------------

ALTER TABLE tenants ADD COLUMN storage_cap bigint NOT NULL DEFAULT 1::bigint << 40 CHECK (storage_cap >= 0);

-- The sizes of the blobs that a tenant owns, together; kept by the triggers below and written by nobody else.
CREATE TABLE tenant_storage (
    tenant_id uuid PRIMARY KEY REFERENCES tenants,
    bytes     bigint NOT NULL CHECK (bytes >= 0)
);

INSERT INTO tenant_storage (tenant_id, bytes)
SELECT o.tenant_id, sum(b.size) FROM blob_owners o JOIN blobs b ON b.hash = o.hash GROUP BY o.tenant_id;

CREATE FUNCTION on_blobs_gained() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO public.tenant_storage AS s (tenant_id, bytes)
    SELECT g.tenant_id, sum(b.size) FROM gained g JOIN public.blobs b ON b.hash = g.hash
    GROUP BY g.tenant_id ORDER BY g.tenant_id
    ON CONFLICT (tenant_id) DO UPDATE SET bytes = s.bytes + excluded.bytes;
    RETURN NULL;
END $$;
CREATE TRIGGER blobs_gained AFTER INSERT ON blob_owners
    REFERENCING NEW TABLE AS gained FOR EACH STATEMENT EXECUTE FUNCTION on_blobs_gained();

-- The rows are locked first, so that of two last owners who leave at once the later sees that it is the last.
CREATE FUNCTION on_blobs_dropped() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM FROM public.blobs b WHERE b.hash IN (SELECT d.hash FROM dropped d) ORDER BY b.hash FOR UPDATE;
    UPDATE public.blobs b SET unowned_since = clock_timestamp()
    WHERE b.hash IN (SELECT d.hash FROM dropped d)
      AND NOT EXISTS (SELECT FROM public.blob_owners o WHERE o.hash = b.hash);
    PERFORM FROM public.tenant_storage s WHERE s.tenant_id IN (SELECT d.tenant_id FROM dropped d)
    ORDER BY s.tenant_id FOR UPDATE;
    UPDATE public.tenant_storage s SET bytes = s.bytes - lost.bytes
    FROM (SELECT d.tenant_id, sum(b.size) AS bytes FROM dropped d JOIN public.blobs b ON b.hash = d.hash
          GROUP BY d.tenant_id) lost
    WHERE s.tenant_id = lost.tenant_id;
    RETURN NULL;
END $$;
CREATE TRIGGER blobs_dropped AFTER DELETE ON blob_owners
    REFERENCING OLD TABLE AS dropped FOR EACH STATEMENT EXECUTE FUNCTION on_blobs_dropped();

-- --- who may see what --------------------------------------------------------------------------------

-- Content belongs to no tenant, so no policy can guard it: it is read through this, by its owner.
CREATE FUNCTION owned_blob(wanted bytea)
RETURNS TABLE (hash bytea, size bigint, media_type text, created_at timestamptz, content bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT o.hash, b.size, o.media_type, o.created_at, b.content
    FROM public.blob_owners o JOIN public.blobs b ON b.hash = o.hash
    WHERE o.tenant_id = public.current_tenant() AND o.hash = $1
$$;
REVOKE ALL ON FUNCTION owned_blob, on_blobs_gained, on_blobs_dropped FROM PUBLIC;
GRANT EXECUTE ON FUNCTION owned_blob TO jobseal_api, jobseal_relayer;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['blob_uses', 'tenant_storage']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY tenant_only ON %I TO jobseal_api USING (tenant_id = current_tenant())
                        WITH CHECK (tenant_id = current_tenant())', tenant_table);
        EXECUTE format('CREATE POLICY every_tenant ON %I TO jobseal_relayer USING (true) WITH CHECK (true)',
                       tenant_table);
    END LOOP;
END $$;

REVOKE SELECT, INSERT ON blobs FROM jobseal_api;
GRANT SELECT (hash, size, created_at, unowned_since), INSERT (hash, size, content, created_at),
    UPDATE (unowned_since) ON blobs TO jobseal_api;
-- An UPDATE of any column is what a row lock asks for.
GRANT UPDATE (media_type), DELETE ON blob_owners TO jobseal_api;
GRANT SELECT, INSERT ON blob_uses TO jobseal_api;
GRANT SELECT ON tenant_storage TO jobseal_api, jobseal_relayer;
GRANT UPDATE (unowned_since), DELETE ON blobs TO jobseal_relayer;
GRANT SELECT ON blob_uses TO jobseal_relayer;
