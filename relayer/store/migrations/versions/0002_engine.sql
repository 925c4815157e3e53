-- The job engine: active queues and turns, limits, retry policies, cancellation, dead letters, live workers.

-- --- what a tenant may have ------------------------------------------------------------------------

ALTER TABLE tenants
    ADD COLUMN weight      smallint NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100),
    ADD COLUMN running_cap integer NOT NULL DEFAULT 50 CHECK (running_cap >= 1),
    ADD COLUMN waiting_cap integer NOT NULL DEFAULT 10000 CHECK (waiting_cap >= 1);

-- A kind that is not here has no cap of its own.
CREATE TABLE kind_caps (
    kind        text PRIMARY KEY,
    running_cap integer NOT NULL CHECK (running_cap >= 0)
);

-- --- jobs --------------------------------------------------------------------------------------------

-- `priority`: 0 high, 1 normal, among the jobs of one tenant. `retry_codes`: null where every retryable error is
-- tried again. `expires_at`: until when a waiting job may wait. `forgiven_until`: attempts up to this number count
-- against no budget, because a redrive has forgiven them.
ALTER TABLE jobs
    ADD COLUMN priority            smallint NOT NULL DEFAULT 1 CHECK (priority IN (0, 1)),
    ADD COLUMN first_backoff       interval NOT NULL DEFAULT '2 s',
    ADD COLUMN longest_backoff     interval NOT NULL DEFAULT '5 min',
    ADD COLUMN retry_codes         text[],
    ADD COLUMN queue_limit         interval,
    ADD COLUMN run_limit           interval NOT NULL DEFAULT '24 h',
    ADD COLUMN total_limit         interval,
    ADD COLUMN expires_at          timestamptz,
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN finished_at         timestamptz,
    ADD COLUMN forgiven_until      smallint NOT NULL DEFAULT 0;
UPDATE jobs j SET finished_at = e.occurred_at
FROM job_events e
WHERE j.state IN ('failed', 'cancelled', 'rejected') AND e.job_id = j.id AND e.seq = j.state_version;
ALTER TABLE jobs ADD CHECK ((state IN ('failed', 'cancelled', 'rejected')) = (finished_at IS NOT NULL));

DROP INDEX jobs_waiting;
CREATE INDEX jobs_waiting ON jobs (tenant_id, kind, priority, run_at, id) WHERE state = 'created';
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE state = 'created' AND expires_at IS NOT NULL;
CREATE INDEX jobs_cancelling ON jobs (cancel_requested_at)
    WHERE cancel_requested_at IS NOT NULL AND state IN ('created', 'processing');
CREATE INDEX jobs_dead_letters ON jobs (tenant_id, finished_at DESC, id DESC) WHERE state = 'failed';

-- --- attempts ----------------------------------------------------------------------------------------

ALTER TABLE attempts DROP CONSTRAINT attempts_state_check;
ALTER TABLE attempts
    ADD CONSTRAINT attempts_state_check CHECK (state IN
        ('dispatched', 'running', 'succeeded', 'failed', 'lost', 'returned', 'cancelled')),
    ADD COLUMN kind text,
    ADD COLUMN priority smallint;
UPDATE attempts a SET kind = j.kind, priority = j.priority FROM jobs j WHERE j.id = a.job_id;
ALTER TABLE attempts ALTER COLUMN kind SET NOT NULL, ALTER COLUMN priority SET NOT NULL;
DROP INDEX attempts_live;
CREATE INDEX attempts_live ON attempts (mode, tenant_id, kind) WHERE state IN ('dispatched', 'running');

-- One statement writes these rows beside the job that they tell of; a foreign key a row would cost more than
-- the row.
ALTER TABLE job_events   DROP CONSTRAINT job_events_tenant_id_fkey,   DROP CONSTRAINT job_events_job_id_fkey;
ALTER TABLE usage_events DROP CONSTRAINT usage_events_tenant_id_fkey, DROP CONSTRAINT usage_events_job_id_fkey;
ALTER TABLE outbox       DROP CONSTRAINT outbox_tenant_id_fkey,       DROP CONSTRAINT outbox_job_id_fkey;
ALTER TABLE attempts     DROP CONSTRAINT attempts_tenant_id_fkey;

-- --- whose turn it is --------------------------------------------------------------------------------

-- A row for each queue that has, or had a moment ago, a waiting job. `due_at`: when it is worth a look; `looks`:
-- how many in a row found nothing; `held_by`: why its jobs wait although they are due, where it is known.
CREATE TABLE active_queues (
    tenant_id uuid NOT NULL REFERENCES tenants,
    kind      text NOT NULL,
    priority  smallint NOT NULL,
    due_at    timestamptz NOT NULL,
    looks     smallint NOT NULL DEFAULT 0,
    held_by   text CHECK (held_by IN ('tenant_cap', 'kind_cap', 'no_worker')),
    PRIMARY KEY (tenant_id, kind, priority)
);
CREATE INDEX active_queues_due ON active_queues (due_at);
INSERT INTO active_queues (tenant_id, kind, priority, due_at)
SELECT tenant_id, kind, priority, min(run_at) FROM jobs WHERE state = 'created' GROUP BY 1, 2, 3;

-- Deficit round robin: the ring's order, and what a tenant did not get of its last quantum.
CREATE SEQUENCE turn_positions AS bigint NO CYCLE;
CREATE TABLE turns (
    mode      text NOT NULL CHECK (mode IN ('inline', 'isolated')),
    tenant_id uuid NOT NULL REFERENCES tenants,
    position  bigint NOT NULL,
    deficit   integer NOT NULL CHECK (deficit >= 0),
    PRIMARY KEY (mode, tenant_id)
);

-- --- workers -----------------------------------------------------------------------------------------

-- A pool of workers says every few seconds that it lives; expiry is by this server's clock.
CREATE TABLE workers (
    id         uuid NOT NULL,
    mode       text NOT NULL CHECK (mode IN ('inline', 'isolated')),
    name       text NOT NULL,
    processes  smallint NOT NULL CHECK (processes >= 1),
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (id, mode)
);

-- --- dead letters ------------------------------------------------------------------------------------

-- What was asked, by whom, and how far it got; the rows are the audit trail and are never removed.
CREATE TABLE redrives (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants,
    actor       text NOT NULL,
    kind        text,
    error_code  text,
    failed_from timestamptz,
    failed_to   timestamptz NOT NULL,
    job_ids     uuid[],
    rate        integer NOT NULL CHECK (rate BETWEEN 1 AND 1000),
    matched     integer NOT NULL CHECK (matched >= 0),
    redriven    integer NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL,
    next_run_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX redrives_open ON redrives (created_at) WHERE finished_at IS NULL;
CREATE INDEX redrives_tenant ON redrives (tenant_id, id DESC);

-- --- who may see what --------------------------------------------------------------------------------

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['active_queues', 'turns', 'redrives']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY tenant_only ON %I TO jobseal_api USING (tenant_id = current_tenant())
                        WITH CHECK (tenant_id = current_tenant())', tenant_table);
        EXECUTE format('CREATE POLICY every_tenant ON %I TO jobseal_relayer USING (true) WITH CHECK (true)',
                       tenant_table);
    END LOOP;
END $$;

-- The API asks for a cancellation; the relayer carries it out.
GRANT UPDATE (cancel_requested_at) ON jobs TO jobseal_api;
GRANT SELECT, INSERT, UPDATE ON active_queues TO jobseal_api;
GRANT SELECT, INSERT ON redrives TO jobseal_api;

GRANT SELECT ON kind_caps TO jobseal_relayer;
GRANT SELECT, INSERT, UPDATE, DELETE ON active_queues, turns, workers TO jobseal_relayer;
GRANT SELECT, UPDATE ON redrives TO jobseal_relayer;
GRANT USAGE ON SEQUENCE turn_positions TO jobseal_relayer;
