--: Writing
INSERT INTO notes (title, body) VALUES ('t', 'b')
INSERT INTO notes (title) VALUES ('t') RETURNING id, title
INSERT INTO notes DEFAULT VALUES RETURNING *
INSERT INTO notes (title) SELECT name FROM people WHERE id < 3 RETURNING title
INSERT INTO notes (id, title) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET title = excluded.title RETURNING id, title
INSERT INTO notes (id, title) VALUES (1, 'x') ON CONFLICT DO NOTHING
INSERT INTO notes (id) VALUES (1)
INSERT INTO orders (id, person_id, note, amount) VALUES (101, 1, 'n', 5) RETURNING *
INSERT INTO orders (id, person_id) VALUES (102, 999)
INSERT INTO orders (id, amount) VALUES (103, -1)
INSERT INTO orders (id, big) VALUES (104, 1)
INSERT INTO cards (id, holder, number) VALUES (60, 'x', '4111')
INSERT INTO cards (id, holder) VALUES (61, 'y') RETURNING id, holder
[masked number] INSERT INTO cards VALUES (62, 'z', '55', 3) RETURNING id, number
UPDATE notes SET title = 'x' WHERE id = 1
UPDATE notes SET title = upper(title), body = NULL WHERE id < 3 RETURNING id, title
UPDATE orders SET amount = amount + 1 WHERE person_id = 1 RETURNING amount, big
UPDATE orders o SET note = p.name FROM people p WHERE p.id = o.person_id RETURNING o.id, o.note
UPDATE notes SET (title, body) = ('a', 'b') WHERE id = 2
UPDATE notes SET title = (SELECT name FROM people WHERE people.id = notes.id)
UPDATE cards SET holder = 'h' WHERE id = 1
UPDATE queued SET label = 'same' WHERE id = 2 RETURNING id, label
UPDATE queued SET label = 'other' WHERE id IN (1, 2)
UPDATE queued SET label = 'other' WHERE id = 1 AND label = 'same' RETURNING id, label
DELETE FROM queued WHERE id IN (1, 2) AND label = 'none'
DELETE FROM queued WHERE id = 1 AND label = 'none' AND now() > '2020-01-01'
DELETE FROM queued WHERE id > 6
DELETE FROM queued WHERE id = 1 AND label = 'same' AND clock_timestamp() > '2020-01-01'
MERGE INTO queued q USING (SELECT 3 AS id) s ON q.id = s.id WHEN MATCHED THEN UPDATE SET label = 'same'
UPDATE trailed SET label = 'x' WHERE id IN (1, 2, 5) RETURNING id, label
UPDATE trailed SET label = 'x' WHERE id = ANY ('{3,4}') RETURNING id
UPDATE trailed SET label = 'x' WHERE id BETWEEN 2 AND 4
DELETE FROM trailed WHERE id IN (1, 2) RETURNING id
[since 18] UPDATE notes SET title = 'z' WHERE id = 1 RETURNING old.title, new.title
UPDATE notes SET id = 1 WHERE id = 2
DELETE FROM notes WHERE id = 4
DELETE FROM orders USING people p WHERE p.id = person_id AND p.city = 'Rome' RETURNING orders.id
DELETE FROM cards WHERE id = 1
DELETE FROM cards WHERE holder = 'Bob' RETURNING id
TRUNCATE notes
MERGE INTO notes n USING (VALUES (1, 'm'), (50, 'n')) s(id, t) ON s.id = n.id WHEN MATCHED THEN UPDATE SET title = s.t WHEN NOT MATCHED THEN INSERT (id, title) VALUES (s.id, s.t)
MERGE INTO orders o USING people p ON p.id = o.person_id WHEN MATCHED AND p.age > 30 THEN UPDATE SET note = p.name WHEN MATCHED THEN DO NOTHING
[since 17] MERGE INTO notes n USING (VALUES (1)) s(i) ON s.i = n.id WHEN MATCHED THEN DELETE RETURNING merge_action(), n.title
WITH x AS (INSERT INTO notes (title) VALUES ('w') RETURNING id, title) SELECT title FROM x
WITH x AS (DELETE FROM notes WHERE id = 3 RETURNING *) SELECT id, title FROM x
WITH x AS (UPDATE orders SET note = 'u' WHERE id = 1 RETURNING id) SELECT p.name FROM people p JOIN x USING (id)
INSERT INTO notes (id) VALUES (70) -- VALUES (1, 'x')
SELECT nextval('counter') ;; SELECT currval('counter')
SELECT setval('counter', 5) ;; SELECT last_value FROM counter
--: Transactions
BEGIN ;; UPDATE notes SET title = 'in' WHERE id = 1 ;; SELECT title FROM notes ORDER BY id ;; ROLLBACK
BEGIN ;; INSERT INTO notes (id, title) VALUES (70, 'x') ;; COMMIT ;; SELECT count(*) FROM notes
BEGIN ;; SELECT 1/0 ;; SELECT 1 ;; ROLLBACK ;; SELECT 2
BEGIN ;; SAVEPOINT a ;; SELECT 1/0 ;; ROLLBACK TO a ;; SELECT 3 ;; RELEASE a ;; COMMIT
START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY ;; SELECT name FROM people ORDER BY id ;; COMMIT
BEGIN ;; SET TRANSACTION READ ONLY ;; UPDATE notes SET title = 'x' WHERE id = 1 ;; ROLLBACK
BEGIN ;; SET CONSTRAINTS ALL DEFERRED ;; COMMIT AND CHAIN ;; ROLLBACK
COMMIT
ROLLBACK
[simple] SELECT 1; SELECT name FROM people WHERE id = 1; SELECT 2
[simple] BEGIN; INSERT INTO notes (title) VALUES ('a'); SELECT count(*) FROM notes; COMMIT
[simple] INSERT INTO notes (title) VALUES ('b'); SELECT 1/0; SELECT 3
[simple] SELECT 1;;; SELECT 2;
[simple] /* nothing */
--: COPY
COPY orders TO STDOUT
COPY orders (id, note) TO STDOUT (FORMAT csv, HEADER)
COPY people (id, name) TO STDOUT
COPY (SELECT id, name FROM people ORDER BY id) TO STDOUT (FORMAT binary)
COPY (SELECT city, count(*) FROM people GROUP BY city ORDER BY city) TO STDOUT (FORMAT csv, DELIMITER ';', FORCE_QUOTE *)
COPY notes (id, title) FROM STDIN <<< 80\tcopied
COPY notes (id, title) FROM STDIN (FORMAT csv) <<< 81,"copied, too"
COPY orders (id, person_id, amount) FROM STDIN <<< 82\t1\t7
COPY (VALUES (1, 'x')) TO STDOUT
COPY (INSERT INTO notes (title) VALUES ('c') RETURNING title) TO STDOUT
--: Cursors and prepared statements
BEGIN ;; DECLARE c CURSOR FOR SELECT id, name FROM people ORDER BY id ;; FETCH 2 FROM c ;; FETCH ALL FROM c ;; CLOSE c ;; COMMIT
BEGIN ;; DECLARE c SCROLL CURSOR FOR SELECT id FROM orders ORDER BY id ;; MOVE 3 IN c ;; FETCH PRIOR FROM c ;; FETCH LAST FROM c ;; ROLLBACK
DECLARE c CURSOR WITH HOLD FOR SELECT name FROM people ORDER BY id ;; FETCH 3 FROM c ;; CLOSE c
BEGIN ;; DECLARE c BINARY CURSOR FOR SELECT id FROM people ORDER BY id ;; FETCH 2 FROM c ;; COMMIT
BEGIN ;; DECLARE c CURSOR FOR SELECT id FROM notes FOR UPDATE ;; FETCH 1 FROM c ;; UPDATE notes SET title = 'cur' WHERE CURRENT OF c ;; COMMIT
[masked ssn] BEGIN ;; DECLARE c CURSOR FOR SELECT id, ssn FROM people ORDER BY id ;; FETCH ALL FROM c ;; COMMIT
PREPARE s(int) AS SELECT name FROM people WHERE id = $1 ;; EXECUTE s(1) ;; EXECUTE s(2) ;; DEALLOCATE s
PREPARE s AS INSERT INTO notes (title) VALUES ($1) RETURNING title ;; EXECUTE s('x') ;; DEALLOCATE ALL
PREPARE s(text) AS SELECT id FROM people WHERE name = $1 ;; EXPLAIN (COSTS off) EXECUTE s('Ada')
[masked salary] PREPARE s AS SELECT id, salary FROM people ORDER BY id ;; EXECUTE s
PREPARE s AS SELECT 1 ;; PREPARE s AS SELECT 2
--: Settings
SET application_name = 'benign' ;; SHOW application_name
SET TIME ZONE 'Europe/Berlin' ;; SELECT '2024-06-01 12:00+00'::timestamptz ;; RESET TimeZone
SET DateStyle = 'ISO, DMY' ;; SELECT joined FROM people ORDER BY id
SET IntervalStyle = 'iso_8601' ;; SELECT interval '1 day 2 hours'
SET extra_float_digits = 0 ;; SELECT 0.1::float8 + 0.2
SET bytea_output = 'escape' ;; SELECT 'abc'::bytea
SET statement_timeout = '10s' ;; SHOW statement_timeout
SET lock_timeout = 1000 ;; RESET lock_timeout
SET search_path = app, public ;; SELECT name FROM people ORDER BY id
BEGIN ;; SET LOCAL statement_timeout = 500 ;; SELECT 1 ;; COMMIT ;; SHOW statement_timeout
SET client_min_messages = warning ;; SELECT 1
SET client_encoding = 'UTF8'
SET standard_conforming_strings = on
SET enable_seqscan = off ;; SELECT count(*) FROM notes
SET work_mem = '8MB' ;; SHOW work_mem
SELECT set_config('application_name', 'x', false), current_setting('application_name')
SHOW server_version ;; SHOW transaction_isolation ;; SHOW search_path ;; SHOW client_encoding
DISCARD ALL ;; SELECT 1
RESET ALL ;; SHOW DateStyle
DISCARD PLANS ;; DISCARD SEQUENCES
--: Explain, locks, notifications
EXPLAIN (COSTS off) SELECT note FROM orders WHERE id = 1
EXPLAIN (COSTS off, VERBOSE) SELECT o.note FROM orders o JOIN notes p ON p.id = o.person_id WHERE p.title > 'a'
EXPLAIN SELECT * FROM orders
EXPLAIN (FORMAT json, COSTS off) SELECT count(*) FROM notes GROUP BY title
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) SELECT * FROM notes WHERE id < 3
EXPLAIN (COSTS off) UPDATE notes SET title = 'x' WHERE id = 1
BEGIN ;; LOCK TABLE notes IN SHARE MODE ;; COMMIT
BEGIN ;; SELECT id FROM orders WHERE id = 1 FOR UPDATE NOWAIT ;; COMMIT
LISTEN here ;; UNLISTEN here
NOTIFY here, 'payload'
LISTEN "Some Channel" ;; UNLISTEN *
--: What psql and drivers ask
SELECT oid, relname, relkind FROM pg_class WHERE relname IN ('people', 'orders') ORDER BY 2
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = 'people'::regclass AND attnum > 0 ORDER BY attnum
SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner) FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v') AND n.nspname = 'public' ORDER BY 2
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'orders' ORDER BY ordinal_position
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1
SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass ORDER BY 1
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'orders'::regclass ORDER BY 1
SELECT t.oid, t.typname, t.typelem, t.typarray FROM pg_type t WHERE t.typname IN ('int4', 'text', 'mood') ORDER BY 2
SELECT enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid WHERE t.typname = 'mood' ORDER BY enumsortorder
SELECT version() LIKE 'PostgreSQL%', current_user, session_user, current_database() IS NOT NULL
SELECT 'people'::regclass, 'people'::regclass::oid > 0, to_regclass('nosuch'), 'int4'::regtype
SELECT pg_get_viewdef('v_public'::regclass)
SELECT proname FROM pg_proc WHERE proname = 'order_total'
SELECT extname FROM pg_extension ORDER BY 1
SELECT obj_description('people'::regclass), col_description('people'::regclass, 1)
SELECT has_table_privilege('people', 'select'), has_schema_privilege('public', 'usage')
SELECT pg_size_pretty(pg_relation_size('orders'::regclass))
SELECT pg_is_in_recovery(), pg_encoding_to_char(6), pg_client_encoding()
SELECT name, setting FROM pg_settings WHERE name = 'server_version_num'
SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user
SELECT datname FROM pg_database WHERE datname = 'attackdb0'
SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1
SELECT relname, inhparent::regclass FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'events'::regclass ORDER BY 1
--: Lexical
SELECT U&"n\0061me" FROM people ORDER BY id
SELECT $$it's$$, $t$ $$ $t$, E'a\tb', U&'\0061', 'a'
SELECT name /* a /* nested */ comment */ FROM people -- and one more
SELECT 'x' AS "Quoted Name", 1 AS "select"
SELECT '\', 'a''b', E'\'', N'x'
SELECT 'ünïcödé 漢字 🎈', length('漢字')
SELECT name AS "имя" FROM people ORDER BY id
SELECT 1 AS aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
[since 16] SELECT 0x1F, 0b101, 1_000
SELECT ((((1))))
SELECT 1 IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 5 NOT BETWEEN 1 AND 3
SELEC 1
SELECT FROM people LIMIT 1
--: EXPLAIN EXECUTE
PREPARE e AS SELECT id FROM notes WHERE id = 1 ;; EXPLAIN (COSTS off) EXECUTE e
PREPARE e(int) AS SELECT title FROM notes WHERE id = $1 ;; EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) EXECUTE e('2')
--: Temporary tables
[simple] CREATE TEMP TABLE t (id serial PRIMARY KEY, a text, n int DEFAULT 3) ;; INSERT INTO t (a) VALUES ('x'), ('y') RETURNING id, a ;; UPDATE t SET n = id ;; SELECT * FROM t ORDER BY id ;; DROP TABLE t
[simple] CREATE TEMP TABLE t AS SELECT id, name FROM people WHERE id < 3 ;; SELECT t.name FROM t JOIN people p USING (id) ORDER BY id ;; DROP TABLE t
[simple] SELECT id INTO TEMP t FROM people WHERE id < 3 ;; SELECT count(*) FROM t ;; DROP TABLE t
[simple] BEGIN ;; CREATE TEMP TABLE t (a int) ON COMMIT DROP ;; INSERT INTO t SELECT generate_series(1, 3) ;; SELECT sum(a) FROM t ;; COMMIT
[simple] CREATE TEMP TABLE t (a int) ;; ALTER TABLE t ADD COLUMN b text ;; CREATE INDEX ON t (b) ;; TRUNCATE t ;; ANALYZE t ;; DELETE FROM t ;; SELECT * FROM t ;; DROP TABLE t
[simple] CREATE TEMP TABLE t (a int, b text) ;; PREPARE q AS INSERT INTO t VALUES ($1, $2) RETURNING b ;; EXECUTE q (1, 'x') ;; DEALLOCATE q ;; SELECT * FROM pg_temp.t ;; DROP TABLE t
[simple] CREATE TEMP SEQUENCE s ;; SELECT nextval('s'), currval('s') ;; SELECT last_value FROM s ;; DROP SEQUENCE s
UPDATE hushed SET note = 'short' WHERE id = 1
UPDATE hushed SET id = id + 100
UPDATE owners SET label = 'x' WHERE id = 1
--: Beside masked columns
UPDATE included SET note = 'short' WHERE id = 1
INSERT INTO included VALUES (50, 'x', 'y')
UPDATE boxed SET id = 50 WHERE id = 1
INSERT INTO boxed (id, label) VALUES (50, 'x')
UPDATE boxed_once SET id = 50 WHERE id = 1
DELETE FROM boxed_once WHERE id = 1
UPDATE unchanged SET note = 'x' WHERE id = 1
UPDATE unchanged SET note = note
UPDATE paired SET id = 50 WHERE false
INSERT INTO pairs VALUES (50, 50)
