-- What the shop sells. `genre` and `format` are reference tables: their rows belong to the schema.
CREATE TABLE genre (
    code TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE format (
    code TEXT PRIMARY KEY,
    shipped BOOLEAN NOT NULL
);
CREATE TABLE publisher (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE author (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    born INTEGER
);
CREATE TABLE book (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    isbn TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    publisher_id INTEGER NOT NULL REFERENCES publisher (id),
    genre_code TEXT NOT NULL REFERENCES genre (code),
    format_code TEXT NOT NULL REFERENCES format (code),
    cents INTEGER NOT NULL CHECK (cents > 0)
);
CREATE INDEX book_by_publisher ON book (publisher_id);
CREATE INDEX book_by_genre ON book (genre_code, title);
CREATE TABLE book_author (
    book_id INTEGER NOT NULL REFERENCES book (id) ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES author (id),
    PRIMARY KEY (book_id, author_id)
);
CREATE INDEX book_author_by_author ON book_author (author_id);
CREATE TABLE stock (
    book_id INTEGER PRIMARY KEY REFERENCES book (id) ON DELETE CASCADE,
    pieces INTEGER NOT NULL CHECK (pieces >= 0)
);

INSERT INTO genre (code, name) VALUES ('sf', 'Science fiction'), ('crime', 'Crime'), ('essay', 'Essays');
INSERT INTO format (code, shipped) VALUES ('hard', TRUE), ('paper', TRUE), ('epub', FALSE);
