-- A trading company: customers, orders, products, suppliers and employees, in the shape of Northwind.
CREATE TABLE categories (category_id smallint PRIMARY KEY, category_name varchar(15) NOT NULL, description text);
CREATE TABLE suppliers (
    supplier_id smallint PRIMARY KEY, company_name varchar(40) NOT NULL, contact_name varchar(30), city varchar(15), country varchar(15),
    phone varchar(24), homepage text
);
CREATE TABLE customers (
    customer_id varchar(5) PRIMARY KEY, company_name varchar(40) NOT NULL, contact_name varchar(30), contact_title varchar(30), address varchar(60),
    city varchar(15), region varchar(15), postal_code varchar(10), country varchar(15), phone varchar(24), fax varchar(24)
);
CREATE TABLE employees (
    employee_id smallint PRIMARY KEY, last_name varchar(20) NOT NULL, first_name varchar(10) NOT NULL, title varchar(30), birth_date date, hire_date date,
    address varchar(60), city varchar(15), home_phone varchar(24), notes text, reports_to smallint REFERENCES employees, salary numeric(9,2), photo bytea
);
CREATE TABLE territories (territory_id varchar(20) PRIMARY KEY, description varchar(60) NOT NULL, region text NOT NULL);
CREATE TABLE employee_territories (employee_id smallint REFERENCES employees, territory_id varchar(20) REFERENCES territories, PRIMARY KEY (employee_id, territory_id));
CREATE TABLE shippers (shipper_id smallint PRIMARY KEY, company_name varchar(40) NOT NULL, phone varchar(24));
CREATE TABLE products (
    product_id smallint PRIMARY KEY, product_name varchar(40) NOT NULL, supplier_id smallint REFERENCES suppliers, category_id smallint REFERENCES categories,
    quantity_per_unit varchar(20), unit_price real, units_in_stock smallint, units_on_order smallint, reorder_level smallint, discontinued int NOT NULL
);
CREATE TABLE orders (
    order_id smallint PRIMARY KEY, customer_id varchar(5) REFERENCES customers, employee_id smallint REFERENCES employees, order_date date, required_date date,
    shipped_date date, ship_via smallint REFERENCES shippers, freight real, ship_name varchar(40), ship_address varchar(60), ship_country varchar(15)
);
CREATE TABLE order_details (
    order_id smallint REFERENCES orders, product_id smallint REFERENCES products, unit_price numeric(10,2) NOT NULL, quantity smallint NOT NULL, discount numeric(4,2) NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
INSERT INTO categories SELECT i, (ARRAY['Beverages', 'Condiments', 'Confections', 'Dairy', 'Grains', 'Seafood'])[i], 'Everything ' || i FROM generate_series(1, 6) i;
INSERT INTO suppliers SELECT i, 'Supplier ' || i, 'Contact ' || chr(64 + i), (ARRAY['London', 'Tokyo', 'Osaka', 'Berlin'])[1 + i % 4], (ARRAY['UK', 'Japan', 'Japan', 'Germany'])[1 + i % 4], '(' || 100 + i || ') 555-' || 2000 + i, CASE WHEN i % 3 = 0 THEN 'http://s' || i || '.example' END FROM generate_series(1, 16) i;
INSERT INTO customers
SELECT chr(65 + i % 26) || chr(65 + i * 7 % 26) || lpad(i::text, 3, '0'), 'Company ' || i, (ARRAY['Maria', 'Ana', 'Thomas', 'Hanna', 'Yang'])[1 + i % 5] || ' ' || (ARRAY['Anders', 'Trujillo', 'Hardy', 'Moos'])[1 + i % 4],
       (ARRAY['Owner', 'Sales Manager', 'Accounting Manager'])[1 + i % 3], i * 3 || ' Market Street', (ARRAY['London', 'Berlin', 'México D.F.', 'Paris', 'Madrid'])[1 + i % 5], CASE WHEN i % 3 = 0 THEN 'R' || i % 4 END,
       10000 + i * 91 || '', (ARRAY['UK', 'Germany', 'Mexico', 'France', 'Spain'])[1 + i % 5], '(' || i % 9 || ') 555-' || 4000 + i * 17, CASE WHEN i % 4 > 0 THEN '(' || i % 9 || ') 556-' || 4000 + i END
FROM generate_series(1, 90) i;
INSERT INTO employees
SELECT i, (ARRAY['Davolio', 'Fuller', 'Leverling', 'Peacock', 'Buchanan', 'Suyama', 'King', 'Callahan', 'Dodsworth'])[i], (ARRAY['Nancy', 'Andrew', 'Janet', 'Margaret', 'Steven', 'Michael', 'Robert', 'Laura', 'Anne'])[i],
       CASE i WHEN 2 THEN 'Vice President' WHEN 5 THEN 'Sales Manager' ELSE 'Sales Representative' END, date '1948-12-08' + i * 977, date '1992-05-01' + i * 133, i || ' House Lane', (ARRAY['London', 'Seattle', 'Tacoma'])[1 + i % 3],
       '(206) 555-' || 9000 + i * 11, CASE WHEN i % 2 = 0 THEN 'Education includes a degree. Fluent in French.' ELSE 'Joined as a trainee.' END, CASE WHEN i = 2 THEN NULL WHEN i > 5 THEN 5 ELSE 2 END, 31000 + i * 4217.5, decode(lpad(to_hex(i * 8191), 8, '0'), 'hex')
FROM generate_series(1, 9) i ORDER BY i <> 2, i <> 5;
INSERT INTO territories SELECT (1000 + i)::text, 'Territory ' || i, (ARRAY['Eastern', 'Western', 'Northern'])[1 + i % 3] FROM generate_series(1, 20) i;
INSERT INTO employee_territories SELECT 1 + i % 9, (1000 + i)::text FROM generate_series(1, 20) i;
INSERT INTO shippers VALUES (1, 'Speedy Express', '(503) 555-9831'), (2, 'United Package', '(503) 555-3199'), (3, 'Federal Shipping', NULL);
INSERT INTO products SELECT i, (ARRAY['Chai', 'Syrup', 'Gumbo', 'Tofu', 'Ikura'])[1 + i % 5] || ' ' || i, 1 + i % 15, 1 + i * 5 % 6, i % 24 || ' boxes', 2.5 + i, i * 7 % 120, i % 4 * 10, i % 6 * 5, (i % 9 = 0)::int FROM generate_series(1, 77) i;
INSERT INTO orders
SELECT i, c.customer_id, 1 + i % 9, date '1996-07-04' + i * 2, date '1996-07-04' + i * 2 + 28, CASE WHEN i % 13 > 0 THEN date '1996-07-04' + i * 2 + i % 35 END, 1 + i % 3, i % 90 + 0.5, c.company_name, c.address, c.country
FROM generate_series(1, 320) i JOIN LATERAL (SELECT * FROM customers ORDER BY customer_id OFFSET i * 7 % 86 LIMIT 1) c ON true;
INSERT INTO order_details SELECT o.order_id, 1 + (o.order_id * n * 5 + n) % 77, 3 + (o.order_id * n) % 60, 1 + (o.order_id + n * 11) % 60, (o.order_id + n) % 4 * 0.05 FROM orders o CROSS JOIN generate_series(1, 3) n ON CONFLICT DO NOTHING;
CREATE VIEW order_subtotals AS SELECT order_id, sum(unit_price * quantity * (1 - discount)) AS subtotal FROM order_details GROUP BY order_id;
CREATE VIEW invoices AS
SELECT o.order_id, o.ship_name, o.ship_address, c.company_name, c.contact_name, c.phone, e.first_name || ' ' || e.last_name AS salesperson, s.subtotal
FROM orders o JOIN customers c USING (customer_id) JOIN employees e USING (employee_id) JOIN order_subtotals s USING (order_id);
