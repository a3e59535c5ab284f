-- What ends the tokens of a person at once: a token carries the version it was given out with.
-- Locks: users, for the moment of adding a column with a constant default.
ALTER TABLE users ADD COLUMN token_version integer NOT NULL DEFAULT 0;
