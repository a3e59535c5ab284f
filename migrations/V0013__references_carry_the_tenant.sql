-- No row can point at another tenant's, whoever writes it: every reference between tables of tenants has the tenant in it.
-- Locks: messages and events against writes while an index of each is built (seconds for millions of rows; the journal
-- keeps what is to be written, and mail goes on); the other tables for a moment. What is there is checked by V0014.

-- For whoever owns the tables and is under their policies.
SELECT set_config('posthouse.scope', 'house', true);

-- It serves what the index without "unique" did.
CREATE UNIQUE INDEX events_of_tenant ON events (tenant_id, id);
CREATE UNIQUE INDEX messages_of_tenant ON messages (tenant_id, id);
-- Against reads, too, so last of the long ones.
DROP INDEX messages_by_tenant;

ALTER TABLE recipients
  DROP CONSTRAINT recipients_message_id_fkey,
  ADD CONSTRAINT recipients_message FOREIGN KEY (tenant_id, message_id)
    REFERENCES messages (tenant_id, id) ON DELETE CASCADE NOT VALID;
ALTER TABLE attempts
  DROP CONSTRAINT attempts_message_id_fkey,
  ADD CONSTRAINT attempts_message FOREIGN KEY (tenant_id, message_id)
    REFERENCES messages (tenant_id, id) ON DELETE CASCADE NOT VALID;
ALTER TABLE webhook_deliveries
  DROP CONSTRAINT webhook_deliveries_endpoint_id_fkey,
  ADD CONSTRAINT webhook_deliveries_endpoint FOREIGN KEY (tenant_id, endpoint_id)
    REFERENCES endpoints (tenant_id, id) ON DELETE CASCADE NOT VALID,
  DROP CONSTRAINT webhook_deliveries_event_id_fkey,
  ADD CONSTRAINT webhook_deliveries_event FOREIGN KEY (tenant_id, event_id)
    REFERENCES events (tenant_id, id) ON DELETE CASCADE NOT VALID;

-- A pool is one tenant's or, with the nil UUID as its owner, everybody's. A stream says which of the two it relies on; a
-- pool that streams rely on cannot change hands.
ALTER TABLE pools
  ADD COLUMN owner uuid GENERATED ALWAYS AS (coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')) STORED,
  ADD CONSTRAINT pools_owner UNIQUE (owner, id);
ALTER TABLE streams ADD COLUMN pool_owner uuid, ADD COLUMN overflow_pool_owner uuid;

-- Whoever writes a stream names its pools only. One that he may not see is taken for the tenant's, which the reference
-- then refuses.
CREATE FUNCTION stream_pool_owners() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  everybody constant uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
  NEW.pool_owner := CASE
    WHEN EXISTS (SELECT FROM pools WHERE id = NEW.pool_id AND owner = everybody) THEN everybody
    ELSE NEW.tenant_id END;
  NEW.overflow_pool_owner := CASE
    WHEN NEW.overflow_pool_id IS NULL THEN NULL
    WHEN EXISTS (SELECT FROM pools WHERE id = NEW.overflow_pool_id AND owner = everybody) THEN everybody
    ELSE NEW.tenant_id END;
  RETURN NEW;
END $$;
CREATE TRIGGER stream_pool_owners BEFORE INSERT OR UPDATE ON streams
  FOR EACH ROW EXECUTE FUNCTION stream_pool_owners();
-- The trigger does the work.
UPDATE streams SET pool_id = pool_id;

ALTER TABLE streams
  ALTER COLUMN pool_owner SET NOT NULL,
  ADD CONSTRAINT streams_owners CHECK (
    pool_owner IN (tenant_id, '00000000-0000-0000-0000-000000000000')
    AND (overflow_pool_id IS NULL) = (overflow_pool_owner IS NULL)
    AND coalesce(overflow_pool_owner, tenant_id) IN (tenant_id, '00000000-0000-0000-0000-000000000000')),
  DROP CONSTRAINT streams_pool,
  ADD CONSTRAINT streams_pool FOREIGN KEY (pool_owner, pool_id) REFERENCES pools (owner, id),
  DROP CONSTRAINT streams_overflow_pool,
  ADD CONSTRAINT streams_overflow_pool FOREIGN KEY (overflow_pool_owner, overflow_pool_id)
    REFERENCES pools (owner, id);
