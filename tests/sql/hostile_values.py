"""Values at the edges of each built-in type, to show that what is called total never raises."""

from __future__ import annotations

VALUES: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["0", "-1", "-32768", "32767"],
    "int4": ["0", "-1", "-2147483648", "2147483647"],
    "int8": ["0", "-1", "-9223372036854775808", "9223372036854775807"],
    "float4": ["0", "-1.5", "3.4028235e38", "NaN", "Infinity", "-Infinity", "1e-45"],
    "float8": ["0", "-1.5", "1.7976931348623157e308", "NaN", "Infinity", "-Infinity", "5e-324"],
    "numeric": ["0", "-1.5", "NaN", "Infinity", "-Infinity", "9" * 200, "0.0000000001"],
    "text": ["", "a", "\\", "é%_\\", "1", "x\u0301'\"", "0" * 70],
    "bpchar": ["", "a ", "é"],
    "name": ["", "a", "é"],
    "varchar": ["", "é"],
    "char": ["", "a", "\\200"],
    "bytea": ["", "\\x00ff", "\\x5c"],
    "date": ["-infinity", "infinity", "4713-01-01 BC", "5874897-12-31", "2020-02-29"],
    "timestamp": ["-infinity", "infinity", "4713-01-01 BC", "294276-12-31 23:59:59.999999", "2020-02-29"],
    "timestamptz": [
        "-infinity",
        "infinity",
        "4713-01-02 BC+00",
        "294276-12-31 23:59:59.999999+00",
        "2020-02-29",
    ],
    "time": ["00:00", "24:00:00"],
    "timetz": ["00:00+15:59", "24:00:00-15:59"],
    "interval": ["0", "178000000 years", "-178000000 years", "2147483647 days"],
    "uuid": [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "ffffffff-ffff-1fff-bfff-ffffffffffff",
    ],
    "inet": ["0.0.0.0/0", "255.255.255.255", "::/0", "ffff::1/3", "10.1.2.3/8"],
    "cidr": ["0.0.0.0/0", "::/0", "10.0.0.0/8"],
    "macaddr": ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"],
    "macaddr8": ["00:00:00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff:ff:ff"],
    "oid": ["0", "1", "4294967295", "1259"],
    "xid": ["0", "3", "4294967295"],
    "xid8": ["0", "18446744073709551615"],
    "cid": ["0", "4294967295"],
    "tid": ["(0,0)", "(4294967295,65535)"],
    "json": ["null", "1", "[]", "{}", '{"a":[1,"x"]}', '"a\\u0000"', "[[1]]"],
    "jsonb": ["null", "1", "[]", "{}", '{"a":[1,"x"]}', '"a"', "[[1],2]"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "money": ["-92233720368547758.08", "92233720368547758.07", "0"],
    "bit": ["", "0", "10101"],
    "varbit": ["", "0", "1110"],
    "xml": ["", "<a/>", "x<b/>"],
    "tsvector": ["", "'a':1A,2 'b'", "a b c"],
    "tsquery": ["a", "!a & (b|c:*)", "a <2> b"],
    "_text": ["{}", "{a,NULL}", "{{a,b},{c,d}}"],
    "_int4": ["{}", "{1,NULL}", "{{1,2},{2147483647,-2147483648}}", "[-5:-4]={1,2}"],
    "_float8": ["{NaN}", "{}"],
    "oidvector": ["", "1 2"],
    "aclitem": ["=r/sallyport_agent"],
    "int4range": ["empty", "(,)", "[-2147483648,2147483647)", "[2147483646,2147483647)", "[2147483647,)"],
    "numrange": ["empty", "(,)", "[1,NaN]", "(1,3)", "[3,4]"],
    "tstzrange": ["empty", "[-infinity,infinity]", "(2020-01-01,2021-01-01]"],
    "daterange": ["empty", "[2020-01-01,5874897-12-31)", "[-infinity,infinity]", "(,)"],
    "int4multirange": ["{}", "{(,)}", "{[1,3),[5,2147483647)}", "{[-2147483648,2)}"],
    "nummultirange": ["{}", "{(1,2),[4,5]}"],
    "tstzmultirange": ["{}", "{[-infinity,2020-01-01),[2021-01-01,infinity]}"],
}

#: What stands in for a polymorphic type; columns of this table are used together.
POLYMORPHIC: list[dict[str, str]] = [
    {
        "anyelement": "int4",
        "anynonarray": "int4",
        "anyarray": "_int4",
        "anycompatible": "int4",
        "anycompatiblearray": "_int4",
        "anyrange": "int4range",
        "anymultirange": "int4multirange",
        "any": "int4",
    },
    {
        "anyelement": "numeric",
        "anynonarray": "text",
        "anyarray": "_text",
        "anycompatible": "text",
        "anycompatiblearray": "_text",
        "anyrange": "numrange",
        "anymultirange": "nummultirange",
        "any": "jsonb",
    },
    {
        "anyelement": "timestamptz",
        "anynonarray": "float8",
        "anyarray": "_float8",
        "anycompatible": "int4",
        "anycompatiblearray": "_int4",
        "anyrange": "tstzrange",
        "anymultirange": "tstzmultirange",
        "any": "timestamptz",
    },
]


def sql_type(name: str) -> str:
    if name == "char":
        return 'pg_catalog."char"'
    return f"pg_catalog.{name[1:]}[]" if name.startswith("_") else f"pg_catalog.{name}"


def table_of(name: str) -> str:
    """``(VALUES ...)`` with every value of the type, and NULL."""
    literals = (f"('{value.replace(chr(39), chr(39) * 2)}'::{sql_type(name)})" for value in VALUES[name])
    return f"(VALUES {', '.join(literals)}, (NULL))"
