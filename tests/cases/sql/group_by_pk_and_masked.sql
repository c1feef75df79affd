-- Grouping by a key and a masked column that depends on it.
-- rows: 5
select u.id, u.email, count(*) from users u join orders o on o.user_id = u.id group by u.id, u.email order by u.id limit 5;
