-- Live and dead rows of every table, as table lists show them.
-- rows: any
select c.relname, pg_stat_get_live_tuples(c.oid), pg_stat_get_dead_tuples(c.oid) from pg_class c
  where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace;
