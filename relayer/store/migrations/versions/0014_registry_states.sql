-- What the registries were last seen to be, and whether an integrity finding stops everything that would write to them.
-- Without an observed block nobody has looked yet; the row may be there all the same, because it is frozen.

CREATE TABLE registry_states (
    registry_id    smallint PRIMARY KEY REFERENCES registries,
    paused         boolean NOT NULL DEFAULT false,
    -- Whether the sender's account may confirm.
    confirmer_role boolean NOT NULL DEFAULT true,
    implementation address,
    -- keccak256 of the implementation's code: what is there, and what an operator has accepted.
    code_hash      bytes32,
    accepted_hash  bytes32,
    block_number   bigint,
    block_hash     bytes32,
    observed_at    timestamptz,
    frozen_at      timestamptz,
    frozen_reason  text,
    CHECK ((frozen_at IS NULL) = (frozen_reason IS NULL)),
    CHECK (num_nulls(implementation, code_hash, accepted_hash, block_number, block_hash, observed_at) IN (0, 6))
);
GRANT SELECT, INSERT, UPDATE ON registry_states TO jobseal_relayer, jobseal_admin;
GRANT SELECT ON registry_states TO jobseal_api;
