-- Who holds an idempotency key: only whoever took it last may renew it, give it back or keep an answer for it.
-- Locks: idempotency_keys, for the moment of adding a column without a default.
ALTER TABLE idempotency_keys ADD COLUMN holder uuid;
