"""Extensions through a gateway: benign statements answer like the server, hostile ones let out
nothing of a masked column.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.conftest import Servers
from tests.sql.live import Live, live
from tests.support.postgres import DEBIAN, WHEEL

RULES = """\
version: 1
packs: [no-ddl]
rules:
  - name: write
    subjects: {groups: [claude-postgres]}
    targets: [shop, twin]
    allow: [write]
    relations: ["public.written"]
  - name: read
    subjects: {groups: [claude-postgres]}
    targets: [shop, twin]
    allow: [read, copy-out]
    relations: ["public.*"]
masks:
"""

CONTRIB = """
create extension citext; create extension hstore; create extension pg_trgm; create extension pgcrypto;
create extension ltree; create extension unaccent; create extension fuzzystrmatch; create extension tablefunc;
create extension dblink; create extension pg_stat_statements; create extension "uuid-ossp"; create extension intarray;
create extension earthdistance cascade; create extension isn; create extension pageinspect; create extension xml2;
create extension seg; create extension btree_gist; create extension lo; create extension file_fdw;
create extension postgres_fdw; create extension pg_buffercache; create extension pgrowlocks; create extension pgstattuple;
create table people (id int primary key, nick citext, email citext, name text, tags hstore, hidden hstore, path ltree,
  trail ltree, ssn text, book isbn13, bought isbn13, box cube, room cube, spot earth, picks int[], range seg, span seg);
insert into people values
 (1, 'Ada', 'Canary-Ada@x.org', 'Ada Lovelace', 'a=>1,b=>"x y"', 'k=>CANARY-111', 'top.a.b', 'CANARY.x111', 'CANARY-111',
  '978-0-393-04002-9', '978-0-306-40615-7', '(1,2)', '(111,111)', ll_to_earth(52.5, 13.4), '{1,2,3}', '1 .. 2', '111 .. 112'),
 (2, 'BOB', 'canary-bob@x.org', 'Bob Bébé', 'b=>NULL', 'k=>CANARY-222', 'top.c', 'CANARY.x222', 'CANARY-222',
  null, null, '(3,4)', '(222,222)', ll_to_earth(48.1, 11.6), '{4}', '3', '222');
create table written (nick citext primary key, tags hstore default 'a=>1', path ltree, spot earth check (cube_dim(spot) < 4), name text);
create index on written using gin (tags); create index on written using gist (path); create index on written using gin (name gin_trgm_ops);
grant select on all tables in schema public to public; grant all on written to public;
"""
CONTRIB_MASKS = (
    "  - {columns: [public.people.email, public.people.hidden, public.people.trail,"
    " public.people.ssn, public.people.bought, public.people.room, public.people.span], with:"
    " redact}\n"
)


#: In another order, and with a NULL elsewhere.
CONTRIB_OTHER = {
    "Canary-Ada@x.org": "zebra-ada@y.net",
    "canary-bob@x.org": "ape@y",
    "k=>CANARY-111": "j=>ZEBRA",
    "k=>CANARY-222": "",
    "CANARY.x111": "ZEBRA.y.z",
    "CANARY.x222": "APE",
    "'CANARY-111'": "'ZEBRA-999'",
    "'CANARY-222'": "null",
    "(111,111)": "(999,999)",
    "(222,222)": "(333)",
    "null, null": "null, '978-0-19-852663-6'",
    "111 .. 112": "999",
    "'222'": "'333 .. 444'",
}


@pytest.fixture(scope="module", params=["16", DEBIAN])
def contrib(request: pytest.FixtureRequest, servers: Servers, issuer: DevIssuer) -> Iterator[Live]:
    with live(
        servers.get(request.param),
        issuer,
        CONTRIB,
        RULES + CONTRIB_MASKS,
        "contrib_live",
        CONTRIB_OTHER,
    ) as running:
        yield running


CONTRIB_BENIGN = """
select id from people where nick = 'ada';
select nick, nick::text, nick || '!', lower(nick), replace(nick, 'b', 'x'), nick like 'A%', nick ~ '^b' from people order by id;
select max(nick), min(nick), count(distinct nick) from people;
select split_part(nick, 'd', 1), strpos(nick, 'A'), regexp_replace(nick, 'a', 'o'), translate(nick, 'AB', 'ab') from people order by id;
select regexp_split_to_table(nick, 'd') from people order by 1;
select tags -> 'a', tags -> array['a','b'], tags ? 'b', tags ?& array['a','b'], tags @> 'a=>1' from people order by id;
select tags || 'c=>3', tags - 'a'::text, hstore_to_json(tags), akeys(tags), tags::jsonb from people order by id;
select e.* from people, each(tags) e order by 1;
select hstore(row(id, name)), hstore('a', name), %# 'a=>1'::hstore from people order by id;
select skeys(tags), id from people order by 1, 2;
select id, similarity(name, 'Ada Lovelce') > 0.4, name % 'Ada Lovelace', name <-> 'Bob' from people order by name <-> 'Ada';
select word_similarity('ada', name), show_trgm('ada'), 'ada' <% name from people order by id;
select digest(name, 'sha256'), encode(hmac(name, 'k', 'sha1'), 'hex'), md5(name) from people order by id;
select crypt('secret', '$1$saltsalt') , length(gen_salt('bf')), length(gen_random_bytes(8)), length(gen_random_uuid()::text);
select pgp_sym_decrypt(pgp_sym_encrypt(name, 'pw'), 'pw') from people order by id;
select convert_from(decrypt(encrypt('x', 'k', 'aes'), 'k', 'aes'), 'UTF8'), armor('x'), dearmor(armor('x'));
select uuid_generate_v5(uuid_ns_dns(), 'x.org'), uuid_generate_v3(uuid_ns_url(), 'y'), length(uuid_generate_v4()::text), uuid_nil();
select path, subpath(path, 0, 1), nlevel(path), path <@ 'top.a', path ~ '*.c', path @ 'a & b', path || 'z' from people order by path;
select lca(path, 'top.x'), path::text, text2ltree('a.b'), index(path, 'a') from people order by id;
select unaccent(name), unaccent('unaccent', name) from people order by id;
select levenshtein(name, 'Ada'), soundex(name), metaphone(name, 4), difference(name, 'Ada'), dmetaphone(name) from people order by id;
select picks & '{1,2}', picks | 9, picks @@ '1|4', icount(picks), sort_desc(picks), uniq(picks), idx(picks, 2) from people order by id;
select box, box <-> '(0,0)', cube_dim(box), box @> '(1,2)', cube(1, 2), box ~> 1 from people order by box;
select earth(), round(earth_distance(spot, ll_to_earth(52.5, 13.5))), round(latitude(spot)), longitude(spot) > 12 from people order by id;
select id from people where earth_box(ll_to_earth(52.5, 13.4), 1000) @> spot;
select point(1, 2) <@> point(3, 4), sec_to_gc(5), gc_to_sec(7);
select book, isbn(book), is_valid(book), book::ean13, book = '978-0-393-04002-9' from people order by id;
select range, range && '1 .. 5', seg_upper(range), seg_center(range) from people order by id;
select xpath_string('<a><b>x</b></a>', '/a/b'), xpath_list('<a><b>x</b><b>y</b></a>', '/a/b'), xml_encode_special_chars('<');
select id <-> 5, 3 <-> id from people order by id
"""


@pytest.mark.parametrize("sql", CONTRIB_BENIGN.strip().split(";\n"))
def test_benign_statements_answer_like_the_server(contrib: Live, sql: str) -> None:
    contrib.compare(sql)


def test_parameters_are_taken_too(contrib: Live) -> None:
    assert contrib.compare("select id from people where nick = $1", ("ADA",)) == [[b"1"]]
    assert contrib.compare("select tags -> $1 from people where id = 1", ("a",)) == [[b"1"]]
    contrib.compare("select similarity(name, $1) from people order by name <-> $1", ("ada",))
    contrib.compare("select id from people where path ~ $1::lquery", ("top.*",))


CONTRIB_HOSTILE = """
select email, hidden, trail, bought, room, span from people order by id;
select email::text, email || '', lower(email), upper(email), email::varchar(20), replace(email, '@', '-') from people;
select max(email), min(email), string_agg(email, ','), array_agg(email), json_agg(email) from people;
select split_part(email, '@', 1), strpos(email, 'r'), regexp_replace(email, 'C', 'c'), translate(email, '-', '_') from people;
select regexp_match(email, '.*'), regexp_split_to_array(email, '@') from people;
select regexp_matches(email, '.*') from people;
select regexp_split_to_table(email, '@') from people;
select id from people where email = 'canary-ada@x.org';
select id from people where email like 'canary%';
select email = 'canary-ada@x.org', citext_eq(email, 'x'), email ~ 'canary' from people;
select citextsend(email), citext_hash(email), citext_cmp(email, 'm') from people;
select id from people order by email;
select hidden -> 'k' from people;
select hidden -> array['k'], hidden::jsonb, hstore_to_matrix(hidden), akeys(hidden), avals(hidden) from people;
select svals(hidden) from people;
select e.* from people, each(hidden) e;
select key from people, each(hidden);
select hstore(people) from people;
select hstore(p), hstore(p.*) from (select id, ssn from people) p;
with p as (select ssn from people) select hstore(p), hstore(p) -> 'ssn', akeys(hstore(p)) from p;
select hstore(row(ssn)), hstore('a', ssn), hstore(array['a', ssn]) from people;
select hstore_send(hidden), hidden::text, hidden || 'x=>y', %% hidden, %# hidden from people;
select populate_record(null::people, hidden) from people;
select id from people where hidden ? 'k';
select id from people where hidden @> 'k=>CANARY-111';
select similarity(ssn, 'CANARY-111') from people;
select id from people where ssn % 'CANARY-111';
select id from people order by ssn <-> 'CANARY-111';
select ssn <-> 'CANARY-111', word_similarity('CANARY-111', ssn), show_trgm(ssn), 'CANARY' <% ssn from people;
select digest(ssn, 'md5'), hmac(ssn, 'k', 'md5'), crypt(ssn, '$1$x') from people;
select encrypt(ssn::bytea, 'k', 'bf'), armor(ssn::bytea) from people;
select pgp_sym_decrypt(pgp_sym_encrypt(ssn, 'pw'), 'pw'), length(pgp_sym_encrypt(ssn, 'p', 'compress-algo=0')) from people;
select digest('a', ssn) from people;
select uuid_generate_v5(uuid_ns_dns(), ssn) from people;
select trail::text, subpath(trail, 1), ltree2text(trail), nlevel(trail), trail || 'x', lca(trail, 'CANARY.b') from people;
select id from people where trail ~ 'CANARY.*';
select ssn::ltree from people;
select text2ltree(ssn) from people;
select unaccent(ssn), unaccent('unaccent', ssn) from people;
select levenshtein(ssn, 'CANARY-111'), soundex(ssn), metaphone(ssn, 9), dmetaphone(ssn), difference(ssn, 'x') from people;
select bought::ean13, isbn(bought), bought::text, is_valid(bought), make_valid(bought) from people;
select ssn::isbn13 from people;
select room <-> '(0,0)', cube_ll_coord(room, 1), room ~> 1, cube_size(room), room::text from people;
select room && '(111,111)', cube_distance(room, '(0,0)') from people;
select id from people order by room <-> '(0,0)';
select ssn::cube from people;
select seg_lower(span), seg_upper(span), span::text from people;
select ssn::seg, ssn::hstore, ssn::lquery from people;
select * from crosstab('select ssn, ssn, ssn from people') as t(a text, b text);
select * from connectby('people', 'ssn', 'id', '1', 0) as t(a text, b text, c int);
select normal_rand(1, 0, 1);
select * from dblink('dbname=contrib_live', 'select ssn from people') as t(a text);
select dblink_connect('dbname=contrib_live');
select dblink_exec('dbname=contrib_live', 'create table x (a int)');
select dblink_send_query('a', 'select 1');
select query from pg_stat_statements;
select * from pg_stat_statements_info;
select pg_stat_statements_reset();
select * from pg_stat_statements(true);
select get_raw_page('people', 0);
select * from heap_page_items(get_raw_page('people', 0));
select * from pg_buffercache;
select * from pgrowlocks('people');
select * from pgstattuple('people');
select lo_oid(1::lo);
select xpath_string(ssn, '/'), xpath_list(ssn, '/'), xml_encode_special_chars(ssn) from people;
select * from xpath_table('id', 'ssn', 'people', '/', 'true') as t(a int, b text);
select set_limit(0.1);
copy (select email, hidden, trail, bought, room from people) to stdout;
copy people to stdout
"""


@pytest.mark.parametrize("sql", CONTRIB_HOSTILE.strip().split(";\n"))
def test_masked_columns_stay_masked(contrib: Live, sql: str) -> None:
    _stays(contrib, sql, "canary", "111", "222", "306-40615")


def _stays(place: Live, sql: str, *secrets: str, raw: tuple[bytes, ...] = ()) -> None:
    """``raw``: a secret's bytes in a binary value; sought in hexadecimal too."""
    said = place.said(sql)
    for secret in (*secrets, *[value.hex() for value in raw]):
        assert secret.encode() not in said.lower(), said
    assert not any(value in said for value in raw), said


REFUSED = """
dblink('dbname=x', 'select 1') as t(a int)
dblink_fetch('c', 1) as t(a int)
dblink_get_connections()
postgres_fdw_get_connections()
crosstab('select 1') as t(a text, b int)
pg_stat_statements_reset()
get_raw_page('people', 0)
pgrowlocks('people')
pg_stat_statements
pg_buffercache
"""


@pytest.mark.parametrize("source", REFUSED.strip().splitlines())
def test_what_reaches_past_tables_is_refused(contrib: Live, source: str) -> None:
    assert contrib.refused(f"select * from {source}") in ("SP1103", "SP1104")


POSTGIS = """
create extension postgis;
create table places (id int primary key, name text, spot geometry(Point, 4326), area geometry, way geography,
  home geometry(Point, 4326), track geography, ssn text, raw bytea);
insert into places values
 (1, 'gate', 'SRID=4326;POINT(13.4 52.5)', 'POLYGON((0 0,0 4,4 4,4 0,0 0))', 'LINESTRING(0 0,1 1)',
  'SRID=4326;POINT(77.0111 11.0111)', 'POINT(77.0111 11.0111)', 'POINT(77.0111 11)', 'CANARY'),
 (2, 'tower', 'SRID=4326;POINT(2.29 48.86)', 'POLYGON((2 2,2 6,6 6,6 2,2 2))', 'LINESTRING(2 2,3 3)',
  'SRID=4326;POINT(66.0222 22.0222)', 'POINT(66.0222 22.0222)', 'CANARY-x', 'CANARY'),
 (3, null, null, null, null, null, null, null, null);
create index on places using gist (home);
analyze places;
create table written (id serial primary key, g geometry(Point, 4326) default ST_SetSRID(ST_MakePoint(0, 0), 4326) check (ST_IsValid(g)), w geography);
create index on written using gist (g); create index on written using gist ((g::geography));
grant select on all tables in schema public to public; grant all on written, written_id_seq to public;
"""
POSTGIS_MASKS = (
    "  - {columns: [public.places.home, public.places.track, public.places.ssn, public.places.raw],"
    " with: redact}\n"
)


POSTGIS_OTHER = {
    "SRID=4326;POINT(77.0111 11.0111)": "SRID=4326;POINT(31.5 12.5)",
    "SRID=4326;POINT(66.0222 22.0222)": "SRID=4326;POINT(99.5 2.5)",
    "'POINT(77.0111 11.0111)'": "'LINESTRING(5 5,6 6)'",
    "'POINT(66.0222 22.0222)'": "null",
    "'POINT(77.0111 11)', 'CANARY'": "null, null",
    "'CANARY-x', 'CANARY'": "'POINT(1 1)', '\\x00'",
}


@pytest.fixture(scope="module")
def postgis(servers: Servers, issuer: DevIssuer) -> Iterator[Live]:
    with live(
        servers.get(DEBIAN), issuer, POSTGIS, RULES + POSTGIS_MASKS, "postgis_live", POSTGIS_OTHER
    ) as running:
        yield running


POSTGIS_BENIGN = """
select id, ST_AsGeoJSON(spot), ST_AsText(spot), ST_AsEWKT(area), ST_AsBinary(spot), spot from places order by id;
select ST_AsGeoJSON(p.*) from (select id, name, spot from places) p order by p.id;
with p as (select id, name, spot from places) select ST_AsGeoJSON(p, 'spot', 4) from p order by p.id;
select ST_AsGeoJSON('POINT(1 2)'), ST_AsText('POINT(1 2)'::geometry), ST_AsGeoJSON(way, 3) from places order by id;
select name from places where ST_DWithin(spot::geography, ST_MakePoint(13.4, 52.5)::geography, 1000);
select name from places where ST_DWithin(spot, ST_SetSRID(ST_MakePoint(13.4, 52.5), 4326), 0.1);
select name, round(ST_Distance(spot::geography, 'SRID=4326;POINT(2 48)'::geography)) from places order by spot <-> 'SRID=4326;POINT(2 48)'::geometry;
select ST_X(spot), ST_Y(spot), ST_SRID(spot), GeometryType(spot), ST_GeometryType(area), ST_IsValid(area) from places order by id;
select ST_AsText(ST_Transform(spot, 3857), 0) from places order by id;
select ST_Area(area), ST_Perimeter(area), ST_AsText(ST_Centroid(area)), ST_NPoints(area), ST_Length(way) > 0 from places order by id;
select a.id, b.id, ST_Intersects(a.area, b.area), ST_AsText(ST_Intersection(a.area, b.area)), a.area && b.area from places a, places b order by 1, 2;
select ST_AsText(ST_Union(area)), ST_Extent(area), ST_AsText(ST_Collect(spot)) from places;
select ST_AsText(ST_Buffer(area, 1, 1)), ST_AsText(ST_Simplify(area, 1)), ST_AsText(ST_Envelope(area)) from places order by id;
select ST_AsText(ST_Translate(area, 1, 1)), ST_AsText(ST_Rotate(area, 0)), ST_AsText(ST_Scale(area, 2, 2)) from places order by id;
select ST_MaxDistance(area, spot::geometry(Point, 4326)) is null, ST_IsValidReason(area), (ST_IsValidDetail(area)).valid from places where spot is null;
select (ST_Dump(area)).path, ST_AsText((d.g).geom) from places, lateral (select ST_DumpPoints(area) g) d order by 2, 1;
select ST_GeomFromText('POINT(1 2)', 4326), ST_PointFromText('POINT(1 2)'), ST_GeomFromGeoJSON('{"type":"Point","coordinates":[1,2]}');
select ST_MakeEnvelope(0, 0, 1, 1, 4326), ST_Point(1, 2), ST_TileEnvelope(1, 0, 0), ST_GeoHash(spot, 5) from places order by id;
select ST_AsText(g.geom), g.i, g.j from ST_SquareGrid(2, ST_MakeEnvelope(0, 0, 3, 3)) g order by 2, 3;
select id, ST_ClusterDBSCAN(area, 1, 1) over (order by id) from places where area is not null order by id;
select length(ST_AsMVT(t)) from (select id, name, ST_AsMVTGeom(area, ST_MakeBox2D('POINT(0 0)', 'POINT(10 10)')) from places) t;
select area::box2d, area::box3d, box3d(area), area::json, area::bytea, spot::text, area::polygon from places where id = 1;
select f_table_name, f_geometry_column, srid, type from geometry_columns order by 2;
select f_table_name, type from geography_columns order by 1, 2;
select srid, auth_name, proj4text from spatial_ref_sys where srid = 4326;
select postgis_version(), postgis_lib_version(), postgis_geos_version();
select spot = spot, spot ~= spot, area @ area, area ~ area, area <<| area, way && way from places order by id;
select ST_LineInterpolatePoint('LINESTRING(0 0, 2 2)', 0.5), ST_MakeLine(spot order by id), count(distinct spot) from places
"""


@pytest.mark.parametrize("sql", POSTGIS_BENIGN.strip().split(";\n"))
def test_geometry_answers_like_the_server(postgis: Live, sql: str) -> None:
    postgis.compare(sql)


POSTGIS_HOSTILE = """
select home, track, ssn, raw from places order by id;
select home::text, ST_AsText(home), ST_AsGeoJSON(home), ST_AsEWKT(home), ST_AsBinary(home), ST_X(home) from places;
select ST_AsGeoJSON(places), ST_AsGeoJSON(p.*) from places p, places;
select ST_AsGeoJSON(places) from places;
select ST_AsGeoJSON(p) from (select id, spot, ssn from places) p;
select ST_AsGeoJSON(p.*) from (select id, home from places) p;
with p as (select id, home, track from places) select ST_AsGeoJSON(p), ST_AsGeoJSON(p.*, 'home') from p;
select ST_AsMVT(t) from (select id, ssn from places) t;
select ST_AsMVT(places) from places;
select ST_AsGeobuf(p, 'home') from places p;
select ST_AsFlatGeobuf(p) from places p;
select ST_Extent(home), ST_AsText(ST_Collect(home)), ST_AsText(ST_Union(home)), ST_3DExtent(home) from places;
select ST_EstimatedExtent('places', 'home');
select ST_EstimatedExtent('public', 'places', 'home', false);
select _postgis_index_extent('places', 'home');
select _postgis_stats('places', 'home'), _postgis_selectivity('places', 'home', ST_MakeEnvelope(77, 11, 78, 12));
select _postgis_join_selectivity('places', 'home', 'places', 'home');
select ST_FindExtent('places', 'home');
select id from places where ST_DWithin(home, 'SRID=4326;POINT(77.0111 11.0111)', 0.001);
select id from places where home && ST_MakeEnvelope(77, 11, 78, 12, 4326);
select id from places order by home <-> 'SRID=4326;POINT(77 11)'::geometry;
select ST_Distance(home, spot), home <-> spot, ST_Azimuth(spot, home) from places;
select (ST_Dump(home)).geom, (ST_DumpPoints(home)).* from places;
select d.geom from places, ST_Dump(home) d;
select home::geography, home::bytea, home::box3d, home::json, home::point, home::geometry(Point) from places;
select ST_AsText(track), track::geometry, ST_AsGeoJSON(track), ST_Length(track), track::text from places;
select ssn::geometry from places;
select ST_GeomFromText(ssn) from places;
select ST_PointFromText(ssn), ST_GeomFromGeoJSON(ssn), ST_GeomFromGML(ssn), ST_GeomFromKML(ssn) from places;
select ST_GeomFromWKB(raw), raw::geometry from places;
select ST_GeomFromEWKT(ssn), ST_GeomFromTWKB(raw), ST_LineFromEncodedPolyline(ssn) from places;
select ST_RelateMatch(ssn, 'x'), ST_Transform(home, ssn) from places;
select ST_Transform(spot, '+proj=longlat +nadgrids=/etc/passwd') from places;
select postgis_transform_geometry(spot, '+proj=longlat', '+init=/etc/passwd:x', 0) from places;
select ST_Transform(home, 3857), ST_Buffer(home, 1), ST_SnapToGrid(home, 1), ST_GeoHash(home), ST_Translate(home, 1, 1) from places;
select ST_FromFlatGeobufToTable('public', 'x', raw) from places;
select ST_FromFlatGeobuf(null::places, raw) from places;
select st_x(home) from places group by home;
select ST_ClusterDBSCAN(home, 1, 1) over (), ST_ClusterKMeans(home, 2) over () from places;
select find_srid('public', 'places', 'home'), gettransactionid();
select populate_geometry_columns();
select AddGeometryColumn('places', 'x', 4326, 'POINT', 2);
select postgis_extensions_upgrade();
select lockrow('places', '1', 'a');
copy (select home, track from places) to stdout;
copy places to stdout
"""


@pytest.mark.parametrize("sql", POSTGIS_HOSTILE.strip().split(";\n"))
def test_masked_geometry_stays_masked(postgis: Live, sql: str) -> None:
    coordinates = tuple(struct.pack(order, x) for x in (77.0111, 66.0222) for order in ("<d", ">d"))
    _stays(postgis, sql, "canary", "77.0", "66.0", "0111", "0222", raw=coordinates)


@pytest.mark.parametrize(
    "sql",
    [
        "select ST_EstimatedExtent('places', 'home')",
        "select _postgis_index_extent('places', 'home')",
        "select _postgis_selectivity('places', 'home', spot) from places",
        "select ST_Transform(spot, '+proj=longlat +nadgrids=/etc/passwd') from places",
        "select ST_Transform(spot, '+proj=longlat', '+proj=merc') from places",
        "select ST_FromFlatGeobufToTable('public', 'x', '')",
        "select AddGeometryColumn('places', 'x', 4326, 'POINT', 2)",
        "select postgis_proj_version()",
    ],
)
def test_what_reaches_past_geometry_is_refused(postgis: Live, sql: str) -> None:
    assert postgis.refused(sql) == "SP1103"


VECTOR = """
create extension vector;
create table items (id int primary key, name text, embedding vector(3), half halfvec(3), face vector(3), sparse sparsevec(5));
insert into items values (1, 'a', '[1,2,3]', '[1,2,3]', '[111,0,1]', '{1:111}/5'), (2, 'b', '[4,5,6]', '[4,5,6]', '[222,0,2]', '{2:222}/5');
create index on items using hnsw (embedding vector_l2_ops);
create table written (id int primary key, embedding vector(3), half halfvec(3));
create index on written using hnsw (embedding vector_cosine_ops); create index on written using ivfflat (half halfvec_l2_ops);
grant select on all tables in schema public to public; grant all on written to public;
"""
VECTOR_MASKS = "  - {columns: [public.items.face, public.items.sparse], with: redact}\n"


VECTOR_OTHER = {
    "[111,0,1]": "[999,5,5]",
    "{1:111}": "{3:999,4:1}",
    "[222,0,2]": "[-3,3,3]",
    "{2:222}": "{}",
}


@pytest.fixture(scope="module")
def vector(servers: Servers, issuer: DevIssuer) -> Iterator[Live]:
    with live(
        servers.get(WHEEL), issuer, VECTOR, RULES + VECTOR_MASKS, "vector_live", VECTOR_OTHER
    ) as running:
        yield running


VECTOR_BENIGN = """
select id, embedding <-> '[1,2,3]' from items order by embedding <-> '[1,2,3]' limit 5;
select id, embedding <=> '[1,2,3]', embedding <#> '[1,2,3]', embedding <+> '[1,2,3]' from items order by 2;
select embedding, half, embedding::real[], embedding::halfvec, '[1,2]'::vector, array[1,2]::vector from items order by id;
select avg(embedding), sum(embedding), l2_normalize('[3,4]'::vector), vector_norm('[3,4]') from items;
select cosine_distance(embedding, half::vector), binary_quantize(embedding), subvector(embedding, 1, 2) from items order by id;
select embedding + embedding, embedding * embedding, embedding || '[9]', embedding = '[1,2,3]' from items order by id
"""


@pytest.mark.parametrize("sql", VECTOR_BENIGN.strip().split(";\n"))
def test_vectors_answer_like_the_server(vector: Live, sql: str) -> None:
    vector.compare(sql)
    if "limit" in sql:
        vector.compare("select id from items order by embedding <-> $1 limit 1", ("[4,5,5]",))


VECTOR_HOSTILE = """
select face, sparse from items;
select face::text, face::real[], face::halfvec, sparse::vector, l2_norm(sparse), vector_norm(face) from items;
select face <-> '[0,0,0]', face <#> '[1,0,0]', face <=> '[1,0,0]' from items;
select id from items order by face <-> '[111,0,1]';
select id from items where face <-> '[111,0,1]' < 1;
select avg(face), sum(face), array_agg(face) from items;
select subvector(face, 1, 1), binary_quantize(face), face + '[0,0,0]', face || '[1]' from items;
select vector_send(face), vector_cmp(face, '[111,0,1]'), face = '[111,0,1]' from items;
select to_jsonb(items), items from items;
copy items to stdout
"""


@pytest.mark.parametrize("sql", VECTOR_HOSTILE.strip().split(";\n"))
def test_masked_vectors_stay_masked(vector: Live, sql: str) -> None:
    numbers = tuple(struct.pack(">f", x) for x in (111, 222))
    _stays(vector, sql, "[111", "111,", "222,0", "1:111", "2:222", raw=numbers)


def test_masked_values_of_extension_types_are_null_or_redacted_in_both_formats(
    contrib: Live, postgis: Live, vector: Live
) -> None:
    """Only citext is text in binary too; a type that the gateway cannot write gives NULL."""
    for result_format in (0, 1):
        first = contrib.rows(
            "select email, hidden, trail, room from people order by id limit 1", result_format
        )
        assert first == [[b"[redacted]", None, None, None]]
        assert postgis.rows("select home, track from places where id = 1", result_format) == [
            [None, None]
        ]
        assert vector.rows("select face, sparse from items where id = 1", result_format) == [
            [None, None]
        ]
    assert contrib.rows("select bought, span from people order by id limit 1") == [[None, None]]
    # and what is computed from them is computed from that
    assert contrib.rows(
        "select upper(email), ssn || '!', hidden -> 'k', trail || 'x' from people where id = 1"
    ) == [[b"[REDACTED]", b"[redacted]!", None, None]]
    assert contrib.rows(
        "select count(*), count(email), count(distinct email), count(room) from people"
    ) == [[b"2", b"2", b"1", b"0"]]
    assert vector.rows("select avg(face), count(face), min(id) from items") == [[None, b"0", b"1"]]


CONTRIB_WRITES = """
insert into written values ('a', 'a=>1', 'a.b', ll_to_earth(1, 2), 'Ada') returning nick;
insert into written (nick) values ('A') on conflict (nick) do update set tags = written.tags || 'c=>1' returning tags -> 'c';
update written set path = path || 'c', tags = tags || hstore('k', 'v'), spot = ll_to_earth(3, 4) where nick = 'A' returning path;
delete from written where tags ? 'k' returning tags -> 'k'
"""
POSTGIS_WRITES = """
insert into written (w) values ('POINT(1 1)') returning ST_AsText(g);
insert into written (g) values (ST_GeomFromText('POINT(1 2)', 4326)), ('SRID=4326;POINT(1 3)') returning ST_Y(g);
update written set g = ST_Translate(g, 1, 1), w = g::geography where ST_X(g) > 0 returning ST_AsText(w);
delete from written where ST_DWithin(w, 'POINT(1 2)', 10) returning ST_AsGeoJSON(g)
"""
VECTOR_WRITES = """
insert into written values (9, '[1,1,1]', '[1,1,1]') returning embedding;
update written set embedding = embedding + '[1,2,3]', half = embedding::halfvec where id = 9 returning half;
delete from written where embedding <-> '[2,3,4]' < 1 returning id
"""


def _writes(place: Live, statements: str) -> None:
    """With the defaults, checks and indexes that these types have, nothing but a rule is needed."""
    for sql in statements.strip().split(";\n"):
        assert place.rows(sql), sql


def test_contrib_can_be_written(contrib: Live) -> None:
    _writes(contrib, CONTRIB_WRITES)


def test_geometry_can_be_written(postgis: Live) -> None:
    _writes(postgis, POSTGIS_WRITES)


def test_vectors_can_be_written(vector: Live) -> None:
    _writes(vector, VECTOR_WRITES)


def test_settings_that_tune_a_search(contrib: Live, vector: Live) -> None:
    for sql in (
        "set hnsw.ef_search = 100",
        "set local hnsw.iterative_scan = strict_order",
        "reset ivfflat.probes",
    ):
        assert vector.rows(sql) == []
    assert contrib.rows("set pg_trgm.similarity_threshold = 0.9") == []
    assert contrib.rows("select 'abcde' % 'abcdx'") == [[b"f"]]
    assert contrib.rows("reset pg_trgm.similarity_threshold") == []
    assert contrib.rows("select 'abcde' % 'abcdx'") == [[b"t"]]
    for sql in (
        "set hnsw.ef_search = 'kept here'",
        "set hnsw.other = 1",
        "set postgis.gdal_enabled_drivers = 'ENABLE_ALL'",
    ):
        assert vector.refused(sql) == "SP1301", sql


EVERY_MASK = """\
  - {columns: [public.people.email], with: email, filter: equality}
  - {columns: [public.people.nick], with: {hash: {key: tokens}}, filter: equality}
  - {columns: [public.people.trail], with: {hash: {key: tokens}}, filter: equality}
  - {columns: [public.people.hidden], with: {constant: {value: "a=>1"}}, filter: equality}
  - {columns: [public.people.room], with: {partial: {keep_last: 2}}, filter: equality}
  - {columns: [public.people.spot], with: {bucket: {size: 10}}}
  - {columns: [public.people.picks], with: email}
"""


def test_every_mask_treats_citext_as_text_and_nothing_else(
    servers: Servers, issuer: DevIssuer, tmp_path: Path
) -> None:
    key = tmp_path / "tokens"
    key.write_text("k" * 40)
    key.chmod(0o600)
    keys = {"mask_keys": {"tokens": {"file": str(key)}}}
    with live(
        servers.get("16"), issuer, CONTRIB, RULES + EVERY_MASK, "masks_live", {}, keys
    ) as place:
        for result_format in (0, 1):
            first = "from people order by id limit 1"
            ((email, nick),) = place.rows(f"select email, nick {first}", result_format)
            assert email == b"C***@x.org"
            assert nick is not None and nick.startswith(b"tok_") and len(nick) == 28
            others = place.rows(f"select trail, hidden, room, spot, picks {first}", result_format)
            assert others == [[None] * 5]
        found = "select id from people where {} order by id"
        assert place.rows(found.format("email = 'CANARY-ada@x.org'")) == [[b"1"]]
        assert place.rows(found.format("nick = 'bob' and hidden = 'k=>CANARY-222'")) == [[b"2"]]
