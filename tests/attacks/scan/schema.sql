-- What the attacks on masks at the scan run against (docs: the modules of this folder). Loaded once by a superuser, then copied, so that the
-- worlds have the same OIDs. {role} owns everything. Names of masked columns (policy.yaml) belong to masked columns alone, but for public.gg.ssn.
GRANT ALL ON SCHEMA public TO {role};
SET ROLE {role};
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS text CHECK (length(value) < 5);

-- Many rows, each as long as every other whatever its masked values are (pad makes up for the rest): the worlds have the same pages.
CREATE TABLE customers (
  id int PRIMARY KEY, age int NOT NULL, salary int NOT NULL, born date NOT NULL, seen timestamptz NOT NULL, token uuid NOT NULL, active boolean NOT NULL,
  city text NOT NULL, void text, ssn text, email text, notes text, phone text, label text, pad text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, amount int NOT NULL, placed date NOT NULL, note text);
-- One page, so lengths may be anything.
CREATE TABLE small (
  id int PRIMARY KEY, name text NOT NULL, ssn text, email text, notes text, phone text, label text, salary int, score numeric(9,2), born date, seen timestamptz,
  fine char(12), nick citext, doc jsonb, raw json, tags text[], blob bytea, feeling mood, long text);
CREATE TABLE mm (id int PRIMARY KEY, ssn text);              -- row 9001 is the agent's own: it knows its value
CREATE TABLE inn (k text, v int);
CREATE TABLE guesses (v text PRIMARY KEY, n int);
CREATE TABLE hot (id int PRIMARY KEY, name text, n int, ssn text);
CREATE TABLE quiet (id int PRIMARY KEY, name text, ssn text);
CREATE TRIGGER quiet BEFORE UPDATE ON quiet FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TABLE pp (a int PRIMARY KEY, ssn text, z text);
CREATE TABLE gg (ssn text, g int);                           -- public
CREATE TABLE one (ssn text);                                 -- a masked column and nothing else
CREATE TABLE keyed (id int PRIMARY KEY, ssn text UNIQUE, name text);
CREATE TABLE noted (id int PRIMARY KEY, name text);
CREATE TABLE tall (id int PRIMARY KEY, note text, email text);
CREATE TABLE docs (id int PRIMARY KEY, title text, body text);
CREATE TABLE gen (id int PRIMARY KEY, ssn text, last4 text GENERATED ALWAYS AS (right(ssn, 4)) STORED, size int GENERATED ALWAYS AS (length(ssn)) STORED);
CREATE TABLE parts (id int, ssn text, name text) PARTITION BY RANGE (ssn);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('m');
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM ('m') TO (MAXVALUE);
CREATE TABLE parts_null PARTITION OF parts DEFAULT;
CREATE TABLE events (id int, day date, kind text, ssn text) PARTITION BY RANGE (day);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE parent (id int, pin text);
CREATE TABLE child (extra text) INHERITS (parent);

CREATE INDEX customers_ssn ON customers (ssn);
CREATE INDEX customers_ssn_id ON customers (ssn, id);
CREATE INDEX customers_notes_id ON customers (notes) INCLUDE (id, city);
CREATE INDEX customers_salary ON customers (salary, id);
CREATE INDEX customers_lower ON customers (lower(email));
CREATE INDEX customers_rich ON customers (id) WHERE salary > 50000;
CREATE INDEX customers_city ON customers (city);
CREATE STATISTICS customers_stats (dependencies, ndistinct, mcv) ON city, ssn FROM customers;
CREATE STATISTICS customers_expr ON (length(notes)) FROM customers;
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX small_ssn ON small (ssn, id);
CREATE INDEX small_email ON small (email);
CREATE INDEX inn_k ON inn (k);
CREATE INDEX hot_ssn ON hot (ssn);
CREATE INDEX mm_ssn ON mm (ssn, id);
CREATE INDEX events_ssn ON events (ssn, id);

CREATE VIEW v_small AS SELECT id, name, ssn AS code, email FROM small;
CREATE VIEW v_join AS SELECT c.id, c.email, c.ssn, o.amount, o.id AS order_id FROM customers c JOIN orders o ON o.customer_id = c.id;
CREATE VIEW v_group AS SELECT city, count(*) AS n, max(ssn) AS top FROM customers GROUP BY city;
CREATE VIEW v_sorted AS SELECT id, row_number() OVER (ORDER BY ssn) AS place FROM customers;
CREATE VIEW v_rich AS SELECT id, city FROM customers WHERE salary > 50000;
CREATE VIEW v_public AS SELECT id, city, age FROM customers;
CREATE VIEW v_barrier WITH (security_barrier) AS SELECT id, name, ssn FROM small WHERE id < 9;
CREATE VIEW v_whole AS SELECT s AS everything, s.id FROM small s;
CREATE VIEW v_using AS SELECT * FROM pp JOIN gg USING (ssn);
CREATE VIEW v_self AS SELECT b.ssn AS s2, a.* FROM keyed a JOIN keyed b USING (id);
CREATE VIEW v_windows AS SELECT id, first_value(name) OVER (ORDER BY salary) AS f, lag(ssn) OVER (ORDER BY id) AS l FROM small;
CREATE VIEW v_union AS SELECT id, name AS t FROM small UNION ALL SELECT id, ssn FROM small;
CREATE VIEW v_lateral AS SELECT s.id, l.x FROM small s, LATERAL (SELECT s.salary + 1 AS x) l;
CREATE MATERIALIZED VIEW mv_small AS SELECT id, name, ssn AS code, upper(email) AS loud FROM small;
CREATE FUNCTION f_imm(n int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ssn FROM public.small WHERE id = n';
CREATE FUNCTION f_stable(n int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM public.small WHERE id = n';
CREATE FUNCTION f_whole(s small) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ($1).ssn';
CREATE FUNCTION f_name(n int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM public.small WHERE id = n';
CREATE VIEW v_calls AS SELECT id, name, f_stable(id) AS called FROM noted;

-- What has the server read rows by an index that the statement does not name: a child's own, that of a foreign key, row security.
CREATE TABLE base (id int, town text);
CREATE TABLE base_kid (secret text) INHERITS (base);
CREATE INDEX base_kid_secret ON base_kid (secret, id);
CREATE TABLE owners (id int PRIMARY KEY, code int UNIQUE);
CREATE TABLE owned (id int PRIMARY KEY, owner_code int REFERENCES owners (code) ON UPDATE CASCADE ON DELETE SET NULL, secret text);
CREATE INDEX owned_owner ON owned (owner_code, secret);
CREATE TABLE grouped (id int PRIMARY KEY, grp int, secret text, next int GENERATED ALWAYS AS (grp + 1) STORED);
CREATE INDEX grouped_secret ON grouped (secret, grp);
CREATE INDEX grouped_computed ON grouped ((grp + 1), secret);
CREATE TABLE tenants (id int PRIMARY KEY, tenant int, name text, secret text);
CREATE UNIQUE INDEX tenants_secret ON tenants (tenant, secret);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON tenants USING (tenant = 1);
CREATE VIEW v_tenants AS SELECT id, name, secret FROM tenants;
CREATE VIEW v_ten AS SELECT id, name, tenant FROM tenants ORDER BY tenant LIMIT 10;
CREATE VIEW v_grouped AS SELECT id, grp AS part FROM grouped;
RESET ROLE;
