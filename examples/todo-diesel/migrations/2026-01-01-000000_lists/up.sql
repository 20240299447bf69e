CREATE TABLE list (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
);

-- A reference table: its rows belong to the schema, and every test finds them.
CREATE TABLE priority (
    code TEXT PRIMARY KEY,
    weight INTEGER NOT NULL
);
INSERT INTO priority (code, weight) VALUES ('low', 1), ('normal', 2), ('high', 5);

CREATE TABLE item (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id INTEGER NOT NULL REFERENCES list (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    priority TEXT NOT NULL DEFAULT 'normal' REFERENCES priority (code),
    done BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE (list_id, title)
);

-- What happened, written in the same transaction as the thing itself.
CREATE TABLE activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    item_id INTEGER NOT NULL REFERENCES item (id) ON DELETE CASCADE,
    what TEXT NOT NULL
);
CREATE INDEX activity_by_item ON activity (item_id);
