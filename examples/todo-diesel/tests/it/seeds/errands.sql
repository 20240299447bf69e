INSERT INTO list (id, name) VALUES (1, 'Errands');
INSERT INTO item (list_id, title, priority) VALUES
    (1, 'Bread', 'normal'),
    (1, 'Passport', 'high'),
    (1, 'Library books', 'low');
