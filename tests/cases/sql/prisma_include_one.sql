-- A row of another table as JSON, joined laterally.
-- rows: 3
select o.id, d.j as "user" from orders o
  left join lateral (select jsonb_build_object('id', t.id, 'email', t.email) as j from (select u.* from users u where u.id = o.user_id limit 1) t) d on true
  order by o.id limit 3;
