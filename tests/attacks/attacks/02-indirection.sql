--: Views
SELECT s FROM v_people
SELECT * FROM v_people
SELECT v FROM v_people v
SELECT shown, pay FROM v_nested
SELECT to_jsonb(v) FROM v_nested v
SELECT count(*) FROM v_people WHERE s = '{people.ssn}'
SELECT count(*) FROM v_nested WHERE shown LIKE 'A%'
SELECT * FROM v_filtered
SELECT count(*) FROM v_filtered
SELECT * FROM v_sorted
SELECT id FROM v_sorted WHERE place = 1
SELECT contact FROM v_orders
SELECT * FROM v_orders
SELECT everything FROM v_whole
SELECT (everything).ssn FROM v_whole
SELECT (v.everything).salary FROM v_whole v
SELECT top FROM v_agg
SELECT * FROM v_agg WHERE top > 500000000
SELECT * FROM v_barrier
SELECT name FROM v_barrier WHERE f_shout(ssn)
SELECT name FROM v_barrier WHERE ssn = '{people.ssn}'
[since 15] SELECT quiet FROM v_invoker
[since 15] SELECT * FROM v_invoker WHERE quiet < 'm'
SELECT code FROM mv_people
SELECT * FROM mv_people
SELECT double FROM mv_people
SELECT id FROM mv_people WHERE code = '{people.ssn}'
SELECT id, name FROM mv_richest LIMIT 3
SELECT name, row_number() OVER () FROM mv_richest
SELECT sum(many) FROM mv_rich
SELECT * FROM v_richest
SELECT o.id, r.id FROM orders o JOIN mv_richest r ON r.id = o.person_id LIMIT 5
[since 18] COPY mv_rich TO STDOUT
SELECT label FROM v_code
SELECT id FROM v_code WHERE label > 'm'
--: Rules and triggers
INSERT INTO ruled VALUES (50, 'x') ;; SELECT * FROM ruled_log
UPDATE v_rule SET title = 'x' WHERE id = 1 ;; SELECT title FROM notes
INSERT INTO v_ins VALUES (60, 'x') ;; SELECT title FROM notes
INSERT INTO tripped VALUES (70, 'x') RETURNING note
INSERT INTO tripped VALUES (70, 'x') ;; SELECT note FROM tripped
UPDATE tripped SET note = 'x' WHERE id = 1 RETURNING note
COPY tripped FROM STDIN <<< 71\tx
MERGE INTO tripped t USING (VALUES (1)) s(id) ON s.id = t.id WHEN MATCHED THEN UPDATE SET note = 'z' ;; SELECT note FROM tripped
INSERT INTO defaulted (id) VALUES (1) RETURNING note
INSERT INTO defaulted VALUES (1, DEFAULT) ;; SELECT * FROM defaulted
COPY defaulted (id) FROM STDIN <<< 5
UPDATE defaulted SET note = DEFAULT ;; SELECT * FROM defaulted
INSERT INTO checked VALUES (1, 'x')
INSERT INTO loudly VALUES (1, 'x')
INSERT INTO loudly SELECT id, ssn FROM people
SELECT ssn::loud FROM people
INSERT INTO indexed VALUES (1, 'x')
--: Functions
SELECT f_ssn(1)
SELECT f_ssn(id) FROM people
SELECT * FROM f_ssn(1)
SELECT * FROM f_all()
SELECT (f_all()).ssn
SELECT b FROM f_rows()
SELECT x.b FROM ROWS FROM (f_rows(), generate_series(1, 8)) x
SELECT f_run('SELECT max(ssn) FROM people')
SELECT f_row(p) FROM people p
SELECT p.f_row FROM people p
SELECT (p).f_row FROM people p
SELECT f_shout(ssn) FROM people
SELECT f_fail(ssn) FROM people
SELECT f_fail(p) FROM people p
SELECT glue(ssn) FROM people
SELECT glue(ssn) OVER (ORDER BY id) FROM people
SELECT name FROM people WHERE ssn === 'x'
SELECT name FROM people WHERE name === 'x'
SELECT ssn OPERATOR(public.===) 'x' FROM people
SELECT name OPERATOR(shadow.=) 'x' FROM people
SELECT name FROM people WHERE name OPERATOR(pg_catalog.||) ssn = 'x'
SELECT ssn::address FROM people
SELECT (ssn::address).street FROM people
SELECT (name::text)::address FROM people
SELECT app.secret()
SELECT public.f_peek(1)
SELECT f_peek FROM people
SELECT id.f_peek FROM people
CALL p_copy() ;; SELECT body FROM notes
DO $$ BEGIN RAISE NOTICE '%', (SELECT max(ssn) FROM people); END $$
DO $$ BEGIN UPDATE notes SET body = (SELECT max(ssn) FROM people); END $$ ;; SELECT body FROM notes
DO LANGUAGE plpgsql 'BEGIN EXECUTE ''SELECT 1''; END'
SELECT upper(phone) FROM people
SELECT upper('x'::varchar)
SELECT initcap('x'::varchar)
SELECT public.upper('x')
SELECT * FROM crosstab('SELECT id, name, ssn FROM people') AS c(a int, b text, d text)
SELECT * FROM crosstab2('SELECT id, name, ssn FROM people')
SELECT * FROM connectby('people', 'id', 'ssn', '1', 0) AS t(a text, b text, c int)
SELECT * FROM normal_rand(1, 0, 1)
SELECT * FROM ts_stat('SELECT words FROM people')
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, to_tsquery(''simple'', max(ssn)) FROM people')
SELECT * FROM dblink('dbname=attackdb0', 'SELECT ssn FROM people') AS t(s text)
SELECT dblink_connect('dbname=attackdb0'), dblink_exec('SELECT 1')
SELECT dblink_get_connections(), dblink_current_query()
SELECT * FROM ft_people
SELECT postgres_fdw_get_connections()
SELECT * FROM hidden.passwd
SELECT * FROM hidden.secrets
SELECT value FROM "hidden"."secrets"
SELECT xmlforest(s) FROM hidden.secrets s
SELECT lo_import('/etc/passwd'), lo_export(1, '/tmp/x')
SELECT tableoid::regclass, kind FROM by_secret
--: Partitions and children
SELECT secret FROM events
SELECT secret FROM events_2025
SELECT e FROM events_2026 e
SELECT * FROM events_2026 WHERE secret > 'm'
SELECT id FROM events ORDER BY secret
SELECT pin FROM ONLY parent
SELECT pin, extra FROM child
SELECT pin FROM grandchild
SELECT c.extra FROM child c WHERE c.id = 11
SELECT (p::parent).pin FROM grandchild p
SELECT c::parent FROM child c
SELECT to_json(g::child) FROM grandchild g
SELECT length((g::child::parent).pin) FROM grandchild g
SELECT id FROM child c WHERE (c::parent).pin > 'm'
SELECT id FROM child c ORDER BY (c::parent).pin
SELECT count(*) FROM child c GROUP BY c::parent
UPDATE child SET extra = (child::parent).pin
DELETE FROM child WHERE (child::parent).pin > 'm' RETURNING 1
SELECT secret FROM by_secret_low
SELECT count(*) FROM by_secret_low
SELECT kind FROM by_secret_high
SELECT tableoid FROM by_secret
SELECT kind, ctid FROM by_secret
SELECT count(*) FROM by_secret
EXPLAIN SELECT count(*) FROM by_secret WHERE secret = 5
[residual row policy] SELECT count(*) FROM judged
[residual row policy] SELECT label FROM judged
SELECT count(*) FROM vault
UPDATE vault SET label = 'x' WHERE secret > 'm'
--: Functions in SQL
SELECT f_email(1)
SELECT f_email(wanted => 1), f_email(1, prefix => 'x')
SELECT f_email(id) FROM people ORDER BY id
SELECT id FROM people WHERE f_email(id) > 'm'
SELECT id FROM people ORDER BY f_email(id)
SELECT f_joined('-', name, ssn) FROM people
SELECT f_joined('-', VARIADIC ARRAY[ssn, phone]) FROM people
SELECT f_joined(ssn, VARIADIC parts => ARRAY['a', 'b']) FROM people
SELECT f_first(tags), f_first(ARRAY[salary]), f_either(name, ssn), f_either(NULL, salary) FROM people
SELECT (f_first(ARRAY[p])).ssn FROM people p
SELECT f_half(salary) FROM people
SELECT f_half(nullif(salary, {people.salary})) FROM people
SELECT count(f_half(CASE WHEN ssn > 'm' THEN 0 ELSE 1 END)) FROM people
SELECT * FROM f_rich(500000000)
SELECT count(*) FROM f_rich({people.salary})
SELECT key FROM v_rich
SELECT f_owned(1), f_owned(id) FROM people
SELECT name FROM people WHERE f_owned(id) LIKE 'A%'
SELECT f_owned_hidden()
SELECT f_app_note(1)
SELECT f_app_note(id) FROM people WHERE f_app_note(id) > 'm'
SELECT f_deep(1)
SELECT f_steals() ;; SELECT body FROM notes
SELECT f_default_ssn(), f_default_ssn('x')
SELECT contact, called FROM v_followed
SELECT * FROM v_followed
SELECT called FROM v_followed WHERE contact > 'm'
SELECT upper(contact) FROM v_followed
SET search_path = app, public ;; SELECT f_note(1)
SET search_path = app, public ;; SELECT f_note(id) || '' FROM people
PREPARE q AS SELECT f_note(id) || '' FROM people ORDER BY id ;; EXECUTE q ;; SET search_path = app, public ;; EXECUTE q
SET search_path = app, public ;; PREPARE q AS SELECT f_note(id) || '' FROM people ORDER BY id ;; RESET search_path ;; EXECUTE q
SELECT set_config('search_path', 'app, public', false), f_note(1)
BEGIN ;; DECLARE c CURSOR FOR SELECT f_note(id) || '' FROM people ORDER BY id ;; SET search_path = app, public ;; FETCH ALL FROM c
--: Rows kept in columns
SELECT who FROM kept
SELECT * FROM kept
SELECT k FROM kept k
SELECT (who).ssn FROM kept
SELECT (k.who).* FROM kept k
SELECT who::text, to_jsonb(who), row_to_json(k) FROM kept k
SELECT ssn(who) FROM kept
SELECT (kept.who).salary + 1 FROM kept
SELECT many[1], (many[1]).ssn, array_to_json(many) FROM kept
SELECT m.ssn FROM kept, unnest(many) m
SELECT (about).person, ((about).person).ssn FROM kept
SELECT (somebody).ssn, somebody FROM kept
SELECT id FROM kept WHERE (who).ssn > 'm'
SELECT id FROM kept ORDER BY (who).salary
SELECT id FROM kept ORDER BY who
SELECT count(DISTINCT who) FROM kept
SELECT id FROM kept WHERE who = ROW(1)::people
SELECT id FROM kept WHERE (who).flag
SELECT max((who).ssn), min((many[1]).salary) FROM kept
SELECT number, who FROM v_kept
SELECT (v.who).ssn FROM v_kept v
SELECT (f_who(1)).ssn, f_who(1)
SELECT ssn FROM f_who(1)
SELECT (SELECT (who).ssn FROM kept LIMIT 1)
SELECT x.who FROM (SELECT who FROM kept) x
SELECT (x.who).ssn FROM (SELECT who FROM kept UNION ALL SELECT p FROM people p) x
SELECT coalesce((who).ssn, 'x'), CASE WHEN (who).salary > 5 THEN 1 END FROM kept
SELECT jsonb_populate_record(who, '{"id": 1}') FROM kept
WITH k AS (SELECT who AS w FROM kept) SELECT (w).email FROM k
COPY kept TO STDOUT
COPY kept (who) TO STDOUT
COPY (SELECT (who).ssn FROM kept) TO STDOUT
[as builder] INSERT INTO notes (title) SELECT (who).ssn FROM kept ;; SELECT title FROM notes
[as builder] UPDATE notes SET title = (SELECT who::text FROM kept WHERE kept.id = notes.id) ;; SELECT title FROM notes
[as builder] UPDATE kept SET label = (who).ssn RETURNING label
[as builder] UPDATE kept SET who.name = (who).ssn ;; SELECT (who).name FROM kept
[as builder] UPDATE kept SET who.name = 'x' RETURNING who
[as builder] DELETE FROM kept RETURNING (who).ssn
[as builder] CREATE TABLE stolen AS SELECT (who).ssn AS s FROM kept ;; SELECT s FROM stolen
SELECT f_div(10, small) FROM people
SELECT f_div(10, CASE WHEN flag THEN 0 ELSE 1 END) FROM people
SELECT f_where(salary) FROM people
SELECT f_where(500000000)
SELECT f_top() ;; SELECT upper(f_top()) LIKE 'A%'
SELECT c FROM f_tab(3)
SELECT b FROM f_tab((SELECT small FROM people WHERE id = 1))
SELECT t, row_to_json(t) FROM f_tab(3) t
SELECT (f_tab(3)).c
SELECT count(*) FROM f_tab(3) t WHERE t.c > 'm'
SELECT f_one(p), f_two(p), p.f_two, f_one(ROW(p.*)::people) FROM people p
SELECT id FROM people p WHERE f_two(p) > 'm'
SELECT id FROM people p ORDER BY p.f_two
SELECT f_plain(salary, 2000000000) FROM people
SELECT f_plain(1, (SELECT small FROM people WHERE id = 1)), f_plain(id, 2147483647) FROM people WHERE flag
SELECT x.c FROM people p, f_tab(p.small) x
UPDATE notes SET title = f_two(p) FROM people p WHERE p.id = notes.id ;; SELECT title FROM notes
INSERT INTO notes (title) SELECT f_top() ;; SELECT title FROM notes
CREATE INDEX ON orders (f_plain(amount, id))
--: Functions called like constructs that an older server does not have
SELECT JSON_ARRAY(1)
SELECT JSON_ARRAYAGG('x')
SELECT JSON_SCALAR(1)
SELECT JSON_SERIALIZE('{}')
SELECT JSON(1)
SELECT JSON_EXISTS('{}', '$.a')
SELECT JSON_QUERY('{}', '$.a')
SELECT JSON_VALUE('{}', '$.a')
SELECT merge_action()
SELECT id FROM orders WHERE JSON_VALUE('{}', '$.a') > 'm'
SELECT x FROM JSON_VALUE('{}', '$.a') AS x
SELECT public.json_value('{}', 'a'), "json_query"('{}', 'a'), "merge_action"()
UPDATE notes SET title = JSON_VALUE('{}', '$.a') ;; SELECT title FROM notes
INSERT INTO notes (title) SELECT JSON_SCALAR(1) ;; SELECT title FROM notes
COPY (SELECT JSON_QUERY('{}', '$.a')) TO STDOUT
PREPARE q AS SELECT JSON_VALUE('{}', $1) ;; EXECUTE q ('$.a')
CREATE TEMP VIEW v AS SELECT JSON_SCALAR(1) AS a ;; SELECT a FROM v
