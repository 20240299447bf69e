INSERT INTO books (id, author_id, title) VALUES (1, 1, 'Dune');
