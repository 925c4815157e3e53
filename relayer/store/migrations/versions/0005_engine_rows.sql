-- Unknown kinds are said by their queues; redrives remember how far they got; jobs are listed by their state.

-- A queue says why its jobs wait; none of them says it by itself.
ALTER TABLE active_queues DROP CONSTRAINT active_queues_held_by_check;
ALTER TABLE active_queues ADD CONSTRAINT active_queues_held_by_check
    CHECK (held_by IN ('tenant_cap', 'kind_cap', 'no_worker', 'unknown_kind'));
UPDATE jobs SET status_reason = 'queued' WHERE state = 'created' AND status_reason = 'unknown_kind';

-- The last dead letter that a redrive took, in the order of `jobs_dead_letters`; null before the first.
ALTER TABLE redrives
    ADD COLUMN taken_to    timestamptz,
    ADD COLUMN taken_to_id uuid,
    ADD CHECK ((taken_to IS NULL) = (taken_to_id IS NULL));
DROP INDEX redrives_open;
CREATE INDEX redrives_open ON redrives (tenant_id, next_run_at, id) WHERE finished_at IS NULL;

-- An UPDATE of any column is what a row lock asks for.
GRANT UPDATE (expires_at) ON idempotency_keys TO jobseal_relayer;

CREATE INDEX jobs_by_state ON jobs (tenant_id, state, id DESC);
