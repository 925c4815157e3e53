-- Quotas: what a tenant used of a period, and which thresholds it was told of.

-- Written in the transaction of what it counts. A tenant has a row for each of 16 shards, chosen by the connection, so
-- that its transactions rarely wait for each other; the sum counts. A period is a UTC day or month, named by its first day.
CREATE TABLE usage_counters (
    period    date NOT NULL,
    meter     text NOT NULL CHECK (meter IN ('jobs', 'compute_seconds')),
    tenant_id uuid NOT NULL REFERENCES tenants,
    shard     smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
    quantity  numeric NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (period, meter, tenant_id, shard)
) WITH (fillfactor = 50);

-- What is there already counts: the jobs of today.
INSERT INTO usage_counters (period, meter, tenant_id, shard, quantity)
SELECT (now() AT TIME ZONE 'UTC')::date, 'jobs', tenant_id, 0, count(*) FROM jobs
WHERE created_at >= date_trunc('day', now(), 'UTC') GROUP BY tenant_id;

-- One row for each threshold (percent) of a period that a tenant was told of.
CREATE TABLE quota_notices (
    tenant_id uuid NOT NULL REFERENCES tenants,
    meter     text NOT NULL CHECK (meter IN ('jobs', 'compute_seconds', 'storage_bytes')),
    period    date NOT NULL,
    threshold smallint NOT NULL CHECK (threshold IN (80, 100)),
    told_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, meter, period, threshold)
);

-- News may be of something else than a job.
ALTER TABLE outbox ALTER COLUMN job_id DROP NOT NULL;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['usage_counters', 'quota_notices']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY tenant_only ON %I TO jobseal_api USING (tenant_id = current_tenant())
                        WITH CHECK (tenant_id = current_tenant())', tenant_table);
        EXECUTE format('CREATE POLICY every_tenant ON %I TO jobseal_relayer USING (true) WITH CHECK (true)',
                       tenant_table);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE (quantity) ON usage_counters TO jobseal_api, jobseal_relayer;
GRANT SELECT, INSERT ON quota_notices TO jobseal_relayer;
