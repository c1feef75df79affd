-- Counters of the own database.
-- rows: 1
select blks_hit, blks_read, xact_commit, deadlocks from pg_stat_database where datname = current_database();
