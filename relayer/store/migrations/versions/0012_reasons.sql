-- Why a batch waits is one of a closed list (relayer/batches/reasons.py); what was said in words stands beside it.

ALTER TABLE batches ADD COLUMN detail text;
UPDATE batches SET
    detail = reason,
    reason = CASE WHEN reason = 'integrity' THEN 'integrity'
                  WHEN reason LIKE 'nonce % was used in a final block%' THEN 'foreign_nonce'
                  ELSE 'reverted' END
WHERE state = 'needs_human';
UPDATE batches SET reason = NULL WHERE state NOT IN ('held', 'needs_human');

ALTER TABLE batches ADD CONSTRAINT batches_reason CHECK (CASE state
    WHEN 'held' THEN reason IS NOT NULL AND reason IN (
        'paused', 'role_lost', 'code_changed', 'funds', 'fee_cap', 'frozen', 'provider')
    WHEN 'needs_human' THEN reason IS NOT NULL AND reason IN (
        'integrity', 'role', 'shape', 'business', 'gas', 'reverted', 'foreign_nonce', 'unknown_answer', 'node_limit',
        'signature', 'cancelled')
    ELSE reason IS NULL END);

-- What waits for the registry's own state to clear has no time at which it is tried again.
ALTER TABLE batches DROP CONSTRAINT batches_check1;
