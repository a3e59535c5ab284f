-- The secret that a key had before it rotated itself: good for a while, so that a lost answer can be asked for again.
-- Locks: api_keys, for the moment of adding columns and reading it through; it has a handful of rows for each tenant.
ALTER TABLE api_keys
  ADD COLUMN previous_mac bytea CHECK (length(previous_mac) = 32),
  ADD COLUMN previous_until timestamptz,
  ADD CHECK ((previous_mac IS NULL) = (previous_until IS NULL));
