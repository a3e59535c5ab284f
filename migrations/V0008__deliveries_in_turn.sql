-- Webhook calls that are due are looked for endpoint by endpoint, so that a long queue of one hides nobody else's.
-- Locks: webhook_deliveries against writes while the index is built; seconds for millions of rows.
-- The index by time alone stays for one release: the code before this one reads it.
CREATE INDEX webhook_deliveries_in_turn ON webhook_deliveries (endpoint_id, due_at) WHERE state = 'pending';
