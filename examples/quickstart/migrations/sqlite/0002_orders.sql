-- Who buys it, and what they bought.
CREATE TABLE order_state (
    code TEXT PRIMARY KEY,
    closed BOOLEAN NOT NULL
);
CREATE TABLE customer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL
);
CREATE TABLE purchase (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    customer_id INTEGER NOT NULL REFERENCES customer (id),
    state_code TEXT NOT NULL DEFAULT 'new' REFERENCES order_state (code)
);
CREATE INDEX purchase_by_customer ON purchase (customer_id, state_code);
CREATE TABLE purchase_line (
    purchase_id INTEGER NOT NULL REFERENCES purchase (id) ON DELETE CASCADE,
    book_id INTEGER NOT NULL REFERENCES book (id),
    pieces INTEGER NOT NULL CHECK (pieces > 0),
    cents INTEGER NOT NULL,
    PRIMARY KEY (purchase_id, book_id)
);
CREATE INDEX purchase_line_by_book ON purchase_line (book_id);
CREATE TABLE review (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    book_id INTEGER NOT NULL REFERENCES book (id) ON DELETE CASCADE,
    customer_id INTEGER NOT NULL REFERENCES customer (id),
    stars INTEGER NOT NULL CHECK (stars BETWEEN 1 AND 5),
    UNIQUE (book_id, customer_id)
);

INSERT INTO order_state (code, closed) VALUES ('new', FALSE), ('paid', FALSE), ('sent', TRUE), ('cancelled', TRUE);
