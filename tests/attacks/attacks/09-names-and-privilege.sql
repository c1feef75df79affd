--: search_path
SET search_path = shadow, public ;; SELECT name FROM people
SET search_path = 'pg_temp' ;; SELECT 1
SET search_path = '$user', public ;; SELECT ssn FROM people
SELECT set_config('search_path', 'shadow', false) ;; SELECT name FROM people
SET LOCAL search_path = shadow ;; SELECT name FROM people
BEGIN ;; SET LOCAL search_path = app, public ;; SELECT note FROM orders ;; COMMIT ;; SELECT note FROM orders
SET search_path = app, public ;; SELECT note FROM orders
SET search_path = app, public ;; SELECT secret()
SET search_path = app, public ;; PREPARE s AS SELECT note FROM orders ;; RESET search_path ;; EXECUTE s
PREPARE s AS SELECT note FROM orders ;; SET search_path = app, public ;; EXECUTE s
BEGIN ;; SET search_path = app, public ;; ROLLBACK ;; SELECT note FROM orders
BEGIN ;; SAVEPOINT a ;; SET search_path = app, public ;; ROLLBACK TO a ;; SELECT note FROM orders
BEGIN ;; DECLARE c CURSOR FOR SELECT note FROM orders ;; SET search_path = app, public ;; DECLARE d CURSOR FOR SELECT note FROM orders ;; FETCH 2 FROM c ;; FETCH 2 FROM d
SELECT lower(name) FROM people
SELECT pg_temp.lower(name) FROM people
CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT max(ssn) FROM people' ;; SELECT lower(name) FROM people
CREATE TEMP TABLE orders (note text) ;; INSERT INTO orders SELECT ssn FROM people ;; SELECT note FROM orders
SELECT shadow.lower('x')
SELECT name FROM shadow.people
SELECT note FROM app.orders
SET search_path TO DEFAULT ;; SELECT ssn FROM people
ALTER ROLE CURRENT_USER SET search_path = shadow
ALTER DATABASE attackdb0 SET search_path = shadow
ALTER SYSTEM SET search_path = 'shadow'
SET temp_tablespaces = 'x' ;; SET default_tablespace = 'x'
--: Roles
SET ROLE postgres ;; SELECT ssn FROM people
SET ROLE NONE ;; SELECT ssn FROM people
SET SESSION AUTHORIZATION postgres
SET SESSION AUTHORIZATION DEFAULT
RESET ROLE ;; RESET SESSION AUTHORIZATION
SELECT set_config('role', 'postgres', false)
SELECT set_config('role', 'none', true), ssn FROM people
SELECT set_config('session_authorization', 'postgres', false)
SET LOCAL ROLE pg_monitor ;; SELECT query FROM pg_stat_activity
SET "role" = 'pg_monitor'
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE ;; UPDATE people SET name = 'x'
ALTER ROLE CURRENT_USER PASSWORD 'x'
ALTER USER attacked SUPERUSER
CREATE ROLE accomplice LOGIN PASSWORD 'x'
GRANT pg_read_all_data TO PUBLIC
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC
REVOKE ALL ON people FROM attacked
REASSIGN OWNED BY attacked TO postgres
DROP OWNED BY attacked
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC
ALTER TABLE people OWNER TO postgres
ALTER TABLE people DISABLE ROW LEVEL SECURITY
ALTER TABLE vault NO FORCE ROW LEVEL SECURITY
DROP POLICY open_only ON vault
CREATE EXTENSION adminpack
CREATE EXTENSION plpython3u
CREATE LANGUAGE plpgsql2 HANDLER plpgsql_call_handler
LOAD 'auto_explain'
LOAD '/etc/passwd'
CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION trip()
CREATE PUBLICATION p FOR ALL TABLES
CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p
CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw
ALTER SERVER loopback OPTIONS (SET port '5432')
CREATE USER MAPPING FOR PUBLIC SERVER loopback
DROP TABLE people
DROP TABLE notes
DROP VIEW v_people CASCADE
DROP SCHEMA public CASCADE
DROP DATABASE attackdb1
TRUNCATE people CASCADE
TRUNCATE cards RESTART IDENTITY
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE FUNCTION pg_catalog.lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'
UPDATE pg_proc SET prosrc = 'SELECT 1'
UPDATE pg_class SET relname = 'x' WHERE relname = 'people'
DELETE FROM pg_statistic
INSERT INTO pg_settings VALUES ('x')
UPDATE pg_settings SET setting = 'off' WHERE name = 'row_security'
--: Settings
SET row_security = off ;; SELECT secret FROM vault
SET session_replication_role = replica ;; INSERT INTO tripped VALUES (1, 'x')
SET statement_timeout = 0 ;; SELECT pg_sleep(3600)
SET default_transaction_read_only = off
SET TRANSACTION READ WRITE ;; UPDATE people SET name = 'x'
BEGIN READ WRITE ;; UPDATE people SET name = 'x' ;; COMMIT
[simple] COMMIT; UPDATE people SET name = 'x'
SET log_statement = 'all'
SET local_preload_libraries = 'auto_explain' ;; SET session_preload_libraries = 'auto_explain'
SET jit = on ;; SET jit_dump_bitcode = on
SET allow_system_table_mods = on
SET dynamic_library_path = '/tmp'
SET xmloption = document ;; SELECT xmlelement(name a, ssn) FROM people
SET bytea_output = 'escape' ;; SELECT blob FROM people
SET DateStyle = 'SQL, DMY' ;; SELECT birth FROM people
SET IntervalStyle = 'iso_8601' ;; SELECT span FROM people
SET lc_monetary = 'de_DE.UTF-8' ;; SELECT pay FROM people
SET extra_float_digits = 3 ;; SELECT rating FROM people
SET TimeZone = 'Asia/Tokyo' ;; SELECT seen, seen::date FROM people
SET plan_cache_mode = force_generic_plan ;; PREPARE s(int) AS SELECT ssn FROM people WHERE id = $1 ;; EXECUTE s(1)
SET enable_seqscan = off ;; SELECT name FROM people WHERE id = 1 ;; SELECT name FROM people
SET enable_indexscan = off ;; SELECT ssn FROM people ORDER BY id
SET default_statistics_target = 1000 ;; ANALYZE people
SET session "my.x" = 'y' ;; SHOW "my.x"
SET constraint_exclusion = on ;; EXPLAIN SELECT * FROM by_secret WHERE kind = 'x'
SET constraint_exclusion = on ;; SELECT * FROM by_secret
RESET ALL ;; SELECT ssn FROM people
DISCARD ALL ;; SELECT ssn FROM people
SET SESSION SCHEMA 'shadow' ;; SELECT name FROM people
SET SCHEMA 'app' ;; SELECT note FROM orders
SET XML OPTION DOCUMENT ;; SELECT 1
SET TIME ZONE INTERVAL '1' HOUR TO MINUTE ;; SELECT seen FROM people
BEGIN ;; SET TRANSACTION SNAPSHOT '00000003-0000001B-1' ;; SELECT ssn FROM people
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE ;; SELECT ssn FROM people
PREPARE TRANSACTION 'stolen'
BEGIN ;; UPDATE notes SET title = 'x' ;; PREPARE TRANSACTION 'stolen'
COMMIT PREPARED 'stolen'
CHECKPOINT
LOCK TABLE people IN ACCESS EXCLUSIVE MODE
BEGIN ;; LOCK TABLE notes ;; SELECT ssn FROM people
SECURITY LABEL ON TABLE people IS 'x'
