-- What was there before the references of V0013 is held against them. If a row names another tenant's, this stops and says
-- which constraint it breaks; nothing is changed then, and new rows are held to it all the same.
-- Locks: no reads and no writes; it reads four tables through.
SELECT set_config('posthouse.scope', 'house', true);
ALTER TABLE recipients VALIDATE CONSTRAINT recipients_message;
ALTER TABLE attempts VALIDATE CONSTRAINT attempts_message;
ALTER TABLE webhook_deliveries VALIDATE CONSTRAINT webhook_deliveries_endpoint;
ALTER TABLE webhook_deliveries VALIDATE CONSTRAINT webhook_deliveries_event;
