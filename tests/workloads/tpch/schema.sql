-- Orders of parts from vendors: the shape of TPC-H, with names and rows of our own.
CREATE TABLE regions (region_id int PRIMARY KEY, region_name text NOT NULL);
CREATE TABLE countries (
    country_id int PRIMARY KEY, region_id int NOT NULL REFERENCES regions, country_name varchar(25) NOT NULL
);
CREATE TABLE vendors (
    vendor_id int PRIMARY KEY, vendor_name char(20) NOT NULL, street varchar(40) NOT NULL,
    country_id int NOT NULL REFERENCES countries, phone char(15) NOT NULL, funds numeric(15,2) NOT NULL, remark text
);
CREATE TABLE parts (
    part_id int PRIMARY KEY, part_name varchar(55) NOT NULL, maker char(14) NOT NULL, brand char(10) NOT NULL,
    part_type varchar(25) NOT NULL, size int NOT NULL, container char(10) NOT NULL, list_price numeric(15,2) NOT NULL
);
CREATE TABLE stock (
    part_id int REFERENCES parts, vendor_id int REFERENCES vendors, available int NOT NULL,
    cost numeric(15,2) NOT NULL, PRIMARY KEY (part_id, vendor_id)
);
CREATE TABLE buyers (
    buyer_id int PRIMARY KEY, buyer_name varchar(25) NOT NULL, address varchar(40) NOT NULL,
    country_id int NOT NULL REFERENCES countries, telephone char(15) NOT NULL, balance numeric(15,2) NOT NULL,
    segment char(10) NOT NULL, email text UNIQUE, remark text
);
CREATE TABLE purchases (
    purchase_id int PRIMARY KEY, buyer_id int NOT NULL REFERENCES buyers, status char(1) NOT NULL,
    total numeric(15,2) NOT NULL, ordered_on date NOT NULL, priority char(15) NOT NULL, clerk char(15) NOT NULL,
    ship_priority int NOT NULL, remark varchar(79) NOT NULL
);
CREATE TABLE lines (
    purchase_id int REFERENCES purchases, line_no int, part_id int NOT NULL, vendor_id int NOT NULL,
    quantity numeric(15,2) NOT NULL, price numeric(15,2) NOT NULL, discount numeric(15,2) NOT NULL,
    tax numeric(15,2) NOT NULL, return_flag char(1) NOT NULL, line_status char(1) NOT NULL,
    shipped_on date NOT NULL, committed_on date NOT NULL, received_on date NOT NULL,
    instruction char(25) NOT NULL, ship_mode char(10) NOT NULL,
    PRIMARY KEY (purchase_id, line_no), FOREIGN KEY (part_id, vendor_id) REFERENCES stock
);
INSERT INTO regions SELECT i, (ARRAY['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'OCEANIA'])[i] FROM generate_series(1, 5) i;
INSERT INTO countries
SELECT i, 1 + (i - 1) % 5, (ARRAY['KENYA', 'BRAZIL', 'CHINA', 'FRANCE', 'FIJI', 'EGYPT', 'CANADA', 'INDIA', 'GERMANY', 'SAMOA'])[i]
FROM generate_series(1, 10) i;
INSERT INTO vendors
SELECT i, 'Vendor#' || lpad(i::text, 6, '0'), i * 17 || ' Dock Road', 1 + i % 10,
       10 + i % 10 || '-' || 200 + i * 7 || '-' || 1000 + i * 31, (i * 7919 % 12000) - 900,
       CASE WHEN i % 9 = 0 THEN 'Customer filed Complaints last year' ELSE 'punctual' END
FROM generate_series(1, 40) i;
INSERT INTO parts
SELECT i, (ARRAY['forest', 'ivory', 'green', 'misty', 'lemon'])[1 + i % 5] || ' ' || (ARRAY['bolt', 'gear', 'pipe'])[1 + i % 3] || ' ' || i,
       'Maker#' || 1 + i % 5, 'Brand#' || 1 + i % 5 || 1 + i % 4,
       (ARRAY['STANDARD', 'SMALL', 'PROMO', 'ECONOMY'])[1 + i % 4] || ' ' || (ARRAY['POLISHED', 'BRUSHED'])[1 + i % 2] || ' '
           || (ARRAY['BRASS', 'STEEL', 'TIN'])[1 + i % 3],
       1 + i * 7 % 50, (ARRAY['SM CASE', 'MED BOX', 'LG PACK', 'JUMBO JAR'])[1 + i % 4], 900 + i * 13 % 700
FROM generate_series(1, 120) i;
INSERT INTO stock
SELECT p, 1 + (p * 3 + k * 11) % 40, (p * 97 + k * 389) % 9000, (p * 31 + k * 57) % 900 + 1
FROM generate_series(1, 120) p, generate_series(0, 2) k;
INSERT INTO buyers
SELECT i, 'Buyer#' || lpad(i::text, 9, '0'), i * 3 || ' ' || (ARRAY['Elm', 'Oak', 'Fir'])[1 + i % 3] || ' Street', 1 + i % 10,
       10 + i % 10 || '-' || 100 + i * 5 || '-' || 2000 + i * 13, (i * 6151 % 11000) - 999.5,
       (ARRAY['BUILDING', 'MACHINERY', 'FURNITURE'])[1 + i % 3],
       CASE WHEN i % 11 > 0 THEN 'buyer' || i || '@' || (ARRAY['north', 'south', 'east'])[1 + i % 3] || '.example' END,
       CASE WHEN i % 5 = 0 THEN 'special packages requested' END
FROM generate_series(1, 150) i;
INSERT INTO purchases
SELECT i, 1 + i * 7 % 100, (ARRAY['O', 'F', 'P'])[1 + i % 3], (i * 4729 % 300000) + 1.25, date '1992-01-01' + (i * 37 % 2500),
       1 + i % 5 || '-' || (ARRAY['URGENT', 'HIGH', 'MEDIUM', 'LOW', 'NONE'])[1 + i % 5],
       'Clerk#' || lpad((i % 23)::text, 9, '0'), i % 2,
       CASE WHEN i % 7 = 0 THEN 'handle the special wrapping requests' ELSE 'nothing in particular' END
FROM generate_series(1, 400) i;
INSERT INTO lines
SELECT p.purchase_id, n, s.part_id, s.vendor_id, 1 + (p.purchase_id * n * 7) % 50, 1000 + (p.purchase_id * n * 101) % 60000,
       (p.purchase_id + n) % 11 / 100.0, (p.purchase_id * n) % 9 / 100.0, (ARRAY['A', 'N', 'R'])[1 + (p.purchase_id + n) % 3],
       (ARRAY['O', 'F'])[1 + n % 2], p.ordered_on + 10 + n * 9, p.ordered_on + 40, p.ordered_on + 15 + n * 12,
       (ARRAY['DELIVER IN PERSON', 'TAKE BACK RETURN', 'NONE'])[1 + n % 3],
       (ARRAY['AIR', 'AIR REG', 'MAIL', 'SHIP', 'TRUCK'])[1 + (p.purchase_id + n) % 5]
FROM purchases p CROSS JOIN generate_series(1, 3) n
JOIN LATERAL (SELECT * FROM stock WHERE part_id = 1 + (p.purchase_id * n * 5) % 120 ORDER BY vendor_id OFFSET n - 1 LIMIT 1) s ON true;
CREATE INDEX lines_shipped ON lines (shipped_on);
CREATE INDEX purchases_buyer ON purchases (buyer_id);
CREATE VIEW vendor_revenue AS
SELECT vendor_id AS vendor_no, sum(price * (1 - discount)) AS revenue FROM lines
WHERE shipped_on >= date '1996-01-01' AND shipped_on < date '1996-01-01' + interval '3 months' GROUP BY vendor_id;
