-- When a key stopped signing: some time later nothing is on its way that it signed, and it goes.
-- Locks: dkim_keys against everything for the moment of ALTER TABLE, against writes while the index is built;
-- milliseconds, a domain has a handful of rows.
ALTER TABLE dkim_keys ADD COLUMN retired_at timestamptz;
UPDATE dkim_keys SET retired_at = now() WHERE state = 'retiring';
CREATE INDEX dkim_keys_by_retirement ON dkim_keys (retired_at) WHERE state = 'retiring';
