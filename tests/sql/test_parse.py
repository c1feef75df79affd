"""The parser's walls: nothing that a client sends may kill the process or raise anything but a
refusal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import Context, analyze
from sallyport.sql.text.parse import MAX_LENGTH, SMALL, parse


def code_of(sql: bytes, max_length: int = 1 << 20) -> tuple[str, int]:
    with pytest.raises(RefusedError) as caught:
        parse(sql, max_length)
    return caught.value.refusal.code.id, caught.value.refusal.position


def test_nothing() -> None:
    assert parse(b"") == []
    assert parse(b" ; ;-- nothing\n;") == []


def test_offsets_are_bytes_of_the_script() -> None:
    sql = "select 'é' ; select 2;\n  commit -- end".encode()
    assert [sql[s.start : s.end] for s in parse(sql)] == [
        "select 'é'".encode(),
        b"select 2",
        b"commit -- end",
    ]


def test_syntax_error_is_postgresqls_own_with_position_in_characters() -> None:
    with pytest.raises(RefusedError) as caught:
        parse("select 'é', fro m, from".encode())
    assert caught.value.refusal.sqlstate == "42601"
    assert caught.value.refusal.message == 'syntax error at or near "from"'
    assert caught.value.refusal.position == 20


@pytest.mark.parametrize(
    "sql", [b"select '\0'", b"select '\xff'", b"select '\xed\xa0\x80'", b"select '\xc0\x80'"]
)
def test_bytes_that_are_not_text(sql: bytes) -> None:
    assert code_of(sql)[0] == "SP1101"


def test_too_long() -> None:
    assert code_of(b"select 1" + b" " * (1 << 20))[0] == "SP1105"
    assert code_of(b"select 1 " + b" " * MAX_LENGTH, MAX_LENGTH * 2)[0] == "SP1105"


BOMBS = {
    "operators": ("select 1", "+1", ""),
    "user operators": ("select 1", "@ 1", ""),
    "joins": ("select * from a", " cross join b", ""),
    "unions": ("select 1", " union select 1", ""),
    "casts": ("select 1", "::a", ""),
    "collations": ("select a", " collate b", ""),
    "at local": ("select a", " at local", ""),
    "not": ("select ", "not ", "true"),
    "minus": ("select ", "- ", "1"),
    "open brackets": ("select ", "(", ""),
    "subscripts": ("select ", "a[", ""),
    "case": ("select ", "case when 1 then ", ""),
    "subqueries": ("select * from ", "(select * from ", "a"),
    "arrays": ("select ", "array[", ""),
    "comments": ("select 1 ", "/*", ""),
    "select lists": ("select 1", ",1", ""),
    "statements": ("select 1", ";select 1", ""),
    "stars": ("select 1", ",*", " from fx.users"),
}


@pytest.mark.parametrize("size", [SMALL, MAX_LENGTH])
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_harms_nobody(name: str, size: int) -> None:
    """In a process of its own, so that a crash is seen and nothing else dies with it."""
    script = (
        "from sallyport.core.errors import RefusedError\n"
        "from sallyport.sql.text.parse import parse\n"
        f"start, part, end = {BOMBS[name]!r}\n"
        f"sql = (start + part * (({size} - len(start) - len(end)) // len(part)) + end).encode()\n"
        "try:\n    parse(sql, len(sql))\n    print('parsed')\n"
        "except RefusedError as error:\n    print(error.refusal.code.id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() in ("parsed", "SP1105", "SP1101")


DEEP = {
    "operators": ("select 1", "+1", ""),
    "or over and": ("select 1", " and 1 or 1", ""),
    "joins": ("select 1 from fx.users a", " cross join fx.users b", ""),
    "unions": ("select 1", " union select 1", ""),
    "intersects": ("select 1", " intersect (select 1)", ""),
    "casts": ("select 1", "::text", ""),
    "brackets": ("select ", "(1+", "1" + ")"),
    "subqueries": ("select ", "(select ", "1)"),
    "from": ("select 1 from ", "(select 1 from ", "fx.users)"),
    "case": ("select ", "case when true then ", "1 end"),
    "arrays": ("select ", "array[", "1]"),
    "calls": ("select ", "abs(", "1)"),
    "with": ("", "with a as (", "select 1) select 1"),
    "exists": ("select ", "exists (select ", "1)"),
    "explain": ("", "explain ", "select 1"),
}


@pytest.mark.parametrize("name", DEEP)
def test_depth_never_raises_recursion_errors(name: str, catalog: CatalogSnapshot) -> None:
    """Every depth up to where it is refused, called from a deep stack as a server's may be."""
    start, part, end = DEEP[name]
    inner, closing = (end[:-1], end[-1]) if end.endswith((")", "]")) else (end, "")
    if name == "case":
        inner, closing = "1", " end"
    if name == "with":
        inner, closing = "select 1", ") select 1"

    def deep(levels: int, sql: bytes) -> str:
        if levels:
            return deep(levels - 1, sql)
        try:
            analyze(sql, catalog, Context(("fx",)))
        except RefusedError as error:
            return error.refusal.code.id
        return "judged"

    answers = []
    for count in (1, 5, 20, 40, 60, 80, 100, 120, 160, 200, 240, 300, 500):
        answers.append(deep(100, (start + part * count + inner + closing * count).encode()))
    assert answers[0] == "judged" or name == "explain"
    assert set(answers) <= {"judged", "SP1105", "SP1101"}
    assert answers == sorted(answers, key=["judged", "SP1105", "SP1101"].index)


def test_every_character_survives_the_way_through_json() -> None:
    text = (
        "".join(map(chr, [*range(1, 0x250), 0x2028, 0xFFFE, 0xFFFF, 0x1F600]))
        .replace("'", "''")
        .replace('"', '""')
    )
    (raw,) = parse(f"""select '{text}' as "{"é" * 20}" """.encode())
    target = raw.node["SelectStmt"]["targetList"][0]["ResTarget"]
    assert target["val"]["A_Const"]["sval"]["sval"] == text.replace("''", "'")
    assert target["name"] == "é" * 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_large_texts_are_parsed_after_a_fork() -> None:
    large = b"select 1" + b" " * SMALL
    assert len(parse(large)) == 1
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(0 if len(parse(large)) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("part", ["+", "/*", "/**/", "-+", "+/**/", "=*/*"])
def test_runs_that_the_scanner_reads_in_quadratic_time_are_refused(part: str) -> None:
    assert code_of(b"select " + part.encode() * 20_000)[0] == "SP1105"


@pytest.mark.parametrize(
    "banner",
    ["/*" + "*" * 500 + "*/", "-- " + "=" * 500 + "\n", "/" + "*" * 300 + "\n" + "#" * 300 + "*/"],
)
def test_banners_are_fine(banner: str) -> None:
    assert len(parse(f"{banner} select 1".encode())) == 1
