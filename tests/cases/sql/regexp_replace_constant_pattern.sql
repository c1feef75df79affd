-- A constant pattern over a masked column.
-- rows: 2
select id, regexp_replace(phone, '[^0-9]', '', 'g') from users order by id limit 2;
