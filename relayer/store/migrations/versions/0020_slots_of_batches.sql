-- Before every new batch is priced, and before one is released, all nonces that were ever taken for it are looked at.
CREATE INDEX chain_txs_of_batch ON chain_txs (batch_id) WHERE batch_id IS NOT NULL;
