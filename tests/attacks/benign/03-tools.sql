--: SQLAlchemy
SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace
  WHERE pg_catalog.pg_class.relname = 'people' AND pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid)
  AND pg_catalog.pg_namespace.nspname != 'pg_catalog'
SELECT a.attname AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS format_type,
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef) AS "default",
  a.attnotnull AS not_null, c.relname AS table_name, pgd.description AS comment, a.attgenerated AS generated,
  (SELECT json_build_object('always', a.attidentity = 'a', 'start', s.seqstart, 'increment', s.seqincrement, 'minvalue', s.seqmin, 'maxvalue', s.seqmax, 'cache', s.seqcache, 'cycle', s.seqcycle)
   FROM pg_catalog.pg_sequence s WHERE a.attidentity != '' AND s.seqrelid = CAST(CAST(pg_catalog.pg_get_serial_sequence(CAST(CAST(a.attrelid AS REGCLASS) AS TEXT), a.attname) AS REGCLASS) AS OID)) AS identity_options
  FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_attribute a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT OUTER JOIN pg_catalog.pg_description pgd ON pgd.objoid = a.attrelid AND pgd.objsubid = a.attnum
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND n.nspname = 'public' AND c.relname IN ('orders', 'notes') ORDER BY c.relname, a.attnum
SELECT attr.conrelid, array_agg(attr.attname ORDER BY attr.ord) AS cols, attr.conname, min(attr.description) AS description FROM
  (SELECT con.conrelid, con.conname, con.description, a.attname, con.ord FROM pg_catalog.pg_attribute a JOIN
    (SELECT k.conrelid, k.conname, unnest(k.conkey) AS attnum, generate_subscripts(k.conkey, 1) AS ord, d.description FROM pg_catalog.pg_constraint k LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = k.oid
     WHERE k.contype = 'p' AND k.conrelid = 'orders'::regclass) AS con ON a.attnum = con.attnum AND a.attrelid = con.conrelid) AS attr
  GROUP BY attr.conrelid, attr.conname ORDER BY attr.conrelid, attr.conname
SELECT r.conname, pg_catalog.pg_get_constraintdef(r.oid, true) AS condef, n.nspname AS conschema FROM pg_catalog.pg_constraint r, pg_namespace n, pg_class c
  WHERE r.conrelid = 'orders'::regclass AND r.contype = 'f' AND c.oid = confrelid AND n.oid = c.relnamespace ORDER BY 1
SELECT i.indrelid, c.relname, i.indisunique, pg_catalog.pg_get_indexdef(i.indexrelid), i.indoption::text, pg_catalog.pg_get_expr(i.indpred, i.indrelid), c.reloptions, m.amname
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam WHERE NOT i.indisprimary AND i.indrelid = 'people'::regclass ORDER BY 2
SELECT t.typname AS name, pg_catalog.pg_type_is_visible(t.oid) AS visible, n.nspname AS schema, lbl_agg.labels AS labels FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT OUTER JOIN (SELECT e.enumtypid, array_agg(CAST(e.enumlabel AS TEXT) ORDER BY e.enumsortorder) AS labels FROM pg_catalog.pg_enum e GROUP BY e.enumtypid) AS lbl_agg ON t.oid = lbl_agg.enumtypid
  WHERE t.typtype = 'e' ORDER BY n.nspname, t.typname
SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg\_%' ORDER BY nspname
select pg_catalog.version() IS NOT NULL, current_schema(), current_setting('transaction_isolation')
SHOW standard_conforming_strings
SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'
SELECT people.id AS people_id, people.name AS people_name, orders_1.id AS orders_1_id, orders_1.note AS orders_1_note FROM people LEFT OUTER JOIN orders AS orders_1 ON people.id = orders_1.person_id WHERE people.age >= 30 ORDER BY people.id, orders_1.id
SELECT anon_1.name, anon_1.n FROM (SELECT people.name AS name, count(orders.id) AS n FROM people JOIN orders ON orders.person_id = people.id GROUP BY people.name) AS anon_1 WHERE anon_1.n > 1 ORDER BY anon_1.n DESC, anon_1.name
INSERT INTO notes (title, body) SELECT p0::VARCHAR, p1::TEXT FROM (VALUES ('a', 'b', 0), ('c', 'd', 1)) AS imp_sen(p0, p1, sen_counter) ORDER BY sen_counter RETURNING notes.id, notes.id AS id__1
--: Django
SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN 'v' ELSE 't' END, obj_description(c.oid, 'pg_class')
  FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1
SELECT a.attname AS column_name, NOT (a.attnotnull OR (t.typtype = 'd' AND t.typnotnull)) AS is_nullable, pg_get_expr(ad.adbin, ad.adrelid) AS column_default,
  CASE WHEN collname = 'default' THEN NULL ELSE collname END AS collation, a.attidentity != '' AS is_autofield, col_description(a.attrelid, a.attnum) AS column_comment
  FROM pg_attribute a LEFT JOIN pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum LEFT JOIN pg_collation co ON a.attcollation = co.oid JOIN pg_type t ON a.atttypid = t.oid JOIN pg_class c ON a.attrelid = c.oid
  JOIN pg_namespace n ON c.relnamespace = n.oid WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND c.relname = 'notes' AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY a.attnum
SELECT c.conname, array(SELECT attname FROM unnest(c.conkey) WITH ORDINALITY cols(colid, arridx) JOIN pg_attribute AS ca ON cols.colid = ca.attnum WHERE ca.attrelid = c.conrelid ORDER BY cols.arridx), c.contype,
  (SELECT fkc.relname || '.' || fka.attname FROM pg_attribute AS fka JOIN pg_class AS fkc ON fka.attrelid = fkc.oid WHERE fka.attrelid = c.confrelid AND fka.attnum = c.confkey[1]), cl.reloptions
  FROM pg_constraint AS c JOIN pg_class AS cl ON c.conrelid = cl.oid WHERE cl.relname = 'orders' AND pg_catalog.pg_table_is_visible(cl.oid) ORDER BY 1
SELECT "people"."id", "people"."name", "people"."city" FROM "people" WHERE UPPER("people"."name"::text) LIKE UPPER('%a%') ORDER BY "people"."name" ASC LIMIT 21
SELECT 1 AS "a" FROM "people" WHERE "people"."city" = 'Oslo' LIMIT 1
SELECT COUNT(*) AS "__count" FROM "orders" WHERE "orders"."placed" BETWEEN '2025-01-01' AND '2025-12-31'
SELECT "people"."city", COUNT("people"."id") AS "n", AVG("people"."age")::double precision AS "age__avg" FROM "people" GROUP BY "people"."city" HAVING COUNT("people"."id") > 1 ORDER BY "n" DESC, 1
INSERT INTO "notes" ("title", "body", "tags", "doc") VALUES ('t', '', NULL, '{}') RETURNING "notes"."id"
UPDATE "notes" SET "title" = 'x', "body" = CASE WHEN ("notes"."id" = 1) THEN 'one' WHEN ("notes"."id" = 2) THEN 'two' ELSE NULL END WHERE "notes"."id" IN (1, 2)
DELETE FROM "notes" WHERE "notes"."id" IN (3)
SAVEPOINT "s1_x1" ;; SELECT 1
BEGIN ;; SAVEPOINT "s139_x1" ;; INSERT INTO "notes" ("title") VALUES ('a') ;; RELEASE SAVEPOINT "s139_x1" ;; COMMIT
[masked salary] SELECT "people"."id", "people"."salary" FROM "people" ORDER BY "people"."id" ASC
--: ActiveRecord
SET client_min_messages TO 'warning' ;; SET standard_conforming_strings = on ;; SET SESSION timezone TO 'UTC'
SHOW max_identifier_length
SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype FROM pg_type as t LEFT JOIN pg_range as r ON oid = rngtypid
  WHERE t.typname IN ('int2', 'int4', 'int8', 'oid', 'float4', 'float8', 'numeric', 'bool', 'timestamp', 'timestamptz') ORDER BY 1
SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.atttypid, a.atttypmod, c.collname, col_description(a.attrelid, a.attnum) AS comment, attidentity AS identity, attgenerated as attgenerated
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum LEFT JOIN pg_type t ON a.atttypid = t.oid LEFT JOIN pg_collation c ON a.attcollation = c.oid AND a.attcollation <> t.typcollation
  WHERE a.attrelid = '"orders"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
SELECT distinct i.relname, d.indisunique, d.indkey, pg_get_indexdef(d.indexrelid), t.oid, pg_catalog.obj_description(i.oid, 'pg_class') AS comment, d.indisvalid, ARRAY(SELECT pg_get_indexdef(d.indexrelid, k + 1, true) FROM generate_subscripts(d.indkey, 1) AS k ORDER BY k) AS columns
  FROM pg_class t INNER JOIN pg_index d ON t.oid = d.indrelid INNER JOIN pg_class i ON d.indexrelid = i.oid LEFT JOIN pg_namespace n ON n.oid = t.relnamespace WHERE i.relkind IN ('i', 'I') AND d.indisprimary = 'f' AND t.relname = 'people' AND n.nspname = ANY (current_schemas(false)) ORDER BY i.relname
SELECT a.attname FROM (SELECT indrelid, indkey, generate_subscripts(indkey, 1) idx FROM pg_index WHERE indrelid = '"orders"'::regclass AND indisprimary) i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[i.idx] ORDER BY i.idx
SELECT t2.oid::regclass::text AS to_table, a1.attname AS column, a2.attname AS primary_key, c.conname AS name, c.confupdtype AS on_update, c.confdeltype AS on_delete, c.convalidated AS valid FROM pg_constraint c JOIN pg_class t1 ON c.conrelid = t1.oid
  JOIN pg_class t2 ON c.confrelid = t2.oid JOIN pg_attribute a1 ON a1.attnum = c.conkey[1] AND a1.attrelid = t1.oid JOIN pg_attribute a2 ON a2.attnum = c.confkey[1] AND a2.attrelid = t2.oid WHERE c.contype = 'f' AND t1.relname = 'orders' ORDER BY c.conname
SELECT "people".* FROM "orders" "people" WHERE "people"."id" = 1 LIMIT 1
[masked ssn email phone salary code nick zip small big balance rating pay birth seen moved wake span token doc raw tags years blob addr mac feeling home flag bits spot period attrs words path] SELECT "people".* FROM "people" WHERE "people"."id" = 3 LIMIT 1
SELECT COUNT(*) FROM (SELECT DISTINCT "people"."city" FROM "people" WHERE "people"."active" = TRUE) subquery_for_count
SELECT "orders"."person_id", SUM("orders"."amount") AS sum_amount FROM "orders" WHERE "orders"."note" IS NOT NULL GROUP BY "orders"."person_id" ORDER BY 1
INSERT INTO "notes" ("title","body") VALUES ('a', 'b'), ('c', 'd') ON CONFLICT ("id") DO UPDATE SET "title"=excluded."title","body"=excluded."body" RETURNING "id"
UPDATE "orders" SET "amount" = COALESCE("orders"."amount", 0) + 1 WHERE "orders"."id" = 1
--: Prisma
SELECT "public"."people"."id", "public"."people"."name", "public"."people"."city" FROM "public"."people" WHERE ("public"."people"."age" > 30 AND 1=1) ORDER BY "public"."people"."id" ASC LIMIT 10 OFFSET 0
SELECT COUNT(*) FROM (SELECT "public"."people"."id" FROM "public"."people" WHERE 1=1 OFFSET 0) AS "sub"
SELECT "t1"."id", "t1"."name", "people_orders"."__prisma_data__" AS "orders" FROM "public"."people" AS "t1" LEFT JOIN LATERAL (SELECT COALESCE(JSONB_AGG("__prisma_data__"), '[]') AS "__prisma_data__" FROM (SELECT "t3"."__prisma_data__" FROM
  (SELECT JSONB_BUILD_OBJECT('id', "t2"."id", 'note', "t2"."note") AS "__prisma_data__" FROM (SELECT "t2".* FROM "public"."orders" AS "t2" WHERE "t1"."id" = "t2"."person_id" ORDER BY "t2"."id") AS "t2") AS "t3") AS "t4") AS "people_orders" ON TRUE ORDER BY "t1"."id"
INSERT INTO "public"."notes" ("title","body") VALUES ('a','b') RETURNING "public"."notes"."id", "public"."notes"."title"
SELECT tbl.relname AS table_name, namespace.nspname AS namespace, (tbl.relhassubclass AND tbl.relkind = 'p') AS is_partition, (tbl.relhassubclass AND tbl.relkind = 'r') AS has_subclass, tbl.relrowsecurity AS has_row_level_security, reloptions, obj_description(tbl.oid, 'pg_class') AS description
  FROM pg_class AS tbl INNER JOIN pg_namespace AS namespace ON namespace.oid = tbl.relnamespace WHERE ((tbl.relkind = 'r' AND tbl.relispartition = 't') OR (tbl.relkind = 'r' AND tbl.relispartition = 'f') OR tbl.relkind = 'p') AND namespace.nspname = ANY ('{public}') ORDER BY namespace, table_name
SELECT EXISTS(SELECT 1 FROM pg_namespace WHERE nspname = 'public'), version() IS NOT NULL, current_setting('server_version_num')::integer > 1 as numeric_version
--: Hibernate and JDBC
select p1_0.id,p1_0.city,p1_0.name from people p1_0 where p1_0.id=1
select o1_0.id,o1_0.note,p1_0.id,p1_0.name from orders o1_0 left join people p1_0 on p1_0.id=o1_0.person_id where o1_0.amount>10 order by o1_0.id offset 0 rows fetch first 10 rows only
select count(distinct p1_0.city) from people p1_0 where lower(p1_0.name) like '%a%' escape ''
SELECT current_database() AS "TABLE_CAT", n.nspname AS "TABLE_SCHEM", c.relname AS "TABLE_NAME", CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' ELSE NULL END AS "TABLE_TYPE", d.description AS "REMARKS"
  FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND n.nspname LIKE 'public' AND c.relkind IN ('r', 'p', 'v') ORDER BY "TABLE_TYPE", "TABLE_SCHEM", "TABLE_NAME"
SELECT result."TABLE_NAME", result."COLUMN_NAME", result."KEY_SEQ", result."PK_NAME" FROM (SELECT n.nspname AS "TABLE_SCHEM", ct.relname AS "TABLE_NAME", a.attname AS "COLUMN_NAME", (information_schema._pg_expandarray(i.indkey)).n AS "KEY_SEQ", ci.relname AS "PK_NAME", information_schema._pg_expandarray(i.indkey) AS keys, a.attnum AS a_attnum
  FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid) JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid) JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid) WHERE n.nspname = 'public' AND ct.relname = 'orders' AND i.indisprimary) result
  WHERE result.a_attnum = (result.keys).x ORDER BY 1, 3
SET extra_float_digits = 3 ;; SET application_name = 'PostgreSQL JDBC Driver'
BEGIN READ ONLY ;; SELECT 1 ;; COMMIT
--: Metabase, Superset, Grafana
SELECT TRUE AS "_" FROM "public"."orders" WHERE 1 <> 1 LIMIT 0
SELECT "source"."city" AS "city", COUNT(*) AS "count" FROM (SELECT "public"."people"."id" AS "id", "public"."people"."city" AS "city" FROM "public"."people") AS "source" GROUP BY "source"."city" ORDER BY "source"."city" ASC
SELECT CAST(DATE_TRUNC('month', "public"."orders"."placed") AS date) AS "placed", SUM("public"."orders"."amount") AS "sum" FROM "public"."orders" WHERE "public"."orders"."placed" >= DATE_TRUNC('year', CAST('2025-03-01' AS timestamp)) GROUP BY 1 ORDER BY 1
SELECT SUBSTRING("public"."notes"."body", 1, 1234) AS "substring1", "public"."notes"."title" FROM "public"."notes" LIMIT 10000
select "c"."column_name" as "name", "c"."udt_name" as "database-type", "c"."ordinal_position" - 1 as "database-position", "c"."table_schema" as "table-schema", "c"."table_name" as "table-name", "c"."column_default" is null as "no-default"
  from "information_schema"."columns" as "c" where c.table_schema !~ '^information_schema|catalog_history|pg_' and "c"."table_schema" = 'public' and "c"."table_name" = 'notes' order by "table-schema" asc, "table-name" asc, "database-position" asc
with table_privileges as (select NULL as role, t.schemaname as schema, t.objectname as table, pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || replace(t.objectname, '"', '""') || '"', 'update') as update,
  pg_catalog.has_table_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || replace(t.objectname, '"', '""') || '"', 'SELECT') as select from (select schemaname, tablename as objectname from pg_catalog.pg_tables union select schemaname, viewname as objectname from pg_views) t
  where t.schemaname !~ '^pg_' and t.schemaname = 'public' and t.objectname = 'orders') select t.* from table_privileges t
SELECT city AS city, sum(age) AS "SUM(age)" FROM (SELECT id, city, age FROM people WHERE active) AS virtual_table GROUP BY city ORDER BY "SUM(age)" DESC LIMIT 1000
SELECT floor(extract(epoch from placed)/86400)*86400 AS "time", avg(amount) AS "value" FROM orders WHERE placed BETWEEN '2025-02-01' AND '2025-03-01' GROUP BY 1 ORDER BY 1
[masked total] SELECT city, SUM(salary) AS total FROM people GROUP BY city ORDER BY city
SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY amount), percentile_disc(0.5) WITHIN GROUP (ORDER BY placed) FROM orders
SELECT placed, amount, sum(amount) OVER (ORDER BY placed ROWS UNBOUNDED PRECEDING) AS running, amount - lag(amount) OVER (ORDER BY placed) AS delta FROM orders ORDER BY placed
--: psql and pg_dump
SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity, false AS relhasoids, c.relispartition, '', c.reltablespace, CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::pg_catalog.regtype::pg_catalog.text END, c.relpersistence, c.relreplident, am.amname
  FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid) LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid) WHERE c.oid = 'orders'::regclass
SELECT true as sametable, conname, pg_catalog.pg_get_constraintdef(r.oid, true) as condef, conrelid::pg_catalog.regclass AS ontable FROM pg_catalog.pg_constraint r WHERE r.conrelid = 'orders'::regclass AND r.contype = 'f' AND conparentid = 0 ORDER BY conname
SELECT pol.polname, pol.polpermissive, CASE WHEN pol.polroles = '{0}' THEN NULL ELSE pg_catalog.array_to_string(array(select rolname from pg_catalog.pg_roles where oid = any (pol.polroles) order by 1), ',') END, pg_catalog.pg_get_expr(pol.polqual, pol.polrelid), pg_catalog.pg_get_expr(pol.polwithcheck, pol.polrelid)
  FROM pg_catalog.pg_policy pol WHERE pol.polrelid = 'vault'::regclass ORDER BY 1
SELECT t.tgname, pg_catalog.pg_get_triggerdef(t.oid, true), t.tgenabled, t.tgisinternal FROM pg_catalog.pg_trigger t WHERE t.tgrelid = 'tripped'::regclass AND NOT t.tgisinternal ORDER BY 1
SELECT n.nspname as "Schema", p.proname as "Name", pg_catalog.pg_get_function_result(p.oid) as "Result data type", pg_catalog.pg_get_function_arguments(p.oid) as "Argument data types", CASE p.prokind WHEN 'a' THEN 'agg' WHEN 'w' THEN 'window' WHEN 'p' THEN 'proc' ELSE 'func' END as "Type"
  FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE pg_catalog.pg_function_is_visible(p.oid) AND n.nspname = 'public' AND p.proname = 'order_total' ORDER BY 1, 2, 4
SELECT d.datname as "Name", pg_catalog.pg_get_userbyid(d.datdba) as "Owner", pg_catalog.pg_encoding_to_char(d.encoding) as "Encoding" FROM pg_catalog.pg_database d WHERE d.datname = current_database()
SELECT e.extname AS "Name", e.extversion AS "Version", n.nspname AS "Schema" FROM pg_catalog.pg_extension e LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1
SELECT c.tableoid, c.oid, c.relname, c.relnamespace, c.relkind, c.reltype, c.relowner, c.relchecks, c.relhasindex, c.relhasrules, c.relpages > -1, c.relhastriggers, c.relpersistence, c.reloftype, c.relacl FROM pg_class c WHERE c.relkind IN ('r', 'S', 'v', 'c', 'm', 'f', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY c.oid
SELECT classid, objid, refclassid, refobjid, deptype FROM pg_depend WHERE deptype != 'p' AND deptype != 'e' AND objid = 'orders'::regclass ORDER BY 1, 2, 4
SELECT tableoid, oid, typname, typnamespace, typacl, acldefault('T', typowner) IS NULL, typowner, typelem, typrelid, typtype, typisdefined FROM pg_type WHERE typname = 'mood'
SELECT seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle FROM pg_catalog.pg_sequence WHERE seqrelid = 'counter'::regclass
SELECT inhparent::pg_catalog.regclass, pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_inherits i ON c.oid = inhrelid WHERE c.oid = 'events_2025'::regclass
SELECT CASE WHEN usesuper THEN pg_catalog.pg_is_in_recovery() ELSE FALSE END as inrecovery, CASE WHEN usesuper AND pg_catalog.pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE FALSE END as isreplaypaused FROM pg_catalog.pg_user WHERE usename=current_user
