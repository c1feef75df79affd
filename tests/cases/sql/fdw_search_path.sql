-- The search_path that a foreign server's session sets.
-- rows: 0
set search_path = pg_catalog;
