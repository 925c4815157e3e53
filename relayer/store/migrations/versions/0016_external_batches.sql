-- What others confirmed on the same registry: reconciliation counts it, and no ticket of it is given out again.

CREATE TABLE external_batches (
    registry_id      smallint NOT NULL REFERENCES registries,
    root             bytes32 NOT NULL,
    submitter        address NOT NULL,
    lane             smallint NOT NULL,
    jobs             bigint NOT NULL,
    transaction_hash bytes32 NOT NULL,
    block_number     bigint NOT NULL,
    block_hash       bytes32 NOT NULL,
    confirmed_at     timestamptz NOT NULL,
    PRIMARY KEY (registry_id, root)
);

CREATE TABLE external_words (
    registry_id smallint NOT NULL,
    root        bytes32 NOT NULL,
    index       bigint NOT NULL,
    mask        bytes32 NOT NULL,
    word_root   bytes32 NOT NULL,
    PRIMARY KEY (registry_id, root, index),
    FOREIGN KEY (registry_id, root) REFERENCES external_batches
);
CREATE INDEX external_words_index ON external_words (registry_id, index);

-- Tickets of our jobs that are spent under a root that is not ours: such a job can never be confirmed.
CREATE TABLE burnt_tickets (
    registry_id smallint NOT NULL,
    ticket      bigint NOT NULL,
    root        bytes32 NOT NULL,
    job_id      uuid NOT NULL REFERENCES jobs,
    noticed_at  timestamptz NOT NULL,
    PRIMARY KEY (registry_id, ticket),
    FOREIGN KEY (registry_id, root) REFERENCES external_batches
);

GRANT SELECT, INSERT ON external_batches, external_words, burnt_tickets TO jobseal_relayer;
GRANT SELECT ON external_batches, external_words, burnt_tickets TO jobseal_admin;

GRANT EXECUTE ON FUNCTION jump_tickets_past TO jobseal_relayer;
