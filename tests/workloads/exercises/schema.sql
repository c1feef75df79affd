-- A sports club: members, courts and bookings, in the shape of the exercises that teach SQL with one.
CREATE TABLE members (
    member_id int PRIMARY KEY, surname varchar(200) NOT NULL, first_name varchar(200) NOT NULL, address varchar(300) NOT NULL,
    postcode int NOT NULL, telephone varchar(20) NOT NULL, recommended_by int REFERENCES members ON DELETE SET NULL,
    joined_at timestamp NOT NULL, birthday date, email text
);
CREATE TABLE courts (
    court_id int PRIMARY KEY, court_name varchar(100) NOT NULL, member_cost numeric NOT NULL, guest_cost numeric NOT NULL,
    outlay numeric NOT NULL, upkeep numeric NOT NULL
);
CREATE TABLE bookings (
    booking_id int PRIMARY KEY, court_id int NOT NULL REFERENCES courts, member_id int NOT NULL REFERENCES members,
    starts_at timestamp NOT NULL, slots int NOT NULL
);
INSERT INTO members VALUES (0, 'GUEST', 'GUEST', 'GUEST', 0, '(000) 000-0000', NULL, '2012-07-01', NULL, NULL);
INSERT INTO members
SELECT i, (ARRAY['Smith', 'Rownam', 'Joplette', 'Butters', 'Tracy', 'Dare', 'Boothe', 'Stibbons', 'Owen', 'Jones'])[1 + i % 10],
       (ARRAY['Darren', 'Tracy', 'Tim', 'Gerald', 'Nancy', 'Burton', 'Ponder'])[1 + i % 7], i || ' Bath Street, ' || (ARRAY['Boston', 'Reading'])[1 + i % 2],
       CASE WHEN i % 6 = 0 THEN 234 ELSE 4000 + i * 37 END, '(' || 700 + i || ') ' || 555 + i % 4 || '-' || 1000 + i * 83,
       CASE WHEN i > 3 AND i % 3 > 0 THEN i / 3 END, timestamp '2012-07-02 12:02:05' + i * interval '53 hours 11 minutes',
       date '1940-02-11' + i * 503, CASE WHEN i % 5 > 0 THEN 'member' || i || '@' || (ARRAY['club', 'mail'])[1 + i % 2] || '.example' END
FROM generate_series(1, 36) i;
INSERT INTO courts VALUES
    (0, 'Tennis Court 1', 5, 25, 10000, 200), (1, 'Tennis Court 2', 5, 25, 8000, 200), (2, 'Badminton Court', 0, 15.5, 4000, 50),
    (3, 'Table Tennis', 0, 5, 320, 10), (4, 'Massage Room 1', 35, 80, 4000, 3000), (5, 'Massage Room 2', 35, 80, 4000, 3000),
    (6, 'Squash Court', 3.5, 17.5, 5000, 80), (7, 'Snooker Table', 0, 5, 450, 15), (8, 'Pool Table', 0, 5, 400, 15);
INSERT INTO bookings
SELECT i, i * 7 % 9, CASE WHEN i % 4 = 0 THEN 0 ELSE 1 + i * 5 % 36 END,
       timestamp '2012-07-03 08:00' + i / 9 * interval '1 day' + i % 9 * interval '1 hour 30 minutes', 1 + i % 3
FROM generate_series(0, 799) i;
CREATE INDEX bookings_member ON bookings (member_id, court_id);
CREATE VIEW member_list AS
SELECT m.member_id, m.first_name || ' ' || m.surname AS full_name, m.email, r.first_name || ' ' || r.surname AS recommender
FROM members m LEFT JOIN members r ON r.member_id = m.recommended_by;
