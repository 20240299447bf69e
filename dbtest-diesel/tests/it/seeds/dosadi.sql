INSERT INTO books (id, author_id, title) VALUES (2, 1, 'The Dosadi Experiment');
