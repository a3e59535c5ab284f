-- A message is found by its Message-ID field. By a tag it is looked for among the tenant's newest: under row security no query
-- could use the index of tags, and every message paid for it.
-- Locks: messages against writes while the index is built; seconds for millions of rows.
CREATE INDEX messages_by_header ON messages (tenant_id, message_id_header, id DESC);
DROP INDEX messages_by_tag;
