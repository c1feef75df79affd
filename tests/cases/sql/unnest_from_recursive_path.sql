-- A path that a recursive query collects, taken apart.
-- rows: 6
with recursive w as (select array[1] as path, 1 as id union all select path || array[id + 1], id + 1 from w where id < 3)
  select w.id, s from w cross join lateral unnest(w.path) s;
