-- Jobs that end together should share words. Tickets are drawn by class of expected duration, 0 to 31: a word, 256
-- tickets, belongs to the class that is its number modulo 32. So each class counts up in a sequence of its own, no two
-- can ever meet, and drawing a ticket is still one `nextval`.

-- What is known of how long jobs of a kind run; of any tenant's, as a kind is the platform's.
CREATE TABLE run_times (
    kind    text PRIMARY KEY,
    seconds double precision NOT NULL CHECK (seconds >= 0),
    jobs    bigint NOT NULL CHECK (jobs > 0)
);
GRANT SELECT ON run_times TO jobseal_api;
GRANT SELECT, INSERT, UPDATE ON run_times TO jobseal_relayer;

-- 0 where nothing is known; 1 below 10 s; 2 to 30 in equal ratios (1.37) up to a day; 31 beyond.
CREATE FUNCTION duration_class(seconds double precision) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN seconds IS NULL THEN 0
                ELSE 1 + width_bucket(ln(greatest(seconds, 1)), ln(10::double precision), ln(86400::double precision), 29)
           END
$$;

-- Where a class goes on so that all its tickets are higher than one of this lane.
CREATE FUNCTION first_beyond(ticket bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (((ticket & ((1::bigint << 56) - 1)) >> 13) + 1) << 8
$$;

CREATE OR REPLACE FUNCTION open_ticket_lane(registry smallint, lane smallint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF lane NOT BETWEEN 0 AND 31 THEN
        RAISE EXCEPTION 'lane % can never be confirmed; lanes are 0 to 31', lane;
    END IF;
    IF to_regclass(format('public.tickets_%s_%s_31', registry, lane)) IS NOT NULL THEN
        RETURN;
    END IF;
    FOR class IN 0..31 LOOP
        EXECUTE format('CREATE SEQUENCE tickets_%s_%s_%s AS bigint MINVALUE 0 START 0 MAXVALUE %s NO CYCLE',
                       registry, lane, class, (1::bigint << 51) - 1);
        EXECUTE format('GRANT USAGE ON SEQUENCE tickets_%s_%s_%s TO jobseal_api, jobseal_relayer', registry, lane, class);
    END LOOP;
END $$;

-- Lets every later ticket of the lane be higher than this one. Altering a sequence waits for whoever draws from it and
-- holds others back until the commit, so that what is read here still holds when the sequence is set.
CREATE FUNCTION jump_tickets_past(registry smallint, ticket bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    sequence text;
    next_one bigint;
BEGIN
    FOR class IN 0..31 LOOP
        sequence := format('public.tickets_%s_%s_%s', registry, ticket >> 56, class);
        EXECUTE format('ALTER SEQUENCE %s NO CYCLE', sequence);
        EXECUTE format('SELECT last_value + is_called::int FROM %s', sequence) INTO next_one;
        IF next_one < first_beyond(ticket) THEN
            EXECUTE format('ALTER SEQUENCE %s RESTART %s', sequence, first_beyond(ticket));
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION jump_tickets_past FROM PUBLIC;
GRANT EXECUTE ON FUNCTION jump_tickets_past TO jobseal_admin;

-- Processes of the version before draw with two arguments and get the class of what is not known.
DROP FUNCTION next_ticket(smallint, smallint);
CREATE FUNCTION next_ticket(registry smallint, lane smallint, class integer DEFAULT 0) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    n bigint := nextval(('public.tickets_' || registry || '_' || lane || '_' || class)::regclass);
BEGIN
    RETURN (lane::bigint << 56) | (((n >> 8) * 32 + class) << 8) | (n & 255);
END $$;

-- Every class goes on beyond what the lane's one sequence has handed out.
DO $$
DECLARE
    old record;
    last bigint;
BEGIN
    FOR old IN
        SELECT r.id AS registry, l.lane::smallint AS lane, format('tickets_%s_%s', r.id, l.lane) AS name
        FROM registries r CROSS JOIN generate_series(0, 31) AS l (lane)
        WHERE to_regclass(format('public.tickets_%s_%s', r.id, l.lane)) IS NOT NULL
    LOOP
        EXECUTE format('ALTER SEQUENCE %s NO CYCLE', old.name);
        EXECUTE format('SELECT CASE WHEN is_called THEN last_value END FROM %s', old.name) INTO last;
        PERFORM open_ticket_lane(old.registry, old.lane);
        IF last IS NOT NULL THEN
            PERFORM jump_tickets_past(old.registry, old.lane::bigint << 56 | last);
        END IF;
        EXECUTE format('DROP SEQUENCE %s', old.name);
    END LOOP;
END $$;
