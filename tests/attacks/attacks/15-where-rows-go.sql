--: A masked value decides in which partition a row is: below another key, in an expression
UPDATE placed SET kind = 'a' WHERE id = 1
UPDATE placed SET kind = 'a'
INSERT INTO placed (id, kind) VALUES (50, 'a')
INSERT INTO placed (id, kind, secret) SELECT id, 'a', salary FROM people
SELECT tableoid, id FROM placed
SELECT id FROM placed
UPDATE placed_b SET kind = 'a' WHERE id = 1
UPDATE summed SET amount = 2000000000 WHERE id = 1
UPDATE summed SET amount = 2000000000
UPDATE summed SET amount = 500000000 WHERE id = 1 RETURNING tableoid::regclass
INSERT INTO summed (id, amount, secret) SELECT id, 1700000000, salary FROM people
SELECT id FROM summed
SELECT id FROM summed_low
SELECT id FROM summed LIMIT 1
SELECT count(*) FROM ONLY summed_rest
SELECT tableoid FROM summed WHERE id = 1
MERGE INTO summed s USING orders o ON o.id = s.id WHEN MATCHED THEN UPDATE SET amount = 2000000000
DELETE FROM summed RETURNING id
--: Constraints that are tested at COMMIT
UPDATE later SET label = 'same'
UPDATE later SET label = 'same' WHERE id IN (1, 2)
BEGIN ;; UPDATE later SET label = 'same' ;; COMMIT
BEGIN ;; INSERT INTO later VALUES (50, 'label 0', '{later.secret}') ;; COMMIT
INSERT INTO later VALUES (50, 'label 0', '{later.secret}') ON CONFLICT DO NOTHING
INSERT INTO later VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET label = 'label 1'
BEGIN ;; SET CONSTRAINTS ALL IMMEDIATE ;; UPDATE later SET label = 'label 1' WHERE id = 1 ;; ROLLBACK
BEGIN ;; UPDATE later_apart SET during = '[0,80)' ;; COMMIT
UPDATE later_apart SET during = '[0,80)' WHERE id = 1
BEGIN ;; INSERT INTO later_apart VALUES (50, '[0,80)', {later_apart.secret}) ;; COMMIT
--: Foreign keys from and to masked columns
DELETE FROM heads WHERE id = 1
DELETE FROM heads
BEGIN ;; DELETE FROM heads WHERE id = 1 ;; SET CONSTRAINTS ALL IMMEDIATE ;; ROLLBACK
BEGIN ;; DELETE FROM heads WHERE id = 2 ;; SELECT count(*) FROM tails_gone ;; ROLLBACK
UPDATE heads SET id = 50 WHERE id = 1
UPDATE heads SET secret = 5 WHERE id = 1
DELETE FROM tails WHERE id = 1
BEGIN ;; INSERT INTO tails VALUES (50, {heads.secret}) ;; COMMIT
INSERT INTO tails (id) VALUES (50)
WITH g AS (DELETE FROM heads WHERE id = 1 RETURNING id) SELECT * FROM g
MERGE INTO heads USING (SELECT 1 AS n) o ON heads.id = o.n WHEN MATCHED THEN DELETE
--: Rules with conditions, indexes that compute, generated columns of a domain, virtual ones under a check
UPDATE skipped SET label = 'x'
DELETE FROM skipped WHERE id = 1
DELETE FROM skipped ;; SELECT count(*) FROM skipped
UPDATE once SET amount = 1
UPDATE once SET amount = 2000000000 WHERE id = 1
UPDATE once SET label = 'label 1'
INSERT INTO once VALUES (50, 'label 0', 1, {once.secret}) ON CONFLICT (f_plain(amount, secret)) DO NOTHING
INSERT INTO once VALUES (50, 'label 0', 1, {once.secret}) ON CONFLICT (label, (secret > 500000000)) DO UPDATE SET amount = 3
UPDATE narrowed SET amount = 1000000000 WHERE id = 1
UPDATE narrowed SET amount = 1000000000
[since 18] BEGIN ;; UPDATE virtual SET amount = 1000000000 WHERE id = 1 ;; ROLLBACK
[since 18] BEGIN ;; UPDATE virtual SET amount = {virtual.secret} WHERE id = 1 ;; ROLLBACK
[since 18] BEGIN ;; UPDATE virtual SET label = 'x' WHERE id = 1 RETURNING total ;; ROLLBACK
[since 18] SELECT total, half FROM virtual
[since 18] SELECT id FROM virtual WHERE total > 5 ORDER BY total
[since 18] COPY virtual (id, total) TO STDOUT
