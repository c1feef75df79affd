-- LISTEN.
-- rows: 0
listen ch;
