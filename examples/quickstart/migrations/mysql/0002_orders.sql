-- Who buys it, and what they bought.
CREATE TABLE order_state (
    code VARCHAR(100) PRIMARY KEY,
    closed BOOLEAN NOT NULL
);
CREATE TABLE customer (
    id BIGINT PRIMARY KEY AUTO_INCREMENT,
    email VARCHAR(100) NOT NULL UNIQUE,
    name VARCHAR(100) NOT NULL
);
CREATE TABLE purchase (
    id BIGINT PRIMARY KEY AUTO_INCREMENT,
    customer_id BIGINT NOT NULL,
    state_code VARCHAR(100) NOT NULL DEFAULT 'new',
    FOREIGN KEY (customer_id) REFERENCES customer (id),
    FOREIGN KEY (state_code) REFERENCES order_state (code)
);
CREATE INDEX purchase_by_customer ON purchase (customer_id, state_code);
CREATE TABLE purchase_line (
    purchase_id BIGINT NOT NULL,
    book_id BIGINT NOT NULL,
    pieces INTEGER NOT NULL CHECK (pieces > 0),
    cents INTEGER NOT NULL,
    PRIMARY KEY (purchase_id, book_id),
    FOREIGN KEY (purchase_id) REFERENCES purchase (id) ON DELETE CASCADE,
    FOREIGN KEY (book_id) REFERENCES book (id)
);
CREATE INDEX purchase_line_by_book ON purchase_line (book_id);
CREATE TABLE review (
    id BIGINT PRIMARY KEY AUTO_INCREMENT,
    book_id BIGINT NOT NULL,
    customer_id BIGINT NOT NULL,
    stars INTEGER NOT NULL CHECK (stars BETWEEN 1 AND 5),
    UNIQUE (book_id, customer_id),
    FOREIGN KEY (book_id) REFERENCES book (id) ON DELETE CASCADE,
    FOREIGN KEY (customer_id) REFERENCES customer (id)
);

INSERT INTO order_state (code, closed) VALUES ('new', FALSE), ('paid', FALSE), ('sent', TRUE), ('cancelled', TRUE);
