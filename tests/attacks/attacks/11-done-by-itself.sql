--: Conversions that nobody wrote: to the common type of CASE, COALESCE, ARRAY, UNION and of arguments
SELECT ARRAY(SELECT tags FROM people)
SELECT ARRAY(SELECT tags FROM people WHERE id < 5 ORDER BY id)
SELECT ARRAY[tags, ARRAY['a','b']] FROM people
SELECT ARRAY[years, years] FROM people
SELECT array_agg(tags) FROM people
SELECT array_agg(years) FROM people WHERE id = 2
SELECT GREATEST(CASE WHEN flag THEN ROW(1,2) ELSE ROW(1,'x'::text) END, ROW(1,2)) FROM people
SELECT CASE WHEN flag THEN ROW(1,2) ELSE ROW(1,'x'::text) END = ROW(1,2) FROM people
SELECT NULLIF(CASE WHEN flag THEN ROW(1,2) ELSE ROW(1,'x'::text) END, ROW(1,2)) FROM people
SELECT ROW(1,2) IN (CASE WHEN flag THEN ROW(1,2) ELSE ROW(1,'x'::text) END) FROM people
SELECT big FROM people WHERE id = 2 UNION ALL SELECT oid FROM pg_class WHERE false
SELECT CASE WHEN id > 0 THEN big ELSE 1::oid END FROM people WHERE id = 1
SELECT COALESCE(big, 1::oid) FROM people WHERE id = 1
SELECT ARRAY[big, 1::oid] FROM people WHERE id = 1
SELECT GREATEST(big, 1::oid) FROM people WHERE id = 1
SELECT CASE WHEN id > 0 THEN birth ELSE now() END FROM people
[restless] SELECT birth FROM people UNION ALL SELECT now()
SELECT coalesce(birth, joined::timestamp) FROM people
SELECT coalesce(balance, 1::float8), greatest(balance, rating) FROM people
SELECT balance FROM people UNION ALL SELECT 1::float8
SELECT rating < balance FROM people
SELECT birth < seen, birth < moved, moved < seen FROM people
SELECT balance + rating FROM people
SELECT x FROM people, LATERAL (VALUES (big), (1::oid)) v(x)
SELECT count(*) FROM people a JOIN (SELECT 1::float8 AS balance) b USING (balance)
--: Computed whenever a row is written: generated columns, indexed expressions, predicates, partitions, parts of a value
INSERT INTO lists (id, secret) SELECT id + 50, ARRAY(SELECT salary FROM people z WHERE z.id = p.id) FROM people p
UPDATE lists SET doc['k']['x'] = '1'
UPDATE lists SET doc['k']['x'] = '1' WHERE id = 2
UPDATE lists SET doc['0'] = '1' WHERE id = 1
UPDATE lists SET secret[1] = 5 WHERE id = 1
UPDATE lists SET secret[1][1] = 5
UPDATE lists SET secret[2:1] = '{5}'
UPDATE lists SET secret[1] = big FROM people p WHERE p.id = lists.id
UPDATE lists SET secret[p.salary] = 1 FROM people p WHERE p.id = lists.id
UPDATE lists SET home.street = p.ssn FROM people p WHERE p.id = lists.id
UPDATE ledger SET amount = 2147483647 - 500000000 WHERE id = 1
UPDATE ledger SET amount = 1500000000 WHERE id = 1
UPDATE ledger SET amount = amount + 1
INSERT INTO ledger (id, amount, secret) SELECT id + 50, 1700000000, salary FROM people
INSERT INTO ledger (id, amount, secret) VALUES (1, 1, 1) ON CONFLICT (id) DO UPDATE SET amount = 1700000000
INSERT INTO ledger (id, amount, secret) SELECT id, 1, salary FROM people ON CONFLICT (id) DO UPDATE SET amount = excluded.total
INSERT INTO ledger (id, amount, secret) SELECT id, 1, salary FROM people ON CONFLICT (id) DO UPDATE SET note = excluded.total::text ;; SELECT note FROM ledger
INSERT INTO ledger (id, amount) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET note = ledger.total::text ;; SELECT note FROM ledger
UPDATE ledger SET note = total::text ;; SELECT note FROM ledger
SELECT total FROM ledger
SELECT id FROM ledger WHERE total > 500000000
UPDATE computed SET amount = 2147483647 - 500000000 WHERE id = 1
INSERT INTO computed (id, amount, secret) SELECT id + 50, 1700000000, salary FROM people
UPDATE computed SET note = 'x' WHERE id = 1
UPDATE halved SET amount = 0 WHERE id = 2
UPDATE halved SET amount = -1
INSERT INTO halved (id, note, amount, secret) SELECT id + 50, 'x', salary - 500000000, salary FROM people
INSERT INTO halved (id, note, amount, secret) SELECT id + 50, 'x', 0, salary FROM people
INSERT INTO partly VALUES (50, 'label 1', 'z')
INSERT INTO partly VALUES (50, 'label 1', 'a')
INSERT INTO partly (id, label) VALUES (50, 'label 1')
UPDATE partly SET label = 'label 2' WHERE id = 1
INSERT INTO partly (id, label, secret) SELECT 50 + id, 'same', ssn FROM people
INSERT INTO partly (id, label, secret) VALUES (50, 'label 1', 'z') ON CONFLICT DO NOTHING
INSERT INTO partly (id, label, secret) VALUES (50, 'label 1', 'z') ON CONFLICT (label) WHERE secret > 'n' DO NOTHING
INSERT INTO booked VALUES (50, 600000000, '[0,80)')
INSERT INTO booked VALUES (50, 1, '[0,80)')
INSERT INTO booked VALUES (50, 600000000, '[0,80)') ON CONFLICT DO NOTHING
UPDATE booked SET during = '[0,80)' WHERE id = 1
INSERT INTO routed (secret, label) SELECT salary, 'x' FROM people
INSERT INTO routed (secret, label) SELECT salary, 'x' FROM people WHERE id = 1 RETURNING tableoid::regclass
INSERT INTO routed (secret, label) SELECT salary, 'x' FROM people ;; SELECT count(*) FROM routed_low
INSERT INTO routed_low (secret, label) SELECT salary, 'x' FROM people WHERE id = 1
UPDATE routed SET secret = 5
INSERT INTO routed VALUES (5, 'x') RETURNING tableoid::regclass, label
COPY routed FROM STDIN <<< 1000000000\tx
INSERT INTO bounded (id, kept) SELECT id + 50, salary FROM people
INSERT INTO bounded (id, secret) SELECT id + 50, salary::positive FROM people
INSERT INTO bounded (id, secret) SELECT id + 50, salary FROM people
SELECT salary::positive FROM people
[residual row policy] INSERT INTO ranked SELECT id + 50, 'x', ssn FROM people
INSERT INTO lists (id, day) SELECT id + 50, seen::date FROM people
INSERT INTO lists (id, day) SELECT id + 50, seen FROM people
INSERT INTO lists (id, doc) SELECT id + 50, raw::jsonb FROM people
INSERT INTO lists (id, secret) SELECT id + 50, years FROM people
INSERT INTO lists (id, secret) SELECT id + 50, array_fill(1, ARRAY[3000]) || years FROM people
INSERT INTO cards (id, number) SELECT id + 50, ssn FROM people ;; SELECT * FROM cards ORDER BY id
--: Views that do something
INSERT INTO v_checked VALUES (50, 'x', 'z')
INSERT INTO v_checked SELECT id + 50, 'x', ssn FROM people
UPDATE v_checked SET label = 'x' WHERE id = 1
SELECT j FROM v_json
SELECT j ->> 'ssn' FROM v_json
SELECT id FROM v_json WHERE j ->> 'ssn' > 'm'
SELECT t FROM v_union
SELECT f FROM v_window
SELECT maybe FROM v_case
SELECT x FROM v_lateral
SELECT id FROM v_lateral
--: The declared type of a parameter decides what the column beside it is converted to
PREPARE s(oid) AS SELECT big = $1 FROM people WHERE id = 1 ;; EXECUTE s(1)
PREPARE s(int8) AS SELECT big = $1 FROM people WHERE id = 1 ;; EXECUTE s(1)
PREPARE s AS SELECT big = $1 FROM people WHERE id = 1 ;; EXECUTE s(1)
PREPARE s AS SELECT $1::oid, big = $1 FROM people WHERE id = 1 ;; EXECUTE s(1)
PREPARE s AS SELECT big = $1, $1::oid FROM people WHERE id = 1 ;; EXECUTE s(1)
[restless] PREPARE s(timestamptz) AS SELECT coalesce(birth, $1) FROM people ;; EXECUTE s(now())
PREPARE s(float8) AS SELECT balance < $1 FROM people ;; EXECUTE s(1)
PREPARE s(float8) AS SELECT ARRAY[balance, $1] FROM people ;; EXECUTE s(1)
PREPARE s(float8[]) AS SELECT balance = ANY ($1) FROM people ;; EXECUTE s('{1}')
PREPARE s(float8) AS SELECT balance BETWEEN $1 AND 5 FROM people ;; EXECUTE s(1)
PREPARE s(float8) AS SELECT balance IN (1, $1) FROM people ;; EXECUTE s(1)
PREPARE s(float8) AS SELECT $1 + balance FROM people ;; EXECUTE s(1)
PREPARE s AS SELECT birth = $1 FROM people ;; EXECUTE s('2020-01-01')
PREPARE s(timestamptz) AS SELECT birth = $1 FROM people ;; EXECUTE s(now())
[restless] PREPARE s(timestamptz) AS SELECT nullif(birth, $1), greatest(birth, $1) FROM people ;; EXECUTE s(now())
--: Escapes in json are read when it becomes jsonb
SELECT to_jsonb(p) FROM people p
SELECT jsonb_agg(raw), jsonb_build_array(raw) FROM people
SELECT jsonb_agg(p) FROM people p WHERE id = 1
SELECT to_jsonb(ARRAY[raw]) FROM people
SELECT to_jsonb(q) FROM (SELECT id, raw FROM people) q
--: Through casts that users made
SELECT upper(tag) FROM stuck
SELECT tag || 'x', note || tag FROM stuck
SELECT note = tag, note < tag, note LIKE tag, tag IN (note, 'x') FROM stuck
SELECT coalesce(note, tag), CASE WHEN id > 1 THEN note ELSE tag END, nullif(note, tag), greatest(note, tag) FROM stuck
SELECT tag FROM stuck UNION ALL SELECT note FROM stuck
SELECT ARRAY[note, tag] FROM stuck
SELECT x FROM stuck, LATERAL (VALUES (tag), (note)) v(x)
SELECT length(s.tag) FROM stuck s
SELECT (s.tag).upper FROM stuck s
SELECT string_agg(tag, ',') FROM stuck
SELECT array_to_string(tags, ','), string_to_array('a', tag) FROM stuck
SELECT id FROM stuck WHERE tag
SELECT id FROM stuck WHERE NOT tag OR tag
SELECT count(*) FILTER (WHERE tag), CASE WHEN tag THEN 1 END FROM stuck
SELECT tag IS TRUE FROM stuck
SELECT s.id FROM stuck s JOIN stuck t ON s.tag
SELECT ROW(tag, 1)::address FROM stuck
SELECT to_json(tag), to_jsonb(tag), json_agg(tag), to_jsonb(tags) FROM stuck GROUP BY tag, tags
SELECT row_to_json(s), json_build_object('a', tag), jsonb_build_array(tags) FROM stuck s
SELECT f_joined('-', tag, 'x'), f_either(note, tag), order_total(1) FROM stuck
[since 16] SELECT JSON_ARRAY(tag), JSON_OBJECT('a': tag) FROM stuck
[since 17] SELECT JSON_SCALAR(tag), JSON_ARRAY(SELECT tag FROM stuck) FROM stuck
INSERT INTO notes (title) SELECT tag FROM stuck ;; SELECT title FROM notes
INSERT INTO notes (title) VALUES (ROW('a', 1)::sticker) ;; SELECT title FROM notes
UPDATE notes SET title = ROW('a', 1)::sticker ;; SELECT title FROM notes
[as builder] INSERT INTO stuck (id, tag) VALUES (50, 7) ;; SELECT (tag).label FROM stuck
[as builder] UPDATE stuck SET tag = id ;; SELECT (tag).label FROM stuck
[as builder] UPDATE stuck SET tags[1] = id ;; SELECT (tags[1]).label FROM stuck
PREPARE q (text) AS SELECT $1 ;; EXECUTE q (ROW('a', 1)::sticker)
PREPARE q (sticker) AS SELECT upper($1) ;; EXECUTE q ('(a,1)')
SELECT id FROM stuck LIMIT (SELECT 1) OFFSET 0
[since 16] SELECT JSON_OBJECT('k': raw RETURNING jsonb) FROM people
[since 16] SELECT JSON_ARRAY(id, raw RETURNING jsonb), JSON_ARRAYAGG(raw RETURNING jsonb) FROM people GROUP BY id
[since 16] SELECT JSON_OBJECTAGG(name: raw RETURNING jsonb) FROM people
[since 16] SELECT JSON_ARRAY(SELECT raw FROM people RETURNING jsonb)
[since 16] SELECT JSON_OBJECT('k': ROW(raw, id) RETURNING jsonb) FROM people
SELECT count(DISTINCT ROW(id, feeling)), array_agg(DISTINCT ROW(salary, raw::text)) FROM people
PREPARE q (sticker) AS SELECT ($1).label ;; EXECUTE q (7)
--: Rows that change or go with others: foreign keys that cascade
UPDATE owners SET id = 600000000 WHERE id = 1
UPDATE owners SET id = 1700000000 WHERE id = 2
UPDATE owners SET id = id + 600000000
BEGIN ;; UPDATE owners SET id = 9 WHERE id = 1 ;; ROLLBACK
DELETE FROM owners WHERE id = 1
DELETE FROM owners WHERE id > 1
UPDATE owners SET label = 'x' WHERE id = 1
INSERT INTO owners VALUES (50, 'x') ON CONFLICT (id) DO UPDATE SET id = 600000000
INSERT INTO owners VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET id = 600000000
MERGE INTO owners USING (SELECT 1 AS n) one ON owners.id = one.n WHEN MATCHED THEN UPDATE SET id = 600000000
MERGE INTO owners USING (SELECT 1 AS n) one ON owners.id = one.n WHEN MATCHED THEN DELETE
WITH gone AS (DELETE FROM owners WHERE id = 1 RETURNING id) SELECT id FROM gone
BEGIN ;; SAVEPOINT a ;; UPDATE owners SET id = 600000000 WHERE id = 1 ;; ROLLBACK TO a ;; ROLLBACK
BEGIN ;; INSERT INTO kinds VALUES ({graded.secret}, 'x') ;; DELETE FROM kinds WHERE id = {graded.secret} ;; SELECT id FROM graded ;; ROLLBACK
BEGIN ;; INSERT INTO kinds VALUES ({graded.secret}, 'x') ;; WITH gone AS (DELETE FROM kinds WHERE id = {graded.secret}) SELECT 1 ;; SELECT count(*) FROM graded ;; ROLLBACK
BEGIN ;; INSERT INTO kinds VALUES ({graded.secret}, 'x') ;; UPDATE kinds SET id = 5 WHERE id = {graded.secret} ;; ROLLBACK
DELETE FROM kinds
--: Entries of indexes have a size
UPDATE hushed SET note = (SELECT substr(string_agg(md5(i::text), ''), 1, 2675) FROM generate_series(1, 84) i)
UPDATE hushed SET note = (SELECT substr(string_agg(md5(i::text), ''), 1, 2675) FROM generate_series(1, 84) i) WHERE id = 1
INSERT INTO hushed VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET note = (SELECT substr(string_agg(md5(i::text), ''), 1, 2675) FROM generate_series(1, 84) i)
MERGE INTO hushed h USING (SELECT substr(string_agg(md5(i::text), ''), 1, 2675) AS n FROM generate_series(1, 84) i) q ON true WHEN MATCHED THEN UPDATE SET note = q.n
UPDATE included SET note = (SELECT substr(string_agg(md5(i::text), ''), 1, 2669) FROM generate_series(1, 84) i) || id
INSERT INTO included VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET note = (SELECT substr(string_agg(md5(i::text), ''), 1, 2675) FROM generate_series(1, 84) i)
--: Rows of a table with masked columns that other tables hold
UPDATE boxed SET label = 'low' WHERE id = 1
UPDATE boxed SET label = 'low'
UPDATE boxed SET label = 'lows'
UPDATE boxed SET card.holder = 'x' WHERE id = 1
UPDATE boxed SET label = 'x' WHERE (card).pin > 500000000
UPDATE boxed SET label = 'x' RETURNING card, (deck[1]).number
BEGIN ;; UPDATE boxed SET card = ROW(1, 'Ada', '{cards.number}', {cards.pin})::cards WHERE id = 1 ;; SELECT n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'boxed' ;; ROLLBACK
INSERT INTO boxed_once VALUES (50, 'x', ROW(1, 'Ada', '{cards.number}', {cards.pin})::cards)
INSERT INTO boxed_once VALUES (50, 'x', ROW(1, 'Ada', '{cards.number}', {cards.pin})::cards) ON CONFLICT DO NOTHING
INSERT INTO boxed_once VALUES (50, 'label 0', ROW(1, 'Ada', 'x', {cards.pin})::cards)
UPDATE boxed_once SET label = 'label 1' WHERE id = 1
SELECT n_tup_ins, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'boxed'
--: A part of a foreign key
BEGIN ;; INSERT INTO pairs VALUES (50, {paired.secret}) ;; UPDATE paired SET place = 50 WHERE id = 1 ;; ROLLBACK
BEGIN ;; INSERT INTO pairs VALUES (50, {paired.secret}) ;; INSERT INTO paired VALUES (1, 1, 1) ON CONFLICT (id) DO UPDATE SET place = 50 ;; ROLLBACK
UPDATE paired SET place = NULL WHERE id = 1
DELETE FROM pairs
--: Triggers whose functions PostgreSQL brings
UPDATE quieted SET note = note
UPDATE quieted SET note = 'note 0' WHERE id = 1
DELETE FROM quieted WHERE id = 1
UPDATE worded SET note = 'x' RETURNING words
UPDATE worded SET note = 'x' ;; SELECT words FROM worded
--: Written through a view, and tested against other rows
INSERT INTO v_orders_of VALUES (50, 'x', 1, 1)
INSERT INTO v_orders_of VALUES (50, 'x', 1, 1), (51, 'x', 1, 2)
INSERT INTO v_orders_under VALUES (50, 'x', 3)
UPDATE v_orders_of SET person_id = 1 WHERE id = 1
--: Sequences give a column its values
SELECT last_value FROM numbered_secret_seq
SELECT * FROM numbered_secret_seq
SELECT last_value + 1 FROM numbered_secret_seq
SELECT count(*) FROM numbered_secret_seq WHERE last_value > 500000000
SELECT s FROM numbered_secret_seq s
[since 18] SELECT * FROM pg_get_sequence_data('numbered_secret_seq')
SELECT pg_sequence_last_value('numbered_secret_seq')
SELECT s.relname, pg_sequence_last_value(s.oid::regclass) FROM pg_class s WHERE s.relkind = 'S'
[since 18] SELECT s.relname, d.last_value FROM pg_class s, pg_get_sequence_data(s.oid) d WHERE s.relkind = 'S'
SELECT schemaname, sequencename, last_value FROM pg_sequences
SELECT count(*) FROM pg_sequences WHERE last_value > 500000000
COPY (SELECT last_value FROM numbered_secret_seq) TO STDOUT
SELECT nextval('numbered_secret_seq')
INSERT INTO numbered (id) VALUES (50) RETURNING secret
INSERT INTO numbered (id) VALUES (50) ;; SELECT currval('numbered_secret_seq'), lastval()
INSERT INTO numbered (id) VALUES (50) ;; SELECT lastval()
INSERT INTO numbered (id) VALUES (50) ;; SELECT currval(oid) FROM pg_class WHERE relname = 'numbered_secret_seq'
INSERT INTO numbered (id) VALUES (50) ;; SELECT currval(pg_get_serial_sequence('numbered', 'secret'))
