-- EXPLAIN of a query over a masked column.
-- rows: any
explain select phone from users where id = 1;
