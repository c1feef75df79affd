-- Rows as JSON objects, as data APIs build them.
-- rows: 2
select jsonb_build_object('id', id, 'email', email) from users order by id limit 2;
