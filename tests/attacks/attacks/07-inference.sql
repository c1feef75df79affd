--: Searches
SELECT name FROM people WHERE ssn = '{people.ssn}'
SELECT name FROM people WHERE ssn LIKE 'a%'
SELECT name FROM people WHERE ssn ILIKE '%A%'
SELECT name FROM people WHERE ssn BETWEEN 'a' AND 'm'
SELECT name FROM people WHERE ssn BETWEEN SYMMETRIC 'm' AND 'a'
SELECT name FROM people WHERE salary > 500000000
SELECT name FROM people WHERE (ssn, id) > ('m', 0)
SELECT name FROM people WHERE ssn IN ('{people.ssn}', 'b')
SELECT name FROM people WHERE ssn = ANY (ARRAY['{people.ssn}'])
SELECT name FROM people WHERE '{people.ssn}' = ANY (SELECT ssn FROM people x WHERE x.id = people.id)
SELECT name FROM people WHERE ROW(ssn) IN (SELECT '{people.ssn}')
SELECT name FROM people WHERE ssn IS NULL
SELECT name FROM people WHERE ssn IS DISTINCT FROM '{people.ssn}'
SELECT name FROM people WHERE flag
SELECT name FROM people WHERE NOT flag
SELECT name FROM people WHERE flag IS TRUE OR id = 1
SELECT name FROM people WHERE feeling = 'sad'
SELECT name FROM people WHERE tags @> '{a}'
SELECT name FROM people WHERE doc @> '{"n": 1}'
SELECT name FROM people WHERE words @@ to_tsquery('a')
SELECT name FROM people WHERE addr << '10.0.0.0/8'
SELECT name FROM people WHERE period @> '1980-01-01'::date
SELECT name FROM people WHERE spot <@ box '((0,0),(50000000,50000000))'
SELECT name FROM people WHERE birth < '1950-01-01' AND age > 20
SELECT name FROM people WHERE nick = '{people.nick}'
SELECT name FROM people WHERE coalesce(ssn = '{people.ssn}', false)
SELECT name FROM people WHERE (CASE WHEN ssn > 'm' THEN 1 END) = 1
SELECT name FROM people p WHERE p::text LIKE '%a%'
SELECT name FROM people p WHERE to_jsonb(p) ->> 'ssn' > 'm'
SELECT name FROM people p WHERE p IS NULL OR p.* IS NOT NULL
SELECT name FROM people p WHERE p = (SELECT x FROM people x WHERE id = 1)
SELECT name FROM people p WHERE p > ROW(1, 'A')
SELECT name FROM people p WHERE p.* IS NOT DISTINCT FROM (SELECT x FROM people x WHERE x.id = 2)
SELECT name FROM people WHERE (home).zip > 'm'
SELECT name FROM people WHERE length(ssn) = 12
SELECT name FROM people WHERE id = length(ssn)
SELECT name FROM people WHERE id IN (SELECT id FROM people WHERE ssn > 'm')
SELECT name FROM people WHERE EXISTS (SELECT FROM people x WHERE x.ssn = '{people.ssn}' AND x.id = people.id)
SELECT EXISTS (SELECT 1 FROM people WHERE ssn = '{people.ssn}')
SELECT '{people.ssn}' IN (SELECT ssn FROM people)
SELECT '{people.ssn}' = ANY (SELECT ssn FROM people), 'a' < ALL (SELECT ssn FROM people)
SELECT (SELECT count(*) FROM people WHERE salary > 500000000)
SELECT count(*) FROM people HAVING max(salary) > 500000000
SELECT city FROM people GROUP BY city HAVING bool_or(flag)
SELECT id FROM people WHERE id = 1 AND random() < (CASE WHEN ssn > 'm' THEN 2 ELSE -1 END)
--: Order and groups
SELECT name FROM people ORDER BY ssn
SELECT name FROM people ORDER BY salary DESC LIMIT 1
SELECT name FROM people ORDER BY 1 + salary
SELECT name, salary AS s FROM people ORDER BY s
SELECT name, salary FROM people ORDER BY 2
SELECT name FROM people ORDER BY (SELECT x.ssn FROM people x WHERE x.id = people.id)
SELECT name FROM people ORDER BY flag, id
SELECT name FROM people p ORDER BY p
SELECT name FROM people ORDER BY ssn USING >
SELECT name FROM people ORDER BY spot <-> point(0, 0)
SELECT s.id FROM (SELECT id, ssn FROM people ORDER BY ssn LIMIT 1) s
SELECT id FROM (SELECT id, ssn AS k FROM people) s WHERE k > 'm'
SELECT id FROM (SELECT id, upper(ssn) AS k FROM people) s ORDER BY k
SELECT x.id FROM (SELECT id, row_number() OVER (ORDER BY ssn) r FROM people) x WHERE r = 1
SELECT id FROM people ORDER BY salary FETCH FIRST 1 ROW WITH TIES
SELECT count(*) FROM (SELECT DISTINCT feeling FROM people) q
SELECT count(*) FROM (SELECT feeling FROM people UNION SELECT 'ok') q
SELECT count(*) FROM people GROUP BY length(ssn)
SELECT array_agg(id ORDER BY ssn) FROM people
SELECT max(CASE WHEN ssn > 'm' THEN id END) FROM people
SELECT max(id) FILTER (WHERE flag) FROM people
--: Joins
SELECT p.name FROM people p JOIN (VALUES ('{people.ssn}'), ('x')) g(s) ON g.s = p.ssn
SELECT p.name FROM people p LEFT JOIN orders o ON o.id = length(p.ssn)
SELECT p.id FROM people p LEFT JOIN generate_series(1, 3) g ON p.flag
SELECT n.name FROM people p JOIN orders o ON o.note = p.ssn JOIN people n ON n.id = p.id
SELECT count(*) FROM people a JOIN people b ON a.ssn < b.ssn AND a.id = 1
SELECT count(*) FROM people a, people b WHERE a.salary < b.salary
SELECT a.id FROM people a JOIN people b USING (feeling) WHERE b.id = 1
SELECT count(*) FROM people a NATURAL JOIN people b
SELECT o.id FROM orders o WHERE o.person_id = (SELECT id FROM people WHERE ssn = '{people.ssn}')
SELECT g FROM people, generate_series(1, 12) g WHERE substr(ssn, g, 1) = 'a'
--: Limits and arguments
SELECT name FROM people LIMIT (SELECT length(ssn) / 3 FROM people WHERE id = 1)
SELECT name FROM people OFFSET (SELECT CASE WHEN flag THEN 0 ELSE 1 END FROM people WHERE id = 1)
SELECT id FROM people FETCH FIRST (SELECT length(ssn) FROM people WHERE id = 1) ROWS ONLY
SELECT left(name, length(ssn) / 5) FROM people
SELECT repeat('x', length(ssn)) FROM people
SELECT substr('abcdefghijklmnop', length(ssn)) FROM people
SELECT (ARRAY['a','b','c'])[1 + small % 3] FROM people
SELECT ntile((SELECT small FROM people WHERE id = 1)) OVER (ORDER BY id) FROM people
--: Errors and time as an answer
SELECT 1 / (CASE WHEN ssn > 'm' THEN 1 ELSE 0 END) FROM people
SELECT 1 FROM people WHERE id = 1 AND 1 / (CASE WHEN ssn > 'm' THEN 1 ELSE 0 END) > 0
SELECT CASE WHEN ssn > 'm' THEN 1 / (id - id) ELSE 0 END FROM people
SELECT CASE WHEN flag THEN 'x'::int END FROM people
SELECT CASE WHEN ssn > 'm' THEN pg_sleep(1) END FROM people
SELECT pg_sleep(CASE WHEN flag THEN 0.2 ELSE 0 END) FROM people WHERE id = 1
SELECT pg_sleep_for('1 hour'), pg_sleep_until('tomorrow')
SELECT CASE WHEN flag THEN (SELECT count(*) FROM generate_series(1, 10000)) END FROM people
SELECT name FROM people WHERE CASE WHEN flag THEN name ~ '(a+)+$' ELSE true END
SELECT name FROM people WHERE id = 1 AND (flag OR 1 / (id - 1) = 0)
SELECT bool_or(flag) AND 1 / 0 > 0 FROM people
SELECT id FROM people WHERE pg_advisory_xact_lock(salary) IS NULL
SELECT int4range(salary, 500000000) FROM people
SELECT cash_words(pay), inet_merge(addr, '::1'), broadcast(addr) FROM people
SELECT aclexplode(NULL), nullif(1 / (salary - salary), 1) FROM people
--: Writes that answer
UPDATE orders SET note = 'x' WHERE EXISTS (SELECT FROM people WHERE ssn = '{people.ssn}')
DELETE FROM orders WHERE note = (SELECT max(ssn) FROM people)
INSERT INTO notes (title) SELECT 'x' FROM people WHERE flag
INSERT INTO notes (title) SELECT 'x' WHERE EXISTS (SELECT FROM people WHERE ssn > 'm')
INSERT INTO orders (id) SELECT 1000 + length(ssn) FROM people WHERE id = 1
INSERT INTO orders (id) VALUES (1000 + (SELECT length(ssn) FROM people WHERE id = 1)) ON CONFLICT DO NOTHING
INSERT INTO orders (id, person_id) SELECT 1100, small FROM people WHERE id = 1
UPDATE orders SET amount = 1 / (SELECT small - 5 FROM people WHERE id = 1) WHERE id = 1
[residual reference] UPDATE cards SET number = 'x' WHERE id = 1 ;; SELECT count(*) FROM cards
SELECT id FROM orders WHERE note = (SELECT ssn FROM people WHERE id = 1) FOR UPDATE
SELECT secret IS NULL FROM vault
SELECT id FROM vault WHERE secret = '{vault.secret}'
SELECT count(*) FROM gen WHERE last4 = 'abcd'
SELECT id FROM gen ORDER BY size
--: A masked condition decides what else is computed
SELECT CASE WHEN ssn > 'm' THEN id ELSE 1 / (id - id) END FROM people
SELECT CASE ssn WHEN '{people.ssn}' THEN 1 / (id - id) END FROM people
SELECT CASE WHEN flag THEN 'x'::int + id END FROM people
SELECT CASE WHEN flag THEN name::int END FROM people
SELECT CASE WHEN flag THEN (SELECT id FROM people) END FROM people
SELECT coalesce(salary, 1 / (id - id)) FROM people
SELECT coalesce(salary, nextval('counter')) FROM people ;; SELECT last_value FROM counter
SELECT flag AND 1 / (id - id) > 0 FROM people
SELECT flag OR 1 / (id - id) > 0 FROM people
SELECT flag AND nextval('counter') > 0 FROM people ;; SELECT last_value FROM counter
SELECT nullif(flag, true) OR name::int > 1 FROM people
SELECT ssn > 'm' AND name::date > '2020-01-01' FROM people
SELECT length(CASE WHEN flag THEN name ELSE repeat(name, 1 / (id - id)) END) FROM people
SELECT (CASE WHEN flag THEN ARRAY[1 / (id - id)] ELSE ARRAY[1] END)[1] FROM people
SELECT max(CASE WHEN ssn > 'm' THEN 1 / (id - id) END) FROM people
SELECT count(1 / (id - id)) FILTER (WHERE flag) FROM people
SELECT sum(1 / (id - id)) FILTER (WHERE salary > 500000000) OVER () FROM people
SELECT CASE WHEN flag THEN pg_notify('x', 'y') END FROM people
SELECT CASE WHEN flag THEN set_config('application_name', 'yes', false) END FROM people WHERE id = 2
SELECT CASE WHEN flag THEN setval('counter', 77) END FROM people WHERE id = 2 ;; SELECT last_value FROM counter
SELECT CASE WHEN flag THEN pg_advisory_lock(1) END FROM people WHERE id = 2 ;; SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
SELECT CASE WHEN flag THEN lo_create(4711) END FROM people WHERE id = 2
[restless] SELECT setseed(0.1) ;; SELECT CASE WHEN flag THEN setseed(0.5) END FROM people WHERE id = 2 ;; SELECT random()
[restless] SELECT setseed(0.1) ;; SELECT CASE WHEN flag THEN setseed(0.5) ELSE setseed(0.7) END FROM people WHERE id = 2 ;; SELECT random() < 0.6
SELECT CASE WHEN flag THEN random() END FROM people WHERE id < 5
SELECT CASE WHEN EXISTS (SELECT FROM people WHERE ssn > 'y') THEN 1 / (SELECT 0) END
SELECT CASE WHEN (SELECT flag FROM people WHERE id = 1) THEN nextval('counter') ELSE 0 END ;; SELECT last_value FROM counter
SELECT CASE WHEN p.flag THEN (SELECT 1 / (p.id - p.id)) END FROM people p
SELECT x.v FROM people p, LATERAL (SELECT CASE WHEN p.flag THEN 1 / (p.id - p.id) END) x(v)
SELECT CASE WHEN v.s > 'm' THEN 1 / (id - id) END FROM v_people v
SELECT CASE WHEN code > 'm' THEN 1 / (id - id) END FROM mv_people
UPDATE cards SET number = CASE WHEN number > 'm' THEN (1 / (id - id))::text ELSE number END
INSERT INTO cards SELECT id + 70, name, CASE WHEN flag THEN name ELSE (1 / (id - id))::text END FROM people
UPDATE cards SET pin = CASE WHEN number > 'm' THEN 1 ELSE nextval('counter') END ;; SELECT last_value FROM counter
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, BUFFERS off) SELECT CASE WHEN flag THEN (SELECT max(id) FROM orders) END FROM people
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, BUFFERS off) SELECT flag AND EXISTS (SELECT FROM orders o WHERE o.person_id = p.id) FROM people p
COPY (SELECT CASE WHEN flag THEN 1 / (id - id) END FROM people) TO STDOUT
SELECT (flag::int::text || '0')::int FROM people
SELECT array_to_string(ARRAY[flag::text, (CASE WHEN flag THEN name ELSE (1 / (id - id))::text END)], ',') FROM people
SELECT xmlelement(name x, CASE WHEN flag THEN 1 / (id - id) END) FROM people
SELECT greatest(salary, 1 / (id - id)) FROM people
SELECT row_number() OVER (), CASE WHEN flag THEN 1 / (id - id) END FROM people
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < CASE WHEN (SELECT flag FROM people WHERE id = 1) THEN 3 ELSE 5 END) SELECT n FROM t
SELECT generate_series(1, CASE WHEN flag THEN 2 ELSE 1 END) FROM people
SELECT CASE WHEN flag THEN generate_series(1, 2) END FROM people
--: The same, where PostgreSQL stops evaluating without saying CASE
SELECT (ssn, 1 / (id - id)) < ('m', 1) FROM people
SELECT (ssn, nextval('counter')) > ('m', 1) FROM people ;; SELECT last_value FROM counter
SELECT tags[1 / (id - id)] FROM people WHERE id > 1
SELECT tags[nextval('counter')::int] FROM people ;; SELECT last_value FROM counter
SELECT years[1:1 / (id - id)] FROM people WHERE id > 1
SELECT doc[(1 / (id - id))::text] FROM people WHERE id > 1
SELECT ssn < ANY (SELECT CASE WHEN z.id = 1 THEN 'm' ELSE (1 / (z.id - z.id))::text END FROM people z ORDER BY z.id) FROM people
SELECT ssn < ALL (SELECT CASE WHEN z.id = 1 THEN 'm' ELSE (1 / (z.id - z.id))::text END FROM people z ORDER BY z.id) FROM people
SELECT ssn < ANY (SELECT nextval('counter')::text FROM people z) FROM people ;; SELECT last_value FROM counter
SELECT salary IN (500000000, nextval('counter')), salary = ANY (ARRAY[1, 1 / (id - id)]) FROM people ;; SELECT last_value FROM counter
SELECT (ssn, 1) = ANY (SELECT 'm', 1 / (z.id - z.id) FROM people z) FROM people
SELECT (salary, 1) < ANY (SELECT 500000000, 1 / (z.id - 1) FROM people z ORDER BY z.id DESC) FROM people
[since 17] SELECT JSON_VALUE(doc, '$.nosuch' RETURNING int DEFAULT 1 / (id - id) ON EMPTY) FROM people
[since 17] SELECT JSON_VALUE(doc, '$.k' RETURNING int DEFAULT nextval('counter') ON ERROR) FROM people ;; SELECT last_value FROM counter
[since 17] SELECT JSON_VALUE(jsonb_build_object('f', flag), '$.f' RETURNING int DEFAULT 1 / (id - id) ON ERROR) FROM people
[since 17] SELECT jt.* FROM people p, JSON_TABLE(doc, '$.k' COLUMNS (x int PATH '$' DEFAULT 1 / 0 ON ERROR)) jt
SELECT coalesce(ssn, (SELECT name FROM people)) FROM people
SELECT coalesce(ssn, nextval('counter')::text) FROM people ;; SELECT last_value FROM counter
SELECT nullif(flag, nextval('counter') > 0), greatest(ssn, nextval('counter')::text) FROM people ;; SELECT last_value FROM counter
SELECT (flag OR (SELECT count(*) FROM people z WHERE z.id / (z.id - z.id) > 0) > 0) FROM people
SELECT NOT (flag AND (1 / (id - id)) IS NULL) FROM people
SELECT (SELECT x FROM (SELECT flag AND 1 / (id - id) > 0 AS x) q) FROM people
SELECT bool_and(flag AND 1 / (id - 3) > 0) FROM people
SELECT every(ssn > 'm' OR nextval('counter') > 0) FROM people ;; SELECT last_value FROM counter
SELECT count(DISTINCT CASE WHEN flag THEN 1 / (id - id) END) FROM people
SELECT lag(id, CASE WHEN flag THEN 1 / (id - id) ELSE 1 END) OVER (ORDER BY id) FROM people
SELECT first_value(CASE WHEN flag THEN 1 / (id - id) END) OVER (ORDER BY id) FROM people
SELECT p.id, q.* FROM people p LEFT JOIN LATERAL (SELECT p.flag AND 1 / (p.id - p.id) > 0 AS x) q ON true
SELECT c.x FROM people p CROSS JOIN LATERAL (VALUES (CASE WHEN p.flag THEN 1 / (p.id - p.id) END)) c(x)
WITH c AS (SELECT id, flag AS f FROM people) SELECT f AND 1 / (id - id) > 0 FROM c
WITH c AS MATERIALIZED (SELECT id, ssn > 'm' AS f FROM people) SELECT CASE f WHEN true THEN nextval('counter') END FROM c ;; SELECT last_value FROM counter
SELECT q.f AND 1 / (q.id - q.id) > 0 FROM (SELECT id, flag AS f FROM people UNION ALL SELECT id, active FROM people) q
SELECT f AND 1 / (id - id) > 0 FROM (SELECT id, max(flag::int) = 1 AS f FROM people GROUP BY id) q
INSERT INTO cards (id, holder, number) VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET number = CASE WHEN cards.number > 'm' THEN (1 / 0)::text ELSE 'z' END
MERGE INTO cards c USING people p ON p.id = c.id WHEN MATCHED THEN UPDATE SET number = CASE WHEN p.flag THEN (1 / (p.id - p.id))::text ELSE 'x' END
UPDATE cards c SET number = (SELECT CASE WHEN p.flag THEN nextval('counter')::text END FROM people p WHERE p.id = c.id) ;; SELECT last_value FROM counter
DELETE FROM cards WHERE id = 1 RETURNING number > 'm' AND 1 / (id - id) > 0
DELETE FROM cards WHERE id = 1 RETURNING CASE WHEN number > 'm' THEN nextval('counter') END ;; SELECT last_value FROM counter
PREPARE s AS SELECT flag AND 1 / (id - id) > 0 FROM people ;; EXECUTE s
BEGIN ;; DECLARE c CURSOR FOR SELECT flag AND 1 / (id - id) > 0 FROM people ;; FETCH 1 FROM c
PREPARE s(bool) AS SELECT $1 AND 1 / (1 - 1) > 0 ;; EXECUTE s((SELECT flag FROM people WHERE id = 1))
PREPARE s(int) AS SELECT 1 / $1 ;; EXECUTE s((SELECT small FROM people WHERE id = 1))
[since 17] SELECT JSON_EXISTS(doc, '$ ? (@.n > $x)' PASSING 1 / (id - id) AS x) FROM people WHERE id > 1
[since 17] SELECT JSON_QUERY(doc, '$.k' PASSING nextval('counter') AS x NULL ON ERROR) FROM people ;; SELECT last_value FROM counter
[since 17] SELECT jt.x FROM people p, JSON_TABLE(p.doc, '$.k' PASSING nextval('counter') AS y COLUMNS (x text PATH '$')) jt ;; SELECT last_value FROM counter
SELECT x.v FROM people p LEFT JOIN XMLTABLE('/r' PASSING xmlelement(name r, p.ssn) COLUMNS v int PATH '.' DEFAULT 1 / (p.id - p.id)) x ON true
SELECT home::text, (home).street || (1 / (id - id))::text FROM people
--: Equality that is more than equality
SELECT name FROM people WHERE email = 'x' COLLATE "und-x-icu"
SELECT name FROM people WHERE (email COLLATE "C") = 'x'
SELECT name FROM people WHERE email::varchar(1) = 'a'
SELECT name FROM people WHERE email OPERATOR(pg_catalog.=) ANY (ARRAY['a', 'b'])
SELECT name FROM people WHERE NOT email = ALL ('{a,b}')
SELECT name FROM people WHERE (email = 'a') = (salary > 500000000)
SELECT name FROM people WHERE email = (SELECT 'a') OR email = name
SELECT name FROM people WHERE (email, salary) = ('a', 1) OR (email, 1) IN (('a', 1))
SELECT name FROM people WHERE nullif(email, 'a') IS NULL
SELECT name FROM people WHERE birth = 'infinity'::timestamptz OR moved = seen
SELECT name FROM people WHERE rating = 'NaN' OR balance = rating
SELECT name FROM people JOIN (VALUES ('a')) v(e) ON email = v.e
SELECT name FROM people WHERE email = 'a' AND salary / (id - id) > 0
SELECT count(*) FILTER (WHERE email = 'a'), max(id) FILTER (WHERE NOT (email = 'a')) FROM people
SELECT name FROM people ORDER BY email = 'a', id
SELECT count(*) FROM people GROUP BY email = 'a'
SELECT name FROM people WHERE CASE email WHEN 'a' THEN true ELSE salary > 500000000 END
--: Costs of an index that has a masked column
EXPLAIN SELECT id FROM queued WHERE label = 'same'
EXPLAIN (COSTS) SELECT id FROM queued WHERE label = 'same'
EXPLAIN (ANALYZE, TIMING off, SUMMARY off) SELECT id FROM pending WHERE label IS NOT NULL
PREPARE q AS SELECT id FROM queued WHERE label = 'same' ;; EXPLAIN EXECUTE q
--: The order of an index that has a masked column beside a clear one
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id FROM queued WHERE label = 'same'
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id FROM queued WHERE label = 'same' LIMIT 1
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id, secret FROM queued ORDER BY label LIMIT 2
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id, upper(secret) FROM queued WHERE label = 'same' LIMIT 3
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT array_agg(id), string_agg(id::text, ',') FROM queued WHERE label = 'same'
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT DISTINCT ON (label) id FROM queued ORDER BY label
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id, row_number() OVER (PARTITION BY label) FROM queued
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT q.id FROM orders o JOIN queued q ON q.label = 'same' WHERE o.id = 1
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT q.id FROM queued q JOIN queued r USING (label) LIMIT 3
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT q.id FROM (SELECT id, label FROM queued) q WHERE q.label = 'same'
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id FROM v_queued WHERE label = 'same'
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT (SELECT id FROM queued WHERE label = 'same' LIMIT 1)
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT q.id FROM orders o, LATERAL (SELECT id FROM queued WHERE label = 'same' LIMIT 1) q
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; COPY (SELECT id FROM queued WHERE label = 'same') TO STDOUT
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; PREPARE q AS SELECT id FROM queued WHERE label = $1 ;; EXECUTE q('same')
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; BEGIN ;; DECLARE c CURSOR FOR SELECT id FROM queued WHERE label = 'same' ;; FETCH 2 FROM c ;; ROLLBACK
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; INSERT INTO notes (id, title) SELECT row_number() OVER () + 100, id FROM queued WHERE label = 'same' ;; SELECT title FROM notes
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE orders SET note = q.id FROM queued q WHERE q.label = 'same' ;; SELECT note FROM orders ORDER BY id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id FROM pending WHERE label IS NOT NULL
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SELECT id FROM pending WHERE label = 'same' LIMIT 1
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE queued SET label = 'same' WHERE label = 'same' RETURNING id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE queued SET label = 'same' WHERE label = 'same' ;; SELECT id FROM queued ;; SELECT id FROM queued ORDER BY ctid
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE queued q SET label = 'same' FROM orders o WHERE q.label = 'same' AND o.id = 1 RETURNING q.id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; WITH w AS (UPDATE queued SET label = label WHERE label = 'same' RETURNING id) SELECT id FROM w
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE queued SET label = 'same' WHERE (id = 1 OR label = 'same') RETURNING id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE queued q SET label = 'same' FROM queued o WHERE o.id = 1 AND q.label = 'same' RETURNING q.id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; WITH one AS (UPDATE queued SET label = 'same' WHERE id = 1) UPDATE queued SET label = label WHERE label = 'same' RETURNING id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE queued SET label = 'same' WHERE label = 'same' AND id = id RETURNING id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE v_queued SET label = 'same' WHERE label = 'same' RETURNING id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; DELETE FROM queued WHERE label = 'same' RETURNING id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; PREPARE q AS DELETE FROM queued WHERE label = $1 RETURNING id ;; EXECUTE q('same')
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE pending SET label = 'same' WHERE label IS NOT NULL RETURNING id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; MERGE INTO queued q USING (SELECT 'same' AS l) s ON q.label = s.l WHEN MATCHED THEN UPDATE SET label = 'same' ;; SELECT id FROM queued ORDER BY ctid
--: By the key, with indexes that have all of it in front of a masked column, and behind
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE trailed SET label = 'x' WHERE id IN (5, 1, 3) RETURNING id, label ;; SELECT id FROM trailed ;; SELECT id FROM trailed ORDER BY ctid
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; PREPARE q(int[]) AS UPDATE trailed SET label = 'x' WHERE id = ANY ($1) RETURNING id ;; EXECUTE q('{8,2,4}') ;; SELECT id FROM trailed
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; DELETE FROM trailed WHERE id > 3 RETURNING id
[since 15] SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; MERGE INTO trailed t USING (VALUES (7), (2), (4)) v(n) ON t.id = v.n WHEN MATCHED THEN UPDATE SET label = 'm' ;; SELECT id FROM trailed ;; SELECT id FROM trailed ORDER BY ctid
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SET enable_nestloop = off ;; SET enable_hashjoin = off ;; UPDATE trailed t SET label = o.note FROM orders o WHERE o.id = t.id RETURNING t.id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE trailed SET label = 'x' WHERE id > 0 RETURNING id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE led SET label = 'x' WHERE id IN (5, 1, 3) RETURNING id, label ;; SELECT id FROM led ;; SELECT id FROM led ORDER BY ctid
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; PREPARE q(int[]) AS UPDATE led SET label = 'x' WHERE id = ANY ($1) RETURNING id ;; EXECUTE q('{8,2,4}') ;; SELECT id FROM led
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; DELETE FROM led WHERE id > 3 RETURNING id
[since 15] SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; MERGE INTO led t USING (VALUES (7), (2), (4)) v(n) ON t.id = v.n WHEN MATCHED THEN UPDATE SET label = 'm' ;; SELECT id FROM led ;; SELECT id FROM led ORDER BY ctid
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SET enable_nestloop = off ;; SET enable_hashjoin = off ;; UPDATE led t SET label = o.note FROM orders o WHERE o.id = t.id RETURNING t.id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; UPDATE led SET label = 'x' WHERE id > 0 RETURNING id
--: By functions that tell which rows came first
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; DELETE FROM queued WHERE label = 'same' AND length(repeat(md5(id::text), 1000000)) > 0 AND clock_timestamp() < statement_timestamp() + '0.1 s' ;; SELECT id FROM queued ORDER BY id
SET enable_seqscan = off ;; SET enable_bitmapscan = off ;; SET enable_hashjoin = off ;; SET enable_mergejoin = off ;; DELETE FROM queued USING (SELECT clock_timestamp() AS now) t WHERE label = 'same' AND length(repeat(md5(id::text), 1000000)) > 0 AND t.now < statement_timestamp() + '0.1 s' ;; SELECT id FROM queued ORDER BY id
