-- Settings by a pattern.
-- rows: any
select name, setting, unit from pg_settings where name like 'autovacuum%';
