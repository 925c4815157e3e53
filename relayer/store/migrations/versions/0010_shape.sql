-- Jobs are found by their metadata. An index on jobs would be written with every step of a job; this table is written
-- once, and only for jobs that have metadata. It holds no text, and reads in the order of a list.

CREATE FUNCTION metadata_pair(name text, value text) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- No name has a NUL, so that only one pair gives these bytes; 16 of the digest are enough for an index.
    SELECT substr(sha256(convert_to(name, 'UTF8') || '\x00'::bytea || convert_to(value, 'UTF8')), 1, 16)
$$;

CREATE TABLE job_metadata (
    tenant_id uuid NOT NULL,
    pair      bytea NOT NULL,
    job_id    uuid NOT NULL,
    PRIMARY KEY (tenant_id, pair, job_id)
);
ALTER TABLE job_metadata ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON job_metadata TO jobseal_api USING (tenant_id = current_tenant());
CREATE POLICY every_tenant ON job_metadata TO jobseal_relayer USING (true);
GRANT SELECT ON job_metadata TO jobseal_api, jobseal_relayer;

-- As an index does: it follows whatever is written to jobs, and nobody else writes it.
CREATE FUNCTION note_job_metadata() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM public.job_metadata m USING jsonb_each_text(OLD.metadata) p
        WHERE m.tenant_id = OLD.tenant_id AND m.pair = public.metadata_pair(p.key, p.value) AND m.job_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO public.job_metadata (tenant_id, pair, job_id)
        SELECT NEW.tenant_id, public.metadata_pair(p.key, p.value), NEW.id FROM jsonb_each_text(NEW.metadata) p;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION note_job_metadata FROM PUBLIC;
CREATE TRIGGER jobs_metadata_made AFTER INSERT ON jobs
    FOR EACH ROW WHEN (NEW.metadata <> '{}') EXECUTE FUNCTION note_job_metadata();
CREATE TRIGGER jobs_metadata_changed AFTER UPDATE OF metadata ON jobs
    FOR EACH ROW WHEN (OLD.metadata <> NEW.metadata) EXECUTE FUNCTION note_job_metadata();
CREATE TRIGGER jobs_metadata_gone AFTER DELETE ON jobs
    FOR EACH ROW WHEN (OLD.metadata <> '{}') EXECUTE FUNCTION note_job_metadata();

INSERT INTO job_metadata (tenant_id, pair, job_id)
SELECT j.tenant_id, metadata_pair(p.key, p.value), j.id FROM jobs j, jsonb_each_text(j.metadata) p;
