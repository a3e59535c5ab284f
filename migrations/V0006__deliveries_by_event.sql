-- Erasing a tenant removes its events, and each of them looks for its webhook calls.
-- Locks: webhook_deliveries against writes while the index is built; seconds for millions of rows.
CREATE INDEX webhook_deliveries_by_event ON webhook_deliveries (event_id);
