-- Where mail leaves from: sources, pools, and what is in a pool.
-- Locks: nothing that exists; creates new objects only.

CREATE TABLE sources (
  id          uuid PRIMARY KEY,
  name        text NOT NULL CONSTRAINT sources_name UNIQUE,
  address     text NOT NULL CONSTRAINT sources_address UNIQUE,   -- canonical text of an IP address
  ehlo        text NOT NULL,
  state       text NOT NULL CHECK (state IN ('active', 'held', 'draining')),
  created_at  timestamptz NOT NULL
);

CREATE TABLE pools (
  id                 uuid PRIMARY KEY,
  name               text NOT NULL CONSTRAINT pools_name UNIQUE,
  tenant_id          uuid REFERENCES tenants ON DELETE CASCADE,   -- dedicated to
  platform_domain    text,
  platform_selector  text,
  platform_record    text,
  platform_sealed    bytea,
  created_at         timestamptz NOT NULL,
  CHECK (num_nulls(platform_domain, platform_selector, platform_record, platform_sealed) IN (0, 4))
);

CREATE TABLE pool_members (
  pool_id    uuid NOT NULL REFERENCES pools ON DELETE CASCADE,
  source_id  uuid NOT NULL CONSTRAINT pool_members_source REFERENCES sources,
  weight     integer NOT NULL CHECK (weight > 0),
  PRIMARY KEY (pool_id, source_id)
);
CREATE INDEX pool_members_by_source ON pool_members (source_id);

-- A shared pool can be read by everybody (a stream names it); only the house changes any.
ALTER TABLE pools ENABLE ROW LEVEL SECURITY;
ALTER TABLE pools FORCE ROW LEVEL SECURITY;
CREATE POLICY pools_read ON pools FOR SELECT USING
  (scope_allows(tenant_id) OR (tenant_id IS NULL AND current_setting('posthouse.scope', true) = 'tenant'));
CREATE POLICY pools_change ON pools USING (scope_is_house()) WITH CHECK (scope_is_house());
ALTER TABLE sources ENABLE ROW LEVEL SECURITY;
ALTER TABLE sources FORCE ROW LEVEL SECURITY;
CREATE POLICY sources_house ON sources USING (scope_is_house()) WITH CHECK (scope_is_house());
ALTER TABLE pool_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_members FORCE ROW LEVEL SECURITY;
CREATE POLICY pool_members_house ON pool_members USING (scope_is_house()) WITH CHECK (scope_is_house());

GRANT SELECT, INSERT, UPDATE, DELETE ON sources, pools, pool_members TO posthouse_runtime;
