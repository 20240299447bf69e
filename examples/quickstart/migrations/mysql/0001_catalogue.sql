-- What the shop sells. `genre` and `format` are reference tables: their rows belong to the schema.
CREATE TABLE genre (
    code VARCHAR(100) PRIMARY KEY,
    name VARCHAR(100) NOT NULL UNIQUE
);
CREATE TABLE format (
    code VARCHAR(100) PRIMARY KEY,
    shipped BOOLEAN NOT NULL
);
CREATE TABLE publisher (
    id BIGINT PRIMARY KEY AUTO_INCREMENT,
    name VARCHAR(100) NOT NULL UNIQUE
);
CREATE TABLE author (
    id BIGINT PRIMARY KEY AUTO_INCREMENT,
    name VARCHAR(100) NOT NULL UNIQUE,
    born INTEGER
);
CREATE TABLE book (
    id BIGINT PRIMARY KEY AUTO_INCREMENT,
    isbn VARCHAR(100) NOT NULL UNIQUE,
    title VARCHAR(100) NOT NULL,
    publisher_id BIGINT NOT NULL,
    genre_code VARCHAR(100) NOT NULL,
    format_code VARCHAR(100) NOT NULL,
    cents INTEGER NOT NULL CHECK (cents > 0),
    FOREIGN KEY (publisher_id) REFERENCES publisher (id),
    FOREIGN KEY (genre_code) REFERENCES genre (code),
    FOREIGN KEY (format_code) REFERENCES format (code)
);
CREATE INDEX book_by_publisher ON book (publisher_id);
CREATE INDEX book_by_genre ON book (genre_code, title);
CREATE TABLE book_author (
    book_id BIGINT NOT NULL,
    author_id BIGINT NOT NULL,
    PRIMARY KEY (book_id, author_id),
    FOREIGN KEY (book_id) REFERENCES book (id) ON DELETE CASCADE,
    FOREIGN KEY (author_id) REFERENCES author (id)
);
CREATE INDEX book_author_by_author ON book_author (author_id);
CREATE TABLE stock (
    book_id BIGINT PRIMARY KEY,
    pieces INTEGER NOT NULL CHECK (pieces >= 0),
    FOREIGN KEY (book_id) REFERENCES book (id) ON DELETE CASCADE
);

INSERT INTO genre (code, name) VALUES ('sf', 'Science fiction'), ('crime', 'Crime'), ('essay', 'Essays');
INSERT INTO format (code, shipped) VALUES ('hard', TRUE), ('paper', TRUE), ('epub', FALSE);
