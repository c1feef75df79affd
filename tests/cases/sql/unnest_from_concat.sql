-- Entries of two arrays in one.
-- rows: 2
select * from unnest(array[1] || array[2]) y;
