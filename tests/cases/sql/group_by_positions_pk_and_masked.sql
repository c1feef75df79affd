-- The same by positions, as reporting tools write it.
-- rows: 5
select u.id, u.name, u.phone, sum(o.total) from users u join orders o on o.user_id = u.id group by 1, 2, 3 order by 1 limit 5;
