-- A record shop: artists, tracks, customers and invoices, in the shape of Chinook.
CREATE TABLE artist (artist_id int PRIMARY KEY, name varchar(120));
CREATE TABLE album (album_id int PRIMARY KEY, title varchar(160) NOT NULL, artist_id int NOT NULL REFERENCES artist);
CREATE TABLE genre (genre_id int PRIMARY KEY, name varchar(120));
CREATE TABLE media_type (media_type_id int PRIMARY KEY, name varchar(120));
CREATE TABLE track (
    track_id int PRIMARY KEY, name varchar(200) NOT NULL, album_id int REFERENCES album, media_type_id int NOT NULL REFERENCES media_type,
    genre_id int REFERENCES genre, composer varchar(220), milliseconds int NOT NULL, bytes int, unit_price numeric(10,2) NOT NULL
);
CREATE TABLE playlist (playlist_id int PRIMARY KEY, name varchar(120));
CREATE TABLE playlist_track (playlist_id int REFERENCES playlist, track_id int REFERENCES track, PRIMARY KEY (playlist_id, track_id));
CREATE TABLE employee (
    employee_id int PRIMARY KEY, last_name varchar(20) NOT NULL, first_name varchar(20) NOT NULL, title varchar(30),
    reports_to int REFERENCES employee, birth_date timestamp, hire_date timestamp, city varchar(40), email varchar(60)
);
CREATE TABLE customer (
    customer_id int PRIMARY KEY, first_name varchar(40) NOT NULL, last_name varchar(20) NOT NULL, company varchar(80),
    address varchar(70), city varchar(40), state varchar(40), country varchar(40), postal_code varchar(10), phone varchar(24),
    fax varchar(24), email varchar(60) NOT NULL, support_rep_id int REFERENCES employee
);
CREATE TABLE invoice (
    invoice_id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, invoice_date timestamp NOT NULL,
    billing_address varchar(70), billing_city varchar(40), billing_country varchar(40), total numeric(10,2) NOT NULL
);
CREATE TABLE invoice_line (
    invoice_line_id int PRIMARY KEY, invoice_id int NOT NULL REFERENCES invoice, track_id int NOT NULL REFERENCES track,
    unit_price numeric(10,2) NOT NULL, quantity int NOT NULL
);
INSERT INTO artist SELECT i, (ARRAY['The Lamps', 'Copper Sky', 'Ada & Sons', 'Night Ferry', 'Salt'])[1 + i % 5] || ' ' || i FROM generate_series(1, 20) i;
INSERT INTO album SELECT i, (ARRAY['Greatest Hits', 'Live', 'First Light', 'Unplugged'])[1 + i % 4] || ' ' || i, 1 + i * 3 % 18 FROM generate_series(1, 40) i;
INSERT INTO genre SELECT i, (ARRAY['Rock', 'Jazz', 'Metal', 'Latin', 'Blues', 'Classical'])[i] FROM generate_series(1, 6) i;
INSERT INTO media_type SELECT i, (ARRAY['MPEG audio file', 'AAC audio file', 'MPEG-4 video file'])[i] FROM generate_series(1, 3) i;
INSERT INTO track
SELECT i, (ARRAY['Love', 'River', 'Stone', 'Winter', 'Train'])[1 + i % 5] || ' Song ' || i, 1 + i % 38, 1 + i % 3, 1 + i * 5 % 6,
       CASE WHEN i % 4 > 0 THEN (ARRAY['J. Page', 'M. Curie', 'A. Turing', 'C. Ives'])[1 + i % 4] END, 120000 + i * 7919 % 400000, 3000000 + i * 65537, CASE WHEN i % 9 = 0 THEN 1.99 ELSE 0.99 END
FROM generate_series(1, 240) i;
INSERT INTO playlist SELECT i, (ARRAY['Music', 'Movies', 'TV Shows', '90s Music', 'On-The-Go'])[i] FROM generate_series(1, 5) i;
INSERT INTO playlist_track SELECT DISTINCT 1 + i % 4, 1 + i * 7 % 240 FROM generate_series(1, 300) i;
INSERT INTO employee
SELECT i, (ARRAY['Adams', 'Edwards', 'Peacock', 'Park', 'Johnson', 'Mitchell', 'King', 'Callahan'])[i], (ARRAY['Andrew', 'Nancy', 'Jane', 'Margaret', 'Steve', 'Michael', 'Robert', 'Laura'])[i],
       CASE i WHEN 1 THEN 'General Manager' WHEN 2 THEN 'Sales Manager' WHEN 6 THEN 'IT Manager' ELSE CASE WHEN i < 6 THEN 'Sales Support Agent' ELSE 'IT Staff' END END,
       CASE i WHEN 1 THEN NULL WHEN 2 THEN 1 WHEN 6 THEN 1 ELSE CASE WHEN i < 6 THEN 2 ELSE 6 END END, timestamp '1958-03-19' + i * interval '1000 days',
       timestamp '2002-04-01' + i * interval '160 days', (ARRAY['Calgary', 'Edmonton'])[1 + i % 2], 'staff' || i || '@records.example'
FROM generate_series(1, 8) i;
INSERT INTO customer
SELECT i, (ARRAY['Luís', 'Leonie', 'Marc', 'Björn', 'Helena', 'Astrid', 'Kara'])[1 + i % 7], (ARRAY['Gonçalves', 'Köhler', 'Tremblay', 'Hansen', 'Holý'])[1 + i % 5],
       CASE WHEN i % 3 = 0 THEN 'Company ' || i END, i || ' Rue Verte', (ARRAY['Paris', 'Oslo', 'Prague', 'Boston', 'Delhi', 'London'])[1 + i % 6],
       CASE WHEN i % 4 = 0 THEN 'ST' END, (ARRAY['France', 'Norway', 'Czech Republic', 'USA', 'India', 'United Kingdom'])[1 + i % 6], 10000 + i * 37 || '',
       CASE WHEN i % 8 > 0 THEN '+' || 30 + i || ' ' || 100 + i * 13 || '-' || 2000 + i * 71 END, CASE WHEN i % 5 = 0 THEN '+1 fax ' || i END,
       'client' || i || '@' || (ARRAY['gmail', 'yahoo', 'surfeu'])[1 + i % 3] || '.example', 3 + i % 3
FROM generate_series(1, 59) i;
INSERT INTO invoice
SELECT i, 1 + i * 11 % 57, timestamp '2009-01-02' + i * interval '107 hours', c.address, c.city, c.country, 0
FROM generate_series(1, 300) i JOIN customer c ON c.customer_id = 1 + i * 11 % 57;
INSERT INTO invoice_line
SELECT row_number() OVER (ORDER BY i, n), i, t.track_id, t.unit_price, 1 + (i + n) % 2 FROM generate_series(1, 300) i CROSS JOIN generate_series(1, 3) n
JOIN track t ON t.track_id = 1 + (i * 13 + n * 31) % 200;
UPDATE invoice i SET total = (SELECT sum(unit_price * quantity) FROM invoice_line l WHERE l.invoice_id = i.invoice_id);
CREATE VIEW customer_spending AS
SELECT c.customer_id, c.first_name, c.last_name, c.email, c.country, sum(i.total) AS spent FROM customer c JOIN invoice i USING (customer_id) GROUP BY c.customer_id;
