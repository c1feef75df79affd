--: Names and shapes
SELECT ssn FROM people
SELECT ssn AS id FROM people
SELECT x.d FROM people x(a, b, c, d2, d3, d4, d)
SELECT x.id FROM people x(i2, name, city, age, joined, active, id)
SELECT id AS ssn, ssn AS id FROM people
SELECT * FROM people
TABLE people
SELECT people FROM people
SELECT p FROM people p
SELECT (p).ssn FROM people p
SELECT (p).* FROM people p
SELECT ssn(p) FROM people p
SELECT p.ssn FROM people p WHERE p.id = 1
SELECT ROW(p.*) FROM people p
SELECT ROW(ssn, id) FROM people
SELECT (ROW(p.*)::people).ssn FROM people p
SELECT p::text FROM people p
SELECT (home).street FROM people
SELECT (home).* FROM people
SELECT home FROM people
SELECT p.home FROM people p
SELECT (p.home).zip FROM people p
SELECT tags[1], years[2], tags[1:1] FROM people
SELECT doc -> 'k', doc ->> 'k', doc #>> '{k}', doc['k'] FROM people
SELECT attrs -> 'a', attrs::text, akeys(attrs), (each(attrs)).value FROM people
SELECT salary, small, big, balance, rating, pay, birth, seen, moved, wake, span, token FROM people
SELECT doc, raw, tags, years, blob, addr, mac, feeling, flag, bits, spot, period, words, path FROM people
SELECT code, nick, zip, phone FROM people
SELECT last4 FROM gen
SELECT size, last4, ssn FROM gen
SELECT * FROM gen
SELECT secret FROM long_texts
--: Expressions
SELECT ssn::varchar FROM people
SELECT ssn::text COLLATE "C" FROM people
SELECT ssn::char(3), ssn::varchar(6), ssn::name FROM people
SELECT CAST(ssn AS bytea) FROM people
SELECT salary::text, salary + 0, -salary, salary / 1000 FROM people
SELECT salary::numeric, balance::int8, rating::text FROM people
SELECT 'x' || ssn FROM people
SELECT ssn || '' FROM people
SELECT coalesce(NULL, ssn) FROM people
SELECT coalesce(ssn, 'none') FROM people
SELECT nullif(ssn, 'x'), greatest(ssn, ''), least(ssn, 'zzz') FROM people
SELECT CASE WHEN true THEN ssn ELSE 'x' END FROM people
SELECT CASE WHEN ssn > 'm' THEN 'high' ELSE 'low' END FROM people
SELECT CASE ssn WHEN '{people.ssn}' THEN name END FROM people
SELECT ssn IS NULL, ssn IS NOT NULL, ssn IS DISTINCT FROM 'x' FROM people
SELECT ssn = '{people.ssn}' FROM people
SELECT ssn LIKE 'a%', ssn ~ '^a', ssn SIMILAR TO 'a%', starts_with(ssn, 'a') FROM people
SELECT '{people.ssn}' IN (ssn, name), (id, ssn) = (1, '{people.ssn}') FROM people
SELECT flag, NOT flag, flag AND true, flag::int FROM people
SELECT length(ssn), octet_length(ssn), bit_length(ssn), char_length(ssn) FROM people
SELECT md5(ssn), reverse(ssn), encode(ssn::bytea, 'hex'), encode(blob, 'base64') FROM people
SELECT ascii(substr(ssn, 1, 1)), ascii(ssn), substr(ssn, 2, 6), left(ssn, 6), right(ssn, 6) FROM people
SELECT sha256(ssn::bytea), sha512(blob), crc32(blob) FROM people
SELECT hashtext(ssn), hashtextextended(ssn, 0), hash_array(tags) FROM people
SELECT upper(ssn), lower(ssn), initcap(ssn), ltrim(ssn), btrim(ssn, 'a'), lpad(ssn, 20), translate(ssn, 'abc', 'ABC') FROM people
SELECT replace(ssn, 'a', 'b'), overlay(ssn PLACING 'x' FROM 1 FOR 0), substring(ssn FROM '.*'), regexp_replace(ssn, 'z', 'y') FROM people
SELECT split_part(ssn, 'q', 1), string_to_array(ssn, NULL), regexp_split_to_array(ssn, ''), regexp_match(ssn, '.*') FROM people
SELECT format('%s', ssn), format('%L', ssn), concat(ssn), concat_ws('-', id, ssn), quote_literal(ssn), quote_ident(ssn), quote_nullable(ssn) FROM people
SELECT to_char(salary, '999999999999'), to_char(birth, 'YYYY-MM-DD'), to_hex(salary), to_tsvector('simple', ssn) FROM people
SELECT extract(year FROM birth), date_part('doy', birth), age(birth, '2020-01-01'), date_trunc('month', seen), birth - '1900-01-01' FROM people
SELECT seen AT TIME ZONE 'UTC', birth::timestamp, wake::interval, make_interval(days => small) FROM people
SELECT host(addr), abbrev(addr), masklen(addr), addr + 1, addr & inet '255.255.255.255' FROM people
SELECT pg_typeof(ssn), pg_column_size(ssn), pg_column_compression(ssn) FROM people
SELECT pg_column_size(p), pg_column_size(p.*) FROM people p
UPDATE cards SET holder = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 62) i) ;; SELECT id, pg_column_size(holder) FROM cards ORDER BY id
UPDATE cards SET holder = repeat('ab', 990) ;; SELECT id, c.pg_column_size, (c).pg_column_compression FROM (SELECT id, holder FROM cards) c ORDER BY id ;; SELECT id, pg_column_compression(holder) FROM cards ORDER BY id
[since 17] UPDATE cards SET holder = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 62) i) ;; SELECT id, pg_column_toast_chunk_id(holder) IS NULL FROM cards ORDER BY id
SELECT pg_column_size(name) FROM v_public ;; SELECT pg_column_size(extra) FROM child ;; SELECT pg_column_size(label), label FROM boxed
SELECT similarity(ssn, 'abc'), word_similarity('abc', ssn), show_trgm(ssn), ssn <-> 'a' FROM people
SELECT levenshtein(ssn, ''), soundex(ssn), metaphone(ssn, 10) FROM people
SELECT num_nulls(ssn, salary), num_nonnulls(ssn) FROM people
SELECT array[ssn, name], array[[ssn], [name]], array_to_string(tags, ','), array_length(tags, 1), cardinality(years) FROM people
SELECT array_position(tags, 'a'), array_append(tags, 'a'), tags || 'a'::text, 'a' = ANY (tags) FROM people
SELECT spot[0], spot <-> point(0, 0), point(1, 1) + spot, lower(period), upper(period), isempty(period) FROM people
SELECT feeling::text, enum_range(feeling, NULL), feeling > 'ok' FROM people
SELECT get_byte(blob, 0), set_byte(blob, 0, 1), substring(blob FROM 2), bit_count(bits), get_bit(bits, 1) FROM people
SELECT uuid_send(token), token::text, replace(token::text, '-', '') FROM people
SELECT random() * salary > -1, width_bucket(salary, 0, 1000000000, 1000000), setseed(0.1) FROM people
SELECT int4(ssn = 'a'), power(salary, 1), salary % 10, salary & 255, salary << 1, @ salary, |/ salary FROM people
--: Subqueries, CTEs, joins
SELECT (SELECT ssn FROM people WHERE id = 1)
SELECT ARRAY(SELECT ssn FROM people ORDER BY id)
SELECT (SELECT (SELECT p.ssn)) FROM people p
VALUES ((SELECT ssn FROM people WHERE id = 1)), ('x')
SELECT x.column1 FROM (VALUES ((SELECT max(ssn) FROM people))) x
SELECT s FROM (SELECT ssn AS s FROM people) q
SELECT q.d FROM (SELECT * FROM people) q(a, b, c, d1, d2, d3, d)
SELECT (q).ssn FROM (SELECT * FROM people) q
SELECT (q.p).ssn FROM (SELECT p FROM people p) q
WITH c AS (SELECT ssn FROM people) SELECT * FROM c
WITH c AS MATERIALIZED (SELECT * FROM people) SELECT c.ssn FROM c
WITH c(name) AS NOT MATERIALIZED (SELECT ssn FROM people) SELECT name FROM c
WITH people AS (SELECT ssn AS name FROM people) SELECT name FROM people
WITH RECURSIVE c(n, s) AS (SELECT 1, 'x' UNION ALL SELECT n + 1, (SELECT ssn FROM people WHERE id = 1) FROM c WHERE n < 3) SELECT s FROM c
WITH RECURSIVE c(a, b, n) AS (SELECT name, ssn, 1 FROM people UNION ALL SELECT b, a, n + 1 FROM c WHERE n < 3) SELECT a FROM c
WITH RECURSIVE c(a, b, d, n) AS (SELECT 'x', 'y', ssn, 1 FROM people UNION ALL SELECT b, d, a, n + 1 FROM c WHERE n < 4) SELECT a, n FROM c
WITH RECURSIVE t(n, s) AS (SELECT 1, ssn FROM people WHERE id = 1 UNION ALL SELECT n + 1, s FROM t WHERE n < 3) SEARCH DEPTH FIRST BY s SET o SELECT o FROM t
WITH RECURSIVE t(n, s) AS (SELECT 1, ssn FROM people WHERE id = 1 UNION ALL SELECT n + 1, s FROM t WHERE n < 3) CYCLE s SET c USING p SELECT p FROM t
SELECT l.s FROM people p, LATERAL (SELECT p.ssn AS s) l
SELECT l.s FROM orders o, LATERAL (SELECT max(p.ssn) s FROM people p WHERE p.id = o.person_id) l
SELECT v FROM people p CROSS JOIN LATERAL (VALUES (p.ssn), (p.name)) x(v)
SELECT ssn FROM people JOIN (SELECT '{people.ssn}' AS ssn) g USING (ssn)
SELECT g.ssn FROM people RIGHT JOIN (SELECT '{people.ssn}' AS ssn) g USING (ssn)
SELECT count(*) FROM people NATURAL JOIN (SELECT '{people.ssn}' AS ssn) g
SELECT ssn FROM people FULL JOIN (SELECT 'zz' AS ssn) g USING (ssn)
SELECT ssn FROM people p FULL JOIN refs r USING (ssn)
SELECT j.ssn FROM (people p JOIN orders o ON o.person_id = p.id) j
SELECT j.g FROM (people p JOIN orders o ON o.person_id = p.id) AS j(a, b, c, d, e, f, g)
SELECT x.ssn FROM people p JOIN refs r USING (ssn) AS x
SELECT name FROM people UNION ALL SELECT ssn FROM people
SELECT name FROM people UNION SELECT ssn FROM people
SELECT name FROM people INTERSECT SELECT ssn FROM people
SELECT '{people.ssn}' EXCEPT SELECT ssn FROM people
SELECT '{people.ssn}' INTERSECT ALL SELECT ssn FROM people
SELECT id, name FROM people WHERE false UNION ALL SELECT salary, ssn FROM people
(SELECT name FROM people LIMIT 0) UNION ALL (SELECT code::text FROM people) ORDER BY 1
SELECT * FROM people WHERE false UNION ALL SELECT * FROM people
--: Documents
SELECT row_to_json(p) FROM people p
SELECT to_json(p), to_jsonb(p) FROM people p
SELECT to_jsonb(p) - 'id' FROM people p
SELECT to_jsonb(p) ->> 'ssn' FROM people p
SELECT json_agg(p), jsonb_agg(p.ssn), json_object_agg(id, ssn), jsonb_object_agg(ssn, id) FROM people p
SELECT e.value FROM people p, jsonb_each_text(to_jsonb(p)) e WHERE e.key = 'ssn'
SELECT e.value FROM people p, json_each(raw) e
SELECT jsonb_object_keys(doc), jsonb_path_query(doc, '$.k'), jsonb_extract_path_text(doc, 'k') FROM people
SELECT jsonb_path_exists(doc, '$ ? (@.n > 500000000)') FROM people
SELECT doc @> '{"k": "a"}', doc ? 'k', doc @? '$.k', doc @@ '$.n > 5' FROM people
SELECT json_build_object('a', ssn), json_build_array(ssn), jsonb_set('{}', ARRAY['a'], to_jsonb(ssn)) FROM people
SELECT jsonb_populate_record(NULL::people, to_jsonb(p)) FROM people p
SELECT (jsonb_populate_record(NULL::people, to_jsonb(p))).ssn FROM people p
SELECT x.ssn FROM people p, jsonb_to_record(to_jsonb(p)) AS x(ssn text)
SELECT x.ssn FROM people p, jsonb_to_recordset(jsonb_build_array(to_jsonb(p))) AS x(ssn text)
SELECT jsonb_pretty(to_jsonb(p)), jsonb_strip_nulls(to_jsonb(p)), array_to_json(tags) FROM people p
[since 16] SELECT JSON_OBJECT('k': ssn), JSON_ARRAY(ssn, salary), JSON_ARRAY(SELECT ssn FROM people) FROM people
[since 16] SELECT JSON_OBJECTAGG(name: ssn), JSON_ARRAYAGG(ssn) FROM people
[since 17] SELECT JSON_VALUE(to_jsonb(p), '$.ssn'), JSON_QUERY(doc, '$.k'), JSON_EXISTS(doc, '$.k ? (@ starts with "a")') FROM people p
[since 17] SELECT jt.* FROM people p, JSON_TABLE(to_jsonb(p), '$' COLUMNS (s text PATH '$.ssn', n int PATH '$.salary')) jt
[since 17] SELECT JSON_SCALAR(ssn), JSON_SERIALIZE(doc), JSON(doc::text) FROM people
SELECT hstore(p) -> 'ssn' FROM people p
SELECT hstore(name, ssn), hstore(ARRAY[ssn], ARRAY[name]), svals(hstore(p)) FROM people p
SELECT xmlforest(ssn), xmlelement(name a, ssn), xmlelement(name a, xmlattributes(ssn AS b)), xmlagg(xmlelement(name x, ssn)) FROM people GROUP BY ssn
SELECT xpath('//a/text()', xmlelement(name a, ssn)), xmlserialize(CONTENT xmlelement(name a, ssn) AS text) FROM people
SELECT x.* FROM people p, XMLTABLE('/r' PASSING xmlelement(name r, p.ssn) COLUMNS s text PATH '.') x
SELECT query_to_xml('SELECT ssn FROM people', true, false, '')
SELECT table_to_xml('people', true, false, '')
SELECT table_to_xmlschema('people', true, false, ''), query_to_xmlschema('SELECT ssn FROM people', true, false, '')
SELECT schema_to_xml('public', true, false, ''), database_to_xml(true, false, '')
BEGIN ;; DECLARE c CURSOR FOR SELECT ssn FROM people ;; SELECT cursor_to_xml('c', 10, true, false, '')
SELECT ts_headline('simple', ssn, to_tsquery('simple', 'a')), ts_rank(words, to_tsquery('a')), strip(words), tsvector_to_array(words) FROM people
--: Aggregates, windows, sets
SELECT string_agg(ssn, ',') FROM people
SELECT string_agg(name, ',' ORDER BY ssn) FROM people
SELECT array_agg(ssn), array_agg(p) FROM people p
SELECT max(ssn), min(ssn), count(ssn), count(DISTINCT ssn) FROM people
SELECT sum(salary), avg(salary), stddev(salary), variance(balance), bit_and(salary), bit_xor(salary) FROM people
SELECT bool_and(flag), bool_or(flag), every(flag) FROM people
SELECT mode() WITHIN GROUP (ORDER BY ssn), percentile_disc(0.5) WITHIN GROUP (ORDER BY salary), percentile_cont(0.5) WITHIN GROUP (ORDER BY rating) FROM people
SELECT rank('m') WITHIN GROUP (ORDER BY ssn), dense_rank(500000000) WITHIN GROUP (ORDER BY salary) FROM people
SELECT corr(salary, rating), regr_count(salary, rating), covar_pop(salary, small) FROM people
[since 16] SELECT any_value(ssn), range_agg(period) FROM people
SELECT first_value(name) OVER (ORDER BY ssn), id FROM people
SELECT first_value(ssn) OVER (ORDER BY id) FROM people
SELECT lag(ssn) OVER (ORDER BY id), lead(ssn) OVER (ORDER BY id), nth_value(ssn, 2) OVER (ORDER BY id) FROM people
SELECT rank() OVER (ORDER BY ssn), id FROM people
SELECT row_number() OVER w, ntile(3) OVER w, cume_dist() OVER w, percent_rank() OVER w, id FROM people WINDOW w AS (ORDER BY salary)
SELECT count(*) OVER (PARTITION BY feeling), id FROM people
SELECT sum(id) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND (SELECT length(ssn) FROM people WHERE id = 1) FOLLOWING) FROM people
SELECT count(*) OVER (ORDER BY salary RANGE BETWEEN 1000 PRECEDING AND 1000 FOLLOWING), id FROM people
SELECT lag(name, (small % 3)) OVER (ORDER BY id) FROM people
SELECT ssn, count(*) FROM people GROUP BY ssn
SELECT count(*) FROM people GROUP BY feeling
SELECT city, feeling, count(*) FROM people GROUP BY GROUPING SETS ((city), (feeling), ())
SELECT count(*) FROM people GROUP BY CUBE (flag, city)
SELECT count(*) FILTER (WHERE ssn LIKE 'a%') FROM people
SELECT DISTINCT ON (feeling) name FROM people ORDER BY feeling
SELECT DISTINCT ssn FROM people
SELECT DISTINCT flag FROM people
SELECT count(DISTINCT feeling) FROM people
SELECT DISTINCT ssn IS NULL FROM people
--: Sets of rows
SELECT unnest(tags) FROM people
SELECT t.* FROM people, unnest(tags, years) AS t
SELECT regexp_split_to_table(ssn, '') FROM people
SELECT 1 FROM people, regexp_split_to_table(ssn, '') WHERE id = 1
SELECT generate_series(1, small) FROM people WHERE id = 1
SELECT 1 FROM people, generate_series(1, length(ssn)) WHERE id = 1
SELECT generate_subscripts(tags, 1), string_to_table(ssn, NULL), regexp_matches(ssn, '.', 'g') FROM people
SELECT x.a FROM ROWS FROM (unnest((SELECT array_agg(ssn) FROM people)), generate_series(1, 2)) x(a, b)
SELECT x FROM unnest((SELECT array_agg(ssn) FROM people)) x
SELECT x FROM unnest((SELECT array_agg(ssn) FROM people)) WITH ORDINALITY x
SELECT id, unnest(CASE WHEN flag THEN ARRAY[1, 2] ELSE ARRAY[1] END) FROM people
SELECT e.k FROM people p, LATERAL jsonb_object_keys(jsonb_build_object(p.ssn, 1)) e(k)
--: The rest of the row
[restless] SELECT ctid, xmin, xmax, cmin, tableoid FROM people
SELECT ctid, tableoid FROM people
SELECT ctid FROM long_texts
SELECT secret FROM people TABLESAMPLE BERNOULLI (100), long_texts
SELECT ssn FROM people TABLESAMPLE SYSTEM (100) REPEATABLE (1)
SELECT 1 FROM people TABLESAMPLE BERNOULLI ((SELECT length(ssn) FROM people WHERE id = 1)) REPEATABLE (1)
SELECT ssn FROM people FOR UPDATE
SELECT p.ssn FROM people p FOR SHARE OF p SKIP LOCKED
SELECT ssn FROM ONLY people
SELECT secret FROM vault
SELECT v FROM vault v
SELECT pin FROM parent
SELECT extra, more FROM grandchild
