-- Logins that ended before their access tokens did: a node refuses such a token as soon as it has read this.
-- Locks: nothing that exists; creates new objects only.
CREATE TABLE sessions_ended (
  family  uuid PRIMARY KEY,                                         -- of refresh_tokens
  until   timestamptz NOT NULL                                      -- after that no token of it is good by the clock
);
CREATE INDEX sessions_ended_by_age ON sessions_ended (until);

ALTER TABLE sessions_ended ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions_ended FORCE ROW LEVEL SECURITY;
CREATE POLICY sessions_ended_house ON sessions_ended USING (scope_is_house()) WITH CHECK (scope_is_house());
GRANT SELECT, INSERT, DELETE ON sessions_ended TO posthouse_runtime;
