-- Who is here: tenants, and what every later table needs (scope, generation, audit).
-- Locks: nothing that exists; creates new objects only.

-- The scope of a transaction is set with set_config(..., true) and ends with it. With no scope nothing is visible.
CREATE FUNCTION scope_is_house() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT current_setting('posthouse.scope', true) = 'house' $$;

CREATE FUNCTION scope_allows(tenant uuid) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT current_setting('posthouse.scope', true) = 'house'
       OR (current_setting('posthouse.scope', true) = 'tenant'
           AND tenant = nullif(current_setting('posthouse.tenant', true), '')::uuid) $$;

-- One row. Every change of the registry adds one to the generation and puts one link on the audit chain; the row lock
-- makes both a total order.
CREATE TABLE registry (
  single      boolean PRIMARY KEY DEFAULT true CHECK (single),
  generation  bigint NOT NULL,
  audit_head  bytea NOT NULL CHECK (length(audit_head) = 32)
);
INSERT INTO registry VALUES (true, 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE audit (
  generation  bigint PRIMARY KEY,
  id          uuid NOT NULL UNIQUE,
  at          bigint NOT NULL,              -- milliseconds, as hashed
  tenant_id   uuid,                         -- no reference: the audit outlives the tenant
  actor       text NOT NULL,
  action      text NOT NULL,
  object      text NOT NULL,
  detail      text NOT NULL,                -- JSON, as text because it is hashed
  hash        bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_by_tenant ON audit (tenant_id, generation);

CREATE TABLE tenants (
  id             uuid PRIMARY KEY,
  name           text NOT NULL CHECK (name <> ''),
  status         text NOT NULL CHECK (status IN ('active', 'paused', 'quarantined', 'closing')),
  status_reason  text,
  plan           jsonb NOT NULL,
  created_at     timestamptz NOT NULL,
  updated_at     timestamptz NOT NULL
);

ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_scope ON audit USING (scope_allows(tenant_id)) WITH CHECK (scope_allows(tenant_id));

-- A tenant may change its own row; making and erasing tenants is the house's.
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenants_read ON tenants FOR SELECT USING (scope_allows(id));
CREATE POLICY tenants_change ON tenants FOR UPDATE USING (scope_allows(id)) WITH CHECK (scope_allows(id));
CREATE POLICY tenants_make ON tenants FOR INSERT WITH CHECK (scope_is_house());
CREATE POLICY tenants_erase ON tenants FOR DELETE USING (scope_is_house());

GRANT SELECT, UPDATE ON registry TO posthouse_runtime;
GRANT SELECT, INSERT ON audit TO posthouse_runtime;   -- never UPDATE or DELETE
GRANT SELECT, INSERT, UPDATE, DELETE ON tenants TO posthouse_runtime;
