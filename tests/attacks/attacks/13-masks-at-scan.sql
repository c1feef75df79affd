--: Every row of the table of masks-at-scan, over people, whose values are at the edges of each type in one world
SELECT convert_from(blob, 'UTF8') FROM people
SELECT ssn::bytea, convert_to(ssn, 'LATIN1'), blob::text FROM people
[since 16] SELECT blob IS JSON, convert_from(blob, 'UTF8') IS JSON, ssn IS JSON FROM people
SELECT sum(balance), avg(balance), stddev(balance), sum(rating), sum(big), sum(salary), sum(pay), sum(span) FROM people
SELECT sum(balance * balance), sum(big::numeric * big) FROM people, generate_series(1, 3)
SELECT ceil(balance), floor(balance), round(balance), round(balance, 3), trunc(balance), sign(balance), scale(balance), balance ^ 2 FROM people
SELECT balance::int, balance::float8, balance::float4, balance::money, balance::numeric(3, 1), rating::int, rating::float4, big::int, salary::int2 FROM people
SELECT salary + salary, big * big, small + small, -salary, abs(small), salary / (small - small), salary % small FROM people
SELECT birth + 1, birth - 1, birth + span, seen + span, moved - span, seen - seen, age(seen), age(birth), justify_interval(span) FROM people
SELECT date_trunc('month', birth), date_trunc('week', seen), extract(epoch FROM birth), extract(julian FROM moved), to_char(seen, 'YYYY'), birth::timestamptz FROM people
SELECT seen AT TIME ZONE 'Asia/Tokyo', moved AT TIME ZONE '-12', wake AT TIME ZONE 'UTC', birth::timestamp AT TIME ZONE 'UTC' FROM people
SELECT make_date(extract(year FROM birth)::int, 1, 1), overlaps(birth, birth + 1, birth, birth), generate_series(birth, birth + 1, '1 day') FROM people
SELECT array[home] = array[home], array_agg(home), home = home, home IN (home), max(home::text) FROM people GROUP BY home
SELECT array[raw], ROW(raw) = ROW(raw), raw::jsonb, raw::text::jsonb, doc::text::json, doc || doc, doc - 'k', doc #- '{k}', jsonb_set(doc, '{k}', '1') FROM people
SELECT tags[1], tags || tags, tags || ARRAY[tags], array_cat(years, years), array_append(years, 1), array_dims(years), years[1:2], array_position(tags, 'a'), array_remove(years, 1), unnest(years) FROM people
SELECT array_agg(tags), array_agg(years), array_to_json(years), array_to_string(tags, ','), width_bucket(salary, years), array_fill(salary, ARRAY[small]) FROM people GROUP BY id
SELECT 'a' ~ ssn, ssn ~ ssn, regexp_replace(ssn, code, phone), ssn LIKE phone, ssn SIMILAR TO code, to_tsquery(ssn), plainto_tsquery(code), ssn::tsquery, phrase_to_tsquery(ssn) FROM people
SELECT ssn::int, ssn::numeric, ssn::date, ssn::uuid, ssn::inet, ssn::json, ssn::xml, ssn::interval, ssn::regclass, ssn::bool, ssn::mood, ssn::int[] FROM people
SELECT repeat(ssn, salary), lpad(ssn, salary), substr(ssn, small, big::int), split_part(ssn, 'a', small), chr(salary), to_char(salary, ssn), decode(ssn, 'hex'), overlay(ssn placing 'x' from small) FROM people
SELECT bits & bits, bits || bits, get_bit(bits, small), bits << 1, bits::int, set_bit(bits, 0, 1), length(bits), substring(bits from 2) FROM people
SELECT get_byte(blob, 0), set_byte(blob, 0, 1), substr(blob, 1, small), sha256(blob), encode(blob, 'escape'), blob || blob FROM people
SELECT spot <-> spot, spot * spot, spot / spot, box(spot, spot), circle(spot, rating), polygon(box(spot, spot)), line(spot, spot), slope(spot, spot) FROM people
SELECT period * period, period + period, period - period, lower(period) + 1, upper(period), range_merge(period, period), daterange(birth, birth - 1), multirange(period) FROM people
SELECT addr + big, addr - addr, addr & addr, set_masklen(addr, small), network(addr), addr::cidr, host(addr), abbrev(addr::cidr), trunc(mac), macaddr8_set7bit(mac::macaddr8) FROM people
SELECT path || path, subpath(path, 0, 1), subltree(path, small, 2), lca(path, path), path @ 'a', text2ltree(ssn), nlevel(path), index(path, path) FROM people
SELECT attrs -> 'a', attrs || attrs, delete(attrs, ssn), each(attrs), hstore_to_json(attrs), hstore(ssn, code), slice(attrs, tags), attrs::json FROM people
SELECT words || words, setweight(words, 'A'), ts_rank(words, 'a'), ts_headline(ssn, 'a'), ts_delete(words, tags), unnest(words), tsvector_to_array(words) FROM people
SELECT enum_first(feeling), feeling::text::mood, feeling > 'sad', zip::zipcode, (zip || zip || zip || zip)::zipcode, (home).zip::zipcode FROM people
SELECT width_bucket(rating, 1, 5, 3), width_bucket(balance, 1, 5, 3), power(rating, 2), exp(rating), ln(rating), sqrt(rating), log(balance), factorial(small), gcd(salary, small), erf(rating) FROM people
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY rating), percentile_disc(0.5) WITHIN GROUP (ORDER BY balance), mode() WITHIN GROUP (ORDER BY spot::text), regr_slope(rating, salary), corr(rating, salary) FROM people
SELECT ntile(small) OVER (), lag(ssn, small) OVER (ORDER BY id), nth_value(ssn, small) OVER (), sum(balance) OVER (ORDER BY salary RANGE 5 PRECEDING), sum(rating) OVER (ORDER BY rating RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM people
SELECT * FROM people ORDER BY birth, balance, rating, spot::text, period, doc, tags, years, blob, addr, mac, bits, span, wake, token, home, flag, words, path
SELECT id FROM people WHERE balance > 5 OR rating < 3 OR birth > '1950-01-01' OR doc @> '{"k": 1}' OR tags && '{a}' OR addr << '10.0.0.0/8' OR bits = B'1' OR period @> '1980-01-01'::date
SELECT id FROM people WHERE balance = 1.0::float8 OR balance = 1e300::float8 OR rating = 1e400 OR big = 1e300 OR salary = 1e39::float4
SELECT id FROM people WHERE balance = 1.0::float8
SELECT id FROM people WHERE balance IN (1.0::float8, 2)
SELECT id FROM people WHERE balance = ANY ('{1,2}'::float8[])
SELECT id FROM people WHERE big = 1.5 OR small = 99999999 OR salary = 9999999999999
SELECT id FROM people WHERE birth = '2001-01-01'::timestamptz OR birth = 'infinity'::timestamp OR seen = '5874897-12-31'::date OR moved = '294276-12-31 23:59:59+00'::timestamptz
SELECT id FROM people WHERE home = ROW('a', 'b')::address OR tags = '{a}' OR years = '{1}' OR doc = '1' OR attrs = 'a=>1' OR words = 'a' OR path = 'a' OR period = 'empty' OR span = '1 day' OR pay = '1'::money
SELECT id FROM people WHERE nick = 'x' OR code = 'x' OR phone = 'x' OR zip = 'x' OR token = '00000000-0000-0000-0000-000000000001' OR blob = '\x' OR addr = '1.1.1.1' OR mac = '00:00:00:00:00:00' OR bits = B'101'
SELECT id FROM people WHERE code = 'x'::text AND code = 'x'::varchar AND code = 'x   '::bpchar AND nick = 'X'::text
SELECT p.id FROM people p NATURAL JOIN cards c NATURAL JOIN refs r
SELECT p.id FROM people p JOIN refs USING (ssn)
SELECT x FROM people AS p(a, b, c, d, e, f, x) WHERE x < 'm' ORDER BY x
SELECT id FROM people p WHERE p > (SELECT q FROM people q WHERE q.id = 1)
SELECT p.id FROM people p WHERE p.* = p.* ORDER BY p.home, p
SELECT id FROM people ORDER BY people.*
SELECT row_number() OVER (ORDER BY p), p.id FROM people p
SELECT to_jsonb(p), p::text, hstore(p), row_to_json(p.home) FROM people p
SELECT string_agg(p::text, '|' ORDER BY p.ssn) FROM people p
SELECT id, title, secret, length(secret), md5(secret), secret < 'm' FROM long_texts
SELECT count(*) FROM events e1 JOIN events e2 ON e1.secret = e2.secret JOIN by_secret b ON true
SELECT * FROM parent ORDER BY pin
SELECT id, count(pin), max(extra) FROM grandchild GROUP BY id ORDER BY max(extra)
SELECT who, (who).ssn, (who).ssn < 'm', many[1], (about).label, somebody FROM kept
SELECT * FROM vault WHERE secret > 'm' ORDER BY secret
SELECT v.key FROM v_nested v JOIN v_people w ON v.shown = w.s ORDER BY v.shown
SELECT * FROM v_orders WHERE contact LIKE 'a%'
SELECT id FROM v_json WHERE j ->> 'ssn' < 'm'
SELECT t FROM v_union ORDER BY t
SELECT * FROM v_filtered
SELECT id FROM v_case ORDER BY maybe
SELECT * FROM v_agg ORDER BY top
SELECT everything, (everything).ssn < 'm' FROM v_whole
SELECT id, count(*) OVER (PARTITION BY f) FROM v_window
EXPLAIN SELECT * FROM people WHERE salary > 5 ;; EXPLAIN (VERBOSE) SELECT ssn FROM people GROUP BY ssn ;; EXPLAIN (ANALYZE, TIMING off, SUMMARY off) SELECT id FROM people ORDER BY doc, ssn
SET enable_seqscan = off ;; SELECT id FROM people ;; SELECT count(*) FROM people ;; SELECT 1 FROM people ;; SELECT ssn < 'm' FROM people
SET work_mem = '64kB' ;; SET enable_mergejoin = off ;; SET join_collapse_limit = 1 ;; SELECT p.ssn, g FROM generate_series(1, 9000) h JOIN (people p CROSS JOIN generate_series(1, 1300) g) ON g = h WHERE p.id = 4
SET work_mem = '64kB' ;; SET enable_mergejoin = off ;; SET join_collapse_limit = 1 ;; SELECT p.secret, g FROM generate_series(1, 2000) h JOIN (long_texts p CROSS JOIN generate_series(1, 300) g) ON g = h WHERE p.id = 4
BEGIN ;; UPDATE people SET ssn = '{people.ssn}' WHERE id = 1 ;; ROLLBACK
BEGIN ;; UPDATE cards SET number = '{cards.number}' WHERE id = 1 ;; SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'cards' ;; ROLLBACK
BEGIN ;; UPDATE cards SET holder = 'x' WHERE number < 'm' ;; UPDATE cards SET holder = number ;; UPDATE cards SET number = lower(number) ;; ROLLBACK
BEGIN ;; INSERT INTO notes (title) SELECT number FROM cards ;; UPDATE notes SET title = c.number FROM cards c ;; ROLLBACK
BEGIN ;; WITH d AS (UPDATE cards SET holder = 'x' RETURNING *) SELECT id FROM d WHERE number < 'm' ORDER BY pin ;; ROLLBACK
BEGIN ;; WITH d AS (DELETE FROM cards RETURNING cards) SELECT count(*) FROM d WHERE (d.cards).pin > 500000000 ;; ROLLBACK
[since 15] BEGIN ;; MERGE INTO orders o USING people p ON p.id = o.person_id WHEN MATCHED AND p.flag THEN DELETE WHEN MATCHED THEN UPDATE SET amount = 1 ;; ROLLBACK
[since 15] BEGIN ;; MERGE INTO cards c USING people p ON p.id = c.id AND c.pin > 500000000 WHEN MATCHED THEN UPDATE SET holder = 'x' WHEN NOT MATCHED THEN DO NOTHING ;; ROLLBACK
BEGIN ;; UPDATE orders SET amount = 0 FROM people p WHERE p.id = person_id AND p.ssn < 'm' RETURNING orders.id ;; ROLLBACK
BEGIN ;; DELETE FROM orders USING people p WHERE p.id = person_id AND p.flag RETURNING orders.id, p.ssn ;; ROLLBACK
--: Functions that read masked columns by themselves
SELECT called FROM v_followed ORDER BY id
SELECT f_email(1) AS m
SELECT id, contact, called FROM v_followed
UPDATE cards SET number = '1234' WHERE id = 1
UPDATE cards SET number = NULL, pin = 5 WHERE id = 2 RETURNING id
SELECT p.row_to_json, p.record_send, p.hash_record FROM people p
SELECT id FROM people p ORDER BY p.pg_column_size, id
SELECT id FROM people ORDER BY people.record_out, id
SELECT p.count FROM people p
