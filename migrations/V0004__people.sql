-- People and their sessions, and answers kept for repeated requests.
-- Locks: nothing that exists; creates new objects only.

CREATE TABLE users (
  id             uuid PRIMARY KEY,
  tenant_id      uuid REFERENCES tenants ON DELETE CASCADE,
  email          text NOT NULL CONSTRAINT users_email UNIQUE CHECK (email = lower(email)),
  password_hash  text NOT NULL,                                   -- argon2id, PHC string
  role           text NOT NULL CHECK (role IN ('operator', 'auditor', 'admin', 'viewer')),
  disabled_at    timestamptz,
  created_at     timestamptz NOT NULL,
  CHECK ((tenant_id IS NULL) = (role IN ('operator', 'auditor')))
);

-- A refresh token is used once; using one twice ends the whole family, because one of the two users stole it.
CREATE TABLE refresh_tokens (
  mac         bytea PRIMARY KEY CHECK (length(mac) = 32),
  family      uuid NOT NULL,
  user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  expires_at  timestamptz NOT NULL,
  used_at     timestamptz,
  created_at  timestamptz NOT NULL
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);

CREATE TABLE idempotency_keys (
  actor         text NOT NULL,
  key           text NOT NULL,
  tenant_id     uuid REFERENCES tenants ON DELETE CASCADE,
  request_hash  bytea NOT NULL,
  status        smallint,                                         -- null while the first request runs
  body          bytea,
  lease_until   timestamptz NOT NULL,
  created_at    timestamptz NOT NULL,
  PRIMARY KEY (actor, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY users_scope ON users USING (scope_allows(tenant_id)) WITH CHECK (scope_allows(tenant_id));
ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY refresh_tokens_house ON refresh_tokens USING (scope_is_house()) WITH CHECK (scope_is_house());
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotency_keys_scope ON idempotency_keys
  USING (scope_allows(tenant_id)) WITH CHECK (scope_allows(tenant_id));

GRANT SELECT, INSERT, UPDATE, DELETE ON users, refresh_tokens, idempotency_keys TO posthouse_runtime;
