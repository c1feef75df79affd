-- Columns of a table as a database browser lists them, with a star over pg_attribute.
-- rows: 6
select c.relname, a.*, pg_get_expr(ad.adbin, ad.adrelid, true) as def_value from pg_attribute a join pg_class c on a.attrelid = c.oid
  left join pg_attrdef ad on ad.adrelid = a.attrelid and ad.adnum = a.attnum
  where c.oid = 'orders'::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum;
