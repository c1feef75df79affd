-- A row for each entry of an array column and one more.
-- rows: 3
select u.id, t from users u cross join lateral unnest(u.tags || array[u.country]) t order by 1 limit 3;
