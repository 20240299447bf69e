ALTER TABLE item ADD COLUMN remind_at INTEGER;
CREATE INDEX item_to_remind ON item (remind_at) WHERE remind_at IS NOT NULL;
