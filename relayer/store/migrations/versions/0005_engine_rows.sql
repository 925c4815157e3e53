-- Unknown kinds are said by their queues.

-- A queue says why its jobs wait; none of them says it by itself.
ALTER TABLE active_queues DROP CONSTRAINT active_queues_held_by_check;
ALTER TABLE active_queues ADD CONSTRAINT active_queues_held_by_check
    CHECK (held_by IN ('tenant_cap', 'kind_cap', 'no_worker', 'unknown_kind'));
UPDATE jobs SET status_reason = 'queued' WHERE state = 'created' AND status_reason = 'unknown_kind';
