"""A harmless value of each type, and values at which what never fails elsewhere fails. SQL
expressions; none fails by itself.
"""

from __future__ import annotations

import re

#: Type name (pg_type.typname) to a harmless value and hostile ones.
VALUES: dict[str, tuple[str, ...]] = {
    "text": ("'2'::text", "'('::text", "'\\'::text", "''::text", "repeat('[', 9000)",
        "'2024-13-45'::text", "'%'::text", "U&'\\FFFF'::text"),
    "varchar": ("'2'::varchar", "'('::varchar", "''::varchar"),
    "bpchar": ("'2'::bpchar", "'('::bpchar", "''::bpchar"),
    "name": ("'small'::name", "'('::name", "''::name"),
    "char": ("'a'::\"char\"", "''::\"char\""),
    "cstring": ("'2'::cstring", "'('::cstring", "''::cstring"),
    "int2": ("2::int2", "32767::int2", "(-32768)::int2", "0::int2"),
    "int4": ("2", "2147483647", "(-2147483648)", "0", "(-1)"),
    "int8": ("2::int8", "9223372036854775807", "(-9223372036854775808)", "0::int8", "3000000000"),
    "numeric": ("2::numeric", "9.99e131071::numeric", "'NaN'::numeric", "'-Infinity'::numeric",
        "0::numeric", "1e-16383::numeric"),
    "float4": ("2::float4", "3e38::float4", "'NaN'::float4", "'-Infinity'::float4", "0::float4",
        "1e-40::float4"),
    "float8": ("2::float8", "1.7e308::float8", "'NaN'::float8", "'-Infinity'::float8", "0::float8",
        "(-1)::float8"),
    "money": ("'2'::money", "'92233720368547758.07'::money", "'-92233720368547758.08'::money",
        "'0'::money"),
    "bool": ("true", "false", "NULL::bool"),
    "date": ("'2024-02-03'::date", "'5874897-12-31'::date", "'4714-11-24 BC'::date",
        "'infinity'::date"),
    "timestamp": ("'2024-02-03'::timestamp", "'294276-12-31 23:59:59'::timestamp",
        "'4714-11-24 BC'::timestamp", "'infinity'::timestamp"),
    "timestamptz": (
        "'2024-02-03 00:00+00'::timestamptz", "'294276-12-31 00:00+00'::timestamptz",
        "'4714-11-24 00:00+00 BC'::timestamptz", "'-infinity'::timestamptz",
    ),
    "time": ("'10:00'::time", "'24:00'::time", "'00:00'::time"),
    "timetz": ("'10:00+00'::timetz", "'24:00+15'::timetz", "'00:00-15'::timetz"),
    "interval": ("'1 day'::interval", "'178000000 years'::interval", "'-178000000 years'::interval",
        "'0'::interval", "'1 month'::interval"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'::uuid",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid"),
    "json": ("'{\"k\": 1}'::json", "'[1]'::json", "'\"\\u0000\"'::json", "'[[[[[[1]]]]]]'::json",
        "'1e99999'::json"),
    "jsonb": ("'{\"k\": 1}'::jsonb", "'[1]'::jsonb", "'1e9999'::jsonb", "'null'::jsonb",
        "'\"x\"'::jsonb"),
    "jsonpath": ("'$.k'::jsonpath", "'strict $.x.y[9]'::jsonpath", "'$.datetime()'::jsonpath",
        "'1/0'::jsonpath"),
    "bytea": ("'\\x41'::bytea", "'\\xff'::bytea", "''::bytea", "'\\x00'::bytea"),
    "bit": ("B'01'", "B''", "B'1'"),
    "varbit": ("B'01'::varbit", "B''::varbit", "repeat('1', 99)::varbit"),
    "inet": ("'10.0.0.1'::inet", "'::/0'::inet", "'255.255.255.255'::inet", "'ffff::/1'::inet"),
    "cidr": ("'10.0.0.0/8'::cidr", "'::/0'::cidr", "'255.255.255.255/32'::cidr"),
    "macaddr": ("'00:00:00:00:00:01'::macaddr", "'ff:ff:ff:ff:ff:ff'::macaddr"),
    "macaddr8": ("'00:00:00:ff:fe:00:00:01'::macaddr8", "'ff:ff:ff:00:ff:ff:ff:ff'::macaddr8"),
    "point": ("point(1, 2)", "point('NaN', 'Infinity')", "point(1e308, -1e308)", "point(0, 0)"),
    "line": ("'{1,2,3}'::line", "'{0,1e-3,1e300}'::line"),
    "lseg": ("'[(0,0),(1,1)]'::lseg", "'[(0,0),(0,0)]'::lseg", "'[(1e308,0),(-1e308,1)]'::lseg"),
    "box": ("'(1,1),(0,0)'::box", "'(1e308,1e308),(-1e308,-1e308)'::box", "'(0,0),(0,0)'::box"),
    "path": ("'((0,0),(1,1))'::path", "'[(0,0)]'::path", "'((1e308,0),(-1e308,1))'::path"),
    "polygon": ("'((0,0),(1,1),(1,0))'::polygon", "'((0,0))'::polygon",
        "'((1e308,0),(-1e308,1))'::polygon"),
    "circle": ("'<(0,0),1>'::circle", "'<(1e308,0),1e308>'::circle", "'<(0,0),0>'::circle"),
    "tsvector": ("'a:1'::tsvector", "''::tsvector", "'a:16383'::tsvector"),
    "tsquery": ("'a'::tsquery", "''::tsquery", "'a <16384> b'::tsquery"),
    "xml": ("'<a/>'::text::xml",),
    "oid": ("'small'::regclass::oid", "0::oid", "4294967295::oid"),
    "xid": ("'3'::xid", "'0'::xid", "'4294967295'::xid"),
    "xid8": ("'3'::xid8", "'18446744073709551615'::xid8"), "cid": ("'0'::cid", "'4294967295'::cid"),
    "tid": ("'(0,1)'::tid", "'(4294967294,65535)'::tid"),
    "pg_lsn": ("'0/1'::pg_lsn", "'FFFFFFFF/FFFFFFFF'::pg_lsn", "'0/0'::pg_lsn"),
    "pg_snapshot": ("'10:20:10,14'::pg_snapshot", "'1:1:'::pg_snapshot"),
    "txid_snapshot": ("'10:20:10,14'::txid_snapshot", "'1:1:'::txid_snapshot"),
    "refcursor": ("'nosuch'::refcursor", "''::refcursor"),
    "regclass": ("'small'::regclass", "0::regclass"), "regtype": ("'int4'::regtype", "0::regtype"),
    "regproc": ("'now'::regproc", "0::regproc"),
    "regprocedure": ("'now()'::regprocedure", "0::regprocedure"), "regoper": ("0::regoper",),
    "regoperator": ("'+(int4,int4)'::regoperator", "0::regoperator"),
    "regnamespace": ("'public'::regnamespace", "0::regnamespace"),
    "regrole": ("'scanned'::regrole", "0::regrole"),
    "regcollation": ("'\"C\"'::regcollation", "0::regcollation"),
    "regconfig": ("'simple'::regconfig", "0::regconfig"),
    "regdictionary": ("'simple'::regdictionary", "0::regdictionary"),
    "int4range": ("int4range(1, 5)", "'empty'::int4range", "'(,)'::int4range",
        "'[2147483646,2147483647)'::int4range", "'[9,12)'::int4range"),
    "int8range": ("int8range(1, 5)", "'empty'::int8range", "'(,)'::int8range",
        "'[9,12)'::int8range"),
    "numrange": ("numrange(1, 5)", "'empty'::numrange", "'[9,12)'::numrange"),
    "daterange": ("'[2024-01-01,2024-02-01)'::daterange", "'empty'::daterange", "'(,)'::daterange"),
    "tsrange": ("'[2024-01-01,2024-02-01)'::tsrange", "'empty'::tsrange"),
    "tstzrange": ("'[2024-01-01,2024-02-01)'::tstzrange", "'empty'::tstzrange"),
    "int4multirange": ("'{[1,5)}'::int4multirange", "'{}'::int4multirange",
        "'{(,)}'::int4multirange"),
    "int8multirange": ("'{[1,5)}'::int8multirange", "'{}'::int8multirange"),
    "nummultirange": ("'{[1,5)}'::nummultirange", "'{}'::nummultirange"),
    "datemultirange": ("'{[2024-01-01,2024-02-01)}'::datemultirange", "'{}'::datemultirange"),
    "tsmultirange": ("'{}'::tsmultirange",), "tstzmultirange": ("'{}'::tstzmultirange",),
    "int2vector": ("'1 2'::int2vector", "''::int2vector"),
    "oidvector": ("'1 2'::oidvector", "''::oidvector"),
    "record": ("ROW(1, 2)", "ROW(1, 'x'::text)", "ROW(1)", "ROW(point(1, 2), 1)"),
    "_record": ("ARRAY[ROW(1, 2)]", "ARRAY[ROW(1, 'x'::text)]", "ARRAY[ROW(1, point(1, 2))]"),
    # what any type may stand for
    "any": ("2", "2147483647", "0"), "anyelement": ("2", "2147483647", "0"),
    "anynonarray": ("2", "2147483647", "0"), "anycompatible": ("2", "0", "(-1)"),
    "anycompatiblenonarray": ("2", "0", "2147483647"),
    "anyarray": ("ARRAY[1,2]", "ARRAY[[1],[2]]", "'{}'::int[]",
        "'[2147483645:2147483646]={1,2}'::int[]"),
    "anycompatiblearray": ("ARRAY[1,2]", "ARRAY[[1],[2]]", "'{}'::int[]", "'{NULL}'::int[]"),
    "anyenum": ("'ok'::mood", "'happy'::mood"),
    "anyrange": ("int4range(1, 5)", "'empty'::int4range", "'[9,12)'::int4range",
        "'(,)'::int4range"),
    "anycompatiblerange": ("int4range(1, 5)", "'empty'::int4range", "'[9,12)'::int4range"),
    "anymultirange": ("'{[1,5)}'::int4multirange", "'{}'::int4multirange"),
    "anycompatiblemultirange": ("'{[1,5)}'::int4multirange", "'{}'::int4multirange"),
    # extensions
    "citext": ("'2'::citext", "'('::citext"), "hstore": ("'a=>1'::hstore", "''::hstore"),
    "ltree": ("'a.b'::ltree", "''::ltree", "(repeat('a.', 500) || 'a')::ltree"),
    "lquery": ("'a.*'::lquery", "'*{9}'::lquery"), "ltxtquery": ("'a & b'::ltxtquery",),
    "cube": ("'(1,2)'::cube", "cube(array[1,2,3])", "'(1e308),(-1e308)'::cube"),
    "seg": ("'1 .. 2'::seg", "'-1e37 .. 1e37'::seg"), "query_int": ("'1&2'::query_int",),
    "earth": ("ll_to_earth(1, 2)", "ll_to_earth(90, 180)"),
    "isbn": ("'0-306-40615-2'::isbn",), "lo": ("0::oid::lo",),
    "ean13": ("'978-0-306-40615-7'::ean13",),
    "isbn13": ("'978-0-306-40615-7'::isbn13",), "ismn": ("'M-2306-7118-7'::ismn",),
    "ismn13": ("'M-2306-7118-7'::ismn13",), "issn": ("'1436-4522'::issn",),
    "issn13": ("'1436-4522'::issn13",), "upc": ("'220356483481'::upc",),
    "aclitem": ("'=r/scanned'::aclitem", "'scanned=arwdDxt/scanned'::aclitem"),
}  # fmt: skip

#: Texts that casts read, beside those of VALUES.
TEXTS = (
    "'('",
    "''",
    "'1e999999'",
    "'2024-13-45'",
    "'[1,'",
    "'{1'",
    "'\\x0'",
    "'infinityx'",
    "'nosuch'",
    "'-1'",
    "'999999999999999999999'",
    "'{{1},{1,2}}'",
    "'[5,1)'",
    "repeat('[', 9000)",
)


#: Where an argument must be some word: a pattern of the function's name to a pattern of types and
#: the harmless value there.
WORDS: tuple[tuple[str, dict[str, str]], ...] = (
    (r"^(date_part|date_trunc|extract|timezone)$", {"text": "'year'::text"}),
    (r"^(encode|decode)$", {"text": "'hex'::text"}),
    (r"^(convert|convert_from|convert_to|length|pg_char_to_encoding)$", {"name": "'UTF8'::name"}),
    (r"^has_.*_privilege$", {"text": "'SELECT'::text", "name": "'scanned'::name"}),
    (r"^pg_has_role$", {"text": "'USAGE'::text", "name": "'scanned'::name"}),
    (r"^regexp_", {"text": "'g'::text"}),
    (r"^(setweight|ts_filter)$", {"char": "'a'::\"char\"", "_char": "'{a}'::\"char\"[]"}),
    (r"^(int|num|date|ts|tstz)\w*range$", {"text": "'[]'::text"}),
    (r"^(current_setting|set_config)$", {"text": "'work_mem'::text"}),
    (r"^(to_char|to_date|to_timestamp|to_number)$", {"text": "'YYYY'::text"}),
    (r"^(nextval|setval|currval)$", {"regclass": "'customers'::regclass"}),
)


def arguments(function: str, kind: str) -> tuple[str, ...]:
    """As :func:`values`, for an argument of a function."""
    for pattern, words in WORDS:
        if kind in words and re.search(pattern, function):
            return (words[kind], *values(kind))
    return values(kind)


def values(kind: str) -> tuple[str, ...]:
    """A harmless value and hostile ones of a type, by its name; empty for a type that is
    not known.
    """
    if kind in VALUES:
        return VALUES[kind]
    if kind.startswith("_") and kind[1:] in VALUES and not kind[1:].startswith("any"):
        harmless, *hostile = VALUES[kind[1:]]
        last = hostile[0] if hostile else harmless
        return (
            f"ARRAY[{harmless}]",
            f"ARRAY[[{harmless}],[{last}]]",
            f"ARRAY[NULL, {last}]",
            f"(ARRAY[{harmless}])[2:1]",
        )
    return ()
