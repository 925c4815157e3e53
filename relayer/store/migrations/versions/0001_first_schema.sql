-- The first schema. Every tenant table carries tenant_id and a row-level security policy; what the chain
-- knows anyway (batches, leaves, logs) belongs to no tenant. Hashes are 32 raw bytes, addresses 20.

CREATE DOMAIN bytes32 AS bytea CHECK (octet_length(VALUE) = 32);
CREATE DOMAIN address AS bytea CHECK (octet_length(VALUE) = 20);

-- --- tenants ---------------------------------------------------------------------------------------

CREATE TABLE tenants (
    id         uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    created_at timestamptz NOT NULL
);

CREATE TABLE api_keys (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenants,
    name           text NOT NULL,
    digest         bytes32 NOT NULL UNIQUE,
    pepper_version smallint NOT NULL,
    last4          text NOT NULL CHECK (length(last4) = 4),
    scopes         text[] NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id);

-- The one read that happens before the tenant is known; the API role cannot read api_keys otherwise.
CREATE FUNCTION authenticate_api_key(digest bytea, at timestamptz)
RETURNS TABLE (key_id uuid, tenant_id uuid, scopes text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT k.id, k.tenant_id, k.scopes FROM public.api_keys k
    WHERE k.digest = $1 AND k.revoked_at IS NULL AND k.expires_at > $2
$$;
REVOKE ALL ON FUNCTION authenticate_api_key FROM PUBLIC;

-- --- registries and tickets ------------------------------------------------------------------------

CREATE TABLE registries (
    id          smallint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    chain_id    bigint NOT NULL CHECK (chain_id > 0),
    address     address NOT NULL,
    first_block bigint NOT NULL CHECK (first_block >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (chain_id, address)
);

-- Tickets come from one non-cycling sequence a (registry, lane); a gap costs nothing, a repeat would
-- burn a job. The lane is the top byte of the ticket.
CREATE FUNCTION open_ticket_lane(registry smallint, lane smallint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF lane NOT BETWEEN 0 AND 31 THEN
        RAISE EXCEPTION 'lane % can never be confirmed; lanes are 0 to 31', lane;
    END IF;
    EXECUTE format('CREATE SEQUENCE IF NOT EXISTS tickets_%s_%s AS bigint MINVALUE 0 START 0 MAXVALUE %s NO CYCLE',
                   registry, lane, (1::bigint << 56) - 1);
    EXECUTE format('GRANT USAGE ON SEQUENCE tickets_%s_%s TO jobseal_api, jobseal_relayer', registry, lane);
END $$;
REVOKE ALL ON FUNCTION open_ticket_lane FROM PUBLIC;

CREATE FUNCTION next_ticket(registry smallint, lane smallint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT (lane::bigint << 56) | nextval(format('public.tickets_%s_%s', registry, lane)::regclass)
$$;

-- --- batches -----------------------------------------------------------------------------------------

CREATE TABLE batches (
    id               uuid PRIMARY KEY,
    registry_id      smallint NOT NULL REFERENCES registries,
    lane             smallint NOT NULL CHECK (lane BETWEEN 0 AND 31),
    root             bytes32 NOT NULL,
    state            text NOT NULL CHECK (state IN
                         ('sealed', 'sending', 'included', 'final', 'held', 'needs_human', 'released')),
    reason           text,
    leaf_count       integer NOT NULL CHECK (leaf_count > 0),
    transaction_hash bytes32,
    block_number     bigint,
    block_hash       bytes32,
    gas_used         bigint,
    retry_at         timestamptz,
    sealed_at        timestamptz NOT NULL,
    included_at      timestamptz,
    final_at         timestamptz,
    UNIQUE (registry_id, root),
    CHECK (state <> 'final' OR (transaction_hash IS NOT NULL AND block_hash IS NOT NULL AND final_at IS NOT NULL)),
    CHECK (state <> 'held' OR retry_at IS NOT NULL),
    CHECK (retry_at IS NULL OR state IN ('held', 'sending'))
);
CREATE INDEX batches_open ON batches (registry_id, sealed_at) WHERE state NOT IN ('final', 'released');

-- A tree, once sealed, is kept: its words and its leaves rebuild every proof.
CREATE TABLE batch_words (
    batch_id uuid NOT NULL REFERENCES batches,
    index    bigint NOT NULL,
    mask     bytes32 NOT NULL,
    root     bytes32 NOT NULL,
    PRIMARY KEY (batch_id, index)
);

CREATE TABLE batch_leaves (
    batch_id uuid NOT NULL REFERENCES batches,
    ticket   bigint NOT NULL,
    leaf     bytes32 NOT NULL,
    PRIMARY KEY (batch_id, ticket)
);

-- --- blobs -------------------------------------------------------------------------------------------

CREATE TABLE blobs (
    hash       bytes32 PRIMARY KEY,
    size       bigint NOT NULL CHECK (size >= 0),
    created_at timestamptz NOT NULL
);

-- Hashes are public, content is not: a tenant can name only what it uploaded or what its own jobs made.
CREATE TABLE blob_owners (
    tenant_id  uuid NOT NULL REFERENCES tenants,
    hash       bytes32 NOT NULL REFERENCES blobs,
    media_type text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, hash)
);

-- --- jobs --------------------------------------------------------------------------------------------

CREATE TABLE jobs (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL REFERENCES tenants,
    registry_id       smallint NOT NULL REFERENCES registries,
    ticket            bigint NOT NULL CHECK (ticket >= 0),
    kind              text NOT NULL,
    state             text NOT NULL CHECK (state IN ('created', 'processing', 'completed', 'confirming',
                                                     'confirmed', 'failed', 'cancelled', 'rejected')),
    state_version     integer NOT NULL DEFAULT 1,
    status_reason     text,
    input             text NOT NULL,
    input_hash        bytes32 NOT NULL,
    metadata          jsonb NOT NULL,
    salt              bytes32 NOT NULL,
    max_attempts      smallint NOT NULL CHECK (max_attempts >= 1),
    run_at            timestamptz NOT NULL,
    output_hash       bytes32,
    output_size       bigint,
    output_media_type text,
    error             jsonb,
    batch_id          uuid REFERENCES batches,
    rerun_of          uuid REFERENCES jobs,
    created_at        timestamptz NOT NULL,
    result_ready_at   timestamptz,
    confirmed_at      timestamptz,
    revoked_at        timestamptz,
    UNIQUE (registry_id, ticket),
    CHECK (state NOT IN ('completed', 'confirming', 'confirmed')
           OR (output_hash IS NOT NULL AND result_ready_at IS NOT NULL)),
    CHECK (state NOT IN ('confirming', 'confirmed') OR batch_id IS NOT NULL),
    CHECK ((state = 'confirmed') = (confirmed_at IS NOT NULL))
);
CREATE INDEX jobs_listing ON jobs (tenant_id, id DESC);
CREATE INDEX jobs_waiting ON jobs (tenant_id, run_at, id) WHERE state = 'created';
CREATE INDEX jobs_finished ON jobs (registry_id, result_ready_at) WHERE state = 'completed';
CREATE INDEX jobs_batch ON jobs (batch_id) WHERE batch_id IS NOT NULL;

CREATE TABLE job_events (
    job_id      uuid NOT NULL REFERENCES jobs,
    seq         integer NOT NULL,
    tenant_id   uuid NOT NULL REFERENCES tenants,
    from_state  text,
    to_state    text NOT NULL,
    actor       text NOT NULL,
    reason      text,
    details     jsonb,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (job_id, seq)
);

CREATE SEQUENCE fencing_tokens AS bigint NO CYCLE;

CREATE TABLE attempts (
    id               uuid PRIMARY KEY,
    job_id           uuid NOT NULL REFERENCES jobs,
    tenant_id        uuid NOT NULL REFERENCES tenants,
    number           smallint NOT NULL CHECK (number >= 1),
    mode             text NOT NULL CHECK (mode IN ('inline', 'isolated')),
    state            text NOT NULL CHECK (state IN ('dispatched', 'running', 'succeeded', 'failed', 'lost')),
    queue_job_id     uuid,
    dispatched_at    timestamptz NOT NULL,
    pushed_at        timestamptz,
    fencing_token    bigint,
    worker           text,
    lease_expires_at timestamptz,
    started_at       timestamptz,
    finished_at      timestamptz,
    progress         jsonb,
    error            jsonb,
    log_tail         text,
    UNIQUE (job_id, number),
    CHECK (state <> 'running' OR (fencing_token IS NOT NULL AND lease_expires_at IS NOT NULL))
);
CREATE UNIQUE INDEX attempts_one_live_a_job ON attempts (job_id) WHERE state IN ('dispatched', 'running');
CREATE INDEX attempts_live ON attempts (tenant_id) WHERE state IN ('dispatched', 'running');
CREATE INDEX attempts_leases ON attempts (lease_expires_at) WHERE state = 'running';

CREATE TABLE idempotency_keys (
    tenant_id   uuid NOT NULL REFERENCES tenants,
    route       text NOT NULL,
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytes32 NOT NULL,
    job_id      uuid REFERENCES jobs,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, route, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

CREATE TABLE usage_events (
    tenant_id   uuid NOT NULL REFERENCES tenants,
    source      text NOT NULL,
    id          text NOT NULL,
    meter       text NOT NULL,
    quantity    numeric NOT NULL,
    job_id      uuid REFERENCES jobs,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, source, id)
);

CREATE TABLE outbox (
    id         bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant_id  uuid NOT NULL REFERENCES tenants,
    topic      text NOT NULL,
    job_id     uuid NOT NULL REFERENCES jobs,
    payload    jsonb NOT NULL,
    created_at timestamptz NOT NULL
);

-- --- leases and the chain ----------------------------------------------------------------------------

-- Expiry is by this server's clock, so that machines need not agree on the time.
CREATE TABLE leases (
    name       text PRIMARY KEY,
    owner      text NOT NULL,
    epoch      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

-- A nonce slot. Whatever is signed for it is a row of tx_attempts; at most one of them ever lands.
CREATE TABLE chain_txs (
    id           uuid PRIMARY KEY,
    chain_id     bigint NOT NULL,
    sender       address NOT NULL,
    nonce        bigint NOT NULL CHECK (nonce >= 0),
    purpose      text NOT NULL CHECK (purpose IN ('confirm_batch')),
    batch_id     uuid REFERENCES batches,
    target       address NOT NULL,
    calldata     bytea NOT NULL,
    state        text NOT NULL CHECK (state IN
                     ('reserved', 'signed', 'broadcast', 'included', 'final', 'reverted', 'superseded', 'cancelled')),
    lease_epoch  bigint NOT NULL,
    included_hash bytes32,
    block_number bigint,
    block_hash   bytes32,
    gas_used     bigint,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (chain_id, sender, nonce),
    CHECK (state NOT IN ('included', 'final') OR (included_hash IS NOT NULL AND block_hash IS NOT NULL))
);
CREATE UNIQUE INDEX chain_txs_one_open_slot_a_batch ON chain_txs (batch_id)
    WHERE state IN ('reserved', 'signed', 'broadcast', 'included');
CREATE INDEX chain_txs_open ON chain_txs (chain_id, sender, nonce)
    WHERE state IN ('reserved', 'signed', 'broadcast', 'included');

CREATE TABLE tx_attempts (
    hash                     bytes32 PRIMARY KEY,
    chain_tx_id              uuid NOT NULL REFERENCES chain_txs,
    raw                      bytea NOT NULL,
    gas_limit                bigint NOT NULL,
    max_fee_per_gas          numeric(78, 0) NOT NULL,
    max_priority_fee_per_gas numeric(78, 0) NOT NULL,
    created_at               timestamptz NOT NULL,
    first_broadcast_at       timestamptz,
    first_broadcast_block    bigint,
    last_broadcast_at        timestamptz,
    last_answer              text,
    last_class               text
);
CREATE INDEX tx_attempts_slot ON tx_attempts (chain_tx_id, created_at);

CREATE TABLE block_refs (
    chain_id    bigint NOT NULL,
    hash        bytes32 NOT NULL,
    number      bigint NOT NULL,
    parent_hash bytes32 NOT NULL,
    mined_at    timestamptz NOT NULL,
    finalized   boolean NOT NULL,
    PRIMARY KEY (chain_id, hash)
);
CREATE INDEX block_refs_number ON block_refs (chain_id, number);

CREATE TABLE event_logs (
    chain_id         bigint NOT NULL,
    block_hash       bytes32 NOT NULL,
    log_index        integer NOT NULL,
    block_number     bigint NOT NULL,
    transaction_hash bytes32 NOT NULL,
    address          address NOT NULL,
    topics           bytea[] NOT NULL,
    data             bytea NOT NULL,
    canonical        boolean NOT NULL,
    PRIMARY KEY (chain_id, block_hash, log_index)
);
CREATE INDEX event_logs_number ON event_logs (chain_id, block_number);

CREATE TABLE cursors (
    chain_id   bigint NOT NULL,
    contract   address NOT NULL,
    next_block bigint NOT NULL,
    last_hash  bytes32,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (chain_id, contract)
);

-- --- who may see what --------------------------------------------------------------------------------

-- A transaction-local setting reverts to the empty string, not to null.
CREATE FUNCTION current_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('app.tenant', true), '')::uuid
$$;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['api_keys', 'blob_owners', 'jobs', 'job_events', 'attempts',
                                        'idempotency_keys', 'usage_events', 'outbox']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY tenant_only ON %I TO jobseal_api USING (tenant_id = current_tenant())
                        WITH CHECK (tenant_id = current_tenant())', tenant_table);
        EXECUTE format('CREATE POLICY every_tenant ON %I TO jobseal_relayer USING (true) WITH CHECK (true)',
                       tenant_table);
    END LOOP;
END $$;
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON tenants TO jobseal_api USING (id = current_tenant());
CREATE POLICY every_tenant ON tenants TO jobseal_relayer USING (true);

GRANT USAGE ON SCHEMA public TO jobseal_api, jobseal_relayer;
GRANT EXECUTE ON FUNCTION authenticate_api_key TO jobseal_api;

GRANT SELECT ON tenants, registries, blobs, batches, batch_words, batch_leaves TO jobseal_api;
GRANT INSERT ON blobs TO jobseal_api;
GRANT SELECT, INSERT ON jobs, job_events, blob_owners TO jobseal_api;
GRANT SELECT ON attempts TO jobseal_api;
GRANT SELECT, INSERT, UPDATE ON idempotency_keys TO jobseal_api;

GRANT SELECT ON tenants, registries TO jobseal_relayer;
GRANT SELECT, INSERT ON blobs, blob_owners, job_events, usage_events, outbox, batch_words, batch_leaves,
    tx_attempts, block_refs, event_logs TO jobseal_relayer;
GRANT SELECT, INSERT, UPDATE ON batches, jobs, attempts, leases, chain_txs, cursors TO jobseal_relayer;
GRANT UPDATE ON tx_attempts, block_refs, event_logs TO jobseal_relayer;
GRANT SELECT, DELETE ON idempotency_keys TO jobseal_relayer;
GRANT USAGE ON SEQUENCE fencing_tokens TO jobseal_relayer;
