--: Casts that fail with the value in the text
SELECT ssn::int FROM people
SELECT CAST(ssn AS date) FROM people
SELECT ssn::uuid FROM people
SELECT ssn::inet FROM people
SELECT ssn::regclass FROM people
SELECT ssn::regproc, ssn::regtype, ssn::regrole FROM people
SELECT ssn::interval FROM people
SELECT ssn::json FROM people
SELECT ssn::jsonb FROM people
SELECT ssn::xml FROM people
SELECT ssn::numeric, ssn::float8, ssn::money FROM people
SELECT ssn::boolean FROM people
SELECT ssn::mood FROM people
SELECT ssn::point FROM people
SELECT ssn::int[] FROM people
SELECT ssn::people FROM people
SELECT ssn::hstore, ssn::ltree FROM people
SELECT (ssn || 'x')::timestamptz FROM people
SELECT salary::smallint FROM people
SELECT big::int FROM people
SELECT salary * 100000 FROM people
SELECT 1 / (salary - {people.salary}) FROM people
SELECT chr(salary), chr(0 - small) FROM people
SELECT to_date(ssn, 'YYYY'), to_timestamp(ssn, 'YYYY'), to_number(ssn, '999') FROM people
SELECT to_tsquery(ssn), plainto_tsquery(ssn) FROM people
SELECT name ~ ssn FROM people
SELECT regexp_match('x', ssn || '(') FROM people
SELECT now() AT TIME ZONE ssn FROM people
SELECT decode(ssn, 'hex'), decode(ssn, 'base64') FROM people
SELECT convert_from(blob, 'UTF8'), convert(blob, 'x', 'y') FROM people
SELECT nextval(ssn) FROM people
SELECT currval(ssn), lastval(), setval(ssn, 1) FROM people
SELECT current_setting(ssn) FROM people
SELECT has_table_privilege(ssn, 'select'), has_column_privilege('people', ssn, 'select') FROM people
SELECT pg_relation_size(ssn::regclass), to_regclass(ssn), col_description(salary::oid, 1) FROM people
SELECT pg_size_bytes(ssn), parse_ident(ssn), unistr(ssn) FROM people
SELECT date_trunc(ssn, now()), extract(epoch FROM ssn::time), date_part(ssn, now()) FROM people
SELECT jsonb_path_query('{}', ssn::jsonpath), jsonb_set('{}', '{a}', ssn::jsonb) FROM people
SELECT json_object(ARRAY[ssn]), json_array_length(doc::json), jsonb_array_length(doc) FROM people
SELECT array_fill(ssn, ARRAY[small]), (ARRAY[1])[salary] FROM people
SELECT repeat(ssn, salary) FROM people
SELECT lpad('x', salary), overlay('x' PLACING 'y' FROM salary) FROM people
SELECT sqrt(-salary), ln(0 * salary), power(0, -salary), acos(salary) FROM people
SELECT make_date(small, 13, 1), make_time(small, 0, 0), make_timestamptz(2020, 1, 1, 1, 1, 1, ssn) FROM people
SELECT substring('x' FROM 1 FOR -salary), get_byte(blob, salary), generate_series(1, 2, salary - salary) FROM people
SELECT format(ssn, 1), format('%' || ssn) FROM people
SELECT xmlparse(DOCUMENT ssn), xmlelement(name a, ssn::xml), xpath(ssn, '<a/>') FROM people
SELECT pg_catalog.int4in(ssn::cstring) FROM people
SELECT array_in(ssn::cstring, 23, -1) FROM people
SELECT range_in(ssn::cstring, 3904, -1), daterange(birth, '1800-01-01') FROM people
SELECT (SELECT ssn FROM people)
SELECT name FROM people WHERE id = (SELECT id FROM people WHERE flag)
SELECT name, 1/0 FROM people WHERE ssn > 'm'
--: Constraints
INSERT INTO cards (id, holder, pin) SELECT 900, 'x', pin * 10 FROM cards
[residual constraint] INSERT INTO cards (id, pin) VALUES (901, 2100000000)
UPDATE cards SET id = 1 WHERE id = 2
UPDATE cards SET id = 1
UPDATE cards SET id = NULL WHERE id = 3
INSERT INTO cards (id) VALUES (1)
UPDATE orders SET person_id = 99999 WHERE id = 1
UPDATE orders SET amount = -1 WHERE id = 1
DELETE FROM people WHERE id = 1
INSERT INTO orders (id, person_id) VALUES (1, 1)
INSERT INTO orders (id, big) VALUES (901, 5)
INSERT INTO events VALUES (1, '2030-01-01', 'x', 'y')
INSERT INTO refs VALUES (9, '{people.ssn}')
INSERT INTO refs VALUES (9, 'nobody has this')
INSERT INTO people (id, name, ssn) VALUES (90, 'x', '{people.ssn}')
INSERT INTO people (id, name, ssn) VALUES (90, 'x', '{people.ssn}') ON CONFLICT DO NOTHING
BEGIN ;; SET CONSTRAINTS ALL DEFERRED ;; INSERT INTO orders (id, person_id) VALUES (902, 777) ;; SET CONSTRAINTS ALL IMMEDIATE
ALTER TABLE people ADD CHECK (salary < 5)
--: Raised, notified, reported
SELECT f_shout(ssn) FROM people WHERE id = 1
DO $$ BEGIN RAISE INFO '%', (SELECT max(ssn) FROM people); END $$
DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = 'x', DETAIL = (SELECT max(ssn) FROM people), TABLE = (SELECT max(ssn) FROM people); END $$
DO $$ BEGIN ASSERT (SELECT max(ssn) FROM people) < 'm', 'x'; END $$
LISTEN stolen ;; NOTIFY stolen, 'hello'
LISTEN stolen ;; SELECT pg_notify('stolen', (SELECT max(ssn) FROM people))
LISTEN stolen ;; SELECT pg_notify(ssn, '') FROM people
SELECT pg_notify('stolen', 'x') FROM people WHERE flag
SELECT set_config('application_name', ssn, false) FROM people WHERE id = 1
SELECT set_config('TimeZone', ssn, true) FROM people
SELECT set_config('DateStyle', CASE WHEN flag THEN 'ISO, DMY' ELSE 'ISO, MDY' END, false) FROM people WHERE id = 1
SELECT set_config('search_path', ssn, false) FROM people
SELECT set_config('my.var', ssn, false), current_setting('my.var') FROM people
SET my.var = 'x' ;; SHOW my.var
SELECT current_setting('application_name'), set_config(ssn, 'x', false) FROM people
COMMENT ON TABLE notes IS 'x'
SET client_min_messages = debug5 ;; SELECT count(*) FROM people
SET client_min_messages = log ;; SET log_statement_stats = on ;; SELECT 1
SET debug_print_plan = on ;; SELECT ssn FROM people
SET log_min_duration_statement = 0
SET trace_notify = on
SELECT pg_backend_pid(), pg_log_backend_memory_contexts(pg_backend_pid())
SELECT pg_export_snapshot(), pg_current_logfile()
--: EXPLAIN
EXPLAIN SELECT ssn FROM people
EXPLAIN SELECT name FROM people WHERE salary > 500000000
EXPLAIN SELECT name FROM people WHERE ssn = '{people.ssn}'
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, BUFFERS off) SELECT name FROM people WHERE flag
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, BUFFERS off) SELECT ssn FROM people
EXPLAIN (ANALYZE, TIMING off, SUMMARY off) SELECT * FROM people ORDER BY salary
EXPLAIN (VERBOSE, COSTS on) SELECT ssn, length(ssn) FROM people
EXPLAIN (FORMAT json) SELECT * FROM people
EXPLAIN SELECT secret FROM long_texts
EXPLAIN SELECT title FROM long_texts
EXPLAIN SELECT count(*) FROM people GROUP BY feeling
EXPLAIN SELECT DISTINCT email FROM people
EXPLAIN SELECT city FROM people GROUP BY city
EXPLAIN SELECT * FROM people ORDER BY id
EXPLAIN SELECT id FROM people
EXPLAIN SELECT name FROM people WHERE id = (SELECT length(ssn) FROM people WHERE id = 1)
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, BUFFERS off) SELECT (SELECT 1 FROM generate_series(1, (SELECT small FROM people WHERE id = 1)) LIMIT 1)
EXPLAIN SELECT * FROM v_filtered
EXPLAIN SELECT * FROM v_people
EXPLAIN SELECT * FROM mv_people
EXPLAIN SELECT last4 FROM gen
EXPLAIN SELECT * FROM by_secret
EXPLAIN SELECT kind FROM by_secret_low
[residual row policy] EXPLAIN SELECT * FROM judged
EXPLAIN UPDATE cards SET holder = 'x' WHERE number > 'm'
EXPLAIN (ANALYZE, TIMING off) UPDATE cards SET holder = number
EXPLAIN (ANALYZE) CREATE TABLE stolen AS SELECT ssn FROM people
EXPLAIN DECLARE c CURSOR FOR SELECT ssn FROM people
[since 16] EXPLAIN (GENERIC_PLAN) SELECT id FROM people WHERE salary > $1
[since 17] EXPLAIN (ANALYZE, SERIALIZE text, TIMING off, SUMMARY off) SELECT ssn FROM people
[since 17] EXPLAIN (MEMORY, SUMMARY off) SELECT secret FROM long_texts
EXPLAIN (SETTINGS, WAL, ANALYZE, TIMING off, SUMMARY off) INSERT INTO notes (title) SELECT ssn FROM people
EXPLAIN SELECT f_ssn(1)
[restless] EXPLAIN (ANALYZE, BUFFERS, TIMING off, SUMMARY off) SELECT count(*) FROM long_texts
[restless] EXPLAIN (ANALYZE, BUFFERS, TIMING off, SUMMARY off) SELECT id FROM people ORDER BY name
