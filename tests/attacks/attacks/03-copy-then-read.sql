--: Into rows that may be written
INSERT INTO notes (title) SELECT ssn FROM people ;; SELECT title FROM notes
INSERT INTO notes (title, body) SELECT name, ssn FROM people RETURNING body
INSERT INTO notes (title) VALUES ((SELECT max(ssn) FROM people)) RETURNING title
INSERT INTO notes (doc) SELECT to_jsonb(p) FROM people p ;; SELECT doc FROM notes
INSERT INTO notes (tags) SELECT tags FROM people ;; SELECT tags FROM notes
INSERT INTO notes (id) SELECT salary FROM people ;; SELECT id FROM notes
INSERT INTO orders (id, amount) SELECT 100 + id, salary % 100 FROM people ;; SELECT amount, big FROM orders
INSERT INTO orders (id, placed) SELECT 100 + id, birth FROM people ;; SELECT placed FROM orders
INSERT INTO orders SELECT id + 200, id, ssn FROM people ;; TABLE orders
WITH s AS (SELECT id + 300 AS i, ssn FROM people) INSERT INTO orders (id, note) SELECT * FROM s RETURNING note
INSERT INTO notes (title) TABLE v_people
INSERT INTO notes (title) SELECT s FROM v_people ;; SELECT title FROM notes
INSERT INTO notes (title) SELECT code FROM mv_people ;; SELECT title FROM notes
INSERT INTO notes (title) SELECT last4 FROM gen ;; SELECT title FROM notes
INSERT INTO notes (title) SELECT CASE WHEN flag THEN 'y' ELSE 'n' END FROM people ;; SELECT title FROM notes
INSERT INTO notes (title) SELECT name FROM people WHERE salary > 500000000 ;; SELECT title FROM notes
INSERT INTO notes (title) SELECT name FROM people ORDER BY ssn ;; SELECT id, title FROM notes
INSERT INTO notes (title) SELECT name FROM people ORDER BY ssn LIMIT 1 ;; SELECT title FROM notes
INSERT INTO notes (title) SELECT DISTINCT feeling::text FROM people
UPDATE notes SET title = (SELECT ssn FROM people WHERE id = 1) ;; SELECT title FROM notes
UPDATE notes SET (title, body) = (SELECT ssn, email FROM people WHERE people.id = notes.id) ;; TABLE notes
UPDATE notes SET title = p.ssn FROM people p WHERE p.id = notes.id RETURNING title
UPDATE orders SET note = p.ssn FROM people p WHERE p.id = person_id ;; SELECT note FROM orders
UPDATE orders SET note = 'hit' FROM people p WHERE p.id = person_id AND p.ssn > 'm' ;; SELECT note FROM orders
UPDATE orders SET note = 'hit' WHERE person_id IN (SELECT id FROM people WHERE flag) ;; SELECT id, note FROM orders
DELETE FROM orders USING people p WHERE p.id = person_id AND p.flag ;; SELECT id FROM orders
DELETE FROM orders WHERE EXISTS (SELECT FROM people p WHERE p.id = person_id AND p.salary > 500000000)
UPDATE cards SET holder = number ;; SELECT holder FROM cards
UPDATE cards SET number = holder, holder = number RETURNING holder
UPDATE cards SET holder = 'x' WHERE number > 'm'
UPDATE cards SET number = reverse(number) RETURNING number
UPDATE cards SET pin = length(number) RETURNING pin
UPDATE cards SET holder = 'x' WHERE id = 1 RETURNING number, pin
[since 18] UPDATE cards SET number = 'x' WHERE id = 1 RETURNING old.number, new.number
[since 18] UPDATE cards SET number = 'x' WHERE id = 1 RETURNING WITH (OLD AS o) o.number, o
DELETE FROM cards WHERE id = 1 RETURNING *
DELETE FROM cards WHERE number = '{cards.number}'
DELETE FROM cards WHERE id = 1 RETURNING cards
INSERT INTO cards VALUES (1, 'x', 'y', 1) ON CONFLICT (id) DO UPDATE SET holder = cards.number RETURNING holder
INSERT INTO cards VALUES (1, 'x', 'y', 1) ON CONFLICT (id) DO UPDATE SET holder = excluded.holder WHERE cards.number > 'm' RETURNING id
INSERT INTO cards VALUES (1, 'x', 'y', 1) ON CONFLICT (id) DO UPDATE SET holder = 'k' RETURNING *
INSERT INTO cards VALUES (1, 'x', 'y', 1) ON CONFLICT DO NOTHING RETURNING number
[since 18] INSERT INTO cards VALUES (1, 'x', 'y', 1) ON CONFLICT (id) DO UPDATE SET holder = 'k' RETURNING old.number, new.holder
INSERT INTO cards SELECT id + 50, ssn, name, 1 FROM people
INSERT INTO cards SELECT id + 50, name, ssn, salary FROM people ;; SELECT * FROM cards ORDER BY id
INSERT INTO cards (id, number) SELECT id + 50, ssn FROM people WHERE flag ;; SELECT id FROM cards
MERGE INTO notes n USING people p ON p.id = n.id WHEN MATCHED THEN UPDATE SET title = p.ssn ;; SELECT title FROM notes
MERGE INTO notes n USING people p ON p.id = n.id AND p.ssn > 'm' WHEN MATCHED THEN UPDATE SET title = 'x' ;; SELECT title FROM notes
MERGE INTO notes n USING people p ON p.id = n.id WHEN MATCHED AND p.flag THEN DELETE WHEN MATCHED THEN DO NOTHING ;; SELECT id FROM notes
MERGE INTO notes n USING people p ON p.id = n.id + 500 WHEN NOT MATCHED THEN INSERT (title) VALUES (p.ssn) ;; SELECT title FROM notes
[since 17] MERGE INTO notes n USING people p ON p.id = n.id WHEN MATCHED THEN UPDATE SET title = 'x' RETURNING p.ssn, n.title
[since 17] MERGE INTO cards c USING (VALUES (1)) v(i) ON v.i = c.id WHEN MATCHED THEN UPDATE SET holder = c.number RETURNING merge_action(), c.holder
WITH x AS (UPDATE notes SET title = (SELECT max(ssn) FROM people) RETURNING title) SELECT * FROM x
WITH x AS (INSERT INTO notes (title) SELECT ssn FROM people RETURNING *) SELECT title FROM x
WITH x AS (DELETE FROM cards WHERE id = 2 RETURNING *) INSERT INTO notes (title) SELECT number FROM x ;; SELECT title FROM notes
WITH x AS (UPDATE cards SET holder = 'a' WHERE id = 2 RETURNING number) SELECT name FROM people, x WHERE x.number > 'm'
UPDATE people SET name = ssn ;; SELECT name FROM people
UPDATE people SET ssn = 'x' WHERE id = 1
INSERT INTO people (id, name, ssn) VALUES (100, 'x', 'y')
UPDATE v_people SET name = s ;; SELECT name FROM people
INSERT INTO v_orders (id, note) SELECT id, ssn FROM people
UPDATE notes SET id = (SELECT salary FROM people WHERE people.id = notes.id) ;; SELECT id FROM notes
--: Into new objects, in spite of policy
CREATE TABLE stolen AS SELECT * FROM people ;; SELECT * FROM stolen
CREATE TEMP TABLE stolen AS SELECT ssn FROM people ;; SELECT * FROM stolen
SELECT ssn INTO stolen FROM people ;; SELECT * FROM stolen
SELECT ssn INTO TEMP stolen FROM people ;; SELECT * FROM stolen
CREATE VIEW stolen AS SELECT ssn FROM people ;; SELECT * FROM stolen
CREATE MATERIALIZED VIEW stolen AS SELECT ssn FROM people ;; SELECT * FROM stolen
CREATE TEMP VIEW stolen AS SELECT ssn AS x FROM people ;; SELECT * FROM stolen
ALTER TABLE people RENAME COLUMN ssn TO plain ;; SELECT plain FROM people
ALTER TABLE people RENAME TO folk ;; SELECT ssn FROM folk
SELECT setval('counter', (SELECT salary FROM people WHERE id = 1)) ;; SELECT last_value FROM counter
SELECT setval('counter', salary) FROM people WHERE id = 1
SELECT nextval('counter') FROM people WHERE flag ;; SELECT last_value FROM counter
SELECT CASE WHEN flag THEN nextval('counter') END FROM people ;; SELECT last_value FROM counter
SELECT pg_advisory_lock(salary) FROM people ;; SELECT objid FROM pg_locks WHERE locktype = 'advisory'
SELECT pg_try_advisory_lock(small) FROM people
SELECT set_config('app.stolen', ssn, false) FROM people ;; SHOW app.stolen
SELECT set_config('application_name', ssn, false) FROM people
SELECT set_config('application_name', (SELECT max(ssn) FROM people), false) ;; SHOW application_name
SELECT lo_from_bytea(0, blob) FROM people ;; SELECT data FROM pg_largeobject
SELECT lo_create(salary) FROM people
SELECT pg_notify('stolen', ssn) FROM people
--: Builders: new objects and altered ones
[as builder] CREATE TABLE stolen AS SELECT * FROM people ;; SELECT * FROM stolen
[as builder] CREATE TABLE stolen AS SELECT id, ssn AS s FROM people ;; SELECT s FROM stolen
[as builder] CREATE TABLE stolen AS SELECT id FROM people WHERE flag ;; SELECT id FROM stolen
[as builder] CREATE TABLE stolen AS SELECT name FROM people ORDER BY ssn ;; SELECT name FROM stolen
[as builder] CREATE TEMP TABLE stolen AS SELECT ssn FROM people ;; SELECT * FROM stolen
[as builder] CREATE UNLOGGED TABLE stolen AS SELECT ssn FROM people ;; SELECT * FROM stolen
[as builder] SELECT ssn INTO stolen FROM people ;; SELECT * FROM stolen
[as builder] CREATE VIEW stolen AS SELECT ssn AS s FROM people ;; SELECT s FROM stolen
[as builder] CREATE OR REPLACE VIEW v_public AS SELECT id, ssn AS name, city FROM people ;; SELECT name FROM v_public
[as builder] CREATE RECURSIVE VIEW stolen (s) AS SELECT ssn FROM people ;; SELECT s FROM stolen
[as builder] CREATE MATERIALIZED VIEW stolen AS SELECT ssn AS s FROM people ;; SELECT s FROM stolen
[as builder] CREATE VIEW stolen AS SELECT id FROM people WHERE ssn > 'm' ;; SELECT * FROM stolen
[as builder] ALTER TABLE people RENAME COLUMN ssn TO plain ;; SELECT plain FROM people
[as builder] ALTER TABLE people RENAME TO folk ;; SELECT ssn FROM folk
[as builder] ALTER TABLE people SET SCHEMA app ;; SELECT ssn FROM app.people
[as builder] ALTER TABLE people RENAME COLUMN name TO tmp ;; ALTER TABLE people RENAME COLUMN ssn TO name ;; SELECT name FROM people
[as builder] BEGIN ;; ALTER TABLE people RENAME COLUMN ssn TO plain ;; SELECT plain FROM people
[as builder] BEGIN ;; ALTER TABLE people RENAME COLUMN ssn TO plain ;; COMMIT ;; SELECT plain FROM people
[as builder] ALTER TABLE people RENAME COLUMN ssn TO plain; SELECT plain FROM people
[as builder] ALTER VIEW v_people RENAME COLUMN s TO name2 ;; SELECT name2 FROM v_people
[as builder] ALTER TABLE people ADD COLUMN plain text GENERATED ALWAYS AS (ssn) STORED ;; SELECT plain FROM people
[as builder] ALTER TABLE people ADD COLUMN plain text DEFAULT f_ssn(1) ;; SELECT plain FROM people
[as builder] ALTER TABLE people ALTER COLUMN city TYPE text USING ssn ;; SELECT city FROM people
[as builder] ALTER TABLE people ALTER COLUMN ssn TYPE int USING ssn::int
[as builder] ALTER TABLE people ALTER COLUMN ssn DROP NOT NULL, ALTER COLUMN salary SET NOT NULL
[as builder] ALTER TABLE people ADD CONSTRAINT guess CHECK (ssn <> '{people.ssn}')
[as builder] ALTER TABLE people ADD CONSTRAINT guess CHECK (length(ssn) = 12)
[as builder] ALTER TABLE people ADD UNIQUE (feeling)
[as builder] ALTER TABLE people ADD FOREIGN KEY (ssn) REFERENCES people (ssn)
[as builder] ALTER TABLE orders ADD FOREIGN KEY (note) REFERENCES people (ssn)
[as builder] ALTER TABLE people ADD EXCLUDE USING btree (feeling WITH =)
[as builder] CREATE UNIQUE INDEX ON people (feeling)
[as builder] CREATE UNIQUE INDEX ON people ((left(ssn, 1)))
[as builder] CREATE INDEX ON people ((ssn::int))
[as builder] CREATE INDEX ON people ((1 / (ascii(ssn) - 105)))
[as builder] CREATE INDEX ON people (id) WHERE ssn::int > 1
[as builder] CREATE STATISTICS stolen ON ssn, salary FROM people ;; ANALYZE people ;; SELECT * FROM pg_stats_ext
[as builder] CREATE RULE stolen AS ON INSERT TO notes DO ALSO INSERT INTO orders (id, note) SELECT id + 900, ssn FROM people ;; INSERT INTO notes (title) VALUES ('x') ;; SELECT note FROM orders
[as builder] CREATE RULE "_RETURN" AS ON SELECT TO ruled DO INSTEAD SELECT id, ssn AS note FROM people ;; SELECT * FROM ruled
[as builder] CREATE TRIGGER stolen BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION trip() ;; INSERT INTO notes (title) VALUES ('x')
[as builder] CREATE FUNCTION stolen() RETURNS text LANGUAGE sql AS 'SELECT max(ssn) FROM people' ;; SELECT stolen()
[as builder] CREATE OR REPLACE FUNCTION order_total(wanted int) RETURNS bigint LANGUAGE sql AS 'SELECT max(salary)::bigint FROM people' ;; SELECT order_total(1)
[as builder] CREATE FUNCTION order_total(wanted text) RETURNS text LANGUAGE sql AS 'SELECT max(ssn) FROM people' ;; SELECT order_total('x')
[as builder] ALTER FUNCTION f_ssn(int) RENAME TO order_total ;; SELECT order_total(1::int)
[as builder] CREATE POLICY stolen ON people USING (f_shout(ssn)) ;; SELECT name FROM people
[as builder] ALTER TABLE people ENABLE ROW LEVEL SECURITY ;; CREATE POLICY p ON people USING (salary > 5) ;; ALTER TABLE people FORCE ROW LEVEL SECURITY ;; SELECT name FROM people
[as builder] CREATE TABLE piece PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')
[as builder] ALTER TABLE events DETACH PARTITION events_2025 ;; SELECT secret FROM events_2025
[as builder] CREATE TABLE copy (LIKE people) ;; INSERT INTO copy SELECT * FROM people ;; SELECT ssn FROM copy
[as builder] CREATE TABLE copy (LIKE people INCLUDING ALL) ;; SELECT * FROM copy
[as builder] CREATE TABLE heir () INHERITS (people) ;; SELECT ssn FROM heir
[as builder] CREATE TABLE upper_table (secret text) ;; ALTER TABLE events_2025 INHERIT upper_table
[as builder] CREATE TABLE above (id int, name text) ;; ALTER TABLE child NO INHERIT parent ;; SELECT pin FROM child
[as builder] DROP TABLE cards ;; CREATE TABLE cards (id int, number text) ;; SELECT number FROM cards
[as builder] COMMENT ON TABLE notes IS 'x' ;; SELECT obj_description('notes'::regclass)
[as builder] CREATE TABLE x (a text DEFAULT (f_ssn(1))) ;; INSERT INTO x DEFAULT VALUES ;; SELECT a FROM x
[as builder] CREATE TYPE t AS (a int) ;; ALTER TYPE address RENAME ATTRIBUTE street TO way ;; SELECT (home).way FROM people
[as builder] CREATE DOMAIN d AS text CHECK (f_check(value)) ;; SELECT ssn::d FROM people
[as builder] CREATE CAST (int AS address) WITH INOUT ;; SELECT salary::address FROM people
[as builder] CREATE OPERATOR ~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = f_same) ;; SELECT ssn ~~~ 'x' FROM people
[as builder] CREATE AGGREGATE glue2 (text) (SFUNC = f_step, STYPE = text) ;; SELECT glue2(ssn) FROM people
[as builder] CREATE SCHEMA stolen CREATE TABLE t AS SELECT ssn FROM people
[as builder] CREATE SCHEMA stolen CREATE VIEW t AS SELECT ssn FROM people ;; SELECT * FROM stolen.t
[as builder] CREATE EXTENSION tsm_system_rows
[as builder] CREATE FOREIGN TABLE f (line text) SERVER files OPTIONS (filename '/etc/passwd') ;; SELECT * FROM f
[as builder] IMPORT FOREIGN SCHEMA public FROM SERVER loopback INTO app
[as builder] ALTER TABLE people ALTER COLUMN name SET DEFAULT 'x' ;; SELECT ssn FROM people
[as builder] ALTER TABLE people SET (fillfactor = 50) ;; SELECT ssn FROM people
[as builder] VACUUM VERBOSE people
[as builder] ANALYZE VERBOSE people
[as builder] REFRESH MATERIALIZED VIEW mv_people ;; SELECT code FROM mv_people
[as builder] CLUSTER VERBOSE people USING people_salary ;; SELECT name FROM people
[as builder] REINDEX (VERBOSE) TABLE people
[as builder] CREATE PUBLICATION stolen FOR TABLE people
[as builder] CREATE SUBSCRIPTION stolen CONNECTION 'host=127.0.0.1' PUBLICATION x WITH (connect = false)
[as builder] CREATE EVENT TRIGGER stolen ON ddl_command_end EXECUTE FUNCTION trip()
[as builder] PREPARE TRANSACTION 'x'
[as builder] CALL p_copy() ;; SELECT body FROM notes
[as builder] DO $$ BEGIN RAISE EXCEPTION '%', (SELECT max(ssn) FROM people); END $$
[as builder] LOCK TABLE people ;; SELECT ssn FROM people
[as builder] SECURITY LABEL ON TABLE people IS 'x'
[as builder] COPY people TO PROGRAM 'cat'
[as builder] COPY people TO '/tmp/stolen'
[as builder] COPY notes (title) FROM '/etc/passwd' ;; SELECT title FROM notes
[as builder] COPY notes (title) FROM PROGRAM 'id' ;; SELECT title FROM notes
[as builder] UPDATE people SET name = ssn ;; SELECT name FROM people
[as builder] UPDATE people SET ssn = 'same' WHERE id = 1
[as builder] INSERT INTO people (id, name, ssn) VALUES (77, 'x', 'free') RETURNING *
[as builder] INSERT INTO people SELECT 77, ssn FROM people WHERE id = 1 RETURNING name
[as builder] TRUNCATE people CASCADE ;; SELECT count(*) FROM people
