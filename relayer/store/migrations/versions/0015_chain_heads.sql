-- Blocks above the finalized one are followed by hash, and may be taken back; what is final is read a second time.

ALTER TABLE block_refs ADD COLUMN canonical boolean NOT NULL DEFAULT true;
CREATE INDEX block_refs_open ON block_refs (chain_id, number) WHERE NOT finalized;
GRANT DELETE ON block_refs TO jobseal_relayer;

-- Logs were kept only once they were final.
ALTER TABLE event_logs ADD COLUMN finalized boolean NOT NULL DEFAULT true;
ALTER TABLE event_logs ALTER COLUMN finalized DROP DEFAULT;

-- The next block of the second reading. What was read before there was one is read again from now on only.
ALTER TABLE cursors ADD COLUMN second_block bigint;
UPDATE cursors SET second_block = next_block;
ALTER TABLE cursors ALTER COLUMN second_block SET NOT NULL;
