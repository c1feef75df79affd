-- A film rental: customers, films, inventory, rentals and payments, in the shape of Pagila.
CREATE TYPE rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'NC-17');
CREATE DOMAIN release_year AS int CHECK (VALUE BETWEEN 1901 AND 2155);
CREATE TABLE country (country_id int PRIMARY KEY, country text NOT NULL);
CREATE TABLE city (city_id int PRIMARY KEY, city text NOT NULL, country_id int NOT NULL REFERENCES country);
CREATE TABLE address (
    address_id int PRIMARY KEY, address text NOT NULL, address2 text, district text NOT NULL, city_id int NOT NULL REFERENCES city,
    postal_code text, phone text NOT NULL
);
CREATE TABLE language (language_id int PRIMARY KEY, name char(20) NOT NULL);
CREATE TABLE category (category_id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE actor (actor_id int PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL);
CREATE TABLE film (
    film_id int PRIMARY KEY, title text NOT NULL, description text, year release_year, language_id int NOT NULL REFERENCES language,
    rental_duration smallint NOT NULL, rental_rate numeric(4,2) NOT NULL, length smallint, replacement_cost numeric(5,2) NOT NULL,
    rating rating, special_features text[]
);
CREATE TABLE film_actor (actor_id int REFERENCES actor, film_id int REFERENCES film, PRIMARY KEY (actor_id, film_id));
CREATE TABLE film_category (film_id int REFERENCES film, category_id int REFERENCES category, PRIMARY KEY (film_id, category_id));
CREATE TABLE store (store_id int PRIMARY KEY, manager_id int NOT NULL, address_id int NOT NULL REFERENCES address);
CREATE TABLE staff (
    staff_id int PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, address_id int NOT NULL REFERENCES address,
    email text, store_id int NOT NULL REFERENCES store, active boolean NOT NULL, username text NOT NULL, password text
);
CREATE TABLE customer (
    customer_id int PRIMARY KEY, store_id int NOT NULL REFERENCES store, first_name text NOT NULL, last_name text NOT NULL, email text UNIQUE,
    address_id int NOT NULL REFERENCES address, activebool boolean NOT NULL, create_date date NOT NULL, active int
);
CREATE TABLE inventory (inventory_id int PRIMARY KEY, film_id int NOT NULL REFERENCES film, store_id int NOT NULL REFERENCES store);
CREATE TABLE rental (
    rental_id int PRIMARY KEY, rental_date timestamptz NOT NULL, inventory_id int NOT NULL REFERENCES inventory,
    customer_id int NOT NULL REFERENCES customer, return_date timestamptz, staff_id int NOT NULL REFERENCES staff
);
CREATE TABLE payment (
    payment_id int NOT NULL, customer_id int NOT NULL, staff_id int NOT NULL, rental_id int NOT NULL, amount numeric(5,2) NOT NULL,
    payment_date timestamptz NOT NULL, PRIMARY KEY (payment_date, payment_id)
) PARTITION BY RANGE (payment_date);
CREATE TABLE payment_2022_01 PARTITION OF payment FOR VALUES FROM ('2022-01-01 00:00+00') TO ('2022-02-01 00:00+00');
CREATE TABLE payment_2022_02 PARTITION OF payment FOR VALUES FROM ('2022-02-01 00:00+00') TO ('2022-03-01 00:00+00');
CREATE TABLE payment_rest PARTITION OF payment DEFAULT;
INSERT INTO country SELECT i, (ARRAY['Canada', 'Australia', 'Chile', 'Norway', 'Japan', 'India'])[i] FROM generate_series(1, 6) i;
INSERT INTO city SELECT i, 'City ' || chr(64 + i), 1 + i % 6 FROM generate_series(1, 20) i;
INSERT INTO address
SELECT i, i || ' ' || (ARRAY['Lane', 'Drive', 'Way', 'Parkway'])[1 + i % 4], CASE WHEN i % 4 = 0 THEN 'Floor ' || i % 5 END, (ARRAY['Alberta', 'QLD', 'Maule', 'Oslo'])[1 + i % 4],
       1 + i % 20, CASE WHEN i % 9 > 0 THEN (10000 + i * 317)::text END, (14033335568 + i * 982451653::bigint)::text
FROM generate_series(1, 130) i;
INSERT INTO language SELECT i, (ARRAY['English', 'Italian', 'French'])[i] FROM generate_series(1, 3) i;
INSERT INTO category SELECT i, (ARRAY['Action', 'Animation', 'Comedy', 'Drama', 'Family', 'Sports', 'Sci-Fi'])[i] FROM generate_series(1, 7) i;
INSERT INTO actor SELECT i, (ARRAY['PENELOPE', 'NICK', 'ED', 'JENNIFER', 'JOHNNY'])[1 + i % 5], (ARRAY['GUINESS', 'WAHLBERG', 'CHASE', 'DAVIS', 'LOLLO', 'BERRY', 'WOOD'])[1 + i % 7] FROM generate_series(1, 50) i;
INSERT INTO film
SELECT i, (ARRAY['ACADEMY', 'BRIDE', 'CHICKEN', 'DESERT', 'EAGLE'])[1 + i % 5] || ' ' || (ARRAY['DINOSAUR', 'INTRIGUE', 'HELLFIGHTERS'])[1 + i % 3] || ' ' || i,
       'A ' || (ARRAY['fateful', 'boring', 'epic'])[1 + i % 3] || ' story of a ' || (ARRAY['dog', 'crocodile', 'robot'])[1 + i % 3], 2000 + i % 12, 1 + i % 3, 3 + i % 5,
       (ARRAY[0.99, 2.99, 4.99])[1 + i % 3], 46 + i * 37 % 140, 9.99 + i % 20, (enum_range(NULL::rating))[1 + i % 5], CASE WHEN i % 4 > 0 THEN (ARRAY['Trailers', 'Deleted Scenes', 'Commentaries'])[1 : i % 4] END
FROM generate_series(1, 100) i;
INSERT INTO film_actor SELECT DISTINCT 1 + i * 7 % 48, 1 + i * 3 % 100 FROM generate_series(1, 400) i;
INSERT INTO film_category SELECT i, 1 + i * 5 % 7 FROM generate_series(1, 100) i;
INSERT INTO store VALUES (1, 1, 1), (2, 2, 2);
INSERT INTO staff VALUES (1, 'Mike', 'Hillyer', 3, 'mike.hillyer@rental.example', 1, true, 'Mike', '8cb2237d'), (2, 'Jon', 'Stephens', 4, 'jon.stephens@rental.example', 2, true, 'Jon', NULL);
INSERT INTO customer
SELECT i, 1 + i % 2, (ARRAY['MARY', 'PATRICIA', 'LINDA', 'BARBARA', 'ELIZABETH', 'JENNIFER'])[1 + i % 6], (ARRAY['SMITH', 'JOHNSON', 'WILLIAMS', 'JONES', 'BROWN'])[1 + i % 5] || CASE WHEN i > 60 THEN 'SON' ELSE '' END,
       CASE WHEN i % 17 > 0 THEN lower((ARRAY['MARY', 'PATRICIA', 'LINDA'])[1 + i % 3]) || i || '@' || (ARRAY['sakila', 'films'])[1 + i % 2] || '.example' END, 5 + i, i % 12 > 0, date '2022-02-14' - i, (i % 12 > 0)::int
FROM generate_series(1, 120) i;
INSERT INTO inventory SELECT i, 1 + i % 95, 1 + i % 2 FROM generate_series(1, 240) i;
INSERT INTO rental
SELECT i, timestamptz '2022-01-03 09:00+00' + i * interval '3 hours 7 minutes', 1 + i * 7 % 230, 1 + i * 11 % 115,
       CASE WHEN i % 10 > 0 THEN timestamptz '2022-01-03 09:00+00' + i * interval '3 hours 7 minutes' + (1 + i % 8) * interval '1 day' END, 1 + i % 2
FROM generate_series(1, 500) i;
INSERT INTO payment SELECT r.rental_id, r.customer_id, r.staff_id, r.rental_id, 0.99 + r.rental_id % 6, r.rental_date + interval '2 minutes' FROM rental r;
CREATE INDEX rental_customer ON rental (customer_id);
CREATE INDEX customer_last_name ON customer (last_name);
CREATE VIEW customer_list AS
SELECT cu.customer_id AS id, cu.first_name || ' ' || cu.last_name AS name, a.address, a.postal_code AS zip_code, a.phone, city.city, country.country,
       CASE WHEN cu.activebool THEN 'active' ELSE '' END AS notes, cu.store_id AS sid
FROM customer cu JOIN address a ON cu.address_id = a.address_id JOIN city ON a.city_id = city.city_id JOIN country ON city.country_id = country.country_id;
CREATE VIEW staff_list AS
SELECT s.staff_id AS id, s.first_name || ' ' || s.last_name AS name, a.address, a.phone, city.city, s.store_id AS sid
FROM staff s JOIN address a USING (address_id) JOIN city USING (city_id);
CREATE VIEW sales_by_store AS
SELECT c.city || ',' || cy.country AS store, m.first_name || ' ' || m.last_name AS manager, sum(p.amount) AS total_sales
FROM payment p JOIN rental r ON p.rental_id = r.rental_id JOIN inventory i ON r.inventory_id = i.inventory_id JOIN store s ON i.store_id = s.store_id
JOIN address a ON s.address_id = a.address_id JOIN city c ON a.city_id = c.city_id JOIN country cy ON c.country_id = cy.country_id JOIN staff m ON s.manager_id = m.staff_id
GROUP BY cy.country, c.city, s.store_id, m.first_name, m.last_name;
CREATE VIEW film_list AS
SELECT f.film_id AS fid, f.title, c.name AS category, f.rental_rate AS price, f.length, f.rating, string_agg(a.first_name || ' ' || a.last_name, ', ' ORDER BY a.actor_id) AS actors
FROM film f LEFT JOIN film_category fc USING (film_id) LEFT JOIN category c USING (category_id) LEFT JOIN film_actor fa USING (film_id) LEFT JOIN actor a USING (actor_id)
GROUP BY f.film_id, f.title, c.name, f.rental_rate, f.length, f.rating;
