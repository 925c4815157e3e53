-- The lanes of kinds, lanes that are opened when a kind gets one, and batches that wait for the quorum of theirs.

-- A kind that is not here is confirmed in the standard lane.
CREATE TABLE kind_lanes (
    kind text PRIMARY KEY,
    lane smallint NOT NULL CHECK (lane BETWEEN 1 AND 31)
);
GRANT SELECT ON kind_lanes TO jobseal_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON kind_lanes TO jobseal_admin;

-- As before, but in the rights of the owner: whoever administers gives lanes to kinds.
CREATE OR REPLACE FUNCTION open_ticket_lane(registry smallint, lane smallint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF lane NOT BETWEEN 0 AND 31 THEN
        RAISE EXCEPTION 'lane % can never be confirmed; lanes are 0 to 31', lane;
    END IF;
    IF to_regclass(format('public.tickets_%s_%s_31', registry, lane)) IS NOT NULL THEN
        RETURN;
    END IF;
    FOR class IN 0..31 LOOP
        EXECUTE format('CREATE SEQUENCE public.tickets_%s_%s_%s AS bigint MINVALUE 0 START 0 MAXVALUE %s NO CYCLE',
                       registry, lane, class, (1::bigint << 51) - 1);
        EXECUTE format('GRANT USAGE ON SEQUENCE public.tickets_%s_%s_%s TO jobseal_api, jobseal_relayer',
                       registry, lane, class);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION open_ticket_lane TO jobseal_admin;

-- A lane that cannot be confirmed may have many jobs that wait; the others are found past them.
DROP INDEX jobs_finished;
CREATE INDEX jobs_finished ON jobs (registry_id, (ticket >> 56), result_ready_at) WHERE state = 'completed';

ALTER TABLE batches DROP CONSTRAINT batches_reason;
ALTER TABLE batches ADD CONSTRAINT batches_reason CHECK (CASE state
    WHEN 'held' THEN reason IS NOT NULL AND reason IN (
        'paused', 'role_lost', 'code_changed', 'funds', 'fee_cap', 'frozen', 'provider', 'quorum')
    WHEN 'needs_human' THEN reason IS NOT NULL AND reason IN (
        'integrity', 'role', 'shape', 'business', 'gas', 'reverted', 'foreign_nonce', 'unknown_answer', 'node_limit',
        'signature', 'cancelled')
    ELSE reason IS NULL END);
