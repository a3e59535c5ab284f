-- What became of the mail, as read from the journal: messages, recipients, attempts, events, counts, webhook calls.
-- Locks: nothing that exists; creates new objects only.
-- Everything here can be read again from the journal while its segments exist. No reference to streams or domains:
-- a message outlives them. Erasing a tenant takes everything along.

CREATE TABLE messages (
  id                 uuid PRIMARY KEY,
  tenant_id          uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
  stream_id          uuid NOT NULL,
  domain_id          uuid NOT NULL,
  credential_id      uuid,
  api_key_id         uuid,
  accepted_at        timestamptz NOT NULL,
  not_before         timestamptz,
  expires_at         timestamptz NOT NULL,
  header_from        text NOT NULL,
  reverse_path       text NOT NULL,
  subject            text NOT NULL,
  message_id_header  text NOT NULL,
  tags               jsonb NOT NULL,
  metadata           jsonb NOT NULL,
  size               bigint NOT NULL,
  recipients         integer NOT NULL
);
CREATE INDEX messages_by_tenant ON messages (tenant_id, id DESC);
CREATE INDEX messages_by_tag ON messages USING gin (tags);

CREATE TABLE recipients (
  message_id  uuid NOT NULL REFERENCES messages ON DELETE CASCADE,
  n           integer NOT NULL,
  tenant_id   uuid NOT NULL,
  address     text NOT NULL,
  state       text NOT NULL CHECK (state IN
                ('queued', 'deferred', 'delivered', 'bounced', 'failed', 'expired', 'suppressed', 'cancelled')),
  attempts    integer NOT NULL DEFAULT 0,
  class       text,
  reply       text,
  next_at     timestamptz,
  updated_at  timestamptz NOT NULL,
  PRIMARY KEY (message_id, n)
);
CREATE INDEX recipients_by_address ON recipients (tenant_id, address, message_id DESC);
CREATE INDEX recipients_by_state ON recipients (tenant_id, state, message_id DESC);

CREATE TABLE attempts (
  message_id   uuid NOT NULL REFERENCES messages ON DELETE CASCADE,
  n            integer NOT NULL,
  attempt      integer NOT NULL,
  tenant_id    uuid NOT NULL,
  at           timestamptz NOT NULL,
  verdict      text NOT NULL,
  class        text NOT NULL,
  kind         text NOT NULL,
  scope        text NOT NULL,
  stage        text NOT NULL,
  code         integer,
  enhanced     text,
  reply        text,
  mx           text,
  egress       text,
  source       text,
  site         text,
  tls          text,
  provider     text NOT NULL,
  rule         text,
  duration_ms  bigint NOT NULL,
  queued_ms    bigint NOT NULL,
  next_at      timestamptz,
  PRIMARY KEY (message_id, n, attempt)
);

CREATE TABLE events (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         uuid NOT NULL UNIQUE,
  tenant_id  uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
  kind       text NOT NULL,
  at         timestamptz NOT NULL,
  data       jsonb NOT NULL
);
CREATE INDEX events_by_tenant ON events (tenant_id, seq);

CREATE TABLE webhook_deliveries (
  endpoint_id   uuid NOT NULL REFERENCES endpoints ON DELETE CASCADE,
  event_id      uuid NOT NULL REFERENCES events (id) ON DELETE CASCADE,
  tenant_id     uuid NOT NULL,
  state         text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
  attempts      integer NOT NULL DEFAULT 0,
  due_at        timestamptz NOT NULL,
  lease_until   timestamptz,
  last_at       timestamptz,
  last_status   integer,
  last_error    text,
  last_ms       bigint,
  created_at    timestamptz NOT NULL,
  PRIMARY KEY (endpoint_id, event_id)
) WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_by_tenant ON webhook_deliveries (tenant_id, endpoint_id, created_at DESC);

CREATE TABLE counters (
  tenant_id  uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
  stream_id  uuid NOT NULL,
  day        date NOT NULL,
  what       text NOT NULL,                 -- accepted, attempted, delivered, bounced, …
  count      bigint NOT NULL,
  PRIMARY KEY (tenant_id, day, stream_id, what)
);

-- Recipients taken, for the limits per day: what Usage is restored from.
CREATE TABLE usage_days (
  tenant_id      uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
  credential_id  uuid NOT NULL,             -- nil: without one
  day            date NOT NULL,
  recipients     bigint NOT NULL,
  PRIMARY KEY (day, tenant_id, credential_id)
);

CREATE TABLE cursors (
  name        text PRIMARY KEY,
  position    bytea NOT NULL,
  updated_at  timestamptz NOT NULL
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY
    ARRAY['messages', 'recipients', 'attempts', 'events', 'webhook_deliveries', 'counters', 'usage_days'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY %I ON %I USING (scope_allows(tenant_id)) WITH CHECK (scope_allows(tenant_id))',
                   name || '_scope', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO posthouse_runtime', name);
  END LOOP;
END $$;
ALTER TABLE cursors ENABLE ROW LEVEL SECURITY;
ALTER TABLE cursors FORCE ROW LEVEL SECURITY;
CREATE POLICY cursors_house ON cursors USING (scope_is_house()) WITH CHECK (scope_is_house());
GRANT SELECT, INSERT, UPDATE, DELETE ON cursors TO posthouse_runtime;
