-- Reconciliation: every run, with what it found, kept before anything is done about it.

-- The genesis block of the registry's chain, as the first run saw it.
ALTER TABLE registries ADD COLUMN genesis_hash bytes32;
GRANT UPDATE (genesis_hash) ON registries TO jobseal_relayer;

-- A word is asked of every batch that touches it.
CREATE INDEX batch_words_index ON batch_words (index);

CREATE TABLE reconciliations (
    id           uuid PRIMARY KEY,
    registry_id  smallint NOT NULL REFERENCES registries,
    mode         text NOT NULL CHECK (mode IN ('shallow', 'full')),
    block_number bigint NOT NULL,
    block_hash   bytes32 NOT NULL,
    batches      integer NOT NULL,
    words        integer NOT NULL,
    events       integer NOT NULL,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz NOT NULL
);
CREATE INDEX reconciliations_latest ON reconciliations (registry_id, started_at DESC);

-- `database` and `chain` are what either side says, for people; `outcome` is what became of the action.
CREATE TABLE reconciliation_differences (
    reconciliation_id uuid NOT NULL REFERENCES reconciliations ON DELETE CASCADE,
    number            integer NOT NULL,
    class             text NOT NULL,
    subject           text NOT NULL,
    database          text,
    chain             text,
    block_number      bigint,
    action            text NOT NULL CHECK (action IN ('fix', 'freeze', 'hold', 'alert', 'warn')),
    outcome           text,
    PRIMARY KEY (reconciliation_id, number)
);

GRANT SELECT, INSERT, DELETE ON reconciliations TO jobseal_relayer;
GRANT SELECT, INSERT, UPDATE (outcome) ON reconciliation_differences TO jobseal_relayer;
GRANT SELECT ON registries, reconciliations, reconciliation_differences TO jobseal_admin;
