-- No ids: each engine counts from 1, and goes on counting where this ends.
INSERT INTO publisher (name) VALUES ('Ace'), ('Walker');
INSERT INTO author (name, born) VALUES ('Ursula K. Le Guin', 1929), ('Frank Herbert', 1920);
INSERT INTO book (isbn, title, publisher_id, genre_code, format_code, cents) VALUES
    ('9780441478125', 'The Left Hand of Darkness', 1, 'sf', 'paper', 999),
    ('9780441013593', 'Dune', 1, 'sf', 'paper', 1099),
    ('9780802713728', 'The Language of the Night', 2, 'essay', 'hard', 2450);
INSERT INTO book_author (book_id, author_id) VALUES (1, 1), (2, 2), (3, 1);
INSERT INTO stock (book_id, pieces) VALUES (1, 12), (2, 7), (3, 1);
INSERT INTO customer (email, name) VALUES ('reader@example.org', 'A reader');
