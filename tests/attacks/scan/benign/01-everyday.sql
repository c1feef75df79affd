--: Questions about masked columns that people ask
SELECT count(*) FROM customers WHERE phone IS NULL
SELECT split_part(email, '@', 2), count(*) FROM customers GROUP BY 1
SELECT count(DISTINCT email) FROM customers
SELECT count(email), count(ssn) FROM customers
SELECT id FROM customers WHERE born < '1980-01-01' ORDER BY id
SELECT * FROM customers ORDER BY email LIMIT 10
SELECT city, avg(salary)::int, max(born) FROM customers GROUP BY city ORDER BY city
SELECT c.*, count(o.id) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY c.id ORDER BY c.id LIMIT 5
SELECT id, upper(email), coalesce(ssn, 'none'), length(notes) FROM customers WHERE id < 5
SELECT id, CASE WHEN salary > 50000 THEN 'high' ELSE 'low' END FROM customers ORDER BY id LIMIT 5
SELECT EXISTS (SELECT 1 FROM customers WHERE email = 'a@x.org')
SELECT id, email FROM customers WHERE email ILIKE '%test%' OR city = 'Oslo' ORDER BY id LIMIT 5
SELECT extract(year FROM born) AS year, count(*) FROM customers GROUP BY year ORDER BY year
SELECT o.id, c.email FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = 5
WITH big AS (SELECT customer_id, sum(amount) AS total FROM orders GROUP BY 1) SELECT c.email, b.total FROM big b JOIN customers c ON c.id = b.customer_id ORDER BY b.total DESC, c.id LIMIT 5
SELECT row_to_json(c) FROM customers c WHERE id = 1
SELECT json_agg(json_build_object('id', id, 'mail', email)) FROM customers WHERE id < 4
SELECT id, rank() OVER (ORDER BY salary DESC) FROM customers ORDER BY id LIMIT 5
SELECT string_agg(email, ', ' ORDER BY id) FROM customers WHERE id < 4
SELECT DISTINCT city, email IS NULL FROM customers ORDER BY 1, 2
COPY (SELECT id, lower(email) FROM customers WHERE id < 9) TO STDOUT
COPY customers (id, email) TO STDOUT
PREPARE q(int) AS SELECT id, lower(email) FROM customers WHERE id = $1 ;; EXECUTE q(1) ;; EXECUTE q(2) ;; DEALLOCATE q
BEGIN ;; DECLARE d CURSOR FOR SELECT id, email FROM customers WHERE email > 'a' ORDER BY id ;; FETCH 3 FROM d ;; CLOSE d ;; COMMIT
EXPLAIN SELECT id FROM customers WHERE email LIKE 'a%'
SET work_mem = '1MB' ;; SELECT email FROM customers ORDER BY email LIMIT 3
SELECT s.id, t.word FROM small s, LATERAL unnest(string_to_array(s.notes, ' ')) t(word) ORDER BY 1
SELECT id, name FROM small WHERE (email, ssn) IS NOT NULL ORDER BY id
SELECT md5(email), to_char(born, 'YYYY'), age('2025-01-01', born) FROM customers ORDER BY id LIMIT 3
SELECT width_bucket(salary, 0, 100000, 10) AS b, count(*) FROM customers GROUP BY b ORDER BY b
SELECT id FROM customers WHERE salary BETWEEN 20000 AND 30000 ORDER BY salary, id
SELECT id, email FROM customers TABLESAMPLE BERNOULLI (10) REPEATABLE (1) WHERE email IS NOT NULL
SELECT id, ssn FROM customers WHERE id = ANY ('{1,2,3}') ORDER BY 1
SELECT max(email), min(email) FROM customers
SELECT id, email FROM v_small WHERE code IS NOT NULL ORDER BY id
SELECT * FROM v_public WHERE id < 5
SELECT count(*) FROM v_join WHERE email LIKE 'a%'
SELECT kind, count(ssn) FROM events GROUP BY kind ORDER BY kind
BEGIN ;; UPDATE customers SET city = 'Oslo' WHERE id = 1 ;; ROLLBACK
BEGIN ;; UPDATE customers SET age = age + 1 WHERE id = 1 RETURNING id, email ;; ROLLBACK
BEGIN ;; DELETE FROM customers WHERE id = 1200 ;; ROLLBACK
BEGIN ;; INSERT INTO orders (id, customer_id, amount, placed) SELECT 9000 + id, id, 1, now()::date FROM customers WHERE email LIKE 'a%' ;; ROLLBACK
SELECT * FROM v_union ORDER BY id, t
SELECT c.ctid, c.email FROM small c WHERE c.ssn IS NOT NULL
SELECT everything, (everything).ssn FROM v_whole ORDER BY id
SELECT * FROM v_self ORDER BY id
SELECT x, id FROM v_lateral ORDER BY x, id
SELECT id, name FROM tenants WHERE id = 31
SELECT id, secret FROM v_tenants ORDER BY id LIMIT 3
COPY (SELECT id, name FROM tenants) TO STDOUT
COPY (SELECT id, repeat('x', 9), email FROM customers WHERE id < 4) TO STDOUT
BEGIN ;; UPDATE tenants SET name = 'x' WHERE id = 31 RETURNING id ;; DELETE FROM tenants WHERE id = 31 ;; ROLLBACK
BEGIN ;; UPDATE owners SET id = id WHERE id = 1 ;; ROLLBACK
BEGIN ;; DELETE FROM base WHERE id = 3 ;; ROLLBACK
SELECT id, town FROM base WHERE id < 12 ORDER BY id
SELECT part, count(*) FROM v_grouped WHERE part < 3 GROUP BY part ORDER BY part
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT id FROM grouped WHERE id = 5
