-- A job that came back from its batch's manifest has no input: what was asked for is gone, and the job cannot run again.
ALTER TABLE jobs ALTER COLUMN input DROP NOT NULL;
ALTER TABLE jobs ADD CONSTRAINT jobs_input_while_needed
    CHECK (input IS NOT NULL OR state IN ('confirming', 'confirmed', 'failed', 'cancelled', 'rejected')) NOT VALID;
