--: Names that mean something else where they stand
SELECT ssn AS name FROM people ORDER BY name
SELECT id, ssn AS city FROM people ORDER BY city, id
SELECT DISTINCT ON (name) ssn AS name, id FROM people ORDER BY name
SELECT upper(ssn) AS name FROM people GROUP BY name, ssn
SELECT name, ssn FROM people GROUP BY id
SELECT count(*) FROM people p GROUP BY p
SELECT count(*), 1 AS flag FROM people GROUP BY flag
SELECT feeling, count(*) FROM people GROUP BY 1
SELECT (SELECT p.salary > 500000000 ORDER BY 1) FROM people p ORDER BY 1
SELECT id FROM people ORDER BY (ssn, id)
SELECT id FROM people ORDER BY ROW(feeling, id)
SELECT id, flag AS f FROM people ORDER BY f, id
SELECT salary AS id FROM people UNION SELECT id FROM people ORDER BY id
SELECT name FROM people EXCEPT ALL SELECT nick::text FROM people
SELECT people.id FROM people JOIN (SELECT id, ssn AS city FROM people) q USING (id, city)
SELECT q.id FROM people p NATURAL JOIN (SELECT id, city, flag AS active FROM people) q
SELECT q.key FROM people p NATURAL LEFT JOIN (SELECT id AS key, ssn AS name FROM people) q
SELECT x.c FROM people p JOIN cards c USING (id) CROSS JOIN LATERAL (SELECT c.number AS c) x
SELECT text(flag), int4(small), date(seen), money(salary), oid(big), bytea(salary) FROM people
SELECT date(seen), "timestamptz"(birth), "numeric"(big, 5), "varchar"(ssn, 3, true) FROM people
SELECT people.home.street FROM people
SELECT (people.home).street COLLATE "C" FROM public.people
SELECT p.home.* FROM people p
--: What groups, windows and frames make of it
SELECT count(*) FROM people GROUP BY () HAVING bool_or(flag)
SELECT 1 FROM people HAVING max(salary) > 500000000
SELECT 1 FROM people HAVING count(salary) > 7
SELECT grouping(flag), count(*) FROM people GROUP BY ROLLUP (flag)
SELECT city, count(*) FROM people GROUP BY DISTINCT CUBE (city, feeling), ROLLUP (city, feeling)
SELECT id, count(*) OVER (ORDER BY age RANGE BETWEEN (SELECT small FROM people WHERE id = 1) PRECEDING AND CURRENT ROW) FROM people
SELECT id, sum(id) OVER (ORDER BY joined RANGE BETWEEN (SELECT make_interval(days => small % 5) FROM people WHERE id = 1) PRECEDING AND CURRENT ROW) FROM people
SELECT id, sum(id) OVER (ORDER BY id GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE TIES), sum(id) OVER (ORDER BY flag GROUPS 1 PRECEDING) FROM people
SELECT id, rank() OVER w2 FROM people WINDOW w AS (PARTITION BY feeling), w2 AS (w ORDER BY id)
SELECT id, lag(name, 1, nick::text) OVER (ORDER BY id) FROM people
SELECT nth_value(name, small) OVER (ORDER BY id), ntile(small) OVER (ORDER BY id) FROM people
SELECT id, sum(CASE WHEN flag THEN 1 ELSE 0 END) OVER (ORDER BY id) FROM people
SELECT id FROM (SELECT id, sum(CASE WHEN flag THEN 1 ELSE 0 END) OVER (ORDER BY id) AS s FROM people) q WHERE s > 2
SELECT (SELECT sum(p.salary) FROM orders) FROM people p
SELECT (SELECT count(p.ssn) FILTER (WHERE p.flag) FROM orders o WHERE o.id = 1) FROM people p
SELECT count(DISTINCT (city, feeling)) FROM people
SELECT array_agg(DISTINCT feeling), json_agg(DISTINCT doc) FROM people
SELECT percentile_cont(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY salary) FROM people
SELECT string_agg(name, '' ORDER BY salary DESC, id) OVER () FROM people
SELECT string_agg(name, nick::text) FROM people
SELECT width_bucket(age, years) FROM people
SELECT array_agg(id ORDER BY id) FILTER (WHERE ssn IS NOT NULL) FROM people
SELECT count(DISTINCT CASE WHEN flag THEN ROW(1, 2) ELSE ROW(1, 'x'::text) END) FROM people
SELECT array_agg(DISTINCT CASE WHEN flag THEN ROW(1, 2) ELSE ROW(1, 'x'::text) END) FROM people
[since 18] SELECT max(CASE WHEN flag THEN ROW(1, 2) ELSE ROW(1, 'x'::text) END) FROM people
--: Rows made of other rows
SELECT ARRAY(SELECT g FROM generate_series(1, 9) g LIMIT p.small) FROM people p
SELECT (SELECT count(*) FROM (SELECT 1 FROM generate_series(1, 9) LIMIT p.small % 9) q) FROM people p
SELECT p.id, l.x FROM people p LEFT JOIN LATERAL (SELECT 1 AS x WHERE p.flag) l ON true
SELECT p.id FROM people p CROSS JOIN LATERAL (SELECT 1 LIMIT p.small % 2) l
SELECT p.id FROM people p JOIN LATERAL generate_series(1, p.small % 3) g ON true
SELECT p.id FROM people p WHERE EXISTS (SELECT 1 LIMIT p.small % 2)
SELECT p.id FROM people p WHERE (SELECT true FROM orders o WHERE p.flag LIMIT 1)
SELECT p.id, g FROM people p, ROWS FROM (generate_series(1, 2), unnest(p.tags)) AS r(g, t)
SELECT generate_series(1, 2), unnest(years) FROM people WHERE id = 1
SELECT generate_series(1, generate_series(1, small % 3)) FROM people WHERE id = 1
SELECT a.id FROM people a FULL JOIN people b ON a.salary = b.salary AND a.id = b.id + 1
SELECT a.id FROM people a RIGHT JOIN cards b ON b.id = a.id AND a.flag
SELECT count(*) FROM people a LEFT JOIN people b ON b.id = a.small
SELECT id FROM people ORDER BY city FETCH FIRST (SELECT small % 5 + 1 FROM people WHERE id = 1) ROWS WITH TIES
SELECT id FROM people ORDER BY flag FETCH FIRST 1 ROW WITH TIES
WITH RECURSIVE t AS (SELECT id, salary FROM people UNION ALL SELECT id, salary / 2 FROM t WHERE salary > 100000) SELECT count(*) FROM t
WITH RECURSIVE t(a, b) AS (SELECT id, feeling::text FROM people UNION SELECT 0, b FROM t) SELECT count(*) FROM t
WITH RECURSIVE t(n, s) AS (SELECT 1, ssn FROM people WHERE id = 1 UNION ALL SELECT n + 1, substr(s, 2) FROM t WHERE n < 3) SEARCH BREADTH FIRST BY s SET o SELECT n, o FROM t ORDER BY o
WITH RECURSIVE t(n, f) AS (SELECT 1, flag FROM people WHERE id = 1 UNION ALL SELECT n + 1, NOT f FROM t WHERE n < 3) CYCLE f SET c TO 'y' DEFAULT 'n' USING p SELECT n, c FROM t
SELECT count(*) FROM long_texts TABLESAMPLE SYSTEM (50) REPEATABLE (1)
SELECT title FROM long_texts WHERE ctid = '(0,1)'
SELECT p.ctid, p.tableoid::regclass, p.xmin = p.xmin FROM people p
--: JSON with masked values passed to it
[since 17] SELECT JSON_EXISTS('{"a": 1}', '$ ? (@.a == $x)' PASSING ssn AS x) FROM people
[since 17] SELECT jt.n FROM people p, JSON_TABLE('[1, 2, 3]', '$[*] ? (@ < $x)' PASSING p.small AS x COLUMNS (n int PATH '$')) jt
[since 17] SELECT jt.* FROM people p, JSON_TABLE(p.doc, '$' COLUMNS (a FOR ORDINALITY, NESTED PATH '$[*]' COLUMNS (b text PATH '$'))) jt
[since 17] SELECT JSON_QUERY(doc, '$' WITH WRAPPER), JSON_VALUE(doc, '$.n' RETURNING smallint NULL ON ERROR) FROM people
[since 16] SELECT ssn IS JSON, doc::text IS JSON OBJECT WITH UNIQUE KEYS FROM people
[since 16] SELECT JSON_OBJECT(name: 1, nick::text: 2 WITH UNIQUE KEYS) FROM people
[since 16] SELECT JSON_OBJECTAGG(feeling: id WITH UNIQUE KEYS) FROM people
[since 16] SELECT JSON_ARRAYAGG(name ORDER BY ssn), JSON_ARRAYAGG(ssn NULL ON NULL) FROM people
[since 16] SELECT JSON_ARRAY(ssn RETURNING bytea), JSON_OBJECT('k': ssn RETURNING varchar(5)) FROM people
SELECT jsonb_path_exists('{"a": 5}', '$ ? (@.a < $x)', jsonb_build_object('x', salary)) FROM people
SELECT jsonb_path_query('[1, 2, 3]', '$[*] ? (@ < $x)', jsonb_build_object('x', small)) FROM people
SELECT jsonb_path_match(doc, '$.k'), jsonb_path_query(doc, 'strict $.nosuch') FROM people
SELECT doc @@ '$.n > 500000000', doc @? 'strict $.k ? (@ starts with "a")' FROM people
SELECT doc - 'k', doc - 0, doc #- '{k}', doc || '{"k": 1}', jsonb_insert(doc, '{k}', '1') FROM people
SELECT (doc -> 'n')::int, (doc ->> 'n')::int, doc::text::jsonb FROM people
SELECT raw ->> 'k', raw #>> '{k}', json_typeof(raw), raw::jsonb FROM people
SELECT jsonb_set_lax('{}', '{a}', to_jsonb(ssn), true, 'raise_exception') FROM people
--: Syntax that calls functions
SELECT COLLATION FOR (ssn), ssn IS NORMALIZED, NORMALIZE(ssn, NFC) FROM people
SELECT TRIM(LEADING ssn FROM name), POSITION(ssn IN name), OVERLAY(name PLACING ssn FROM 1), SUBSTRING(name FROM ssn) FROM people
SELECT name SIMILAR TO ssn, name LIKE ssn, name ILIKE ssn ESCAPE '#', SUBSTRING(name SIMILAR ssn ESCAPE '#') FROM people
SELECT (birth, birth) OVERLAPS (joined, joined), (seen, span) OVERLAPS (now(), interval '1 day') FROM people
SELECT EXTRACT(epoch FROM span), EXTRACT(timezone FROM seen), birth AT TIME ZONE 'UTC', moved AT TIME ZONE name FROM people
SELECT XMLEXISTS('/a' PASSING (ssn::xml)), XMLPI(NAME x, ssn), XMLCONCAT(xmlelement(name a), (ssn::xml)) FROM people
SELECT ssn::text::xml IS DOCUMENT, xmlcomment(ssn), xmltext(ssn) FROM people
SELECT name FROM people WHERE (name, ssn) < ('Cem', 'm')
SELECT name FROM people WHERE ROW(ssn, name) IS DISTINCT FROM ROW('x', name)
SELECT name FROM people WHERE ssn IS NOT DISTINCT FROM NULL
SELECT name FROM people WHERE flag IS NOT UNKNOWN
SELECT name FROM people WHERE ssn BETWEEN SYMMETRIC 'z' AND 'a'
SELECT name FROM people WHERE age < ALL (years)
SELECT name FROM people WHERE name = ANY (tags)
SELECT name = ANY (tags), name <> ALL (tags), 5 = ANY (years) FROM people
SELECT CASE WHEN name = ANY (tags) THEN 1 / (id - id) END FROM people
SELECT pg_input_is_valid(ssn, 'int4') FROM people
[since 16] SELECT pg_input_is_valid(ssn, 'int4'), (pg_input_error_info(ssn, 'int4')).message FROM people
SELECT bits & B'101', bits | B'1', set_bit(bits, 30, 1), bits::bit(3) FROM people
SELECT addr & inet '::1', addr + big, addr - addr, set_masklen(addr, 40), addr::cidr, mac::macaddr8 FROM people
SELECT period + daterange('2030-01-01', '2031-01-01'), period - daterange('1999-01-01', '2001-01-01'), range_merge(period, '[2000-01-01,2001-01-01)') FROM people
SELECT subpath(path, 5), subltree(path, 0, 9), path ~ name::lquery, index(path, 'a') FROM people
SELECT attrs - 'a'::text, attrs #= attrs, hstore_to_jsonb(attrs), attrs -> tags FROM people
SELECT spot / point(0, 0), slope(spot, point(1, 1)), circle(spot, rating), box(spot, spot) @> spot FROM people
SELECT phraseto_tsquery('english', ssn), websearch_to_tsquery(ssn), to_tsvector('english', ssn), numnode(plainto_tsquery(ssn)) FROM people
SELECT to_tsvector('simple', secret) FROM long_texts
SELECT ts_headline(secret, 'a'::tsquery), array_to_tsvector(tags), ts_delete(words, tags) FROM people, long_texts
SELECT trim_array(tags, 1), array_append(tags, 'x'), tags || ARRAY[['x']], array_remove(tags, 'x'), array_position(tags, 'x') FROM people
SELECT pay / 0.5, pay / pay, pay * 1e18, cash_words(pay), salary::money * 3 FROM people
SELECT gcd(salary, 0), lcm(big, 3), abs(small), - small, @ big, small * 2::smallint, factorial(small), salary::oid, salary::bit(8), salary::"char" FROM people
--: Writes
UPDATE cards SET (number, pin) = ROW(reverse(number), 1) RETURNING pin
UPDATE cards SET (holder, pin) = (SELECT number, pin FROM cards z WHERE z.id = cards.id)
UPDATE cards SET holder = 'x' WHERE ctid = (SELECT ctid FROM cards WHERE number > 'm' LIMIT 1)
UPDATE cards SET holder = 'x' FROM (SELECT id FROM cards ORDER BY number LIMIT 1) s WHERE s.id = cards.id
DELETE FROM cards WHERE id IN (SELECT id FROM cards ORDER BY pin LIMIT 1) RETURNING id
DELETE FROM cards WHERE id = 1 RETURNING (SELECT count(*) FROM people WHERE ssn = number)
INSERT INTO notes (title) SELECT name FROM people LIMIT (SELECT small % 5 FROM people WHERE id = 1)
INSERT INTO notes (id, title) OVERRIDING USER VALUE SELECT salary, 'x' FROM people
INSERT INTO cards (id, number) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET number = cards.number || excluded.number RETURNING length(number)
INSERT INTO cards (id, holder, number) SELECT id, 'x', ssn FROM people ON CONFLICT (id) DO UPDATE SET holder = excluded.number
INSERT INTO cards (id, holder, number) SELECT id, 'x', ssn FROM people ON CONFLICT (id) DO UPDATE SET holder = 'y' WHERE excluded.number > 'm'
INSERT INTO cards (id, holder, number) SELECT id, 'x', ssn FROM people ON CONFLICT (id) DO UPDATE SET (holder, pin) = (SELECT excluded.number, 1)
[since 17] MERGE INTO notes n USING people p ON p.id = n.id WHEN NOT MATCHED BY SOURCE AND n.id > (SELECT small FROM people WHERE id = 1) THEN DELETE WHEN MATCHED THEN DO NOTHING
MERGE INTO cards c USING cards s ON s.id = c.id AND s.pin > 500000000 WHEN MATCHED THEN UPDATE SET holder = 'x'
MERGE INTO cards c USING people p ON p.id = c.id WHEN MATCHED THEN UPDATE SET number = p.ssn WHEN NOT MATCHED THEN INSERT (id, holder) VALUES (p.id, p.nick)
WITH gone AS (DELETE FROM cards WHERE id = 1 RETURNING number) INSERT INTO cards (id, holder) SELECT 70, number FROM gone
WITH a AS (UPDATE cards SET pin = 1 RETURNING id, number), b AS (SELECT id FROM a WHERE number > 'm') UPDATE notes SET title = 'x' WHERE id IN (SELECT id FROM b)
UPDATE lists SET secret = CASE WHEN label > 'm' THEN secret ELSE ARRAY(SELECT salary FROM people) END
UPDATE lists SET doc = jsonb_set(doc, '{k}', '1') WHERE id = 1
UPDATE lists SET doc = doc || '{"k": 1}', home = ROW('a', 'b'), day = day + 1
INSERT INTO lists (id, doc) SELECT id + 50, jsonb_build_object('a', ssn, 'b', raw) FROM people
INSERT INTO refs (id, ssn) SELECT id + 50, ssn FROM people
INSERT INTO bounded (id, secret, kept) SELECT 50, salary, salary FROM people
UPDATE routed SET label = 'x' WHERE secret > 5
EXPLAIN SELECT id FROM people WHERE city = 'Oslo'
EXPLAIN SELECT id FROM people WHERE city = 'Oslo' AND lower(email) = 'x'
EXPLAIN (COSTS off) SELECT id FROM people WHERE lower(email) = 'x'
EXPLAIN (COSTS off) SELECT max(salary) FROM people
EXPLAIN (COSTS off, ANALYZE, TIMING off, SUMMARY off, BUFFERS off) SELECT id FROM people ORDER BY name
[since 16] EXPLAIN (GENERIC_PLAN, COSTS off) SELECT secret FROM by_secret WHERE kind = $1
EXPLAIN (COSTS off) SELECT kind FROM by_secret WHERE secret = 5
