SELECT * FROM courts ORDER BY court_id;
SELECT court_name, member_cost FROM courts ORDER BY court_id;
SELECT * FROM courts WHERE member_cost > 0 ORDER BY court_id;
SELECT court_id, court_name, member_cost, upkeep FROM courts WHERE member_cost > 0 AND member_cost < upkeep / 50.0 ORDER BY 1;
SELECT * FROM courts WHERE court_name LIKE '%Tennis%' ORDER BY court_id;
SELECT * FROM courts WHERE court_id IN (1, 5) ORDER BY court_id;
SELECT court_name, CASE WHEN upkeep > 100 THEN 'expensive' ELSE 'cheap' END AS cost FROM courts ORDER BY court_name;
SELECT member_id, surname, first_name, joined_at FROM members WHERE joined_at >= '2012-08-01' ORDER BY member_id;
SELECT DISTINCT surname FROM members ORDER BY surname LIMIT 10;
SELECT surname FROM members UNION SELECT court_name FROM courts ORDER BY 1;
SELECT max(joined_at) AS latest FROM members;
SELECT first_name, surname, joined_at FROM members WHERE joined_at = (SELECT max(joined_at) FROM members);
SELECT b.starts_at FROM bookings b INNER JOIN members m ON m.member_id = b.member_id WHERE m.first_name = 'Tim' AND m.surname LIKE 'Jo%' ORDER BY b.starts_at, b.booking_id;
SELECT b.starts_at AS start, c.court_name AS name FROM courts c JOIN bookings b ON c.court_id = b.court_id
WHERE c.court_name IN ('Tennis Court 2', 'Tennis Court 1') AND b.starts_at >= '2012-09-01' AND b.starts_at < '2012-09-15' ORDER BY b.starts_at, b.booking_id;
SELECT DISTINCT r.first_name AS first_name, r.surname AS surname FROM members m INNER JOIN members r ON r.member_id = m.recommended_by ORDER BY surname, first_name;
SELECT m.first_name AS member_first, m.surname AS member_last, r.first_name AS by_first, r.surname AS by_last
FROM members m LEFT OUTER JOIN members r ON r.member_id = m.recommended_by ORDER BY member_last, member_first, m.member_id;
SELECT DISTINCT m.first_name || ' ' || m.surname AS member, c.court_name AS court FROM members m
JOIN bookings b ON m.member_id = b.member_id JOIN courts c ON b.court_id = c.court_id
WHERE c.court_name IN ('Tennis Court 2', 'Tennis Court 1') ORDER BY member, court;
SELECT m.first_name || ' ' || m.surname AS member, c.court_name AS court, b.booking_id,
       CASE WHEN m.member_id = 0 THEN b.slots * c.guest_cost ELSE b.slots * c.member_cost END AS cost
FROM members m JOIN bookings b ON m.member_id = b.member_id JOIN courts c ON b.court_id = c.court_id
WHERE b.starts_at >= '2012-08-14' AND b.starts_at < '2012-08-18'
  AND ((m.member_id = 0 AND b.slots * c.guest_cost > 30) OR (m.member_id <> 0 AND b.slots * c.member_cost > 30)) ORDER BY cost DESC, b.booking_id;
SELECT DISTINCT m.first_name || ' ' || m.surname AS member,
       (SELECT r.first_name || ' ' || r.surname FROM members r WHERE r.member_id = m.recommended_by) AS recommender
FROM members m ORDER BY member, recommender;
SELECT member, court, cost FROM (SELECT m.first_name || ' ' || m.surname AS member, c.court_name AS court, b.booking_id,
           CASE WHEN m.member_id = 0 THEN b.slots * c.guest_cost ELSE b.slots * c.member_cost END AS cost
    FROM members m INNER JOIN bookings b ON m.member_id = b.member_id INNER JOIN courts c ON b.court_id = c.court_id
    WHERE b.starts_at >= '2012-08-14' AND b.starts_at < '2012-08-16') AS costs WHERE cost > 30 ORDER BY cost DESC, booking_id;
SELECT count(*) FROM courts;
SELECT count(*) FROM courts WHERE guest_cost >= 10;
SELECT recommended_by, count(*) FROM members WHERE recommended_by IS NOT NULL GROUP BY recommended_by ORDER BY recommended_by;
SELECT court_id, sum(slots) AS total_slots FROM bookings GROUP BY court_id ORDER BY court_id;
SELECT court_id, sum(slots) AS total_slots FROM bookings WHERE starts_at >= '2012-09-01' AND starts_at < '2012-10-01' GROUP BY court_id ORDER BY sum(slots), court_id;
SELECT court_id, extract(month FROM starts_at) AS month, sum(slots) AS total_slots FROM bookings WHERE extract(year FROM starts_at) = 2012 GROUP BY court_id, month ORDER BY court_id, month;
SELECT count(DISTINCT member_id) FROM bookings;
SELECT court_id, sum(slots) AS total_slots FROM bookings GROUP BY court_id HAVING sum(slots) > 170 ORDER BY court_id;
SELECT c.court_name, sum(b.slots * CASE WHEN b.member_id = 0 THEN c.guest_cost ELSE c.member_cost END) AS revenue
FROM bookings b JOIN courts c ON b.court_id = c.court_id GROUP BY c.court_name ORDER BY revenue, c.court_name;
SELECT court_name, revenue FROM (SELECT c.court_name, sum(CASE WHEN b.member_id = 0 THEN b.slots * c.guest_cost ELSE b.slots * c.member_cost END) AS revenue
    FROM bookings b INNER JOIN courts c ON b.court_id = c.court_id GROUP BY c.court_name) AS agg WHERE revenue < 1000 ORDER BY revenue, court_name;
WITH sums AS (SELECT court_id, sum(slots) AS total_slots FROM bookings GROUP BY court_id)
SELECT court_id, total_slots FROM sums WHERE total_slots = (SELECT max(total_slots) FROM sums) ORDER BY court_id;
SELECT court_id, extract(month FROM starts_at) AS month, sum(slots) AS slots FROM bookings
WHERE starts_at >= '2012-01-01' AND starts_at < '2013-01-01' GROUP BY ROLLUP (court_id, month) ORDER BY court_id, month;
SELECT c.court_id, c.court_name, trim(to_char(sum(b.slots) / 2.0, '9999999999999999D99')) AS hours
FROM bookings b JOIN courts c ON c.court_id = b.court_id GROUP BY c.court_id ORDER BY c.court_id;
SELECT m.surname, m.first_name, m.member_id, min(b.starts_at) AS starts_at FROM bookings b JOIN members m ON m.member_id = b.member_id
WHERE b.starts_at >= '2012-09-01' GROUP BY m.surname, m.first_name, m.member_id ORDER BY m.member_id;
SELECT count(*) OVER (), first_name, surname FROM members ORDER BY joined_at, member_id;
SELECT row_number() OVER (ORDER BY joined_at), first_name, surname FROM members ORDER BY joined_at;
SELECT court_id, total FROM (SELECT court_id, sum(slots) AS total, rank() OVER (ORDER BY sum(slots) DESC) AS rank FROM bookings GROUP BY court_id) AS ranked WHERE rank = 1 ORDER BY 1;
SELECT m.first_name, m.surname, (sum(b.slots) + 10) / 20 * 10 AS hours, rank() OVER (ORDER BY (sum(b.slots) + 10) / 20 * 10 DESC) AS rank
FROM bookings b JOIN members m ON b.member_id = m.member_id GROUP BY m.member_id ORDER BY rank, m.surname, m.first_name, m.member_id;
SELECT court_name, rank FROM (SELECT c.court_name, rank() OVER (ORDER BY sum(CASE WHEN b.member_id = 0 THEN b.slots * c.guest_cost ELSE b.slots * c.member_cost END) DESC) AS rank
    FROM bookings b JOIN courts c ON c.court_id = b.court_id GROUP BY c.court_name) AS best WHERE rank <= 3 ORDER BY rank, court_name;
SELECT court_name, CASE WHEN class = 1 THEN 'high' WHEN class = 2 THEN 'average' ELSE 'low' END AS revenue
FROM (SELECT c.court_name, ntile(3) OVER (ORDER BY sum(b.slots * CASE WHEN b.member_id = 0 THEN c.guest_cost ELSE c.member_cost END) DESC, c.court_name) AS class
    FROM bookings b JOIN courts c ON c.court_id = b.court_id GROUP BY c.court_name) AS classes ORDER BY class, court_name;
SELECT c.court_name, c.outlay / ((sum(CASE WHEN b.member_id = 0 THEN b.slots * c.guest_cost ELSE b.slots * c.member_cost END) / 3) - c.upkeep) AS months
FROM bookings b JOIN courts c ON b.court_id = c.court_id GROUP BY c.court_id ORDER BY c.court_name;
SELECT days.day, (SELECT sum(CASE WHEN b.member_id = 0 THEN b.slots * c.guest_cost ELSE b.slots * c.member_cost END) FROM bookings b
        JOIN courts c ON b.court_id = c.court_id WHERE b.starts_at > days.day - interval '14 days' AND b.starts_at < days.day + interval '1 day') / 15 AS revenue
FROM (SELECT cast(generate_series(timestamp '2012-08-01', '2012-08-31', '1 day') AS date) AS day) AS days ORDER BY days.day;
SELECT timestamp '2012-08-31 01:00:00' - timestamp '2012-07-30 01:00:00' AS gap;
SELECT generate_series(timestamp '2012-10-01', timestamp '2012-10-31', interval '1 day') AS day;
SELECT extract(day FROM timestamp '2012-08-31');
SELECT extract(epoch FROM (timestamp '2012-09-02 00:00:00' - '2012-08-31 01:00:00'));
SELECT extract(month FROM months.month) AS month, (months.month + interval '1 month') - months.month AS length
FROM (SELECT generate_series(timestamp '2012-01-01', timestamp '2012-12-01', interval '1 month') AS month) AS months ORDER BY month;
SELECT starts_at, starts_at + slots * interval '30 minutes' AS ends_at FROM bookings ORDER BY ends_at DESC, starts_at DESC, booking_id LIMIT 10;
SELECT date_trunc('month', starts_at) AS month, count(*) FROM bookings GROUP BY month ORDER BY month;
SELECT c.court_name, month, round((100 * slots) / cast(25 * (cast((month + interval '1 month') AS date) - cast(month AS date)) AS numeric), 1) AS utilisation
FROM (SELECT court_id, date_trunc('month', starts_at) AS month, sum(slots) AS slots FROM bookings GROUP BY court_id, month) AS used
JOIN courts c USING (court_id) ORDER BY c.court_name, month;
SELECT surname || ', ' || first_name AS name FROM members ORDER BY member_id;
SELECT * FROM courts WHERE upper(court_name) LIKE 'TENNIS%' ORDER BY court_id;
SELECT member_id, telephone FROM members WHERE telephone ~ '[()]' ORDER BY member_id;
SELECT lpad(cast(postcode AS char(5)), 5, '0') AS zip FROM members ORDER BY zip;
SELECT substr(surname, 1, 1) AS letter, count(*) AS count FROM members GROUP BY letter ORDER BY letter;
SELECT member_id, translate(telephone, '-() ', '') AS telephone FROM members ORDER BY member_id;
WITH RECURSIVE recommenders (recommender) AS (
    SELECT recommended_by FROM members WHERE member_id = 35 UNION ALL
    SELECT m.recommended_by FROM recommenders r JOIN members m ON m.member_id = r.recommender)
SELECT r.recommender, m.first_name, m.surname FROM recommenders r JOIN members m ON r.recommender = m.member_id ORDER BY m.member_id DESC;
WITH RECURSIVE recommended (member_id) AS (
    SELECT member_id FROM members WHERE recommended_by = 1 UNION ALL
    SELECT m.member_id FROM recommended r JOIN members m ON m.recommended_by = r.member_id)
SELECT r.member_id, m.first_name, m.surname FROM recommended r JOIN members m USING (member_id) ORDER BY m.member_id;
WITH RECURSIVE chain (recommender, member) AS (
    SELECT recommended_by, member_id FROM members UNION ALL
    SELECT m.recommended_by, c.member FROM chain c JOIN members m ON m.member_id = c.recommender)
SELECT c.member, c.recommender, m.first_name, m.surname FROM chain c JOIN members m ON c.recommender = m.member_id
WHERE c.member IN (22, 35) ORDER BY c.member ASC, c.recommender DESC;
SELECT member_id, surname FROM members WHERE postcode = 200 ORDER BY member_id;
SELECT postcode, count(*) AS members, min(birthday), max(birthday) FROM members GROUP BY postcode ORDER BY postcode;
SELECT member_id, first_name, date_part('year', age(timestamp '2012-12-31', birthday)) AS years FROM members WHERE birthday IS NOT NULL ORDER BY years, member_id;
SELECT CASE WHEN birthday < '1960-01-01' THEN 'senior' WHEN birthday IS NULL THEN 'unknown' ELSE 'adult' END AS band, count(*) FROM members GROUP BY 1 ORDER BY 1;
SELECT m.member_id, m.email, count(b.booking_id) AS bookings FROM members m LEFT JOIN bookings b USING (member_id) GROUP BY m.member_id HAVING count(b.booking_id) > 15 ORDER BY 3 DESC, 1;
SELECT split_part(email, '@', 2) AS provider, count(*) FROM members WHERE email IS NOT NULL GROUP BY provider ORDER BY provider;
SELECT a.member_id, b.member_id, a.surname FROM members a JOIN members b ON a.surname = b.surname AND a.member_id < b.member_id ORDER BY 1, 2;
SELECT full_name, recommender FROM member_list WHERE recommender LIKE '%Sm%' ORDER BY member_id;
SELECT l.full_name, l.email, b.first_on FROM member_list l JOIN LATERAL (SELECT min(starts_at) AS first_on FROM bookings b WHERE b.member_id = l.member_id) b ON true ORDER BY l.member_id;
SELECT m.member_id, m.telephone FROM members m WHERE NOT EXISTS (SELECT FROM bookings b WHERE b.member_id = m.member_id AND b.court_id = 4) ORDER BY m.telephone, m.member_id;
SELECT first_name, string_agg(surname, ', ' ORDER BY surname, member_id) AS surnames FROM members GROUP BY first_name ORDER BY first_name;
SELECT member_id, surname, lag(surname) OVER (ORDER BY joined_at) AS earlier, joined_at - lag(joined_at) OVER (ORDER BY joined_at) AS gap FROM members ORDER BY joined_at;
SELECT DISTINCT ON (surname) surname, first_name, joined_at FROM members ORDER BY surname, joined_at DESC;
SELECT c.court_name, count(*) FILTER (WHERE m.birthday < '1955-01-01') AS seniors, count(DISTINCT m.surname) AS families FROM bookings b JOIN courts c USING (court_id) JOIN members m USING (member_id) GROUP BY c.court_id ORDER BY 2 DESC, 1;
SELECT json_build_object('name', m.first_name, 'mail', m.email, 'courts', (SELECT json_agg(DISTINCT c.court_name) FROM bookings b JOIN courts c USING (court_id) WHERE b.member_id = m.member_id)) FROM members m WHERE m.member_id < 6 ORDER BY m.member_id;
