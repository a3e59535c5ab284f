-- What a tenant sends with: streams, domains, DKIM keys, SMTP credentials, API keys, webhook endpoints.
-- Locks: nothing that exists; creates new objects only.
-- References carry tenant_id, so that no row can point at another tenant's.

CREATE TABLE streams (
  id                uuid PRIMARY KEY,
  tenant_id         uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
  name              text NOT NULL,
  kind              text NOT NULL CHECK (kind IN ('transactional', 'marketing')),
  pool_id           uuid NOT NULL CONSTRAINT streams_pool REFERENCES pools,
  overflow_pool_id  uuid CONSTRAINT streams_overflow_pool REFERENCES pools,
  expires_seconds   bigint NOT NULL CHECK (expires_seconds > 0),
  created_at        timestamptz NOT NULL,
  UNIQUE (tenant_id, id),
  CONSTRAINT streams_name UNIQUE (tenant_id, name)
);

CREATE TABLE domains (
  id                  uuid PRIMARY KEY,
  tenant_id           uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
  name                text NOT NULL,
  state               text NOT NULL CHECK (state IN ('pending', 'verified', 'degraded', 'failed', 'suspended')),
  ownership_token     text NOT NULL,
  return_path         text NOT NULL,
  return_path_target  text NOT NULL,
  records             jsonb,                -- as last checked; null before the first check
  checked_at          timestamptz,
  verified_at         timestamptz,
  degraded_at         timestamptz,
  created_at          timestamptz NOT NULL,
  UNIQUE (tenant_id, id),
  CONSTRAINT domains_name UNIQUE (tenant_id, name)
);
-- Any number of claims, one owner: whoever proves a domain keeps it until it is given up or has failed.
CREATE UNIQUE INDEX domains_owner ON domains (name) WHERE state IN ('verified', 'degraded', 'suspended');

-- Whether another tenant has proved the name. Widens the scope for this one answer and puts it back; a SET clause
-- would say the same, but only a superuser may write one.
CREATE FUNCTION domain_is_taken(claimed text, claimant uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  scope_before text := coalesce(current_setting('posthouse.scope', true), '');
  taken boolean;
BEGIN
  PERFORM set_config('posthouse.scope', 'house', true);
  SELECT EXISTS (SELECT FROM domains d WHERE d.name = claimed AND d.tenant_id <> claimant
                                         AND d.state IN ('verified', 'degraded', 'suspended')) INTO taken;
  PERFORM set_config('posthouse.scope', scope_before, true);
  RETURN taken;
END $$;
CREATE INDEX domains_by_check ON domains (checked_at NULLS FIRST);

CREATE TABLE dkim_keys (
  id             uuid PRIMARY KEY,
  tenant_id      uuid NOT NULL,
  domain_id      uuid NOT NULL,
  selector       text NOT NULL,
  algorithm      text NOT NULL CHECK (algorithm IN ('rsa', 'ed25519')),
  state          text NOT NULL CHECK (state IN ('next', 'active', 'retiring')),
  public_record  text NOT NULL,
  sealed         bytea NOT NULL,
  created_at     timestamptz NOT NULL,
  FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT dkim_keys_selector UNIQUE (domain_id, selector)
);

CREATE TABLE credentials (
  id                 uuid PRIMARY KEY,
  tenant_id          uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
  name               text NOT NULL,
  username           text NOT NULL CONSTRAINT credentials_username UNIQUE,
  secret_mac         bytea NOT NULL CHECK (length(secret_mac) = 32),
  stream_id          uuid,
  domains            text[] NOT NULL,
  networks           text[] NOT NULL,
  limits             jsonb NOT NULL,
  compat_pmta        boolean NOT NULL,
  reject_suppressed  boolean NOT NULL,
  expires_at         timestamptz,
  revoked_at         timestamptz,
  created_at         timestamptz NOT NULL,
  CONSTRAINT credentials_stream FOREIGN KEY (tenant_id, stream_id) REFERENCES streams (tenant_id, id)
);
CREATE INDEX credentials_by_tenant ON credentials (tenant_id, id);

CREATE TABLE api_keys (
  id          uuid PRIMARY KEY,
  tenant_id   uuid REFERENCES tenants ON DELETE CASCADE,         -- null: the operator's
  name        text NOT NULL,
  secret_mac  bytea NOT NULL CHECK (length(secret_mac) = 32),
  role        text NOT NULL CHECK (role IN ('operator', 'auditor', 'admin', 'viewer')),
  rights      text[] NOT NULL,
  stream_id   uuid,
  networks    text[] NOT NULL,
  expires_at  timestamptz,
  revoked_at  timestamptz,
  created_at  timestamptz NOT NULL,
  CHECK ((tenant_id IS NULL) = (role IN ('operator', 'auditor'))),
  CONSTRAINT api_keys_stream FOREIGN KEY (tenant_id, stream_id) REFERENCES streams (tenant_id, id)
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, id);

CREATE TABLE endpoints (
  id            uuid PRIMARY KEY,
  tenant_id     uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
  url           text NOT NULL,
  kinds         text[] NOT NULL,
  secrets       bytea[] NOT NULL CHECK (cardinality(secrets) BETWEEN 1 AND 2),   -- sealed, newest first
  state         text NOT NULL CHECK (state IN ('active', 'paused', 'disabled')),
  state_reason  text,
  created_at    timestamptz NOT NULL,
  UNIQUE (tenant_id, id)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['streams', 'domains', 'dkim_keys', 'credentials', 'api_keys', 'endpoints'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY %I ON %I USING (scope_allows(tenant_id)) WITH CHECK (scope_allows(tenant_id))',
                   name || '_scope', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO posthouse_runtime', name);
  END LOOP;
END $$;
