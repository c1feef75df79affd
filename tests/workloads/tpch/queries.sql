SELECT return_flag, line_status, sum(quantity) AS units, sum(price) AS gross, sum(price * (1 - discount)) AS net,
       sum(price * (1 - discount) * (1 + tax)) AS charged, avg(quantity) AS mean_units, avg(price) AS mean_price,
       avg(discount) AS mean_discount, count(*) AS line_count
FROM lines WHERE shipped_on <= date '1998-11-15' - interval '75 days'
GROUP BY return_flag, line_status ORDER BY return_flag, line_status;

SELECT v.funds, v.vendor_name, c.country_name, p.part_id, p.maker, v.street, v.phone, v.remark
FROM parts p, vendors v, stock s, countries c, regions r
WHERE p.part_id = s.part_id AND v.vendor_id = s.vendor_id AND p.size < 30 AND p.part_type LIKE '%BRASS'
  AND v.country_id = c.country_id AND c.region_id = r.region_id AND r.region_name = 'EUROPE'
  AND s.cost = (SELECT min(s2.cost) FROM stock s2, vendors v2, countries c2, regions r2
                WHERE p.part_id = s2.part_id AND v2.vendor_id = s2.vendor_id AND v2.country_id = c2.country_id
                  AND c2.region_id = r2.region_id AND r2.region_name = 'EUROPE')
ORDER BY v.funds DESC, c.country_name, v.vendor_name, p.part_id, v.vendor_id LIMIT 100;

SELECT l.purchase_id, sum(l.price * (1 - l.discount)) AS revenue, o.ordered_on, o.ship_priority
FROM buyers b, purchases o, lines l
WHERE b.segment = 'MACHINERY' AND b.buyer_id = o.buyer_id AND l.purchase_id = o.purchase_id
  AND o.ordered_on < date '1995-03-20' AND l.shipped_on > date '1995-03-20' AND b.email IS NOT NULL
GROUP BY l.purchase_id, o.ordered_on, o.ship_priority ORDER BY revenue DESC, o.ordered_on, l.purchase_id LIMIT 10;

SELECT o.priority, count(*) AS purchase_count FROM purchases o
WHERE o.ordered_on >= date '1993-07-01' AND o.ordered_on < date '1993-07-01' + interval '3 month'
  AND EXISTS (SELECT * FROM lines l WHERE l.purchase_id = o.purchase_id AND l.committed_on < l.received_on)
GROUP BY o.priority ORDER BY o.priority;

SELECT c.country_name, sum(l.price * (1 - l.discount)) AS revenue
FROM buyers b, purchases o, lines l, vendors v, countries c, regions r
WHERE b.buyer_id = o.buyer_id AND l.purchase_id = o.purchase_id AND l.vendor_id = v.vendor_id
  AND b.country_id = v.country_id AND v.country_id = c.country_id AND c.region_id = r.region_id
  AND r.region_name = 'ASIA' AND o.ordered_on >= date '1993-01-01' AND o.ordered_on < date '1993-01-01' + interval '2 year'
GROUP BY c.country_name ORDER BY revenue DESC, c.country_name;

SELECT sum(price * discount) AS revenue FROM lines
WHERE shipped_on >= date '1994-01-01' AND shipped_on < date '1994-01-01' + interval '1 year'
  AND discount BETWEEN 0.05 AND 0.07 AND quantity < 24;

SELECT t.vendor_country, t.buyer_country, t.shipped_year, sum(t.volume) AS revenue
FROM (SELECT c1.country_name AS vendor_country, c2.country_name AS buyer_country, extract(year FROM l.shipped_on) AS shipped_year,
             l.price * (1 - l.discount) AS volume
      FROM vendors v, lines l, purchases o, buyers b, countries c1, countries c2
      WHERE v.vendor_id = l.vendor_id AND o.purchase_id = l.purchase_id AND b.buyer_id = o.buyer_id
        AND v.country_id = c1.country_id AND b.country_id = c2.country_id
        AND ((c1.country_name = 'FRANCE' AND c2.country_name = 'GERMANY') OR (c1.country_name = 'GERMANY' AND c2.country_name = 'FRANCE'))
        AND l.shipped_on BETWEEN date '1995-01-01' AND date '1996-12-31') AS t
GROUP BY t.vendor_country, t.buyer_country, t.shipped_year ORDER BY t.vendor_country, t.buyer_country, t.shipped_year;

SELECT y, sum(CASE WHEN country = 'BRAZIL' THEN volume ELSE 0 END) / sum(volume) AS share
FROM (SELECT extract(year FROM o.ordered_on) AS y, l.price * (1 - l.discount) AS volume, c2.country_name AS country
      FROM parts p, vendors v, lines l, purchases o, buyers b, countries c1, countries c2, regions r
      WHERE p.part_id = l.part_id AND v.vendor_id = l.vendor_id AND l.purchase_id = o.purchase_id AND o.buyer_id = b.buyer_id
        AND b.country_id = c1.country_id AND c1.region_id = r.region_id AND r.region_name = 'AMERICA'
        AND v.country_id = c2.country_id AND o.ordered_on BETWEEN date '1992-01-01' AND date '1998-12-31'
        AND p.part_type LIKE 'ECONOMY%' AND b.balance > -500) AS nations
GROUP BY y ORDER BY y;

SELECT country, y, sum(amount) AS profit
FROM (SELECT c.country_name AS country, extract(year FROM o.ordered_on) AS y, l.price * (1 - l.discount) - s.cost * l.quantity AS amount
      FROM parts p, vendors v, lines l, stock s, purchases o, countries c
      WHERE v.vendor_id = l.vendor_id AND s.vendor_id = l.vendor_id AND s.part_id = l.part_id AND p.part_id = l.part_id
        AND o.purchase_id = l.purchase_id AND v.country_id = c.country_id AND p.part_name LIKE '%green%') AS profits
GROUP BY country, y ORDER BY country, y DESC;

SELECT b.buyer_id, b.buyer_name, sum(l.price * (1 - l.discount)) AS lost, b.balance, c.country_name, b.address, b.telephone, b.remark
FROM buyers b, purchases o, lines l, countries c
WHERE b.buyer_id = o.buyer_id AND l.purchase_id = o.purchase_id AND o.ordered_on >= date '1993-10-01'
  AND o.ordered_on < date '1993-10-01' + interval '9 month' AND l.return_flag = 'R' AND b.country_id = c.country_id
GROUP BY b.buyer_id, b.buyer_name, b.balance, b.telephone, c.country_name, b.address, b.remark
ORDER BY lost DESC, b.buyer_id LIMIT 20;

SELECT s.part_id, sum(s.cost * s.available) AS worth FROM stock s, vendors v, countries c
WHERE s.vendor_id = v.vendor_id AND v.country_id = c.country_id AND c.country_name = 'GERMANY'
GROUP BY s.part_id
HAVING sum(s.cost * s.available) > (SELECT sum(s.cost * s.available) * 0.01 FROM stock s, vendors v, countries c
    WHERE s.vendor_id = v.vendor_id AND v.country_id = c.country_id AND c.country_name = 'GERMANY')
ORDER BY worth DESC, s.part_id;

SELECT l.ship_mode, sum(CASE WHEN o.priority LIKE '%URGENT%' OR o.priority LIKE '%HIGH%' THEN 1 ELSE 0 END) AS high_count,
       sum(CASE WHEN o.priority NOT LIKE '%URGENT%' AND o.priority NOT LIKE '%HIGH%' THEN 1 ELSE 0 END) AS low_count,
       count(DISTINCT o.clerk) AS clerks
FROM purchases o, lines l
WHERE o.purchase_id = l.purchase_id AND l.ship_mode IN ('MAIL', 'SHIP') AND l.committed_on < l.received_on
  AND l.shipped_on < l.committed_on AND l.received_on >= date '1994-01-01' AND l.received_on < date '1995-01-01'
GROUP BY l.ship_mode ORDER BY l.ship_mode;

SELECT c_count, count(*) AS buyer_count
FROM (SELECT b.buyer_id, count(o.purchase_id) FROM buyers b LEFT OUTER JOIN purchases o
          ON b.buyer_id = o.buyer_id AND o.remark NOT LIKE '%special%requests%'
      GROUP BY b.buyer_id) AS per_buyer (buyer_id, c_count)
GROUP BY c_count ORDER BY buyer_count DESC, c_count DESC;

SELECT 100.00 * sum(CASE WHEN p.part_type LIKE 'PROMO%' THEN l.price * (1 - l.discount) ELSE 0 END)
       / sum(l.price * (1 - l.discount)) AS promo_revenue
FROM lines l, parts p WHERE l.part_id = p.part_id AND l.shipped_on >= date '1995-09-01' AND l.shipped_on < date '1995-12-01';

SELECT v.vendor_id, v.vendor_name, v.street, v.phone, r.revenue FROM vendors v, vendor_revenue r
WHERE v.vendor_id = r.vendor_no AND r.revenue = (SELECT max(revenue) FROM vendor_revenue) ORDER BY v.vendor_id;

WITH revenue (vendor_no, amount) AS (
    SELECT vendor_id, sum(price * (1 - discount)) FROM lines
    WHERE shipped_on >= date '1995-01-01' AND shipped_on < date '1995-07-01' GROUP BY vendor_id)
SELECT v.vendor_id, trim(v.vendor_name), v.street, left(v.phone, 2) AS area, r.amount FROM vendors v, revenue r
WHERE v.vendor_id = r.vendor_no AND r.amount = (SELECT max(amount) FROM revenue) ORDER BY v.vendor_id;

SELECT p.brand, p.part_type, p.size, count(DISTINCT s.vendor_id) AS vendor_count FROM stock s, parts p
WHERE p.part_id = s.part_id AND p.brand <> 'Brand#45' AND p.part_type NOT LIKE 'SMALL POLISHED%' AND p.size IN (1, 8, 15, 22, 29, 36, 43, 50)
  AND s.vendor_id NOT IN (SELECT vendor_id FROM vendors WHERE remark LIKE '%Customer%Complaints%')
GROUP BY p.brand, p.part_type, p.size ORDER BY vendor_count DESC, p.brand, p.part_type, p.size;

SELECT sum(l.price) / 7.0 AS yearly FROM lines l, parts p
WHERE p.part_id = l.part_id AND p.container = 'MED BOX'
  AND l.quantity < (SELECT 0.7 * avg(l2.quantity) FROM lines l2 WHERE l2.part_id = p.part_id);

SELECT b.buyer_name, b.buyer_id, o.purchase_id, o.ordered_on, o.total, sum(l.quantity)
FROM buyers b, purchases o, lines l
WHERE o.purchase_id IN (SELECT purchase_id FROM lines GROUP BY purchase_id HAVING sum(quantity) > 110)
  AND b.buyer_id = o.buyer_id AND o.purchase_id = l.purchase_id
GROUP BY b.buyer_name, b.buyer_id, o.purchase_id, o.ordered_on, o.total
ORDER BY o.total DESC, o.ordered_on, o.purchase_id LIMIT 100;

SELECT sum(l.price * (1 - l.discount)) AS revenue FROM lines l, parts p
WHERE (p.part_id = l.part_id AND p.brand = 'Brand#12' AND p.container IN ('SM CASE', 'SM BOX') AND l.quantity BETWEEN 1 AND 31
       AND p.size BETWEEN 1 AND 25 AND l.ship_mode IN ('AIR', 'AIR REG') AND l.instruction = 'DELIVER IN PERSON')
   OR (p.part_id = l.part_id AND p.brand = 'Brand#23' AND p.container IN ('MED BAG', 'MED BOX') AND l.quantity BETWEEN 10 AND 40
       AND p.size BETWEEN 1 AND 30 AND l.ship_mode IN ('AIR', 'AIR REG') AND l.instruction = 'DELIVER IN PERSON')
   OR (p.part_id = l.part_id AND p.brand = 'Brand#34' AND p.container IN ('LG CASE', 'LG PACK') AND l.quantity BETWEEN 20 AND 50
       AND p.size BETWEEN 1 AND 45 AND l.ship_mode IN ('AIR', 'AIR REG') AND l.instruction = 'DELIVER IN PERSON');

SELECT v.vendor_name, v.street FROM vendors v, countries c
WHERE v.vendor_id IN (SELECT s.vendor_id FROM stock s
        WHERE s.part_id IN (SELECT part_id FROM parts WHERE part_name LIKE 'forest%')
          AND s.available > (SELECT 0.5 * sum(l.quantity) FROM lines l
              WHERE l.part_id = s.part_id AND l.vendor_id = s.vendor_id AND l.shipped_on >= date '1994-01-01' AND l.shipped_on < date '1996-01-01'))
  AND v.country_id = c.country_id AND c.country_name = 'CANADA' ORDER BY v.vendor_name;

SELECT v.vendor_name, count(*) AS waits FROM vendors v, lines l1, purchases o, countries c
WHERE v.vendor_id = l1.vendor_id AND o.purchase_id = l1.purchase_id AND o.status = 'F' AND l1.received_on > l1.committed_on
  AND EXISTS (SELECT * FROM lines l2 WHERE l2.purchase_id = l1.purchase_id AND l2.vendor_id <> l1.vendor_id)
  AND NOT EXISTS (SELECT * FROM lines l3 WHERE l3.purchase_id = l1.purchase_id AND l3.vendor_id <> l1.vendor_id AND l3.received_on > l3.committed_on)
  AND v.country_id = c.country_id AND c.country_name IN ('EGYPT', 'INDIA')
GROUP BY v.vendor_name ORDER BY waits DESC, v.vendor_name LIMIT 100;

SELECT area, count(*) AS buyer_count, sum(balance) AS total_balance
FROM (SELECT substring(telephone FROM 1 FOR 2) AS area, balance FROM buyers b
      WHERE substring(telephone FROM 1 FOR 2) IN ('13', '11', '12', '19', '18')
        AND balance > (SELECT avg(balance) FROM buyers WHERE balance > 0.00 AND substring(telephone FROM 1 FOR 2) IN ('13', '11', '12', '19', '18'))
        AND NOT EXISTS (SELECT * FROM purchases o WHERE o.buyer_id = b.buyer_id)) AS sale
GROUP BY area ORDER BY area;

SELECT b.segment, split_part(b.email, '@', 2) AS domain, count(*) AS buyers, count(b.email) AS reachable,
       round(avg(b.balance), 2) AS mean_balance, max(o.last_on) AS last_purchase
FROM buyers b LEFT JOIN LATERAL (SELECT max(ordered_on) AS last_on FROM purchases WHERE buyer_id = b.buyer_id) o ON true
GROUP BY ROLLUP (b.segment, split_part(b.email, '@', 2)) ORDER BY 1 NULLS LAST, 2 NULLS LAST, 3;

SELECT clerk, count(*) AS handled, sum(total) AS turnover, rank() OVER (ORDER BY sum(total) DESC) AS place
FROM purchases GROUP BY clerk HAVING count(*) > 10 ORDER BY place, clerk;
