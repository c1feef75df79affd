--: Names and shapes
SELECT id, name FROM people
SELECT name AS ssn FROM people
SELECT x.b FROM people x(a, b)
SELECT p.name FROM people p
SELECT people.name, people.city FROM people
SELECT "name" FROM "people"
SELECT public.people.name FROM public.people
TABLE notes
SELECT * FROM orders
SELECT o FROM orders o
SELECT (o).note FROM orders o
SELECT (n).* FROM notes n
SELECT note(o) FROM orders o
SELECT ROW(o.*) FROM orders o
SELECT o::text FROM orders o
[masked ssn] SELECT id, ssn FROM people
[masked ssn salary birth] SELECT name, ssn, salary, birth FROM people ORDER BY id
[masked doc raw tags blob addr feeling] SELECT id, doc, raw, tags, blob, addr, feeling FROM people WHERE id = 1
[masked secret] SELECT id, secret, kind FROM events
[masked number pin] SELECT * FROM cards
[masked s pay] SELECT * FROM v_people
[masked contact] SELECT * FROM v_orders
[masked code double] SELECT * FROM mv_people
[masked ssn last4 size] SELECT * FROM gen
[masked pin extra] SELECT * FROM grandchild
[masked l*] SELECT length(ssn) AS l FROM people
[masked u*] SELECT id, upper(email) AS u FROM people
[masked c] SELECT coalesce(ssn, 'none') AS c FROM people
[masked m] SELECT max(salary) AS m FROM people
[masked everything*] SELECT everything FROM v_whole WHERE id = 1
[masked k] SELECT id, doc ->> 'k' AS k FROM people
[masked q*] SELECT name, ssn = 'x' AS q FROM people
[masked j*] SELECT row_to_json(p) AS j FROM people p WHERE id = 2
[masked j*] SELECT to_jsonb(c) AS j FROM cards c WHERE id = 2
--: Expressions
SELECT name::varchar, age::text, joined::timestamp FROM people
SELECT 'x' || name || 'y' FROM people
SELECT upper(name), lower(city), initcap(name), length(name), reverse(name), md5(name) FROM people
SELECT coalesce(note, 'none'), nullif(note, 'note 1'), greatest(amount, 20), least(amount, 20) FROM orders
SELECT CASE WHEN age > 30 THEN 'old' ELSE 'young' END FROM people
SELECT CASE city WHEN 'Oslo' THEN 1 WHEN 'Rome' THEN 2 END FROM people
SELECT age + 1, age * 2, age / 2, age % 7, -age, age ^ 2, @ (age - 40) FROM people
SELECT amount::numeric / 3, round(amount / 7.0, 2), trunc(amount::numeric, -1), ceil(amount / 3.0) FROM orders
SELECT substr(name, 1, 2), left(name, 1), right(name, 1), replace(name, 'a', 'b'), position('a' IN name), strpos(name, 'a') FROM people
SELECT lpad(name, 8, '*'), rpad(name, 8), trim(name), btrim(name, 'A'), repeat(name, 2), split_part(note, ' ', 2) FROM people JOIN orders USING (id)
SELECT name LIKE 'A%', name ~ '^[A-C]', name ILIKE 'b%', name SIMILAR TO '(A|B)%' FROM people
SELECT joined + 1, joined - '2024-01-01'::date, extract(month FROM joined), date_trunc('month', joined), to_char(joined, 'DD Mon YYYY') FROM people
SELECT joined + interval '1 month', age(joined, '2024-01-01'), make_date(2024, 3, id) FROM people
SELECT active, NOT active, active IS TRUE, active AND age > 30 FROM people
SELECT format('%s-%s', id, name), concat_ws('/', city, name), quote_literal(name), quote_ident(city) FROM people
SELECT ARRAY[id, age], ARRAY[name, city], array_length(n.tags, 1), n.tags[1] FROM people JOIN notes n USING (id)
SELECT tags, tags || 'c'::text, array_to_string(tags, ','), 'a' = ANY (tags), array_position(tags, 'b'), cardinality(tags) FROM notes
SELECT regexp_replace(name, '[aeiou]', '', 'g'), regexp_match(name, '(.)(.)'), regexp_split_to_array(name, 'a') FROM people
SELECT 1, 'x', NULL, true, 1.5, '2024-01-01'::date, interval '1 day', B'101', '{1,2}'::int[], '10.0.0.1'::inet
SELECT 1/0
SELECT 'abc'::int
SELECT name::int FROM people
SELECT nosuch FROM orders
SELECT abs(-5), sign(-2), sqrt(16), power(2, 10), ln(1), pi(), mod(7, 3), gcd(12, 8), width_bucket(5, 0, 10, 5)
SELECT greatest(1, 2, 3), least('a', 'b'), num_nulls(NULL, 1), pg_typeof(1)
SELECT encode('abc', 'hex'), decode('616263', 'hex'), sha256('abc'), to_hex(255), ascii('a'), chr(97)
SELECT '12'::int + 1, CAST('3' AS numeric), '2020-02-29'::date + 1, 'a'::char(3), 'true'::boolean
SELECT ROW(1, 'x'), (1, 2) = (1, 2), ROW(1, 2) < ROW(1, 3)
SELECT current_schema(), current_setting('TimeZone'), current_catalog = current_database()
SELECT similarity(name, 'Ada') > 0.5 FROM people WHERE false
--: Subqueries, CTEs, joins
SELECT (SELECT count(*) FROM orders o WHERE o.person_id = p.id) FROM people p
SELECT ARRAY(SELECT id FROM orders ORDER BY id)
VALUES (1, 'a'), (2, 'b')
SELECT x.column1, column2 FROM (VALUES (1, 'a'), (2, 'b')) x
SELECT s.n FROM (SELECT name AS n FROM people) s
SELECT q.b FROM (SELECT id, name FROM people) q(a, b)
WITH c AS (SELECT id, name FROM people) SELECT * FROM c WHERE id < 3
WITH c AS MATERIALIZED (SELECT * FROM orders) SELECT sum(amount) FROM c
WITH a AS (SELECT id FROM people), b AS (SELECT id FROM a WHERE id > 3) SELECT count(*) FROM b
[masked ssn] WITH c AS (SELECT id, ssn FROM people) SELECT c.id, c.ssn FROM c ORDER BY id
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n) FROM t
WITH RECURSIVE t(n, s) AS (SELECT 1, 'a' UNION ALL SELECT n + 1, s || 'a' FROM t WHERE n < 4) SEARCH DEPTH FIRST BY n SET o SELECT n, s FROM t ORDER BY o
WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT (n * 2) % 7 FROM t) CYCLE n SET c USING p SELECT n FROM t WHERE NOT c
SELECT p.name, o.note FROM people p JOIN orders o ON o.person_id = p.id ORDER BY o.id
SELECT p.name, o.note FROM people p LEFT JOIN orders o ON o.person_id = p.id AND o.amount > 20 ORDER BY p.id, o.id
SELECT id, p.name, n.title FROM people p FULL JOIN notes n USING (id) ORDER BY id
SELECT count(*) FROM orders NATURAL JOIN notes
SELECT x.id FROM people p JOIN notes n USING (id) AS x ORDER BY 1
SELECT j.name FROM (people p JOIN orders o ON o.person_id = p.id) j ORDER BY 1
SELECT a.name, b.name FROM people a JOIN people b ON a.city = b.city AND a.id < b.id ORDER BY 1, 2
SELECT p.name, l.n FROM people p, LATERAL (SELECT count(*) AS n FROM orders o WHERE o.person_id = p.id) l ORDER BY p.id
SELECT p.name, g FROM people p CROSS JOIN generate_series(1, 2) g ORDER BY p.id, g
SELECT name FROM people UNION SELECT note FROM orders ORDER BY 1
SELECT city FROM people INTERSECT SELECT 'Oslo' EXCEPT SELECT 'Rome'
SELECT id FROM people UNION ALL SELECT id FROM notes ORDER BY 1
(SELECT name FROM people ORDER BY id LIMIT 2) UNION ALL (SELECT title FROM notes ORDER BY id LIMIT 1)
SELECT name FROM people WHERE id IN (SELECT person_id FROM orders WHERE amount > 30) ORDER BY id
SELECT name FROM people p WHERE EXISTS (SELECT FROM orders o WHERE o.person_id = p.id AND o.amount > 50) ORDER BY id
SELECT name FROM people WHERE id = ANY (ARRAY[1, 3]) ORDER BY id
SELECT name FROM people WHERE (id, city) IN ((1, 'Oslo'), (2, 'Oslo')) ORDER BY id
SELECT name FROM people WHERE age > ALL (SELECT amount / 2 FROM orders) ORDER BY id
[masked email] SELECT p.name, p.email, o.amount FROM people p JOIN orders o ON o.person_id = p.id ORDER BY o.id
[masked x] SELECT name, (SELECT p.ssn) AS x FROM people p ORDER BY id
[masked name*] SELECT name FROM people UNION ALL SELECT ssn FROM people WHERE id = 1
--: Documents
SELECT row_to_json(o) FROM orders o ORDER BY id
SELECT to_jsonb(n) - 'id' FROM notes n ORDER BY id
SELECT doc -> 'a', doc ->> 'a', doc #> '{a,0}', doc @> '{"a": [1]}', doc ? 'a' FROM notes
SELECT json_build_object('id', id, 'name', name), jsonb_build_array(id, city) FROM people
SELECT json_agg(name ORDER BY id), jsonb_object_agg(id, name) FROM people
SELECT json_agg(json_build_object('n', name, 'o', (SELECT count(*) FROM orders o WHERE o.person_id = p.id)) ORDER BY id) FROM people p
SELECT e.key, e.value FROM notes n, jsonb_each(n.doc) e ORDER BY n.id
SELECT jsonb_array_elements(doc -> 'a') FROM notes ORDER BY id
SELECT jsonb_path_query(doc, '$.a[*]') FROM notes ORDER BY id
SELECT jsonb_set(doc, '{b}', '1'), jsonb_pretty(doc), jsonb_strip_nulls(doc), jsonb_typeof(doc) FROM notes
SELECT x.a FROM jsonb_to_recordset('[{"a": 1}, {"a": 2}]') AS x(a int)
[since 16] SELECT JSON_OBJECT('k': name), JSON_ARRAY(id, city) FROM people ORDER BY id
[since 17] SELECT jt.* FROM notes n, JSON_TABLE(n.doc, '$.a[*]' COLUMNS (x int PATH '$')) jt ORDER BY 1
SELECT json_object('{a,b}'), json_build_array(1, 2), json '{}', '1'::json, json_array_length('[1]')
[since 17] SELECT JSON_SCALAR(1), JSON('[]'), JSON_SERIALIZE('{}'), JSON_ARRAYAGG(id) FROM notes
[since 17] SELECT JSON_VALUE(doc, '$.a[0]'), JSON_EXISTS(doc, '$.a'), JSON_QUERY(doc, '$.a') FROM notes
SELECT xmlelement(name p, xmlattributes(id AS i), name) FROM people ORDER BY id
SELECT xmlagg(xmlelement(name n, name) ORDER BY id) FROM people
SELECT to_tsvector('simple', body) @@ to_tsquery('simple', 'text') FROM notes
--: Aggregates, windows
SELECT count(*) FROM people
SELECT count(*), sum(amount), avg(amount), min(amount), max(amount) FROM orders
SELECT city, count(*), avg(age) FROM people GROUP BY city ORDER BY city
SELECT city, count(*) FROM people GROUP BY city HAVING count(*) > 1 ORDER BY 2 DESC, 1
SELECT city, active, count(*) FROM people GROUP BY GROUPING SETS ((city), (active), ()) ORDER BY 1, 2
SELECT city, active, grouping(city), count(*) FROM people GROUP BY ROLLUP (city, active) ORDER BY 1, 2
SELECT string_agg(name, ',' ORDER BY id), array_agg(id ORDER BY id) FROM people
SELECT count(*) FILTER (WHERE age > 30), count(DISTINCT city) FROM people
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY age), mode() WITHIN GROUP (ORDER BY city) FROM people
SELECT stddev(amount), variance(amount), corr(amount, id), bool_and(amount >= 0), bit_or(amount) FROM orders
SELECT name, row_number() OVER (ORDER BY age), rank() OVER (PARTITION BY city ORDER BY age) FROM people ORDER BY id
SELECT name, lag(name) OVER w, lead(age) OVER w, first_value(name) OVER w, ntile(3) OVER w FROM people WINDOW w AS (ORDER BY id) ORDER BY id
SELECT id, sum(amount) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM orders ORDER BY id
SELECT id, sum(amount) OVER (ORDER BY placed RANGE BETWEEN '2 days' PRECEDING AND CURRENT ROW) FROM orders ORDER BY id
SELECT DISTINCT city FROM people ORDER BY city
SELECT DISTINCT ON (city) city, name FROM people ORDER BY city, age
[masked top] SELECT city, top, n FROM v_agg ORDER BY city
[masked a] SELECT city, avg(salary) AS a FROM people GROUP BY city ORDER BY city
[masked n*] SELECT count(ssn) AS n FROM people
[masked list*] SELECT city, string_agg(email, ',') AS list FROM people GROUP BY city ORDER BY city
--: Sets of rows, order, limits
SELECT unnest(tags) FROM notes ORDER BY id
SELECT t.x, t.n FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS t(x, n)
SELECT x.a, x.b FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['x', 'y'])) x(a, b)
SELECT generate_series(1, 3), 'x'
SELECT regexp_split_to_table('a,b', ','), string_to_table('c d', ' ')
SELECT d::date FROM generate_series('2024-01-01'::timestamp, '2024-01-03', '1 day') d
SELECT name FROM people ORDER BY age DESC LIMIT 2
SELECT name FROM people ORDER BY city, name DESC NULLS LAST OFFSET 1 LIMIT 3
SELECT name FROM people ORDER BY city FETCH FIRST 1 ROW WITH TIES
SELECT name FROM people ORDER BY length(name), id
SELECT name, age AS a FROM people ORDER BY a
SELECT name FROM people ORDER BY 1
SELECT name FROM people WHERE age BETWEEN 30 AND 40 AND city <> 'Rome' OR id = 1 ORDER BY id
SELECT name FROM people WHERE city IN ('Oslo', 'Lima') AND NOT active ORDER BY id
SELECT name FROM people WHERE name LIKE '%a' ORDER BY id
SELECT name FROM people WHERE joined >= '2024-03-12' ORDER BY id
SELECT name FROM people WHERE city IS NOT NULL AND age IS DISTINCT FROM 25 ORDER BY id
SELECT name FROM people WHERE name ~* '^a' AND lower(city) = 'oslo' ORDER BY id
SELECT * FROM notes WHERE tags @> '{a}' ORDER BY id
SELECT id FROM notes WHERE doc @> '{"a": [1]}' ORDER BY id
SELECT tableoid::regclass, id FROM orders ORDER BY id
SELECT ctid, id FROM notes ORDER BY id
SELECT id FROM notes FOR UPDATE
SELECT id FROM orders TABLESAMPLE BERNOULLI (100) ORDER BY id
SELECT id, kind FROM events WHERE day > '2026-01-01' ORDER BY id
SELECT id FROM ONLY parent ORDER BY id
SELECT id, more FROM grandchild ORDER BY id
SELECT (g::parent).id, (g::child).id FROM grandchild g ORDER BY 1
SELECT id, label FROM vault ORDER BY id
SELECT id, title FROM long_texts ORDER BY id
SELECT order_total(1), public.order_total(2)
SELECT p.name, order_total(p.id) FROM people p ORDER BY p.id
SELECT * FROM v_public ORDER BY id
SELECT name FROM v_people ORDER BY id
SELECT n.title, p.name FROM notes n LEFT JOIN v_public p ON p.id = n.id ORDER BY n.id
--: Functions in SQL
SELECT f_name(1), f_name(1, 'Dr '), f_name(prefix => 'Dr ', wanted => 2), f_name(wanted => 2)
SELECT id, f_name(id) FROM people ORDER BY id
SELECT f_joined('-', 'a', 'b'), f_joined('-', VARIADIC ARRAY[name, city]) FROM people
SELECT f_first(ARRAY[1, 2]), f_first(ARRAY[name]), f_either(1, 2.5), f_either(NULL, name) FROM people
SELECT f_half(age) FROM people WHERE age > 0
SELECT key, label FROM f_dir('Oslo') ORDER BY key
SELECT d.label FROM people p, f_dir(p.city) d WHERE p.id = d.key
SELECT (f_dir('Oslo')).label
SELECT f_owned_name(1), f_note(1)
PREPARE q AS SELECT f_note(id) FROM people ORDER BY id ;; EXECUTE q ;; EXECUTE q
BEGIN ;; DECLARE c CURSOR FOR SELECT f_note(id) FROM people ORDER BY id ;; FETCH 2 FROM c ;; FETCH 2 FROM c ;; COMMIT
--: Rows kept in columns
[masked name* city* age*] SELECT id, (who).name, (who).city, (k.who).age FROM kept k ORDER BY id
[masked name* label*] SELECT ((about).person).name, (about).label, (somebody).name FROM kept
[masked called*] SELECT called FROM v_kept ORDER BY id
[masked name*] SELECT (v.who).name FROM v_kept v
SELECT count(*) FROM kept
[masked who] SELECT id, who FROM kept
[masked s name*] SELECT (who).ssn AS s, (who).name FROM kept
[masked name] SELECT (many[1]).name FROM kept
--: Casts that users made, where none is used
SELECT id, note, tag, tags FROM stuck ORDER BY id
SELECT (tag).label, (s.tag).size, (tags[1]).label FROM stuck s
SELECT tag FROM stuck WHERE (tag).size = 2
SELECT coalesce(tag, ROW('none', 0)::sticker) FROM stuck
SELECT upper((tag).label), upper(note), note || id FROM stuck
SELECT count(tag), array_agg(tag ORDER BY id) FROM stuck
SELECT id FROM stuck WHERE note = 'note' AND id IN (1, 2) ORDER BY id LIMIT 2
--: By columns that share an index with a masked one
SELECT id, label FROM queued
SELECT id, label FROM queued WHERE label = 'same' ORDER BY id
SELECT count(*), min(id) FROM queued WHERE label = 'same' AND id > 3
[masked secret] SELECT id, secret FROM queued WHERE label = 'same' ORDER BY id LIMIT 3
SELECT q.id, o.note FROM queued q JOIN orders o ON o.id = q.id WHERE q.label = 'same' ORDER BY q.id
SELECT label, count(*) FROM queued GROUP BY label
SELECT id FROM v_queued WHERE label = 'same' ORDER BY 1
SELECT id FROM pending WHERE label IS NOT NULL AND id = 4
--: How values are stored, where no mask is
SELECT id, pg_column_size(title), n.pg_column_size, pg_column_compression(body) FROM notes n ORDER BY id
SELECT pg_column_size(id) FROM graded ORDER BY id
