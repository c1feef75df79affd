--: Names that no column reference has (trials 1.7)
SELECT a FROM pp AS p(a, x) WHERE x < '5'
SELECT a FROM pp AS p(a, x) ORDER BY x
SELECT a FROM pp NATURAL JOIN gg
SELECT pp.a FROM pp NATURAL JOIN gg ORDER BY gg.g
SELECT a FROM pp JOIN gg USING (ssn)
SELECT a FROM pp JOIN gg USING (ssn) AS u WHERE u.ssn < '5'
SELECT a, ssn FROM pp FULL JOIN gg USING (ssn)
SELECT id FROM (pp CROSS JOIN gg) AS j(id, z) WHERE z < '5'
SELECT '5' > (TABLE one)
SELECT 'x' IN (SELECT * FROM one), '3xx-4444' IN (TABLE one), '7' = ANY (TABLE one)
SELECT (3, '5', 'z') > ANY (TABLE pp)
SELECT id FROM noted WHERE id IN (SELECT 3 FROM one o(z) WHERE z < '5')
SELECT l.z FROM noted, LATERAL (TABLE one) l(z) WHERE l.z < '5'
SELECT EXISTS (SELECT * FROM gg NATURAL JOIN one)
BEGIN ;; UPDATE orders SET amount = 0 FROM pp NATURAL JOIN gg WHERE orders.id = pp.a RETURNING orders.id ;; ROLLBACK
SELECT a FROM pp p WHERE ssn(p) < '5'
SELECT a FROM pp p WHERE (p).ssn < '5'
SELECT a FROM pp p WHERE p.ssn(p) < '5'
SELECT a FROM pp WHERE (pp).ssn < '5'
SELECT a FROM pp p WHERE to_jsonb(p) ->> 'ssn' < '5'
SELECT a FROM pp p WHERE p::text < '(1,5'
SELECT a FROM pp p WHERE p > (1, '5', 'z')::pp
SELECT a FROM pp p WHERE p >= ROW(1, '5', 'z')
SELECT a FROM pp p ORDER BY p
SELECT a, (SELECT count(*) FROM one o(z) WHERE z < '5') FROM pp
SELECT a, (SELECT ssn < '5' FROM one) FROM pp
SELECT a, EXISTS (SELECT FROM pp q WHERE q.ssn < p.ssn) FROM pp p
SELECT a FROM pp, one WHERE one IS NULL
SELECT one IS NOT NULL, one = ROW('5'), one.* FROM one
SELECT count(*) FROM one WHERE one.* IS NULL
SELECT one FROM one ORDER BY one
SELECT DISTINCT one FROM one, generate_series(1, 2)
SELECT x FROM (TABLE one) AS t(x) WHERE x < '5'
WITH w(x) AS (TABLE one) SELECT count(*) FROM w WHERE x < '5'
WITH w(x) AS (SELECT * FROM pp) SELECT x FROM w ORDER BY 2
VALUES ((SELECT ssn FROM one)), ('x') ORDER BY 1
SELECT j.* FROM (pp JOIN gg ON true) AS j ORDER BY 2, 1, 4, 5
SELECT r.b FROM (customers c JOIN orders o ON o.id = c.id) AS r(a,b,c,d,e,f,g,h,i,j,k,l,m,n,o) WHERE j < 'M' LIMIT 5
SELECT id, x || '!' FROM small AS c(id, nm, x, email)
SELECT row_to_json(c), c::text, md5(c::text) FROM small c
SELECT a.* FROM small a NATURAL JOIN small b
SELECT s.id FROM small s NATURAL LEFT JOIN (SELECT ssn, 1 AS hit FROM gg) h ORDER BY h.hit, s.id
SELECT u FROM (SELECT unnest(array_agg(c)) AS u FROM small c) q ORDER BY u
SELECT ((array_agg(c))[1]).ssn, coalesce(c, NULL::small) FROM small c GROUP BY c
SELECT max(c.ssn) FROM small c GROUP BY c ORDER BY c
SELECT json_object_agg(c.id, c) FROM small c
SELECT * FROM json_populate_recordset(NULL::small, (SELECT json_agg(c) FROM small c)) r ORDER BY r.ssn
SELECT * FROM jsonb_to_recordset((SELECT jsonb_agg(c) FROM small c)) AS r(id int, ssn text) WHERE r.ssn < 'M'
SELECT hstore(c) -> 'ssn' FROM small c
SELECT query_to_xml('SELECT ssn FROM small', true, true, '')
SELECT table_to_xml('small', true, true, '')
SELECT xmlforest(c.ssn, c.email) FROM small c
SELECT id FROM customers WHERE customers < (SELECT c FROM customers c WHERE id = 5) ORDER BY id LIMIT 5
SELECT a FROM (pp CROSS JOIN gg) j WHERE (j).ssn < '5'
SELECT a FROM (pp p CROSS JOIN LATERAL (SELECT p.*) q) WHERE q.ssn < '5'
SELECT p.a FROM pp p, LATERAL (SELECT p.ssn < '5') AS q(x) WHERE q.x
SELECT p.a FROM pp p, LATERAL ROWS FROM (regexp_split_to_table(p.ssn, ''), generate_series(1, 3)) AS r(a, b) ORDER BY r.a
SELECT p.a FROM pp p, unnest(ARRAY[p.ssn], ARRAY[p.z]) u(x, y) ORDER BY x
SELECT p.a FROM pp p GROUP BY p.a HAVING max(p.ssn) < '5'
SELECT p.a FROM pp p GROUP BY p.a, p.ssn ORDER BY p.ssn
SELECT p.z FROM pp p GROUP BY 1, ROLLUP (p.ssn) ORDER BY grouping(p.ssn), min(p.ssn)
SELECT p.z FROM pp p WINDOW w AS (ORDER BY p.ssn) ORDER BY rank() OVER w
SELECT DISTINCT ON (p.ssn) p.z FROM pp p ORDER BY p.ssn
SELECT p.a FROM pp p FOR UPDATE OF p SKIP LOCKED
SELECT pg_typeof(p.ssn), pg_column_size(p.ssn), pg_column_size(p) FROM pp p
SELECT pg_column_size(s), pg_column_size(s.*) FROM small s
[since 14] SELECT pg_column_compression(long), pg_column_size(long) FROM small
SELECT octet_length(s::text), length(to_json(s)::text) FROM small s
--: Names that hide other names
WITH small AS (SELECT 1 AS id, 'x' AS ssn) SELECT small.ssn, s.ssn < 'M' FROM small, public.small s LIMIT 2
WITH small AS (SELECT * FROM small) SELECT ssn < 'M', ssn FROM small
WITH RECURSIVE small AS (SELECT id, ssn FROM public.small WHERE id = 3 UNION ALL SELECT s.id, s.ssn FROM small s WHERE false) SELECT ssn < 'M', ssn FROM small
WITH a AS (SELECT ssn < 'M' AS x FROM small), small AS (SELECT 'open' AS ssn) SELECT * FROM a, small
WITH RECURSIVE a AS (SELECT ssn < 'M' AS x FROM small), small AS (SELECT 'open' AS ssn) SELECT * FROM a, small
SELECT ssn < 'M' FROM (WITH small AS (SELECT 'open' AS ssn) SELECT * FROM small) q UNION ALL SELECT ssn < 'M' FROM small
SELECT ssn < 'M' FROM ONLY (small) WHERE id = 3 ;; SELECT ssn < 'M' FROM small * WHERE id = 3 ;; SELECT ssn < 'M' FROM"small"WHERE id=3
SELECT U&"ss\006e" < 'M' FROM U&"sm\0061ll" WHERE id = 3 ;; SELECT ssn < 'M' FROM U&"sm!0061ll" UESCAPE '!' WHERE id = 3 ;; SELECT ssn < 'M' FROM "public" . /* x */ "small" AS "Sm""all" -- x
SELECT (s).ssn < 'M', ssn(s) < 'M', s.ssn < 'M' FROM public.small s ;; SELECT public.small.ssn < 'M' FROM public.small
SELECT ssn < 'M' FROM small TABLESAMPLE BERNOULLI (100) REPEATABLE ((SELECT count(*) FROM one WHERE ssn < '5'))
SELECT x.ssn < 'M' FROM small x TABLESAMPLE SYSTEM ((SELECT CASE WHEN ssn < '5' THEN 100 ELSE 0 END FROM one)) WHERE x.id = 3
SELECT * FROM v_using ;; SELECT s2 < 'a' FROM v_self ;; SELECT * FROM v_calls ;; SELECT * FROM v_windows ;; SELECT * FROM v_lateral ORDER BY x, id ;; SELECT t < 'M' FROM v_union ORDER BY id, t ;; SELECT everything, (everything).ssn < 'M' FROM v_whole
--: Plain rows
SELECT id, ssn FROM small
SELECT * FROM small ORDER BY id
SELECT ssn, ssn, ssn FROM small
SELECT body FROM docs WHERE id = 1
SELECT id, body IS NULL, length(body) FROM docs
COPY small TO STDOUT
COPY small (id, ssn) TO STDOUT (FORMAT csv, HEADER)
COPY small TO STDOUT (FORMAT binary)
COPY (SELECT * FROM small WHERE ssn < 'M') TO STDOUT
COPY customers TO STDOUT
SELECT s.ctid, s.ssn FROM small s ORDER BY s.ctid
SELECT id FROM small ORDER BY name, ssn
SELECT id FROM small ORDER BY 3
SELECT id, name AS ssn FROM small ORDER BY ssn
SELECT id, ssn AS name FROM small ORDER BY name
SELECT id, ssn AS k FROM small ORDER BY k, id
SELECT city, ssn FROM customers ORDER BY city
SELECT ssn FROM customers ORDER BY city, void
SELECT notes FROM customers ORDER BY age LIMIT 40
SELECT void, notes FROM customers ORDER BY void
--: Order of index-only scans
SET enable_seqscan = off ;; SELECT id, city FROM customers
SET enable_seqscan = off ;; SELECT id FROM customers ;; SELECT count(*) FROM customers
SET enable_seqscan = off ;; SET enable_indexonlyscan = on ;; SELECT id, city FROM customers LIMIT 10
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id FROM small ;; SELECT id FROM events LIMIT 20 ;; SELECT id FROM mm
SET enable_seqscan = off ;; SET enable_sort = off ;; SELECT id, city FROM customers c WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id) LIMIT 9
SET enable_seqscan = off ;; SELECT array_agg(id) FROM mm ;; SELECT string_agg(id::text, ',') FROM small
SET enable_seqscan = off ;; BEGIN ;; DECLARE d CURSOR FOR SELECT id, city FROM customers ;; FETCH 5 FROM d ;; FETCH BACKWARD 2 FROM d ;; COMMIT
SET enable_seqscan = off ;; COPY (SELECT id, city FROM customers) TO STDOUT
SET enable_seqscan = off ;; SELECT id FROM customers WHERE id > 5 AND city > 'A' LIMIT 5 ;; SELECT 1 FROM mm, gg LIMIT 3
SET random_page_cost = 0 ;; SET cpu_index_tuple_cost = 0 ;; SET seq_page_cost = 100 ;; SELECT id, city FROM customers LIMIT 30
