-- Statements of every shape over masked columns. All of them may run for who sees masks, and no node of their plans above a scan has a raw value.
-- {name} is a relation with masked columns. [since N] needs that version; [writes] changes rows; [for agents] only for these;
-- [unserved] may be refused.
--: Joins
SELECT c.id, c.email, o.id FROM {customers} c JOIN orders o ON o.customer_id = c.id WHERE o.amount < 9
SELECT c.notes, g.n FROM generate_series(1, 3000) h(n) JOIN ({small} c CROSS JOIN generate_series(1, 700) g(n)) ON g.n = h.n WHERE c.id = 6
SELECT c.email, g.n FROM generate_series(1, 3000) h(n) JOIN ({small} c CROSS JOIN generate_series(1, 700) g(n)) ON g.n = h.n WHERE c.id = 6
SELECT c.id, s.name, c.ssn, s.ssn FROM {customers} c JOIN {small} s ON s.id = c.id
SELECT c.id, s.id FROM {customers} c JOIN {small} s ON s.email = c.email
SELECT c.id, g.v FROM {small} c FULL JOIN guesses g ON c.ssn = g.v
SELECT c.id, g.v FROM {small} c FULL JOIN (VALUES ('ad'), ('an')) g(v) ON c.email = g.v
SELECT c.id, g.v FROM {customers} c LEFT JOIN guesses g ON c.email = g.v WHERE c.id < 300
SELECT c.id, c.ssn, o.id FROM orders o LEFT JOIN {customers} c ON c.id = o.customer_id AND c.salary > 50000
SELECT c.id, o.id, c.notes FROM {customers} c RIGHT JOIN orders o ON o.customer_id = c.id WHERE o.id < 900
SELECT a.id, b.id FROM {small} a JOIN {small} b ON a.ssn = b.ssn AND a.id < b.id
SELECT a.id, b.id FROM {small} a JOIN {small} b ON a.ssn < b.ssn
SELECT a.id FROM {small} a CROSS JOIN {small} b WHERE a.email <> b.email
SELECT id, g FROM {pp} p(id, ssn, z) NATURAL JOIN gg
SELECT p.a, gg.g FROM {pp} p JOIN gg USING (ssn)
SELECT ssn, p.a, gg.g FROM {pp} p FULL JOIN gg USING (ssn)
SELECT * FROM {small} a JOIN {small} b USING (ssn, id)
SELECT j.* FROM ({pp} p CROSS JOIN gg) AS j(id, s, z, y, g) WHERE s < y
SELECT a.id, b.id, c.id FROM {customers} a, {customers} b, {customers} c WHERE a.id = b.id AND b.id = c.id AND a.ssn = c.ssn AND a.id < 400
SELECT c.id, x.v FROM {mm} c, LATERAL (SELECT i.v FROM inn i WHERE i.k = c.ssn LIMIT 1) x WHERE c.id IN (3, 9001)
SELECT c.id, x.v FROM {customers} c JOIN LATERAL (SELECT i.v FROM inn i WHERE i.k = left(c.ssn, 1) LIMIT 1) x ON true WHERE c.id + 0 < 200
SELECT c.id, x.n FROM {small} c CROSS JOIN LATERAL (SELECT count(*) AS n FROM orders o WHERE o.note > c.ssn) x
SELECT c.id, x.w FROM {small} c, LATERAL unnest(string_to_array(c.email, '@')) x(w)
SELECT c.id, x.n FROM {small} c, LATERAL generate_series(1, length(c.ssn)) x(n)
SELECT c.id FROM {customers} c LEFT JOIN {small} s ON s.id = c.id AND s.ssn = c.ssn WHERE s.id IS NULL AND c.id < 500
--: Groups, order, windows
SELECT c.email, count(*) FROM {customers} c GROUP BY c.email
SELECT c.ssn, c.city, sum(c.age) FROM {customers} c GROUP BY c.ssn, c.city
SELECT c.city, array_agg(c.email), string_agg(c.ssn, ',' ORDER BY c.id) FROM {customers} c GROUP BY c.city
SELECT c.city, array_agg(c.id ORDER BY c.ssn, c.email) FROM {customers} c GROUP BY c.city
SELECT c.city, count(DISTINCT c.email), max(c.ssn), min(c.notes) FROM {customers} c GROUP BY c.city
SELECT count(DISTINCT c.ssn), count(c.email), sum(c.salary), avg(c.salary) FROM {customers} c
SELECT c.id, c.email, c.salary, count(o.id) FROM {customers} c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY c.id HAVING count(o.id) > 2
SELECT split_part(c.email, '@', 2) AS domain, count(*) FROM {customers} c GROUP BY 1 ORDER BY 2 DESC, 1
SELECT c.city, c.ssn, count(*) FROM {customers} c GROUP BY ROLLUP (c.city, c.ssn)
SELECT c.email, c.born, count(*), grouping(c.email) FROM {customers} c GROUP BY GROUPING SETS ((c.email), (c.born), ())
SELECT c.active, c.ssn, count(*) FROM {small} b JOIN {customers} c USING (id) GROUP BY CUBE (c.active, c.ssn)
SELECT c.id FROM {customers} c ORDER BY c.ssn LIMIT 20
SELECT c.id, c.email FROM {customers} c ORDER BY c.email DESC NULLS LAST, c.salary
SELECT c.id FROM {customers} c ORDER BY lower(c.email), c.id LIMIT 7 OFFSET 3
SELECT c.id FROM {customers} c ORDER BY c.city, c.ssn FETCH FIRST 5 ROWS WITH TIES
SELECT DISTINCT c.email FROM {customers} c
SELECT DISTINCT c.ssn, c.city FROM {customers} c
SELECT DISTINCT ON (c.city) c.city, c.id, c.email FROM {customers} c ORDER BY c.city, c.email, c.id
SELECT DISTINCT ON (c.email) c.id, c.email FROM {customers} c ORDER BY c.email, c.ssn
SELECT c.id, row_number() OVER (ORDER BY c.ssn) FROM {customers} c
SELECT c.id, rank() OVER (PARTITION BY c.city ORDER BY c.email, c.id), lag(c.notes) OVER (ORDER BY c.id) FROM {customers} c
SELECT c.id, first_value(c.id) OVER (PARTITION BY c.email ORDER BY c.salary), count(*) OVER (PARTITION BY c.ssn) FROM {customers} c
SELECT c.status, count(*) OVER (PARTITION BY c.status) FROM (SELECT active AS status, email FROM {customers}) c
SELECT c.id, sum(c.salary) OVER w, max(c.born) OVER w FROM {customers} c WINDOW w AS (ORDER BY c.id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)
SELECT max(c.id), min(c.id), max(c.ssn) FROM {customers} c
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY c.ssn), mode() WITHIN GROUP (ORDER BY c.email) FROM {customers} c
SELECT * FROM (SELECT c.id, c.email, ntile(4) OVER (ORDER BY c.salary) AS q FROM {customers} c) x WHERE q = 2
--: Conditions
SELECT c.id FROM {customers} c WHERE c.ssn < 'M'
SELECT c.id FROM {customers} c WHERE c.phone IS NULL AND c.email IS NOT NULL
SELECT c.id FROM {customers} c WHERE c.email LIKE '%@example.com' ORDER BY c.id
SELECT c.id FROM {customers} c WHERE c.born < '1980-01-01' AND c.salary BETWEEN 30000 AND 60000
SELECT c.id, c.city FROM {customers} c
SELECT c.id, c.ssn FROM {customers} c WHERE c.id = 77
SELECT c.id, c.ssn FROM {customers} c WHERE c.id IN (3, 99, 1001) ORDER BY c.id
SELECT o.id FROM orders o WHERE EXISTS (SELECT FROM {customers} c WHERE c.id = o.customer_id AND c.email LIKE 'a%')
SELECT o.id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM {customers} c WHERE c.id = o.customer_id AND c.salary > 40000) AND o.id < 800
SELECT o.id FROM orders o WHERE o.customer_id IN (SELECT c.id FROM {customers} c WHERE c.ssn > 'M')
SELECT g.v FROM guesses g WHERE g.v IN (SELECT c.email FROM {customers} c)
SELECT g.v FROM guesses g WHERE g.v NOT IN (SELECT c.ssn FROM {small} c WHERE c.ssn IS NOT NULL)
SELECT '5' > (TABLE {one}), 'x' IN (SELECT * FROM {one} t), (3, '5', 'z') > ANY (TABLE {pp})
SELECT (SELECT c.email FROM {customers} c WHERE c.id = o.customer_id) AS mail, o.id FROM orders o WHERE o.id < 300
SELECT (SELECT max(c.ssn) FROM {customers} c WHERE c.city = g.v), g.v FROM guesses g
SELECT a FROM {pp} AS p(a, x) WHERE x < '5'
SELECT c.id FROM {small} c WHERE (c.email, c.ssn) IN (SELECT s.email, s.ssn FROM {small} s)
SELECT CASE WHEN c.ssn < 'M' THEN 1 ELSE 0 END, count(*) FROM {customers} c GROUP BY 1
--: Whole rows and shapes
SELECT c FROM {small} c
SELECT row_to_json(c), c::text FROM {small} c
SELECT to_jsonb(c) -> 'ssn', c.id FROM {small} c ORDER BY c.id
SELECT (c).ssn, c.* FROM {small} c
SELECT jsonb_agg(c ORDER BY c.id) FROM {small} c
SELECT count(c) FROM {customers} c
SELECT c IS NULL, c = c FROM {mm} c
SELECT x.j ->> 'email' FROM (SELECT to_jsonb(c) AS j FROM {customers} c WHERE c.id < 50) x
TABLE {pp}
SELECT * FROM ONLY {pp} p WHERE p.ssn > 'a'
SELECT c.ctid, c.email FROM {small} c WHERE c.ssn IS NOT NULL
SELECT c.id, c.email FROM {customers} c TABLESAMPLE BERNOULLI (50) REPEATABLE (7) WHERE c.ssn > 'a'
SELECT c.tableoid::regclass, c.id, c.ssn FROM {events} c WHERE c.id < 9 ORDER BY c.id
--: CTE and set operations
WITH c AS (SELECT id, email, ssn FROM {customers} WHERE id < 200) SELECT a.id FROM c a JOIN c b ON a.email = b.email AND a.id < b.id
WITH c AS MATERIALIZED (SELECT * FROM {customers}) SELECT c.city, count(DISTINCT c.email) FROM c GROUP BY c.city
WITH c AS NOT MATERIALIZED (SELECT * FROM {small}) SELECT c.id FROM c ORDER BY c.ssn
WITH RECURSIVE r(id, ssn, n) AS (SELECT id, ssn, 1 FROM {small} s UNION SELECT s.id, s.ssn, r.n + 1 FROM r JOIN {small} s ON s.ssn = r.ssn WHERE r.n < 2) SELECT * FROM r
SELECT c.ssn FROM {small} c UNION SELECT v FROM guesses
SELECT c.email FROM {customers} c WHERE c.id < 300 EXCEPT SELECT k FROM inn
SELECT c.email FROM {customers} c INTERSECT SELECT s.email FROM {small} s
SELECT c.ssn, c.id FROM {small} c UNION ALL SELECT p.ssn, p.a FROM {pp} p ORDER BY 1, 2
SELECT x.t, count(*) FROM (SELECT c.ssn AS t FROM {customers} c UNION ALL SELECT note FROM orders) x GROUP BY x.t
SELECT id, name FROM {small} c WHERE c.ssn > 'a' UNION SELECT id, note FROM orders WHERE amount = 5
--: Views, partitions, children
SELECT v.code, count(*) FROM {v_small} v GROUP BY v.code
SELECT v.id, v.email, v.amount FROM {v_join} v WHERE v.amount < 5
SELECT v.email, sum(v.amount) FROM {v_join} v GROUP BY v.email
SELECT v.id FROM {v_small} v JOIN guesses g ON g.v = v.email
SELECT v.id, v.ssn FROM {v_barrier} v WHERE v.ssn > 'a' ORDER BY v.ssn, v.id
SELECT e.kind, count(DISTINCT e.ssn) FROM {events} e GROUP BY e.kind
SELECT e.id, o.id FROM {events} e JOIN orders o ON o.note = e.ssn
SELECT e.id FROM {events} e ORDER BY e.ssn, e.id LIMIT 9
SELECT e.ssn FROM {events_2025} e ORDER BY e.ssn LIMIT 3
SELECT p.id, p.pin FROM {parent} p ORDER BY p.pin, p.id
SELECT p.pin, count(*) FROM {child} p GROUP BY p.pin, p.extra
SELECT g.last4, g.size, count(*) FROM {gen} g GROUP BY 1, 2
--: Locks and writes
SELECT c.id, c.ssn FROM {customers} c WHERE c.id = 5 FOR UPDATE
SELECT c.id, c.email, o.id FROM {customers} c JOIN orders o ON o.customer_id = c.id WHERE c.id < 9 FOR UPDATE OF o
SELECT c.id, c.email FROM {small} c WHERE c.ssn > 'a' ORDER BY c.email FOR SHARE OF c SKIP LOCKED
[writes] UPDATE orders SET amount = 1 FROM {customers} c WHERE c.id = customer_id AND c.email LIKE 'a%' RETURNING orders.id
[writes] UPDATE orders o SET amount = o.amount + 1 FROM {customers} c WHERE c.id = o.customer_id AND c.id < 100 RETURNING o.id, c.ssn, c.email
[writes] DELETE FROM orders o USING {customers} c WHERE c.id = o.customer_id AND c.salary > 50000 RETURNING o.id
[writes] DELETE FROM orders o WHERE o.customer_id IN (SELECT c.id FROM {customers} c WHERE c.ssn < 'M') RETURNING o.id
[writes] [since 15] MERGE INTO orders o USING (SELECT id, email FROM {customers} WHERE id < 500) c ON c.id = o.customer_id WHEN MATCHED AND c.email LIKE 'a%' THEN DELETE WHEN MATCHED THEN UPDATE SET amount = 2
[writes] INSERT INTO noted SELECT c.id + 10, 'x' FROM {customers} c WHERE c.ssn > 'M' AND c.id < 100 RETURNING id
[writes] WITH d AS (DELETE FROM orders WHERE id < 50 RETURNING customer_id) SELECT c.id, c.ssn FROM d JOIN {customers} c ON c.id = d.customer_id ORDER BY c.ssn, c.id
--: Rows of the written table chosen by its own masks
[writes] [for writer lender] UPDATE hot SET n = n + 1 WHERE ssn < 'M' RETURNING id, n
[unserved] [writes] [for writer lender] UPDATE hot h SET n = g.n FROM guesses g WHERE g.v = h.ssn RETURNING h.id, g.n
[unserved] [writes] [for writer lender] UPDATE small s SET name = o.note FROM orders o WHERE o.customer_id = s.id AND s.email < o.note RETURNING s.id, s.ssn, s.email
[unserved] [writes] [for writer lender] UPDATE customers c SET age = 1 FROM orders o WHERE o.customer_id = c.id AND o.note > c.email RETURNING c.id
[unserved] [writes] [for writer lender] UPDATE customers c SET age = b.age FROM {customers} b WHERE b.email = c.email AND b.id = c.id + 1 RETURNING c.id
[unserved] [writes] [for writer lender] DELETE FROM small s USING guesses g WHERE s.ssn = g.v OR s.notes = g.v RETURNING s.id
[writes] [for writer lender] DELETE FROM customers WHERE email LIKE 'a%' AND salary > 30000
[unserved] [writes] [for writer lender] DELETE FROM customers c WHERE EXISTS (SELECT FROM {small} s WHERE s.email = c.email AND s.id = c.id) RETURNING c.id
[unserved] [writes] [for writer lender] UPDATE customers c SET city = 'x' WHERE c.id IN (SELECT o.customer_id FROM orders o WHERE o.note > c.ssn)
[unserved] [writes] [for writer lender] [since 15] MERGE INTO hot h USING guesses g ON g.n = h.id WHEN MATCHED AND h.ssn < 'M' THEN DELETE WHEN MATCHED THEN UPDATE SET n = 7
[unserved] [writes] [for writer lender] [since 15] MERGE INTO customers c USING orders o ON o.customer_id = c.id AND o.amount = 3 AND o.note > c.email WHEN MATCHED AND c.ssn > 'M' THEN UPDATE SET age = 3
[unserved] [writes] [for writer lender] WITH d AS (UPDATE hot SET n = 1 WHERE ssn > 'M' RETURNING *) SELECT d.id FROM d JOIN guesses g ON g.v = d.ssn
[writes] [for writer lender] INSERT INTO noted SELECT c.id + 5000, c.email FROM {customers} c WHERE c.ssn > 'M' RETURNING id, name
[writes] [for writer lender] INSERT INTO noted SELECT s.id + 50, upper(s.ssn) FROM {small} s ORDER BY s.email RETURNING name
[writes] [for writer lender] UPDATE orders o SET note = c.email FROM {customers} c WHERE c.id = o.customer_id RETURNING o.id, o.note
