-- Entries of an array but for NULLs.
-- rows: 1
select x from unnest(array_remove(array[1, null], null)) x;
