"""What is parsed in the place of a text says the same as the text, and what would make a large tree
is counted before it is made.

Lists of constants are shortened before the grammar sees them (:func:`sallyport.wire.scan.outline`).
Here PostgreSQL's own grammar reads both, and both trees must be the same once constants that repeat
are taken out of lists, in texts made to mislead a scanner.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from sallyport.sql.facts import meant_by
from sallyport.sql.text import parse as module
from sallyport.sql.text.parse import MAX_STATEMENTS, MAX_TOKENS, parse, parse_counted
from sallyport.wire.scan import nesting, outline
from tests.sql.rendering import CONTEXT, render
from tests.support.sampling import examples

_WHOLE = 1 << 40


def kind(node: dict[str, Any]) -> str | None:
    """The kind of a constant, as far as the judge tells constants apart; None for anything else."""
    ((tag, body),) = node.items()
    if tag == "ParamRef":
        return "parameter"
    if tag == "TypeCast":
        inner = kind(body["arg"])
        return None if inner is None else f"{inner}::{plain(body['typeName'])}"
    if tag != "A_Const":
        return None
    value = next(key for key in body if key != "location")
    if value == "fval":
        text = body["fval"]["fval"]
        if not text.removeprefix("-").isdigit():
            return "numeric"
        value = int(text)
        return (
            "ival"
            if -(2**31) <= value < 2**31
            else "bigint"
            if -(2**63) <= value < 2**63
            else "huge"
        )
    return str(value)


def unique(nodes: list[Any]) -> list[Any]:
    distinct: list[Any] = []
    for node in nodes:
        what = kind(node) or plain(node)
        if str(what).startswith("parameter"):  # what it is declared as is compared with the column
            what = plain(node)
        if what not in distinct:
            distinct.append(what)
    return distinct


def row(node: dict[str, Any]) -> list[Any]:
    return [kind(item) or plain(item) for item in node["List"]["items"]]


def plain(node: Any) -> Any:
    """A tree without places, and with each list of constants cut to its kinds."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    fields = {}
    for key, value in node.items():
        if key == "valuesLists":
            rows = [row(item) for item in value]
            value = [r for number, r in enumerate(rows) if r not in rows[:number]]
        elif key == "elements" or (
            key == "rexpr" and node.get("kind") == "AEXPR_IN" and "List" in value
        ):
            value = unique(value["List"]["items"] if key == "rexpr" else value)
        elif "location" in key or key in (
            "list_start",
            "list_end",
            "rexpr_list_start",
            "rexpr_list_end",
            "stmt_len",
        ):
            continue
        else:
            value = plain(value)
        fields[key] = value
    return fields


def trees(sql: bytes) -> tuple[Any, Any]:
    """Of the text and of what is parsed in its place; a message where the grammar refuses."""
    _, short, _, _ = outline(sql, _WHOLE, True)
    assert len(short) == len(sql)
    results = []
    for text in (sql, short):
        try:
            results.append(plain(module._tree(text)))
        except RefusedError as error:
            results.append(error.refusal.message)
    return results[0], results[1]


SHORTENED = [
    ("insert into t values (1,'a'),(2,'b'),(3,'c'),(4,'d')",
    "insert into t values (1,'a'),(2,'b')"),
    ("insert into t values (1),(2),(3),('x'),(4)", "insert into t values (1),(2) ,('x')"),
    ("values (1,now()),(2,now()),(3,now()),(4,f())", "values (1,now()),(2,now()) ,(4,f())"),
    ("values (default,-1.5),(default,-2.5),(default,-7.25)",
    "values (default,-1.5),(default,-2.5)"),
    ("values ('a'::date),('b'::date),('c'::date),('d'::int)",
    "values ('a'::date),('b'::date) ,('d'::int)"),
    ("values ($1,e'\\''),($3,'x'),($5,'y')", "values ($1,e'\\''),($3,'x')"),
    ("select 1 where a in (1,2,3,'x',4,9999999999,5)",
    "select 1 where a in (1,2 ,'x' ,9999999999 )"),
    ("select 1 where a not in (1,2,3) and b in (4,5,6)",
    "select 1 where a not in (1,2 ) and b in (4,5 )"),
    ("select array[1,2,3], array['a','b','c']", "select array[1,2 ], array['a','b' ]"),
    ("select array[('a'),('b'),( 'c' )], array[('a'::text),('b'::text),('c'::int)]",
    "select array[('a'),('b') ], array[('a'::text),('b'::text),('c'::int)]"),
    ("select 1 where a in (('1'::int4),('2'::int4),('3'::int4),(-4),5,(null),('6'::int4))",
    "select 1 where a in (('1'::int4),('2'::int4) ,(-4),5,(null) )"),
    ("values (('a'),1),(('b'),2),(('c'),3),('d',4)", "values (('a'),1),(('b'),2) ,('d',4)"),
    ("values ((select 1)),(1),(2),(3),((select 2)),(4)",
    "values ((select 1)),(1),(2) ,((select 2)),(4)"),
    ("values (1),(2)/*,(3)*/,(4)-- ,(5)\n,(6)", "values (1),(2)"),
    ("values ($1,$9),($2,$9),($3,$9),($4,$9),(5,$9)", "values ($1,$9),($2,$9) ,(5,$9)"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "short"), SHORTENED)
def test_what_says_nothing_new_is_left_out(sql: str, short: str) -> None:
    assert outline(sql.encode(), _WHOLE, True)[1].decode().split() == short.split()
    full, cut = trees(sql.encode())
    assert full == cut


KEPT = [
    "select f(1,2,3), (1,2,3) = (4,5,6)",
    "select a.in(1,2,3), b.values(1,2,3) from a",
    "select a.array[1]",
    'select "in" (1,2,3)',
    "select 1 where a in (select 1 union select 2 union select 3)",
    "values (1),(1,2),(1,2,3)",
    "values (1+1),(2+2),(3+3)",
    "values (f('a')),(f('b')),(f('c'))",
    "values ('a'::regclass),('b'::regclass),('c'::regclass)",
    "values ((select 1)),((select 1)),((select 1))",
    "select 1 where a in (($1), ($2), ($3))",
    "select array[((1)), ((2)), ((3))], array[(1)::int, (2)::int, (3)::int]",
    "select array[(1, 2), (3, 4), (5, 6)], array[('a').b, ('c').b, ('d').b]",
    "select array[('a'::regclass), ('b'::regclass), ('c'::regclass)], array[(1), (2), (3",
    "values (1,'a'\n'b'),(2,'a'\n'c'),(3,'a'\n'd')",
    "values (u&'a'),(u&'b'),(u&'c')",
    "values (b'1'),(b'0'),(b'1')",
    "values (1_0),(1e5),(1e6)",
    "select $$values (1),(2),(3)$$, 'in (1,2,3)', \"values (1),(2),(3)\" -- in (1,2,3)",
    "select $a$ in (1,2,3) $b$ in (1,2,3) $a$",
    "select /* in (1,2,3) /* in (1,2,3) */ in (1,2,3) */ 1",
    "select e'\\' in (1,2,3) '",
    "select a$in in (1)",
    "select e'a'\n'\\', (1),(2),(3)'",
    "values (1) returning (1), (1), (1)",
    "select 1 where a in ($1, $2, $3) or b = any(array[$4::int, $5::int, $6::int])",
    "select position('a' in ('b', 'c', 'd'))",
    "create table p partition of t for values in (1, 2, 3)",
    "select values, (1), (1), (1)",
    "insert into t values ((select 1)) returning (1), (2), (3)",
]


@pytest.mark.parametrize("sql", KEPT)
def test_what_says_something_is_kept(sql: str) -> None:
    assert outline(sql.encode(), _WHOLE, True)[1] == sql.encode()


def listed(numbers: Iterable[int], cast: str = "") -> str:
    return ", ".join(f"${number}{cast}" for number in numbers)


def test_parameters_of_a_long_list_stand_for_each_other() -> None:
    for cast in ("", "::int"):
        sql = f"select $101 where a in ({listed(range(1, 101), cast)}) and b = $102".encode()
        _, short, _, meant = outline(sql, _WHOLE, True)
        kept = f"select $101 where a in ({listed(range(1, 33), cast)} ) and b = $102"
        assert short.decode().split() == kept.split()
        assert [meant_by(meant, number) for number in range(1, 103)] == [
            *range(1, 33),
            *[1] * 68,
            101,
            102,
        ]


@pytest.mark.parametrize(
    "sql",
    [
        f"select 1 where a in ({listed(range(1, 33))})",
        f"select $33 where a in ({listed(range(1, 34))})",
        f"select 1 where a in ({listed(range(1, 33))}, $33 + 1)",
        f"select 1 where a in ({listed(range(1, 33))}, $33::int)",
        f"select 1 where a in ({listed(range(1, 33))}, $70000, $0, $65535)",
        f"select 1 where a in ({listed(range(1, 33))}, $1)",
        "values ($1),($2),($1)",
    ],
)
def test_a_parameter_that_means_something_elsewhere_is_kept(sql: str) -> None:
    assert outline(sql.encode(), _WHOLE, True)[1] == sql.encode()


def test_parameters_of_rows_stand_for_those_above_them() -> None:
    sql = b"values ($1,'a',$2::int),($3,'b',$4::int),($5,'c',$6::int),($7,'d',$8::int)"
    _, short, _, meant = outline(sql, _WHOLE, True)
    assert short.split() == b"values ($1,'a',$2::int),($3,'b',$4::int)".split()
    assert [meant_by(meant, number) for number in range(1, 10)] == [1, 2, 3, 4, 1, 2, 1, 2, 9]


_CONSTANTS = re.split(
    " ",
    "1 22 -3 4.5 -6.75 2147483647 2147483648 -2147483648 -2147483649 9223372036854775807"
    " 9223372036854775808 -9223372036854775808 99999999999999999999 007 null NULL true False"
    " default $1 $23 'a' '' 'it''s' 'a),(b' E'x' e'\\'' E'\\\\' '\\' $$d$$ $t$),($$t$ b'01' x'ff'"
    " n'n' U&'u' '2024-01-01'::date 1::int '3'::numeric(10,2) '{1,2}'::int[] 'x'::regclass"
    " 5::text::name 'y'::text||'z' 1e5 1_000 0x1F .5 '--' '/*' '*/' ';' date'2024-01-01'"
    " ('v'::varchar) ('w'::varchar) ('u') (-2) ((3)) ($2) (4)::int"
    " interval'1'day f('a') now() a a.b (1) (1,2) array[1,2,3,4] array['a','b','c'] (select+1) -a"
    " +1 - 1 'a'\n'b' E'a'\n'b' 'a'/*c*/ /*),(*/'x' 'é' \"in\" 1in(1,2,3) x.in(1,2,3)",
)
_SPACES = ["", "", "", " ", "\n", "\t", "/* , */", "-- ),(\n", "/*/**/*/"]


def some_list(rng: random.Random) -> str:
    few = rng.sample(_CONSTANTS, rng.randint(1, 3))
    return ",".join(
        rng.choice(_SPACES)
        + rng.choice(few if rng.random() < 0.9 else _CONSTANTS)
        + rng.choice(_SPACES)
        for _ in range(rng.randint(1, 6))
    )


def some_text(rng: random.Random) -> str:
    width, rows = rng.randint(1, 3), []
    few = [[rng.choice(_CONSTANTS) for _ in range(width)] for _ in range(rng.randint(1, 3))]
    for _ in range(rng.randint(1, 7)):
        items = [rng.choice(_SPACES) + item + rng.choice(_SPACES) for item in rng.choice(few)]
        rows.append("(" + ",".join(items) + ")" + rng.choice(_SPACES))
    values = (
        rng.choice(["values", "VALUES", "Values "])
        + rng.choice(_SPACES)
        + ("," + rng.choice(_SPACES)).join(rows)
    )
    forms = [
        f"insert into t {values}",
        f"insert into t {values} returning a in ({some_list(rng)})",
        (f"select * from ({values}) v where a in({some_list(rng)}) or"
         f" b=any(array[{some_list(rng)}])"),
        f"select a from t where a not in ({some_list(rng)}) order by 1",
        (f"select f({some_list(rng)}), array [{some_list(rng)}], x.array[1], position('a' in"
         f" ({some_list(rng)}))"),
        f"select {some_list(rng)} {rng.choice(_CONSTANTS)} in ({some_list(rng)})",
        (f"with w as ({values}) update t set (a,b)=(select {some_list(rng)}) where a in"
         f" ({some_list(rng)})"),
        f"create table p partition of t for values in ({some_list(rng)})",
    ]  # fmt: skip
    return ";".join(rng.choice(forms) for _ in range(rng.choice([1, 1, 1, 2])))


def test_both_trees_say_the_same() -> None:
    """Texts of constants, quotes and comments in lists, some of them damaged."""
    rng = random.Random(7)
    shortened = read = 0
    for _ in range(examples(12_000)):
        text = some_text(rng)
        if rng.random() < 0.4:
            at = rng.randrange(len(text))
            text = (
                text[:at]
                + rng.choice(["'", '"', "$$", "--", "/*", "*/", "\\", "(", ")", ",", "", "e", ";"])
                + text[at + rng.randint(0, 2) :]
            )
        sql = text.encode()
        full, cut = trees(sql)
        if isinstance(cut, str):
            assert isinstance(full, str), sql
            continue
        assert full == cut, sql
        read += 1
        shortened += outline(sql, _WHOLE, True)[1] != sql
    assert read > examples(2_000)
    assert shortened > examples(500)


def test_semicolons_between_statements_are_found() -> None:
    rng = random.Random(11)
    told = 0
    for _ in range(examples(4_000)):
        sql = some_text(rng).encode()
        try:
            expected = [(s.start, s.end) for s in parse(sql)]
        except RefusedError:
            continue
        ends = outline(sql, _WHOLE, False)[2]
        if ends is None:
            continue
        pieces = [
            sql[a:b] for a, b in zip([0, *(e + 1 for e in ends)], [*ends, len(sql)], strict=True)
        ]
        assert [len(parse(piece)) for piece in pieces if piece.strip()] == [1] * len(expected), sql
        told += 1
    assert told > examples(1_000)


def test_semicolons_inside_a_function_are_not_between_statements() -> None:
    sql = b"create function f() returns int begin atomic select 1; select 2; end; select 3"
    assert outline(sql, _WHOLE, True)[2] is None
    assert outline(b"select 1; select (2", _WHOLE, True)[2] is None
    assert outline(b"select 1; select 'x", _WHOLE, True)[2] is None
    assert outline(
        b"create rule r as on insert to t do (select 1; select 2); select 3", _WHOLE, True
    )[2] == [55]


def test_the_verdict_is_about_every_row(catalog: CatalogSnapshot) -> None:
    """Rows that are not read again add nothing; those that say something else do."""
    rows = ", ".join(f"({n}, 'n{n}', {n}.5)" for n in range(5_000))
    head = "insert into fx.orders (id, note, total) values "

    def facts(sql: str) -> list[str]:
        return [
            line
            for statement_facts in analyze(sql.encode(), catalog, CONTEXT)
            for line in render(statement_facts, catalog)
        ]

    assert facts(head + rows) == facts(head + "(1, 'n1', 1.5)")
    secret = ", (1, (select ssn from fx.users where id = 1), 1.5)"
    assert facts(head + rows + secret + ", " + rows) == facts(head + "(1, 'n1', 1.5)" + secret)
    named = ", (1, name, 1.5)"
    assert "UNKNOWN SP1108" in "\n".join(facts(head + rows + named))
    ids = ", ".join(str(n) for n in range(20_000))
    assert facts(f"select id from fx.users where id in ({ids})") == facts(
        "select id from fx.users where id in (1)"
    )
    assert facts(f"select id from fx.users where id in ({ids}, length(ssn))") == facts(
        "select id from fx.users where id in (1, length(ssn))"
    )


def test_large_and_plain_is_small() -> None:
    """A megabyte of rows or constants is as much work as a line."""
    rows = ", ".join(
        f"({n}, {n * 7}, 'label {n}', null, {n}.25, now(), '2024-01-01'::date, $1)"
        for n in range(13_000)
    )
    for sql in (
        f"insert into t values {rows}",
        f"select 1 where a in ({', '.join(map(str, range(10**9, 10**9 + 80_000)))})",
        f"select 1 where a = any(array[{', '.join(map(repr, map(str, range(90_000))))}])",
        "select '" + "x" * 1_000_000 + "'",
    ):
        assert 700_000 < len(sql) < 1 << 20
        assert parse_counted(sql.encode()).tokens < 200


def copies(depth: int, columns: int) -> str:
    names = ", ".join("a" for _ in range(columns))
    text = "select 1"
    for _ in range(depth):
        text = f"with w as (update t set ({names}) = ({text})) select 1"
    return text


@pytest.mark.parametrize(
    ("depth", "columns"), [(1, 100_000), (1, 5_500), (2, 300), (14, 2), (60, 2), (9, 3)]
)
def test_copies_in_the_tree_are_counted_before_they_are_made(depth: int, columns: int) -> None:
    """The library ends the process when a tree needs more than a gigabyte: 50 kB sufficed."""
    sql = copies(depth, columns)
    if columns > 1000:
        names = ", ".join("a" for _ in range(columns))
        sql = f"update t set ({names}) = row({names})"
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "from sallyport.core.errors import RefusedError\n"
        "from sallyport.sql.text.parse import parse, parse_counted\n"
        "sql = sys.stdin.buffer.read()\n"
        "for one in (parse, parse_counted):\n"
        "    try:\n        one(sql)\n        print('parsed')\n"
        "    except RefusedError as error:\n        print(error.refusal.code.id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=sql.encode(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == b"SP1105"


@pytest.mark.parametrize(
    "sql",
    [
        "update t set (a, b, c) = (select 1, 2, 3)",
        (
            "update t set a = 1, (b, c) = (select (2, 3) = (2, 3), 3), (d, e, f) = row(1, 2, 3)"
            " where (a, b) = (1, 2)"
        ),
        (
            "update t set (a, b, c) = (1, 2) = (select (d, e) = (3, 4) union select (5, 6) = (7,"
            " 8)), d = 3"
        ),
        (
            "insert into t values (1) on conflict (a) do update set (a, b) = (select 1, 2) where"
            " (t.a) = (t.b)"
        ),
        copies(3, 4),
        copies(4, 3),
        copies(9, 2),
    ],
)
def test_the_tree_is_no_larger_than_counted(sql: str) -> None:
    text = module._call(sql.encode())[0]
    assert len(text) < 300 * outline(sql.encode(), _WHOLE, False)[0]


def test_depth_of_a_tree() -> None:
    assert nesting(b'{"a": [{"b": "}}]]\\"{{["}, {}]}') == 3
    assert nesting(b"{}") == 1
    assert nesting(b"") == 0


def test_bounds() -> None:
    columns = ", ".join(["a"] * (MAX_TOKENS // 2 - 10))
    assert parse_counted(f"select {columns}".encode()).tokens > MAX_TOKENS - 50
    with pytest.raises(RefusedError) as caught:
        parse_counted(f"select {columns}, {columns}".encode())
    assert caught.value.refusal.code.id == "SP1105"
    assert len(parse(f"select {columns}, {columns}".encode())) == 1
    assert len(parse_counted(b"begin;" * MAX_STATEMENTS).statements) == MAX_STATEMENTS
    with pytest.raises(RefusedError) as caught:
        parse_counted(b"begin;" * (MAX_STATEMENTS + 1))
    assert "statements" in caught.value.refusal.message
