--: Encodings
[since 16] SELECT (CASE WHEN ssn < 'M' THEN decode('ff', 'hex') ELSE 'A'::bytea END) IS JSON FROM small WHERE id = 3
SELECT convert_from(CASE WHEN ssn < 'M' THEN decode('ff', 'hex') ELSE 'A'::bytea END, 'UTF8') FROM small WHERE id = 3
SELECT convert_from(decode('ff41', 'hex'), CASE WHEN ssn < 'M' THEN 'UTF8' ELSE 'LATIN1' END) FROM small WHERE id = 3
SELECT chr(CASE WHEN ssn < 'M' THEN 0 ELSE 65 END) FROM small WHERE id = 3
SELECT decode(CASE WHEN ssn < 'M' THEN 'zz' ELSE '00' END, 'hex') FROM small WHERE id = 3
SELECT normalize(CASE WHEN ssn < 'M' THEN 'a' ELSE U&'\0301' END) FROM small WHERE id = 3
SELECT convert(ssn::bytea, 'UTF8', 'LATIN1') FROM small WHERE id = 3
--: Numeric range
SELECT sum(CASE WHEN p.ssn < 'M' THEN 9e131071 ELSE 1.5 END) FROM small p, generate_series(1, 2) g WHERE p.id = 3
SELECT avg(CASE WHEN p.ssn < 'M' THEN 9e131071 ELSE 1.5 END) FROM small p, generate_series(1, 20) g WHERE p.id = 3
SELECT ceil(CASE WHEN ssn < 'M' THEN 9.99e131071 ELSE 1.5 END), floor(CASE WHEN ssn < 'M' THEN -9.99e131071 ELSE 1.5 END) FROM small WHERE id = 3
SELECT round(CASE WHEN ssn < 'M' THEN repeat('9', 131072)::numeric + 0.6 ELSE 1.5 END) FROM small WHERE id = 3
SELECT (CASE WHEN ssn < 'M' THEN 2147483647 ELSE 1 END) + 1 FROM small WHERE id = 3
SELECT 1 / (CASE WHEN ssn < 'M' THEN 0 ELSE 1 END) FROM small WHERE id = 3
SELECT 1 / (ssn > 'M')::int FROM small WHERE id = 3
SELECT power(CASE WHEN ssn < 'M' THEN 1e300 ELSE 1 END::float8, 2), sqrt(CASE WHEN ssn < 'M' THEN -1 ELSE 1 END), ln(CASE WHEN ssn < 'M' THEN 0 ELSE 1 END) FROM small WHERE id = 3
SELECT (CASE WHEN ssn < 'M' THEN 1e39 ELSE 1 END)::float4 FROM small WHERE id = 3
SELECT (ssn || 'x')::int FROM small WHERE id = 3
SELECT ssn::int, salary / (salary - salary) FROM small WHERE id = 3
SELECT (score * 1e8)::int, score::numeric(3,2) FROM small
SELECT salary::smallint FROM small
--: Records in arrays, types without equality
SELECT array[CASE WHEN ssn < 'M' THEN row(1,2) ELSE row(1,'x'::text) END] = array[row(1,2)] FROM small WHERE id = 3
SELECT (CASE WHEN ssn < 'M' THEN row(1,2) ELSE row(1,'x'::text) END) IN (row(1,2)) FROM small WHERE id = 3
SELECT nullif(CASE WHEN ssn < 'M' THEN row(1,2) ELSE row(1,'x'::text) END, row(1,2)) FROM small WHERE id = 3
SELECT CASE (CASE WHEN ssn < 'M' THEN row(1,2) ELSE row(1,'x'::text) END) WHEN row(1,2) THEN 1 END FROM small WHERE id = 3
SELECT array[CASE WHEN ssn < 'M' THEN row(1,2) ELSE row(1,'x'::text) END] @> array[row(1,2)], array[row(1,2)] && array[CASE WHEN ssn < 'M' THEN row(1,2) ELSE row(1,'x'::text) END] FROM small WHERE id = 3
SELECT max(CASE WHEN ssn < 'M' OR g = 1 THEN row(1,2) ELSE row(1,'x'::text) END) FROM small, generate_series(1,2) g WHERE id = 3
[since 18] SELECT array_sort(array[row(1,2), CASE WHEN ssn < 'M' THEN row(1,2) ELSE row(1,'x'::text) END]) FROM small WHERE id = 3
SELECT array_position(array[row(1,2)], CASE WHEN ssn < 'M' THEN row(1,2) ELSE row(1,'x'::text) END) FROM small WHERE id = 3
SELECT count(DISTINCT CASE WHEN ssn < 'M' OR g = 1 THEN row(1,2) ELSE row('a'::text,'x'::text) END) FROM small, generate_series(1,2) g WHERE id = 3
SELECT row(1,raw) = row(CASE WHEN ssn < 'M' THEN 1 ELSE 2 END,raw) FROM small WHERE id = 3
SELECT array[CASE WHEN ssn < 'M' THEN 1 ELSE 2 END::text::json] IS NULL, CASE WHEN ssn < 'M' THEN raw END FROM small WHERE id = 3
SELECT DISTINCT (CASE WHEN ssn < 'M' THEN 1 ELSE 2 END, point(1,2)) FROM small, generate_series(1,2)
--: Size and depth
SELECT (repeat(CASE WHEN ssn < 'M' THEN '[' ELSE ' ' END, 20000) || '1')::json FROM small WHERE id = 3
SELECT replace(repeat('a', 9000), 'a', CASE WHEN ssn < 'M' THEN '[' ELSE ' ' END)::jsonb FROM small WHERE id = 3
SELECT length(repeat(CASE WHEN ssn < 'M' THEN repeat('x', 1000) ELSE 'y' END, 1200000)) FROM small WHERE id = 3
SELECT jsonb_build_object(repeat(CASE WHEN ssn < 'M' THEN 'xx' ELSE 'y' END, 140000000), 1) IS NULL FROM small WHERE id = 3
SELECT lpad('x', CASE WHEN ssn < 'M' THEN 2147483647 ELSE 2 END) FROM small WHERE id = 3
SELECT regexp_replace('aaa', CASE WHEN ssn < 'M' THEN '(' ELSE 'a' END, 'b') FROM small WHERE id = 3
SELECT 'a' ~ ssn, 'a' LIKE (ssn || '\'), 'a' SIMILAR TO ssn FROM small WHERE id = 3
SELECT to_tsquery('simple', CASE WHEN ssn < 'M' THEN '&' ELSE 'a' END) FROM small WHERE id = 3
SELECT jsonb_path_query('1', (CASE WHEN ssn < 'M' THEN '$.' ELSE '$' END)::jsonpath) FROM small WHERE id = 3
SELECT array_fill(1, array[CASE WHEN ssn < 'M' THEN 2000000000 ELSE 1 END]) FROM small WHERE id = 3
SELECT to_char(1, repeat(CASE WHEN ssn < 'M' THEN '9' ELSE ' ' END, 2000)) FROM small WHERE id = 3
SELECT string_agg(CASE WHEN ssn < 'M' THEN repeat('x', 300000000) ELSE 'x' END, '') IS NULL FROM small, generate_series(1, 4) WHERE id = 3
--: Subscripts, slices, dimensions
SELECT (array[1,2,3])[CASE WHEN ssn < 'M' THEN 3000000000 ELSE 1 END] FROM small WHERE id = 3
SELECT (array[1,2,3])[1:CASE WHEN ssn < 'M' THEN 3000000000 ELSE 1 END] FROM small WHERE id = 3
SELECT ('[1,2]'::jsonb)[CASE WHEN ssn < 'M' THEN 3000000000 ELSE 1 END] FROM small WHERE id = 3
SELECT array[CASE WHEN ssn < 'M' THEN array[1] ELSE array[1,2] END, array[1]] FROM small WHERE id = 3
SELECT array[1] || CASE WHEN ssn < 'M' THEN array[array[1]] ELSE array[2] END || array[array[1,2]] FROM small WHERE id = 3
SELECT array_agg(CASE WHEN ssn < 'M' AND g = 1 THEN array[1] ELSE array[1,2] END) FROM small, generate_series(1,2) g WHERE id = 3
SELECT tags[length(ssn)], tags[1:length(ssn)], array_ndims(tags), array_upper(tags, 1) FROM small
SELECT array_append(CASE WHEN ssn < 'M' THEN array[array[1]] ELSE array[1] END, 2), width_bucket(1, CASE WHEN ssn < 'M' THEN array[array[1]] ELSE array[1] END) FROM small WHERE id = 3
SELECT substr('abc', 1, CASE WHEN ssn < 'M' THEN -1 ELSE 1 END), overlay('abc' placing 'x' from CASE WHEN ssn < 'M' THEN -1 ELSE 1 END) FROM small WHERE id = 3
--: Collations
SELECT (CASE WHEN p.ssn < 'M' THEN a.x END) < b.y FROM small p, (SELECT 'a' COLLATE "POSIX" x) a, (SELECT 'b' COLLATE "C" y) b WHERE p.id = 3
SELECT lower(CASE WHEN p.ssn < 'M' THEN a.x ELSE b.y END) FROM small p, (SELECT 'a' COLLATE "POSIX" x) a, (SELECT 'b' COLLATE "C" y) b WHERE p.id = 3
SELECT max(v) FROM (SELECT CASE WHEN p.ssn < 'M' THEN a.x ELSE b.y END AS v FROM small p, (SELECT 'a' COLLATE "POSIX" x) a, (SELECT 'b' COLLATE "C" y) b WHERE p.id = 3) q
--: Constants that a cast changes
SELECT (CASE WHEN ssn < 'M' THEN 1 END) / (0.1::int) FROM small WHERE id = 3
SELECT encode(decode('00', 'hex'), CASE WHEN ssn < 'M' THEN 'hex'::varchar(2) ELSE 'hex' END) FROM small WHERE id = 3
SELECT date_part(CASE WHEN ssn < 'M' THEN ' year' ELSE 'year' END, now()) IS NULL FROM small WHERE id = 3
SELECT extract(year FROM CASE WHEN ssn < 'M' THEN 'infinity'::date ELSE '2024-01-01' END) FROM small WHERE id = 3
SELECT date_trunc(CASE WHEN ssn < 'M' THEN 'x' ELSE 'year' END, '2024-01-01'::date) FROM small WHERE id = 3
SELECT '2024-01-01'::timestamp AT TIME ZONE CASE WHEN ssn < 'M' THEN 'nowhere' ELSE 'UTC' END FROM small WHERE id = 3
SELECT (CASE WHEN ssn < 'M' THEN '294276-12-31'::timestamp ELSE '2000-01-01' END) + '1 year'::interval FROM small WHERE id = 3
SELECT make_date(CASE WHEN ssn < 'M' THEN 0 ELSE 1 END, 1, 1), make_interval(years => CASE WHEN ssn < 'M' THEN 2147483647 ELSE 1 END) FROM small WHERE id = 3
SELECT (CASE WHEN ssn < 'M' THEN 'x' ELSE 'sad' END)::mood FROM small WHERE id = 3
SELECT (CASE WHEN ssn < 'M' THEN 'toolong' ELSE 'sad' END)::short FROM small WHERE id = 3
SELECT int4range(CASE WHEN ssn < 'M' THEN 9 ELSE 1 END, 5) FROM small WHERE id = 3
SELECT (CASE WHEN ssn < 'M' THEN 'nosuch' ELSE 'small' END)::regclass FROM small WHERE id = 3
SELECT (CASE WHEN ssn < 'M' THEN 'x' ELSE '10.0.0.1' END)::inet, (CASE WHEN ssn < 'M' THEN 'x' ELSE '<a/>' END)::xml FROM small WHERE id = 3
SELECT enum_first(feeling), enum_range(feeling, NULL), feeling::text::mood FROM small
SELECT (CASE WHEN ssn < 'M' THEN B'1' ELSE B'11' END) & B'11', get_bit(B'1', CASE WHEN ssn < 'M' THEN 7 ELSE 0 END) FROM small WHERE id = 3
SELECT setseed(CASE WHEN ssn < 'M' THEN 7 ELSE 0 END) FROM small WHERE id = 3
SELECT nth_value(1, CASE WHEN ssn < 'M' THEN 0 ELSE 1 END) OVER (), ntile(CASE WHEN ssn < 'M' THEN 0 ELSE 1 END) OVER (), lag(1, CASE WHEN ssn < 'M' THEN 0 ELSE 1 END) OVER () FROM small WHERE id = 3
SELECT 1 FROM small LIMIT (SELECT CASE WHEN ssn < 'M' THEN -1 ELSE 1 END FROM small WHERE id = 3)
SELECT generate_series(1, 3, CASE WHEN ssn < 'M' THEN 0 ELSE 1 END) FROM small WHERE id = 3
SELECT (SELECT g FROM generate_series(1, CASE WHEN p.ssn < 'M' THEN 2 ELSE 1 END) g) FROM small p WHERE p.id = 3
SELECT sum(id) OVER (ORDER BY id RANGE BETWEEN CASE WHEN 'a' < 'M' THEN 1 ELSE 0 END PRECEDING AND CURRENT ROW), sum(id) OVER (ORDER BY id ROWS (SELECT CASE WHEN ssn < 'M' THEN -1 ELSE 1 END FROM small WHERE id = 3) PRECEDING) FROM small
SELECT percentile_cont(CASE WHEN (SELECT ssn FROM small WHERE id = 3) < 'M' THEN 7 ELSE 0.5 END) WITHIN GROUP (ORDER BY id) FROM small
--: Planner
EXPLAIN (VERBOSE, COSTS OFF) SELECT f_imm(3)
SELECT f_imm(3) < 'M'
SELECT 1 / (f_imm(3) > 'M')::int
EXPLAIN SELECT 1 FROM orders WHERE note = f_imm(3)
EXPLAIN (VERBOSE) SELECT f_whole(s) FROM small s
SELECT f_whole(s) FROM small s
SELECT s.f_whole FROM small s
SELECT f_stable(id) FROM orders WHERE id = 3
EXPLAIN SELECT * FROM events WHERE ssn = f_imm(3)
EXPLAIN SELECT * FROM parts WHERE ssn = 'a1'
SELECT 1 FROM orders WHERE f_stable(3) < 'M' LIMIT 1
