-- One wide table of page views, in the shape of ClickBench.
CREATE TABLE hits (
    event_id bigint PRIMARY KEY, title text NOT NULL, event_time timestamp NOT NULL, event_date date NOT NULL, counter_id int NOT NULL,
    client_ip int NOT NULL, region_id int NOT NULL, user_id bigint NOT NULL, url text NOT NULL, referer text NOT NULL, is_refresh smallint NOT NULL,
    resolution_width smallint NOT NULL, user_agent smallint NOT NULL, mobile_phone smallint NOT NULL, mobile_model text NOT NULL, traffic_source int NOT NULL,
    search_engine_id smallint NOT NULL, search_phrase text NOT NULL, adv_engine_id smallint NOT NULL, window_width smallint NOT NULL,
    window_height smallint NOT NULL, dont_count smallint NOT NULL, is_link smallint NOT NULL, is_download smallint NOT NULL, url_hash bigint NOT NULL,
    referer_hash bigint NOT NULL
);
INSERT INTO hits
SELECT i, (ARRAY['News', 'Weather - Google', 'Shop', 'Maps'])[1 + i % 4] || ' ' || i % 9, timestamp '2013-07-01 00:00:07' + i * interval '41 minutes 3 seconds',
       (timestamp '2013-07-01 00:00:07' + i * interval '41 minutes 3 seconds')::date, CASE WHEN i % 2 = 0 THEN 62 ELSE i % 17 END, i * 7919 % 90, i % 13, 435090932899640449 + i % 71,
       'http://' || (ARRAY['www.', ''])[1 + i % 2] || (ARRAY['example.org', 'google.example', 'shop.example'])[1 + i % 3] || '/page/' || i % 23,
       CASE WHEN i % 5 > 0 THEN 'https://' || (ARRAY['www.', ''])[1 + i % 2] || (ARRAY['search.example', 'news.example'])[1 + i % 2] || '/?q=' || i % 11 ELSE '' END, (i % 6 = 0)::int,
       1024 + i % 4 * 256, i % 7, i % 5, CASE WHEN i % 3 = 0 THEN (ARRAY['iPad', 'Nexus', 'Lumia'])[1 + i % 3] ELSE '' END, i % 8 - 1, i % 4,
       CASE WHEN i % 3 > 0 THEN (ARRAY['cheap lamps', 'weather', 'train times', 'google maps'])[1 + i % 4] ELSE '' END, (i % 9 = 0)::int * (i % 27), 1500 + i % 3 * 100, 700 + i % 4 * 50,
       (i % 19 = 0)::int, (i % 4 = 0)::int, (i % 31 = 0)::int, 2868770270353813622 + i % 12, 3594120000172545465 + i % 9
FROM generate_series(1, 600) i;
CREATE INDEX hits_counter ON hits (counter_id, event_date);
