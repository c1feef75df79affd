"""Four databases that are alike in everything but the values of masked columns (policy.yaml).

World 0 is the base. World 1 has other lengths, and few different values, often. World 2 has NULLs,
and an order by every masked column that is the order of the keys. World 3 keeps what ``email``,
``partial``, ``date`` and ``bucket`` show of world 0, and nothing else of it. ``strict``, ``denied``
and ``equal`` must not tell any two of them apart, ``shown`` not 0 from 3. Every table takes as many
pages in each of them: the size of a table is public (docs/threat-model.md).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import yaml

from tests.attacks.scan.places import HERE
from tests.support.postgres import AGENT_PASSWORD, Server

ROLE = "scanned"
NAMES = tuple(f"scandb{number}" for number in range(4))
#: Agent to the numbers of the worlds that must be alike to it.
ALIKE = {"strict": (0, 1, 2, 3), "denied": (0, 1, 2, 3), "equal": (0, 1, 2, 3), "shown": (0, 3)}
ALIKE |= {"writer": ALIKE["strict"], "lender": ALIKE["shown"]}
CUSTOMERS, ORDERS, SMALL = 1200, 2500, 12
#: What the agent knows of rows that it made itself, and guesses.
OWN = "a-123"
GUESS = "123-45-6789"
_WIDTH = 150  # bytes of texts in a row of customers
_CITIES = ("Oslo", "Rome", "Lima", "Cork", "Bern", "Riga", "Kyiv")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DOMAINS = ("example.com", "mail.test", "x.org", "corp.example", "post.de")
Row = dict[str, object]


def masked_columns() -> dict[str, set[str]]:
    """Relation to the masked columns that it has, declared, inherited or generated from one."""
    policy = yaml.safe_load((HERE / "policy.yaml").read_text())
    columns: dict[str, set[str]] = {}
    for name in policy["tags"]["secret"]:
        _, table, column = name.split(".")
        columns.setdefault(table, set()).add(column)
    columns["gen"] |= {"last4", "size"}
    columns["child"] |= columns["parent"]
    for table, parts in (("parts", ("low", "high", "null")), ("events", ("2025", "2026"))):
        columns |= {f"{table}_{part}": columns[table] for part in parts}
    return columns


def _word(dice: random.Random, low: int, high: int) -> str:
    return "".join(dice.choices(_LETTERS, k=dice.randrange(low, high + 1)))


class Values:
    """The masked values of one row of one world. ``same``: a dice that worlds 0 and 3 share;
    ``own``: one of this world.
    """

    def __init__(self, world: int, table: str, number: int) -> None:
        self.world, self.number = world, number
        self.same = random.Random(f"{world % 3}/{table}/{number}")
        self.own = random.Random(f"{world}/{table}/{number}/own")
        if world == 1:  # few values, often
            self.same = random.Random(f"1/{table}/{number % 7}")
            self.own = random.Random(f"1/{table}/{number % 7}/own")
        self.null = world == 2 and self.own.random() < 0.4

    def ssn(self) -> str | None:
        tail = f"{self.same.randrange(10000):04}"
        if self.world in (0, 3):
            return "".join(self.own.choices("0123456789ABCXYZabcxyz", k=7)) + tail
        if self.world == 1:
            return _word(self.own, 0, 14) + tail
        return None if self.null else f"{self.number:05}{tail}"

    def email(self) -> str | None:
        letter, domain = self.same.choice(_LETTERS), self.same.choice(_DOMAINS)
        if self.world in (0, 3):
            return f"{letter}{_word(self.own, 1, 12)}@{domain}"
        if self.world == 1:
            return f"{letter}@{domain}"
        return None if self.null else f"{self.number:05}@{domain}"

    def text(self, most: int = 50) -> str | None:
        if self.world == 2:
            return None if self.own.random() < 0.5 else f"{self.number:05}"
        return _word(self.own, 0, most if self.world != 1 else most // 3)

    def salary(self) -> int:
        thousands = self.same.randrange(20, 90)
        if self.world == 2:
            return 20_000 + self.number * 50
        return thousands * 1000 + self.own.randrange(1000)

    def score(self) -> str:
        tens = self.same.randrange(-500, 500)
        return f"{tens}{self.own.randrange(10)}.{self.own.randrange(1, 100):02}"

    def born(self) -> str:
        year = self.same.randrange(1930, 2005) if self.world != 2 else 1930 + self.number % 70
        return f"{year}-{self.own.randrange(1, 13):02}-{self.own.randrange(1, 29):02}"

    def seen(self) -> str:
        day = f"2025-{self.same.randrange(1, 13):02}-{self.same.randrange(1, 29):02}"
        return (
            f"{day} {self.own.randrange(24):02}:{self.own.randrange(60):02}"
            f":{self.own.randrange(60):02}+00"
        )

    def token(self) -> str:
        raw = f"{self.own.getrandbits(128):032x}" if self.world != 2 else f"{self.number:032}"
        return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def _customer(world: int, number: int) -> Row:
    values = Values(world, "customers", number)
    texts = {
        "ssn": values.ssn(),
        "email": values.email(),
        "notes": values.text(),
        "phone": values.text(8),
        "label": values.text(8),
    }
    taken = sum(len(text) + 1 for text in texts.values() if text is not None)
    public = {
        "id": number, "age": 20 + number % 50, "active": number % 3 != 0,
        "city": _CITIES[number * number % 7], "void": None,
    }  # fmt: skip
    fixed = {
        "salary": values.salary(),
        "born": values.born(),
        "seen": values.seen(),
        "token": values.token(),
    }
    return {**public, **fixed, **texts, "pad": "p" * (_WIDTH - taken)}


def _small(world: int, number: int) -> Row:
    values = Values(world, "small", number)
    row: Row = {
        "id": number,
        "name": f"name {number}",
        "ssn": values.ssn(),
        "email": values.email(),
    }
    row |= {
        "phone": values.text(9),
        "label": values.text(9),
        "salary": values.salary(),
        "score": values.score(),
    }
    row |= {
        "born": values.born(),
        "seen": values.seen(),
        "fine": values.text(11),
        "nick": values.text(9),
    }
    row["notes"] = _word(values.own, *((14, 14), (52, 52), (30, 30), (41, 41))[world])
    row["doc"] = f'{{"k": "{_word(values.own, 1, 9)}", "n": {values.own.randrange(9**9)}}}'
    row["raw"] = f'{{"k": {"[" * (world + 1)}1{"]" * (world + 1)}}}'
    row["tags"] = "{" + ",".join(_word(values.own, 1, 5) for _ in range(world + 1)) + "}"
    row["blob"] = "\\x" + _word(values.own, 1, 9).encode().hex()
    row["feeling"] = values.own.choice(("sad", "ok", "happy"))
    row["long"] = (_word(values.own, 3000, 3000), "short", None, _word(values.own, 9000, 9000))[
        world
    ]
    if number == 3:
        tail = str(row["ssn"])[-4:]
        row["ssn"] = (f"AAAAAAA{tail}", "zz", None, f"zzzzzzz{tail}")[world]
    if number == 5:
        row["ssn"] = (GUESS, "y", "000-00-0000", "923-45-6789")[world]
    if world == 2:
        row |= {
            name: None
            for name in ("salary", "score", "born", "doc", "tags", "feeling")
            if number % 3 == 1
        }
    return row


def _chosen(world: int, *values: str | None) -> str | None:
    """Of four values that of this world."""
    return values[world]


def _tall(world: int, number: int) -> str | None:
    """E-mail addresses so long that they are kept out of line, in pieces whose number tells the
    length.
    """
    same, own = (
        random.Random(f"{world % 3}/tall/{number}"),
        random.Random(f"{world}/tall/{number}/own"),
    )
    length = own.randrange(5000, 30_000) if world != 1 else own.randrange(2, 20)
    return (
        None
        if world == 2 and number % 2
        else f"{same.choice(_LETTERS)}{_word(own, length, length)}@{same.choice(_DOMAINS)}"
    )


def _few(world: int) -> Iterator[tuple[str, list[Row]]]:
    """The tables of few rows, whose values matter one by one."""
    ssn = [Values(world, "few", number).ssn() for number in range(1, 41)]
    third = _chosen(world, OWN, "q-777-8", None, "b-123")
    rows: list[Row] = [{"id": n, "ssn": third if n == 3 else ssn[n]} for n in range(1, 6)]
    yield "mm", [*rows, {"id": 9001, "ssn": OWN}]
    guessed = _chosen(world, GUESS, "99", "000-00-0000", "923-45-6789")
    rows = [
        {"id": n, "name": f"name {n}", "ssn": guessed if n == 3 else ssn[n]} for n in range(1, 6)
    ]
    yield "hot", [row | {"n": 0} for row in rows]
    yield "quiet", rows
    unique = [
        _chosen(world, f"aaaa{n:04}", f"long value {n}", f"{n}", f"zzzz{n:04}") for n in range(9)
    ]
    yield "keyed", [{"id": n, "ssn": unique[n], "name": f"name {n}"} for n in range(1, 9)]
    yield "pp", [{"a": n, "ssn": third if n == 2 else ssn[n], "z": f"z{n}"} for n in range(1, 7)]
    yield "one", [{"ssn": _chosen(world, "3xx-4444", "7", None, "8xx-4444")}]
    yield "gen", [{"id": n, "ssn": ssn[n]} for n in range(1, 9)]
    spread = [
        _chosen(world, *pair) for pair in (("a1", "x", None, "z1"), ("y2", "b", "c", "a2")) * 5
    ]
    yield "parts", [{"id": n, "ssn": spread[n], "name": f"name {n}"} for n in range(1, 9)]
    yield (
        "events",
        [
            {
                "id": n,
                "day": f"{2025 + n % 2}-03-{n % 28 + 1:02}",
                "kind": f"kind {n % 3}",
                "ssn": ssn[n % 40],
            }
            for n in range(1, 61)
        ],
    )
    yield "parent", [{"id": n, "pin": ssn[n]} for n in range(1, 5)]
    yield "child", [{"id": n, "pin": ssn[n], "extra": ssn[n + 1]} for n in range(5, 9)]
    yield "tall", [{"id": n, "email": _tall(world, n), "note": f"note {n}"} for n in range(1, 7)]
    bodies = [
        _word(
            random.Random(f"{world}/docs"),
            *((400_000, 400_000), (10, 10), (2000, 2000), (700, 700))[world],
        )
    ]
    yield (
        "docs",
        [
            {"id": n, "title": f"title {n}", "body": bodies[0] * 2 if n == 1 else "b" * (n + world)}
            for n in range(1, 4)
        ],
    )


def _by_index(world: int) -> Iterator[tuple[str, list[Row]]]:
    """Tables that the server reads by an index with masked values in it: in each world they are in
    another order, and in few or many parts.
    """
    dice = random.Random(f"{world}/by index")
    kinds = "abc" if world == 1 else _LETTERS
    secrets = [
        f"{999 - n:03}" * 9 if world == 2 else f"{dice.choice(kinds) * 20}{_word(dice, 7, 7)}"
        for n in range(900)
    ]
    yield "base", [{"id": n, "town": f"town {n % 3}"} for n in range(1, 9)]
    yield (
        "base_kid",
        [{"id": n, "town": f"town {n % 3}", "secret": secrets[n]} for n in range(10, 300)],
    )
    yield "owners", [{"id": n, "code": n * 10} for n in range(1, 31)]
    yield (
        "owned",
        [{"id": n, "owner_code": n % 30 * 10 + 10, "secret": secrets[n]} for n in range(900)],
    )
    yield "grouped", [{"id": n, "grp": n % 50, "secret": secrets[n] * 9} for n in range(900)]
    rows = [{"id": n, "tenant": n % 30, "name": f"name {n}"} for n in range(900)]
    yield "tenants", [row | {"secret": secrets[n]} for n, row in enumerate(rows)]


def _public() -> Iterator[tuple[str, list[Row]]]:
    yield (
        "orders",
        [
            {"id": n, "customer_id": 1 + n * 7 % (CUSTOMERS + 100), "amount": n % 97,
                "placed": f"2025-0{n % 9 + 1}-11", "note": f"note {n % 13}"}
            for n in range(1, ORDERS + 1)
        ],
    )  # fmt: skip
    guesses = ["[redacted]", OWN, GUESS, "a", "m", "ad", "an", "same", "*******0000"]
    yield "inn", [{"k": guesses[n % 9] if n < 60 else f"k{n}", "v": n} for n in range(200)]
    yield "guesses", [{"v": text, "n": n} for n, text in enumerate(guesses)]
    yield "gg", [{"ssn": text, "g": n} for n, text in enumerate([*guesses, "5", "3xx-4444"])]
    yield "noted", [{"id": n, "name": f"name {n}"} for n in range(1, 5)]


def tables(world: int) -> Iterator[tuple[str, list[Row]]]:
    yield "customers", [_customer(world, number) for number in range(1, CUSTOMERS + 1)]
    yield "small", [_small(world, number) for number in range(1, SMALL + 1)]
    yield from _few(world)
    yield from _by_index(world)
    yield from _public()


def _fill(connection: psycopg.Connection[Any], world: int) -> None:
    for table, rows in tables(world):
        into = f"COPY public.{table} ({', '.join(rows[0])}) FROM STDIN"
        with connection.cursor().copy(into) as copy:
            for row in rows:
                copy.write_row(tuple(row.values()))
    connection.execute("REFRESH MATERIALIZED VIEW public.mv_small")


#: Of which each server has some.
_EXTENSIONS = (
    "citext hstore pg_trgm ltree fuzzystrmatch btree_gist btree_gin intarray isn cube seg pgcrypto"
    " tablefunc earthdistance unaccent lo xml2 dict_int"
)


def _extend(connection: psycopg.Connection[Any]) -> None:
    there = {
        name
        for (name,) in connection.execute("SELECT name FROM pg_available_extensions").fetchall()
    }
    for name in _EXTENSIONS.split():
        if name in there:
            connection.execute(f"CREATE EXTENSION {name}")


#: What the planner knows of tables beside the statistics of columns, but for tables whose rows are
#: where masked values say.
_PAGES = """SELECT relname, relpages, reltuples, relallvisible FROM pg_class
  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
  AND relname !~ '^parts_' ORDER BY 1"""


class Databases:
    """Makes the worlds on one server. RuntimeError where they differ in what they must not."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{AGENT_PASSWORD}'")
            admin.execute(f"GRANT pg_monitor TO {ROLE}")
            admin.execute(
                f"CREATE DATABASE scanbase OWNER {ROLE} TEMPLATE template0 ENCODING 'UTF8'"
                " LOCALE 'C'"
            )
            with psycopg.connect(self.dsn("scanbase"), autocommit=True) as base:
                _extend(base)
                base.execute((HERE / "schema.sql").read_text().replace("{role}", ROLE).encode())
            for world, name in enumerate(NAMES):
                admin.execute(f"CREATE DATABASE {name} TEMPLATE scanbase OWNER {ROLE}")
                with psycopg.connect(self.dsn(name), autocommit=True) as connection:
                    _fill(connection, world)
                    connection.execute(f"GRANT EXECUTE ON FUNCTION pg_stat_reset() TO {ROLE}")
        self.level()

    def level(self) -> None:
        """Make every table as it is when nothing was ever changed in it, and every counter zero, in
        the same way in every world.
        """
        pages = []
        for name in NAMES:
            with psycopg.connect(self.dsn(name), autocommit=True) as connection:
                for _ in range(
                    5
                ):  # somebody may look at the database, so that not all pages are visible to all
                    connection.execute("VACUUM (FULL, FREEZE)")
                    connection.execute("VACUUM (FREEZE, ANALYZE)")
                    page_counts = connection.execute(_PAGES).fetchall()
                    if all(pages == visible for _, pages, _, visible in page_counts):
                        break
                    time.sleep(0.2)
                pages.append(page_counts)
        # until what the sessions above did is counted
        time.sleep(1.2 if self.server.major < 15 else 0.4)
        for name in NAMES:
            with psycopg.connect(self.dsn(name), autocommit=True) as connection:
                connection.execute("SELECT pg_stat_reset()")
        for world_pages in pages[1:]:
            if world_pages != pages[0]:
                raise RuntimeError(
                    f"tables of the worlds differ in size: {set(world_pages) ^ set(pages[0])}"
                )

    def dsn(self, database: str) -> str:
        """Of the superuser, past the gateway."""
        return self.server.superuser_dsn.rpartition("/")[0] + "/" + database

    def owner_dsn(self, database: str) -> str:
        """Of the gateway's role, past the gateway."""
        server = self.server
        return f"postgresql://{ROLE}:{AGENT_PASSWORD}@{server.host}:{server.port}/{database}"
