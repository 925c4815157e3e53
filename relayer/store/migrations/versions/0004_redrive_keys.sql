-- An idempotency key may stand for a redrive.

ALTER TABLE idempotency_keys ADD COLUMN redrive_id uuid REFERENCES redrives;
