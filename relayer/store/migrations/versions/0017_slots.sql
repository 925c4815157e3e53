-- What may become of nonce slots and of batches, held by the database itself.

-- --- slots -------------------------------------------------------------------------------------------

-- `fill` closes a gap below other nonces, `cancel` makes sure that a batch's transaction lands no more: both are
-- transactions of nothing to the account itself.
ALTER TABLE chain_txs DROP CONSTRAINT chain_txs_purpose_check;
ALTER TABLE chain_txs ADD CONSTRAINT chain_txs_purpose CHECK (purpose IN ('confirm_batch', 'cancel', 'fill'));
ALTER TABLE chain_txs ADD CONSTRAINT chain_txs_batch CHECK ((purpose = 'fill') = (batch_id IS NULL));

-- The finalized block by which a slot was settled. Rows of before have none.
ALTER TABLE chain_txs ADD COLUMN settled_number bigint, ADD COLUMN settled_hash bytes32;
-- Whether what was mined for it reverted for want of gas.
ALTER TABLE chain_txs ADD COLUMN out_of_gas boolean NOT NULL DEFAULT false;
ALTER TABLE chain_txs ADD CONSTRAINT chain_txs_settled CHECK (
    state IN ('reserved', 'signed', 'broadcast', 'included') OR num_nulls(settled_number, settled_hash) = 0) NOT VALID;

CREATE FUNCTION check_slot() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    whose text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'reserved' THEN
            RAISE EXCEPTION 'a nonce slot begins as reserved, not as %', NEW.state USING ERRCODE = 'check_violation';
        END IF;
        -- Locked, so that a batch is not released while a nonce is taken for it.
        SELECT state INTO whose FROM batches WHERE id = NEW.batch_id FOR SHARE;
        IF whose IN ('released', 'final') THEN
            RAISE EXCEPTION 'batch % is settled and takes no nonce', NEW.batch_id USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.chain_id, NEW.sender, NEW.nonce) <> (OLD.chain_id, OLD.sender, OLD.nonce)
       OR NEW.batch_id IS DISTINCT FROM OLD.batch_id THEN
        RAISE EXCEPTION 'slot % keeps its nonce and its batch', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('reserved', 'signed'), ('reserved', 'superseded'),
        ('signed', 'broadcast'), ('signed', 'included'), ('signed', 'reverted'), ('signed', 'superseded'),
        ('signed', 'cancelled'),
        ('broadcast', 'signed'), ('broadcast', 'included'), ('broadcast', 'reverted'), ('broadcast', 'superseded'),
        ('broadcast', 'cancelled'),
        ('included', 'broadcast'), ('included', 'final')
    ) THEN
        RAISE EXCEPTION 'no nonce slot moves % -> %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION check_slot FROM PUBLIC;
CREATE TRIGGER chain_txs_checked BEFORE INSERT OR UPDATE ON chain_txs FOR EACH ROW EXECUTE FUNCTION check_slot();

-- --- what was signed ---------------------------------------------------------------------------------

-- Which of a slot's transactions this is: the batch's call, or one of nothing to the account itself.
ALTER TABLE tx_attempts ADD COLUMN purpose text NOT NULL DEFAULT 'confirm_batch'
    CHECK (purpose IN ('confirm_batch', 'cancel', 'fill'));
ALTER TABLE tx_attempts ALTER COLUMN purpose DROP DEFAULT;
-- How often in a row nodes gave the last class of answer.
ALTER TABLE tx_attempts ADD COLUMN refusals integer NOT NULL DEFAULT 0 CHECK (refusals >= 0);
ALTER TABLE tx_attempts ADD COLUMN last_broadcast_block bigint;

-- --- batches -----------------------------------------------------------------------------------------

-- The finalized block by which a batch was released; when its jobs had all gone back; until when the signatures of its
-- confirmers let anybody land it.
ALTER TABLE batches ADD COLUMN released_number bigint, ADD COLUMN released_hash bytes32,
    ADD COLUMN released_block_time timestamptz, ADD COLUMN returned_at timestamptz, ADD COLUMN deadline timestamptz;
ALTER TABLE batches ADD CONSTRAINT batches_released CHECK (
    state <> 'released' OR (num_nulls(released_number, released_hash, released_block_time) = 0
                            AND (deadline IS NULL OR deadline < released_block_time)));
CREATE INDEX batches_returning ON batches (id) WHERE state = 'released' AND returned_at IS NULL;

CREATE FUNCTION check_release() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    alive bigint;
BEGIN
    SELECT nonce INTO alive FROM chain_txs
    WHERE batch_id = NEW.id AND (state NOT IN ('reverted', 'superseded', 'cancelled') OR settled_number IS NULL
                                 OR settled_number > NEW.released_number)
    ORDER BY nonce LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'batch % cannot be released: what was signed for nonce % may still land', NEW.id, alive
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION check_release FROM PUBLIC;
CREATE TRIGGER batches_released_only_when_dead BEFORE UPDATE OF state ON batches FOR EACH ROW
    WHEN (NEW.state = 'released' AND OLD.state <> 'released') EXECUTE FUNCTION check_release();

CREATE FUNCTION refuse_leaving_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'batch % is final and stays it', OLD.id USING ERRCODE = 'check_violation';
END $$;
REVOKE ALL ON FUNCTION refuse_leaving_final FROM PUBLIC;
CREATE TRIGGER batches_final_stay BEFORE UPDATE OF state ON batches FOR EACH ROW
    WHEN (OLD.state = 'final' AND NEW.state <> 'final') EXECUTE FUNCTION refuse_leaving_final();

-- A job goes back only from a batch of which nothing can land any more.
CREATE FUNCTION check_return() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM batches WHERE id = OLD.batch_id AND state = 'released';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'job % cannot leave batch %, which is not released', OLD.id, OLD.batch_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION check_return FROM PUBLIC;
CREATE TRIGGER jobs_return_only_when_released BEFORE UPDATE OF state ON jobs FOR EACH ROW
    WHEN (OLD.state = 'confirming' AND NEW.state = 'completed') EXECUTE FUNCTION check_return();

-- --- operators ---------------------------------------------------------------------------------------

GRANT SELECT ON registries, batches, batch_words, chain_txs, tx_attempts TO jobseal_admin;
GRANT UPDATE (state, reason, detail, retry_at, released_number, released_hash, released_block_time, returned_at)
    ON batches TO jobseal_admin;
GRANT UPDATE (purpose, updated_at) ON chain_txs TO jobseal_admin;
GRANT UPDATE (refusals, last_class, last_broadcast_at) ON tx_attempts TO jobseal_admin;
