-- Temporary tables, which every agent may make (policy.yaml): out of the mask, in front of other names, and under other masks than what fills them.
--: Copies
CREATE TEMP TABLE t AS SELECT ssn FROM people ;; SELECT * FROM t
CREATE TEMP TABLE t AS SELECT * FROM people ;; SELECT ssn FROM t
CREATE TEMP TABLE t AS TABLE people ;; TABLE t
CREATE TEMP TABLE t AS SELECT max(ssn) OVER () AS ssn FROM people ;; TABLE t
CREATE TEMP TABLE t AS WITH c AS (SELECT ssn AS s FROM people) SELECT s || '' AS x FROM c ;; TABLE t
CREATE TEMP TABLE t AS SELECT p FROM people p ;; SELECT (p).ssn FROM t
CREATE TEMP TABLE t AS SELECT to_jsonb(p) AS j FROM people p ;; SELECT j ->> 'ssn' FROM t
CREATE TEMP TABLE t AS SELECT array_agg(ssn) AS a FROM people ;; SELECT unnest(a) FROM t
CREATE TEMP TABLE t AS SELECT id FROM people WHERE ssn > '5' ;; SELECT count(*) FROM t
CREATE TEMP TABLE t AS SELECT id FROM people ORDER BY ssn LIMIT 1 ;; TABLE t
CREATE TEMP TABLE t AS SELECT ssn FROM v_people ;; TABLE t
CREATE TEMP TABLE t AS SELECT f_ssn(1) AS s ;; TABLE t
CREATE TEMP TABLE t AS EXECUTE nothing ;; TABLE t
PREPARE q AS SELECT ssn FROM people ;; CREATE TEMP TABLE t AS EXECUTE q ;; TABLE t
SELECT ssn INTO TEMP t FROM people ;; TABLE t
CREATE TEMP TABLE t (a text) ;; INSERT INTO t SELECT ssn FROM people ;; TABLE t
CREATE TEMP TABLE t (LIKE people) ;; INSERT INTO t SELECT * FROM people ;; SELECT ssn, email FROM t
CREATE TEMP TABLE t (LIKE people INCLUDING ALL) ;; INSERT INTO t (id, ssn) SELECT id, ssn FROM people RETURNING ssn
CREATE TEMP TABLE t (p people) ;; INSERT INTO t SELECT p FROM people p ;; SELECT (p).ssn FROM t
CREATE TEMP TABLE t (p people[]) ;; INSERT INTO t SELECT array_agg(p) FROM people p ;; SELECT (p[1]).ssn FROM t
CREATE TEMP TABLE t (LIKE people) ;; INSERT INTO t SELECT (json_populate_record(NULL::t, to_json(p))).* FROM people p ;; SELECT ssn FROM t
CREATE TEMP TABLE t (LIKE people) ;; SELECT (p::text::t).ssn FROM people p
CREATE TEMP TABLE t (LIKE people) ;; SELECT (ROW(p.*)::t).ssn FROM people p
CREATE TEMP TABLE t (a text) ;; INSERT INTO t VALUES ('x') ;; UPDATE t SET a = ssn FROM people WHERE people.id = 1 ;; TABLE t
CREATE TEMP TABLE t (id int PRIMARY KEY, a text) ;; MERGE INTO t USING people p ON t.id = p.id WHEN NOT MATCHED THEN INSERT VALUES (p.id, p.ssn) ;; TABLE t
CREATE TEMP TABLE t (id int PRIMARY KEY, a text) ;; INSERT INTO t VALUES (1, '') ON CONFLICT (id) DO UPDATE SET a = (SELECT max(ssn) FROM people) ;; TABLE t
CREATE TEMP TABLE t (a text) ;; WITH moved AS (INSERT INTO t SELECT ssn FROM people RETURNING a) SELECT * FROM moved
CREATE TEMP TABLE t (a text) ;; DELETE FROM t USING people WHERE a = ssn RETURNING ssn
CREATE TEMP TABLE t (a text, b text GENERATED ALWAYS AS (a || '!') STORED) ;; INSERT INTO t SELECT ssn FROM people ;; SELECT b FROM t
CREATE TEMP TABLE t (a text DEFAULT f_ssn(1)) ;; INSERT INTO t DEFAULT VALUES ;; TABLE t
CREATE TEMP TABLE t (a text CHECK (f_shout(a))) ;; INSERT INTO t VALUES ('x')
CREATE TEMP TABLE t (a text) ;; CREATE INDEX ON t (f_index(a)) ;; INSERT INTO t VALUES ('x')
CREATE TEMP TABLE t (a text) ;; ALTER TABLE t ADD COLUMN b text DEFAULT f_ssn(1) ;; TABLE t
CREATE TEMP TABLE t AS SELECT id, name FROM people ;; ALTER TABLE t ADD COLUMN s text ;; UPDATE t SET s = p.ssn FROM people p WHERE p.id = t.id ;; TABLE t
CREATE TEMP TABLE t (a text) ;; PREPARE q AS INSERT INTO t SELECT $1 ;; EXECUTE q ((SELECT ssn FROM people LIMIT 1)) ;; TABLE t
--: Guesses
CREATE TEMP TABLE t (a text) ;; INSERT INTO t VALUES ('{people.ssn}') ;; SELECT count(*) FROM t JOIN people p ON p.ssn = t.a
CREATE TEMP TABLE t (a text UNIQUE) ;; INSERT INTO t VALUES ('{people.ssn}') ON CONFLICT DO NOTHING ;; INSERT INTO t SELECT ssn FROM people ON CONFLICT DO NOTHING
CREATE TEMP TABLE t (a text) ;; INSERT INTO t VALUES ('{people.ssn}') ;; DELETE FROM t USING people p WHERE p.ssn = t.a ;; SELECT count(*) FROM t
CREATE TEMP TABLE t (a text) ;; INSERT INTO t VALUES ('{people.ssn}') ;; SELECT a FROM t INTERSECT SELECT ssn FROM people
CREATE TEMP TABLE t (a text REFERENCES refs (ssn)) ;; INSERT INTO t VALUES ('{refs.ssn}')
--: Names before others
CREATE TEMP TABLE people (id int, ssn text) ;; SELECT ssn FROM people
CREATE TEMP TABLE orders (id int, note text) ;; INSERT INTO orders VALUES (1, 'x') ;; SELECT f_note(1)
CREATE TEMP TABLE t (id int, note text) ;; ALTER TABLE t RENAME TO orders ;; SELECT f_note(1)
CREATE TEMP TABLE pg_class (oid oid, relname text) ;; SELECT count(*) FROM pg_class
CREATE TEMP TABLE text (a int) ;; SELECT ssn::text FROM people
CREATE TEMP TABLE "int4" (a int) ;; SELECT id::"int4" FROM people
CREATE TEMP TABLE numeric (a int) ;; SELECT sum(salary) FROM people
CREATE TEMP TABLE address (street text) ;; SELECT home::address FROM people
CREATE TEMP SEQUENCE people ;; SELECT ssn FROM people
CREATE TEMP TABLE cards AS SELECT 1 AS id, ''::text AS number ;; DROP TABLE cards ;; SELECT number FROM cards
CREATE TEMP TABLE IF NOT EXISTS cards (number text) ;; SELECT number FROM cards
CREATE TEMP TABLE t (number text) ;; BEGIN ;; ALTER TABLE t RENAME TO cards ;; ROLLBACK ;; SELECT number FROM cards
CREATE TEMP TABLE t (a text) ;; CREATE INDEX orders ON t (a) ;; SELECT f_note(1)
CREATE TEMP TABLE t (a text, CONSTRAINT orders UNIQUE (a)) ;; SELECT f_note(1)
CREATE TEMP TABLE t (a text CONSTRAINT k UNIQUE) ;; ALTER INDEX k RENAME TO orders ;; SELECT f_note(1)
CREATE TABLE pg_temp.people (ssn text) ;; SELECT ssn FROM people
SET search_path = public, pg_temp ;; CREATE TEMP TABLE t (a int) ;; SELECT ssn FROM people
SELECT set_config('search_path', 'pg_temp, public', false) ;; CREATE TABLE t (a text) ;; INSERT INTO t SELECT ssn FROM people ;; TABLE t
--: The same name for another thing
CREATE TEMP TABLE t (a text) ;; PREPARE q AS SELECT a FROM t ;; DROP TABLE t ;; CREATE TEMP TABLE t AS SELECT ssn AS a FROM people ;; EXECUTE q
CREATE TEMP TABLE t (a text) ;; BEGIN ;; DROP TABLE t ;; CREATE TEMP TABLE t (a text, ssn text) ;; ROLLBACK ;; SELECT * FROM t
BEGIN ;; CREATE TEMP TABLE t (a text) ON COMMIT DROP ;; COMMIT ;; SELECT ssn AS a FROM people ;; TABLE t
BEGIN ;; SAVEPOINT s ;; CREATE TEMP TABLE t (a text) ;; ROLLBACK TO s ;; INSERT INTO t SELECT ssn FROM people ;; COMMIT
CREATE TEMP TABLE t (a text) ;; DISCARD TEMP ;; INSERT INTO t SELECT ssn FROM people
CREATE TEMP TABLE t (a text) ;; DISCARD ALL ;; SELECT * FROM t
--: Under other tables
CREATE TEMP TABLE t () INHERITS (people) ;; SELECT ssn FROM t
CREATE TEMP TABLE t (LIKE cards) ;; ALTER TABLE t INHERIT cards ;; SELECT number FROM cards
CREATE TEMP TABLE t PARTITION OF events DEFAULT ;; SELECT secret FROM t
CREATE TEMP VIEW v AS SELECT ssn AS s FROM people ;; SELECT s FROM v
CREATE TEMP TABLE t (a int) ;; CREATE VIEW v AS SELECT ssn FROM people, t ;; SELECT ssn FROM v
CREATE TEMP TABLE t (a int) ;; CREATE TEMP VIEW v AS SELECT ssn FROM people, t ;; SELECT ssn FROM v
CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS 'SELECT max(ssn) FROM public.people' ;; SELECT pg_temp.f()
CREATE TYPE pg_temp.text AS (a int) ;; SELECT ssn::text FROM people
CREATE DOMAIN pg_temp.name AS text ;; SELECT ssn::name FROM people
--: Temporary views
CREATE TEMP VIEW v AS SELECT * FROM people ;; TABLE v
CREATE TEMP VIEW v AS SELECT * FROM people ;; SELECT v FROM v
CREATE TEMP VIEW v AS SELECT * FROM people ;; SELECT to_jsonb(v) ->> 'ssn' FROM v
CREATE TEMP VIEW v AS SELECT * FROM people ;; SELECT id FROM v WHERE ssn > '5'
CREATE TEMP VIEW v AS SELECT * FROM people ;; SELECT id FROM v ORDER BY ssn
CREATE TEMP VIEW v AS SELECT id FROM people ORDER BY ssn ;; TABLE v
CREATE TEMP VIEW v AS SELECT id, name FROM people WHERE ssn > '5' ;; TABLE v
CREATE TEMP VIEW v AS SELECT id, name FROM people WHERE salary > 500000000 ;; SELECT count(*) FROM v
CREATE TEMP VIEW v AS SELECT id, CASE WHEN flag THEN 1 ELSE 0 END AS f FROM people ;; TABLE v
CREATE TEMP VIEW v AS SELECT id, 1 / (ascii(ssn) - 48) AS x FROM people ;; SELECT x FROM v
CREATE TEMP VIEW v AS SELECT id, 1 / (ascii(ssn) - 48) AS x FROM people ;; SELECT count(x) FROM v
CREATE TEMP VIEW v AS SELECT p FROM people p ;; SELECT (p).ssn FROM v
CREATE TEMP VIEW v AS SELECT p FROM people p ;; SELECT (p).* FROM v
CREATE TEMP VIEW v (a, b) AS SELECT id, ssn FROM people ;; SELECT b FROM v
CREATE TEMP VIEW v AS SELECT array_agg(ssn) AS a FROM people ;; SELECT unnest(a) FROM v
CREATE TEMP VIEW v AS SELECT s FROM v_people ;; SELECT s FROM v
CREATE TEMP VIEW v AS SELECT code FROM mv_people ;; SELECT code FROM v
CREATE TEMP VIEW v AS SELECT ssn FROM people ;; CREATE TEMP VIEW w AS SELECT ssn || '' AS x FROM v ;; SELECT x FROM w
CREATE TEMP VIEW v AS SELECT ssn FROM people ;; ALTER VIEW v RENAME COLUMN ssn TO x ;; SELECT x FROM v
CREATE TEMP VIEW v AS SELECT ssn FROM people ;; ALTER VIEW v RENAME TO w ;; SELECT ssn FROM w
CREATE TEMP VIEW v AS SELECT ssn FROM people ;; CREATE TEMP TABLE t AS TABLE v ;; TABLE t
CREATE TEMP VIEW v AS SELECT ssn FROM people ;; COPY (TABLE v) TO STDOUT
CREATE TEMP VIEW v AS SELECT ssn FROM people ;; INSERT INTO notes (title) SELECT ssn FROM v ;; SELECT title FROM notes
CREATE TEMP VIEW v AS SELECT name AS x FROM people ;; PREPARE q AS SELECT x FROM v ;; CREATE OR REPLACE TEMP VIEW v AS SELECT ssn AS x FROM people ;; EXECUTE q
CREATE TEMP VIEW v AS SELECT name AS x FROM people ;; PREPARE q AS SELECT x FROM v ;; DROP VIEW v ;; CREATE TEMP VIEW v AS SELECT ssn AS x FROM people ;; EXECUTE q
BEGIN ;; CREATE TEMP VIEW v AS SELECT ''::text AS x ;; SAVEPOINT s ;; DROP VIEW v ;; CREATE TEMP VIEW v AS SELECT ssn AS x FROM people ;; SELECT x FROM v ;; ROLLBACK TO s ;; SELECT x FROM v
BEGIN ;; CREATE TEMP VIEW v AS SELECT ssn AS x FROM people ;; SAVEPOINT s ;; DROP VIEW v ;; CREATE TEMP VIEW v AS SELECT ''::text AS x ;; ROLLBACK TO s ;; SELECT x FROM v
CREATE TEMP VIEW v AS SELECT name AS x FROM people ;; BEGIN ;; DECLARE c CURSOR FOR SELECT x FROM v ;; FETCH 1 FROM c
CREATE TEMP TABLE t (a text) ;; DROP TABLE t ;; CREATE TEMP VIEW t AS SELECT ssn AS a FROM people ;; SELECT a FROM t
CREATE TEMP TABLE t (a text) ;; CREATE TEMP VIEW v AS SELECT a, ssn FROM t RIGHT JOIN people ON true ;; SELECT ssn FROM v
CREATE TEMP VIEW v AS SELECT ssn FROM people ;; UPDATE v SET ssn = ssn RETURNING ssn
CREATE TEMP VIEW v AS SELECT id, ssn FROM people ;; DELETE FROM v WHERE ssn > '5'
CREATE TEMP VIEW v AS SELECT id, ssn FROM people ;; SELECT ssn FROM v FOR UPDATE
CREATE TEMP VIEW v AS SELECT id, body FROM notes ;; INSERT INTO v SELECT id, ssn FROM people ;; SELECT body FROM notes
CREATE TEMP VIEW people AS SELECT 1 AS ssn ;; SELECT ssn FROM public.people
CREATE TEMP VIEW v AS SELECT ssn FROM people ;; SELECT pg_get_viewdef('v'::regclass) ;; SELECT definition FROM pg_views WHERE viewname = 'v'
CREATE TEMP VIEW v AS SELECT most_common_vals FROM pg_stats WHERE attname = 'ssn' ;; TABLE v
CREATE TEMP VIEW v AS SELECT query FROM pg_stat_activity ;; TABLE v
CREATE TEMP VIEW v AS SELECT rolpassword FROM pg_authid ;; TABLE v
CREATE TEMP RECURSIVE VIEW v (x) AS SELECT ssn FROM people UNION SELECT x || '' FROM v WHERE false ;; TABLE v
