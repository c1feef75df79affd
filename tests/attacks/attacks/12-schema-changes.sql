-- What a subject may try whose policy allows every change of the schema, and who sees the masks of strict all the same (policy.yaml, builder).
--: Names: out of the mask by another name
[as builder] ALTER TABLE cards RENAME TO cards2 ;; SELECT number, pin FROM cards2
[as builder] ALTER TABLE cards RENAME TO cards3 ;; SELECT number FROM cards3
[as builder] ALTER TABLE cards RENAME number TO holder2 ;; SELECT holder2 FROM cards
[as builder] ALTER TABLE cards RENAME COLUMN holder TO tmp ;; ALTER TABLE cards RENAME COLUMN number TO holder ;; SELECT holder FROM cards
[as builder] BEGIN ;; ALTER TABLE cards RENAME COLUMN holder TO tmp ;; ALTER TABLE cards RENAME COLUMN number TO holder ;; COMMIT ;; SELECT holder FROM cards
[as builder] BEGIN ;; ALTER TABLE notes RENAME TO notes_old ;; ALTER TABLE cards RENAME TO notes ;; SELECT * FROM notes
[as builder] BEGIN ;; ALTER TABLE cards RENAME TO cards2 ;; SELECT number FROM cards2 ;; ALTER TABLE cards2 RENAME TO open ;; SELECT number FROM open ;; COMMIT ;; SELECT number FROM open
[as builder] ALTER INDEX cards RENAME TO open ;; SELECT number FROM open
[as builder] ALTER VIEW cards RENAME TO open ;; SELECT number FROM open
[as builder] ALTER SEQUENCE cards RENAME TO open ;; SELECT number FROM open
[as builder] ALTER TYPE cards RENAME TO open ;; SELECT number FROM open
[as builder] ALTER TABLE cards SET SCHEMA app ;; SELECT number FROM app.cards
[as builder] ALTER SCHEMA public RENAME TO open ;; SELECT number FROM open.cards
[as builder] CREATE SCHEMA fresh ;; ALTER TABLE cards SET SCHEMA fresh ;; SELECT number FROM fresh.cards
[as builder] ALTER TABLE parent RENAME COLUMN pin TO open ;; SELECT open FROM child
[as builder] ALTER TABLE ONLY parent RENAME TO above ;; SELECT pin FROM child
[as builder] ALTER TABLE child NO INHERIT parent ;; SELECT pin FROM child
[as builder] ALTER TABLE ONLY parent DROP COLUMN pin ;; SELECT pin FROM child
[as builder] ALTER TABLE parent DROP COLUMN pin ;; SELECT * FROM child
[as builder] ALTER TABLE events DETACH PARTITION events_2025 CONCURRENTLY ;; SELECT secret FROM events_2025
[as builder] ALTER TABLE events DROP COLUMN secret ;; SELECT * FROM events_2025
--: Parents and partitions: rows under another table
[as builder] CREATE TABLE up (id int, day date, kind text, secret text) PARTITION BY RANGE (day) ;; CREATE TABLE up1 PARTITION OF up DEFAULT ;; ALTER TABLE up ATTACH PARTITION long_texts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') ;; SELECT secret FROM up
[as builder] CREATE TABLE up (id int PRIMARY KEY, title text, secret text) PARTITION BY RANGE (id) ;; CREATE TABLE side PARTITION OF up FOR VALUES FROM (1000) TO (2000) ;; ALTER TABLE up ATTACH PARTITION long_texts FOR VALUES FROM (0) TO (1000) ;; UPDATE up SET id = id + 1000 ;; SELECT secret FROM side
[as builder] CREATE TABLE up (id int, number text) ;; ALTER TABLE cards INHERIT up ;; SELECT number FROM up
[as builder] CREATE TABLE up (id int) ;; ALTER TABLE cards INHERIT up ;; SELECT id FROM up
[as builder] CREATE TABLE low (LIKE cards) ;; ALTER TABLE low INHERIT cards ;; INSERT INTO low SELECT * FROM cards ;; SELECT number FROM low
[as builder] CREATE TABLE low () INHERITS (cards) ;; ALTER TABLE low NO INHERIT cards ;; SELECT number FROM low
[as builder] ALTER TABLE by_secret ATTACH PARTITION cards FOR VALUES FROM (0) TO (1)
[as builder] CREATE TABLE fits PARTITION OF by_secret FOR VALUES FROM ({by_secret.secret}) TO (900000000)
--: Columns: converted, generated, defaulted
[as builder] ALTER TABLE cards ALTER COLUMN holder TYPE text USING number ;; SELECT holder FROM cards
[as builder] ALTER TABLE cards ALTER COLUMN number TYPE text USING reverse(number) ;; SELECT number FROM cards
[as builder] ALTER TABLE cards ALTER COLUMN number TYPE varchar(3) ;; SELECT number FROM cards
[as builder] ALTER TABLE cards ALTER COLUMN pin TYPE smallint
[as builder] ALTER TABLE cards ALTER COLUMN number TYPE loud
[as builder] ALTER TABLE indexed ALTER COLUMN note TYPE varchar(100) ;; SELECT note FROM indexed
[as builder] REINDEX TABLE indexed
[as builder] REINDEX INDEX indexed_f_index_idx
[as builder] ALTER TABLE cards ADD COLUMN open text GENERATED ALWAYS AS (number) STORED ;; SELECT open FROM cards
[as builder] ALTER TABLE gen ALTER COLUMN last4 DROP EXPRESSION ;; SELECT last4 FROM gen
[as builder] [since 17] ALTER TABLE gen ALTER COLUMN last4 SET EXPRESSION AS ('x') ;; SELECT last4 FROM gen
[as builder] ALTER TABLE gen RENAME COLUMN ssn TO open ;; SELECT open FROM gen
[as builder] ALTER TABLE gen RENAME COLUMN last4 TO tail ;; SELECT tail FROM gen
[as builder] ALTER TABLE notes ADD COLUMN x text DEFAULT (SELECT max(ssn) FROM people)
[as builder] ALTER TABLE notes ADD COLUMN x text DEFAULT f_peek(1) ;; SELECT x FROM notes
[as builder] CREATE TABLE x (a text DEFAULT f_peek(1)) ;; INSERT INTO x DEFAULT VALUES ;; SELECT a FROM x
[as builder] CREATE TABLE x (a text) PARTITION BY LIST (a) ;; CREATE TABLE x1 PARTITION OF x FOR VALUES IN (f_peek(1)) ;; SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'x1'
[as builder] CREATE DOMAIN d AS text DEFAULT f_peek(1) ;; CREATE TABLE x (i int, a d) ;; INSERT INTO x (i) VALUES (1) ;; SELECT a FROM x
[as builder] CREATE DOMAIN d AS text CHECK (value > f_peek(1)) ;; SELECT 'm'::d
[as builder] CREATE TABLE x (a int CHECK (length(f_peek(a)) > 3)) ;; INSERT INTO x VALUES (1)
[as builder] CREATE TABLE x (a int) ;; CREATE INDEX ON x (length(f_peek(a)))
[as builder] ALTER TABLE notes ALTER COLUMN body TYPE text USING f_peek(id) ;; SELECT body FROM notes
[as builder] ALTER TABLE notes ALTER COLUMN title SET DEFAULT app.secret() ;; INSERT INTO notes (body) VALUES ('x') RETURNING title
[as builder] ALTER TABLE people ADD COLUMN x text DEFAULT 'x' CHECK (ssn > 'm')
[as builder] ALTER TABLE people ALTER COLUMN phone SET NOT NULL
[as builder] ALTER TABLE people ADD CONSTRAINT c CHECK (salary > 500000000) NOT VALID ;; ALTER TABLE people VALIDATE CONSTRAINT c
[as builder] ALTER TABLE cards VALIDATE CONSTRAINT small_pin
[as builder] ALTER TABLE refs ADD FOREIGN KEY (id) REFERENCES people (id)
[as builder] CREATE TABLE probe (ssn text REFERENCES people (ssn)) ;; INSERT INTO probe VALUES ('{people.ssn}')
[as builder] CREATE TABLE probe (ssn text REFERENCES people) ;; INSERT INTO probe VALUES ('{people.ssn}')
[as builder] ALTER DOMAIN zipcode ADD CONSTRAINT c CHECK (value < 'm')
[as builder] ALTER DOMAIN zipcode SET NOT NULL
[as builder] CREATE DOMAIN d AS text CHECK (value ~ '^x') ;; SELECT ssn::d FROM people
[as builder] CREATE INDEX ON cards (number, (pin::text::int / (pin - {cards.pin})))
[as builder] CREATE INDEX CONCURRENTLY ON cards USING gist (number gist_trgm_ops) WHERE number > 'm'
[as builder] CREATE STATISTICS st ON (number::int), pin FROM cards ;; ANALYZE cards
--: Views: what they show, store and stand for
[as builder] CREATE VIEW w AS SELECT id, number AS n, row_number() OVER (ORDER BY number) AS r FROM cards ;; SELECT n FROM w ;; SELECT r FROM w
[as builder] CREATE VIEW w AS SELECT holder FROM cards WHERE number > 'm' ;; SELECT * FROM w
[as builder] CREATE VIEW w AS SELECT f_ssn(1) AS x ;; SELECT x FROM w
[as builder] CREATE VIEW w AS TABLE pg_stats ;; SELECT most_common_vals FROM w
[as builder] CREATE MATERIALIZED VIEW w AS SELECT number AS n, length(number) AS l FROM cards ;; SELECT * FROM w ;; SELECT n FROM w WHERE l > 3
[as builder] CREATE MATERIALIZED VIEW w AS SELECT holder FROM cards ORDER BY number ;; SELECT holder FROM w
[as builder] CREATE MATERIALIZED VIEW w AS SELECT holder, number::bigint AS n FROM cards
[as builder] CREATE VIEW v1 AS SELECT id, number AS x FROM cards ;; CREATE MATERIALIZED VIEW m1 AS SELECT x FROM v1 ;; CREATE OR REPLACE VIEW v1 AS SELECT id, holder AS x FROM cards ;; SELECT x FROM m1
[as builder] CREATE MATERIALIZED VIEW m1 AS SELECT last4 FROM gen ;; ALTER TABLE gen ALTER COLUMN last4 DROP EXPRESSION ;; SELECT last4 FROM m1
[as builder] CREATE MATERIALIZED VIEW m1 AS SELECT number AS n FROM cards ;; ALTER MATERIALIZED VIEW m1 RENAME COLUMN n TO holder ;; SELECT holder FROM m1
[as builder] REFRESH MATERIALIZED VIEW CONCURRENTLY mv_people ;; SELECT code FROM mv_people
[as builder] ALTER VIEW v_barrier RESET (security_barrier) ;; SELECT s FROM v_people
[as builder] ALTER VIEW v_public RENAME COLUMN city TO ssn ;; SELECT ssn FROM v_public
[as builder] DROP VIEW v_public ;; CREATE VIEW v_public AS SELECT id, number AS name, holder AS city FROM cards ;; SELECT upper(name) FROM v_public
[as builder] CREATE OR REPLACE VIEW v_public AS SELECT p.id, p.name, p.city, p.ssn AS more FROM people p ;; SELECT to_jsonb(v) FROM v_public v
[as builder] CREATE VIEW app.notes AS SELECT id, number AS title FROM cards ;; SET search_path = app, public ;; SELECT title FROM notes
--: What is tested, built or made anew over rows that are there
[as builder] CREATE INDEX ON long_texts (secret)
[as builder] CREATE INDEX ON long_texts (id) INCLUDE (secret)
[as builder] CREATE INDEX ON long_texts USING gin (secret gin_trgm_ops)
[as builder] ALTER TABLE long_texts ADD UNIQUE (id) INCLUDE (secret)
[as builder] ALTER TABLE long_texts ADD EXCLUDE USING btree (id WITH =) INCLUDE (secret)
[as builder] ALTER TABLE cards ADD COLUMN pad text ;; UPDATE cards SET pad = (SELECT substr(string_agg(md5(i::text), ''), 1, 2675) FROM generate_series(1, 84) i) ;; CREATE INDEX ON cards (number, pad) WHERE id = 1
[as builder] ALTER TABLE cards ALTER holder SET STORAGE PLAIN ;; UPDATE cards SET holder = repeat('x', 8105)
[as builder] ALTER TABLE cards ADD COLUMN pad text STORAGE PLAIN ;; UPDATE cards SET pad = repeat('x', 8100)
[as builder] ALTER TABLE long_texts ALTER secret SET STORAGE PLAIN ;; VACUUM FULL long_texts
[as builder] ALTER TABLE owned DROP CONSTRAINT owned_owner_fkey ;; ALTER TABLE owned ALTER owner TYPE bigint USING 600000000
[as builder] ALTER TABLE owned DROP CONSTRAINT owned_owner_fkey ;; ALTER TABLE owned ALTER owner TYPE numeric USING owner + 600000000
[as builder] ALTER TABLE partly ALTER label TYPE text USING 'same'
[as builder] ALTER TABLE booked ALTER during TYPE int8range USING '[0,80)'
[as builder] ALTER TABLE halved ALTER amount TYPE bigint USING 0
[as builder] ALTER TABLE hushed ALTER note TYPE text USING (SELECT substr(string_agg(md5(i::text), ''), 1, 2675) FROM generate_series(1, 84) i)
[as builder] ALTER TABLE hushed ALTER note TYPE text USING substr(repeat(md5('a') || md5('b') || md5('c') || md5('d') || md5('e') || md5('f') || md5('g') || md5('h'), 20), 1, 2675)
[as builder] CREATE TABLE guesses (s text PRIMARY KEY) ;; INSERT INTO guesses VALUES ('{hushed.secret}'), ('{hushed.secret+1}'), ('{hushed.secret+2}'), ('{hushed.secret+3}'), ('{hushed.secret+4}'), ('{hushed.secret+5}'), ('{hushed.secret+6}'), ('{hushed.secret+7}') ;; CREATE TABLE hushed_up (id int, note text, secret text REFERENCES guesses) PARTITION BY RANGE (id) ;; ALTER TABLE hushed_up ATTACH PARTITION hushed FOR VALUES FROM (0) TO (1000)
[as builder] CREATE TABLE hushed_up (id int, note text, secret text, UNIQUE (id, secret)) PARTITION BY RANGE (id) ;; ALTER TABLE hushed_up ATTACH PARTITION hushed FOR VALUES FROM (0) TO (1000)
[as builder] CREATE TABLE hushed_up (id int, note text, secret text) PARTITION BY RANGE (id) ;; CREATE INDEX ON hushed_up ((1 / (length(secret) - 12))) ;; ALTER TABLE hushed_up ATTACH PARTITION hushed FOR VALUES FROM (0) TO (1000)
--: In one transaction, and in one message
[as builder] BEGIN ;; CREATE VIEW w AS SELECT number AS n FROM cards ;; CREATE TABLE stolen AS SELECT n FROM w ;; COMMIT ;; SELECT n FROM stolen
[as builder] BEGIN ;; CREATE TABLE stolen (n text) ;; INSERT INTO stolen SELECT number FROM cards ;; COMMIT ;; SELECT n FROM stolen
[as builder] BEGIN ;; CREATE VIEW w AS SELECT number AS n FROM cards ;; INSERT INTO notes (title) SELECT n FROM w ;; SELECT title FROM notes
[as builder] BEGIN ;; CREATE OR REPLACE VIEW v_rule AS SELECT id, number AS title FROM cards ;; SELECT title FROM v_rule
[as builder] PREPARE q AS SELECT name FROM v_public ;; BEGIN ;; DROP VIEW v_public ;; CREATE VIEW v_public AS SELECT number AS name FROM cards ;; EXECUTE q
[as builder] BEGIN ;; SAVEPOINT a ;; CREATE VIEW w AS SELECT holder AS n FROM cards ;; SELECT n FROM w ;; ROLLBACK TO a ;; CREATE VIEW w AS SELECT number AS n FROM cards ;; SELECT n FROM w
[as builder] CREATE VIEW w AS SELECT number AS n FROM cards; SELECT n FROM w
[as builder] [simple] BEGIN; CREATE TABLE stolen (n text); INSERT INTO stolen SELECT number FROM cards; COMMIT ;; SELECT n FROM stolen
--: Code of administrators that runs at every change, and rows under row security
[as builder] COMMENT ON COLUMN notes.title IS 'x'
[as builder] COMMENT ON TABLE cards IS 'x'
[as builder] CREATE TABLE up (id int, open boolean, label text, secret text) PARTITION BY LIST (open) ;; ALTER TABLE up ATTACH PARTITION vault DEFAULT ;; SELECT label FROM up
[as builder] CREATE TABLE low () INHERITS (vault) ;; SELECT * FROM low
--: What stays refused, whatever policy says
[as builder] ALTER TABLE people OWNER TO postgres
[as builder] ALTER TABLE vault DISABLE ROW LEVEL SECURITY ;; SELECT label FROM vault
[as builder] ALTER TABLE vault NO FORCE ROW LEVEL SECURITY ;; SELECT label FROM vault
[as builder] DROP POLICY open_only ON vault ;; SELECT label FROM vault
[as builder] ALTER POLICY open_only ON vault USING (true) ;; SELECT label FROM vault
[as builder] ALTER TABLE notes ENABLE TRIGGER ALL
[as builder] ALTER TABLE tripped DISABLE TRIGGER trip
[as builder] ALTER TABLE people REPLICA IDENTITY FULL
[as builder] CLUSTER people USING people_salary ;; SELECT name FROM people
[as builder] ALTER TABLE people CLUSTER ON people_salary
[as builder] CREATE EXTENSION adminpack
[as builder] CREATE EXTENSION IF NOT EXISTS dblink CASCADE
[as builder] ALTER EXTENSION hstore SET SCHEMA app
[as builder] CREATE SCHEMA fresh CREATE VIEW w AS SELECT ssn FROM people
[as builder] COMMENT ON DATABASE postgres IS 'x'
[as builder] CREATE TABLE t (a text) TABLESPACE pg_default
[as builder] CREATE TABLE t (a text COLLATE "C", EXCLUDE USING btree (a WITH ===))
[as builder] CREATE TABLE t (a loud DEFAULT 'x') ;; INSERT INTO t VALUES (DEFAULT)
[as builder] GRANT SELECT ON people TO PUBLIC
[as builder] ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC
[as builder] REASSIGN OWNED BY CURRENT_USER TO postgres
[as builder] DROP OWNED BY CURRENT_USER
