-- What V0009 wanted: who owns the tables and is under their policies saw no key there, and retired ones would stay for good.
-- Locks: the rows of keys that are retiring; milliseconds.
SELECT set_config('posthouse.scope', 'house', true);
UPDATE dkim_keys SET retired_at = now() WHERE state = 'retiring' AND retired_at IS NULL;
