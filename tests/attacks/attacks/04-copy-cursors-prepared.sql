--: COPY
COPY people TO STDOUT
COPY people (ssn) TO STDOUT
COPY people (id, ssn) TO STDOUT (FORMAT csv, HEADER)
COPY people TO STDOUT (FORMAT binary)
COPY (SELECT ssn FROM people) TO STDOUT
COPY (SELECT ssn, id FROM people) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE *)
COPY (SELECT 'x' || ssn, length(ssn) FROM people) TO STDOUT
COPY (SELECT * FROM people) TO STDOUT (FORMAT binary)
COPY (TABLE v_people) TO STDOUT
COPY (SELECT * FROM people ORDER BY ssn) TO STDOUT
COPY (SELECT row_to_json(p) FROM people p) TO STDOUT
COPY people TO STDOUT (DELIMITER 'a', NULL 'b')
COPY people TO STDOUT (FORMAT csv, QUOTE 'q', ESCAPE 'r', DELIMITER ';')
COPY people (ssn) TO STDOUT (FORMAT csv, NULL '[redacted]')
COPY people TO STDOUT (ENCODING 'LATIN1')
COPY people TO STDOUT (ENCODING 'SJIS')
COPY people TO '/tmp/attacks-stolen'
COPY people TO PROGRAM 'cat > /tmp/attacks-stolen'
COPY notes (title) FROM '/etc/passwd' ;; SELECT title FROM notes
COPY notes (title) FROM PROGRAM 'id' ;; SELECT title FROM notes
COPY (DELETE FROM cards WHERE id = 1 RETURNING number) TO STDOUT
COPY (UPDATE cards SET holder = number RETURNING holder) TO STDOUT
COPY (INSERT INTO notes (title) SELECT ssn FROM people RETURNING title) TO STDOUT
COPY (WITH x AS (UPDATE cards SET holder = number RETURNING holder) SELECT * FROM x) TO STDOUT
COPY notes (id, title) FROM STDIN <<< not-a-number\tx
COPY orders (id, amount) FROM STDIN <<< 900\t-5
COPY orders (id, person_id) FROM STDIN <<< 900\t12345
COPY refs FROM STDIN <<< 9\t{people.ssn}
COPY people (id, name, ssn) FROM STDIN <<< 90\tx\t{people.ssn}
[residual constraint] COPY cards FROM STDIN <<< 50\tx\ty\t2100000000
COPY cards (id, holder) FROM STDIN WHERE id > 1 <<< 51\tx
COPY cards FROM STDIN WHERE (SELECT max(ssn) FROM people) > 'm' <<< 52\tx\ty\t1
COPY mv_people TO STDOUT
COPY v_people TO STDOUT
COPY events TO STDOUT
COPY (TABLE events) TO STDOUT
COPY parent TO STDOUT
COPY gen TO STDOUT
COPY BINARY people TO STDOUT
COPY hidden.secrets TO STDOUT
[simple] COPY people (id) TO STDOUT; COPY people (ssn) TO STDOUT
[simple] SELECT 1; COPY people (ssn) TO STDOUT; SELECT ssn FROM people
--: Cursors
BEGIN ;; DECLARE c CURSOR FOR SELECT ssn FROM people ;; FETCH ALL FROM c
BEGIN ;; DECLARE c BINARY CURSOR FOR SELECT ssn, salary FROM people ;; FETCH 2 FROM c ;; FETCH 2 c
BEGIN ;; DECLARE c SCROLL CURSOR FOR SELECT ssn FROM people ;; MOVE 3 IN c ;; FETCH PRIOR FROM c ;; FETCH ABSOLUTE 1 FROM c
BEGIN ;; DECLARE c CURSOR FOR SELECT id FROM people ORDER BY ssn ;; FETCH ALL FROM c
BEGIN ;; DECLARE c CURSOR FOR SELECT id FROM people WHERE flag ;; MOVE ALL IN c
DECLARE c CURSOR WITH HOLD FOR SELECT ssn FROM people ;; FETCH ALL FROM c ;; CLOSE c
BEGIN ;; DECLARE "C" CURSOR FOR SELECT id FROM people ;; DECLARE c CURSOR FOR SELECT ssn FROM people ;; FETCH ALL FROM "C" ;; FETCH ALL FROM c
BEGIN ;; DECLARE c CURSOR FOR SELECT id FROM orders ;; CLOSE c ;; DECLARE c CURSOR FOR SELECT ssn FROM people ;; FETCH 1 FROM c
BEGIN ;; DECLARE c CURSOR FOR SELECT id FROM orders ;; SAVEPOINT s ;; CLOSE c ;; DECLARE c CURSOR FOR SELECT salary FROM people ;; ROLLBACK TO s ;; FETCH 1 FROM c
BEGIN ;; SAVEPOINT s ;; DECLARE c CURSOR FOR SELECT salary FROM people ;; ROLLBACK TO s ;; FETCH 1 FROM c
BEGIN ;; DECLARE c CURSOR FOR SELECT number FROM cards FOR UPDATE ;; FETCH 1 FROM c ;; UPDATE cards SET holder = number WHERE CURRENT OF c ;; SELECT holder FROM cards
BEGIN ;; DECLARE c CURSOR FOR SELECT id FROM cards WHERE number > 'm' FOR UPDATE ;; FETCH 1 FROM c ;; UPDATE cards SET holder = 'here' WHERE CURRENT OF c
BEGIN ;; DECLARE c INSENSITIVE CURSOR FOR SELECT p FROM people p ;; FETCH FORWARD ALL FROM c
FETCH ALL FROM "<unnamed portal 1>"
SELECT 'c'::refcursor
BEGIN ;; DECLARE c CURSOR FOR SELECT ssn FROM people ;; SELECT statement, name FROM pg_cursors
BEGIN ;; DECLARE c CURSOR FOR SELECT ssn FROM people ;; COPY (SELECT 1) TO STDOUT ;; EXPLAIN ANALYZE FETCH ALL FROM c
--: Prepared statements
PREPARE s AS SELECT ssn FROM people ;; EXECUTE s ;; EXECUTE s
PREPARE s(int) AS SELECT ssn FROM people WHERE id = $1 ;; EXECUTE s(1)
PREPARE s(text) AS SELECT id FROM people WHERE ssn = $1 ;; EXECUTE s('{people.ssn}')
PREPARE s(text) AS SELECT id FROM people WHERE name = $1 ;; EXECUTE s((SELECT ssn FROM people WHERE id = 1))
PREPARE s(text) AS INSERT INTO notes (title) VALUES ($1) ;; EXECUTE s((SELECT max(ssn) FROM people)) ;; SELECT title FROM notes
PREPARE s(int) AS SELECT repeat('x', $1) ;; EXECUTE s((SELECT small FROM people WHERE id = 1))
PREPARE s AS SELECT ssn FROM people ;; CREATE TABLE stolen AS EXECUTE s ;; SELECT * FROM stolen
PREPARE s AS SELECT ssn FROM people ;; EXPLAIN ANALYZE EXECUTE s
PREPARE s AS SELECT id FROM people WHERE flag ;; EXPLAIN EXECUTE s
PREPARE s AS SELECT id FROM people ;; DEALLOCATE s ;; PREPARE s AS SELECT salary FROM people ;; EXECUTE s
PREPARE s AS SELECT id FROM people ;; PREPARE s AS SELECT salary FROM people ;; EXECUTE s
PREPARE "S" AS SELECT id FROM people ;; PREPARE s AS SELECT salary FROM people ;; EXECUTE "S" ;; EXECUTE S
PREPARE s AS UPDATE notes SET title = (SELECT max(ssn) FROM people) RETURNING title ;; EXECUTE s
PREPARE s AS TABLE people ;; SELECT name, statement FROM pg_prepared_statements
[simple] PREPARE s AS SELECT id FROM people; EXECUTE s; DEALLOCATE s; PREPARE s AS SELECT ssn FROM people; EXECUTE s
[simple] PREPARE s AS SELECT id, salary FROM people; EXECUTE s
[simple] BEGIN; DECLARE c CURSOR FOR SELECT ssn, id FROM people; FETCH ALL FROM c; COMMIT
[simple] BEGIN; PREPARE s AS SELECT id FROM people; ROLLBACK; EXECUTE s
PREPARE s AS SELECT name FROM v_public ;; EXECUTE s
EXECUTE nosuch ;; DEALLOCATE ALL ;; EXECUTE s
--: EXPLAIN EXECUTE
PREPARE s AS SELECT ssn FROM people ;; EXPLAIN EXECUTE s
PREPARE s AS SELECT ssn FROM people ;; EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) EXECUTE s
PREPARE s(text) AS SELECT id FROM people WHERE name = $1 ;; EXPLAIN EXECUTE s('x')
PREPARE s(int) AS SELECT count(*) FROM people WHERE age > $1 ;; EXPLAIN (ANALYZE, FORMAT json) EXECUTE s((SELECT salary FROM people WHERE id = 1))
PREPARE s AS SELECT name FROM people WHERE id = 1 ;; DEALLOCATE s ;; PREPARE s AS SELECT ssn FROM people ;; EXPLAIN ANALYZE EXECUTE s
PREPARE s AS DELETE FROM people WHERE id = 1 ;; EXPLAIN ANALYZE EXECUTE s ;; SELECT count(*) FROM people
PREPARE s AS SELECT note || '' FROM orders ;; SET search_path = app, public ;; EXPLAIN EXECUTE s
EXPLAIN EXECUTE nothing
