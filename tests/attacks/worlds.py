"""The worlds: databases that are alike in everything but the values of masked columns.

World 0 is the base; 1 has other values, of other lengths; 2 NULLs among the values at the edges of
each type (empty, infinite, not a number, least and greatest, of other dimensions), where
conversions and functions fail that never failed elsewhere; 3 other values of the same lengths; 4
the values of the base, given to other rows, so that every order by them differs. ``builder`` worlds
are copies of 0 and 1 that may be ruined and made again. Table and type OIDs are the same in all of
them (CREATE DATABASE ... TEMPLATE).
"""

from __future__ import annotations

import random
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml

from tests.attacks.canaries import Canaries
from tests.attacks.edges import EDGES
from tests.attacks.rows import public_rows
from tests.support.postgres import AGENT_PASSWORD, Server

HERE = Path(__file__).parent
ROWS = 8
WORLDS = 5
ROLE = "attacked"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Not masked by name, but made of masked values by PostgreSQL itself.
MADE_OF_MASKED = {
    ("gen", "last4"),
    ("gen", "size"),
    ("mv_people", "code"),
    ("mv_people", "double"),
    ("ledger", "total"),
    ("owned_sums", "total"),
    ("worded", "words"),
    ("narrowed", "total"),
    ("virtual", "total"),
    ("virtual", "half"),
    ("placed_b", "secret"),
    ("placed_a_low", "secret"),
    ("summed_low", "secret"),
    ("summed_rest", "secret"),
}
WRITABLE = _words(
    "orders notes cards tripped defaulted checked loudly indexed ruled ruled_log ledger computed"
    " halved partly booked lists routed ranked bounded owners owned owned_sums owned_once kinds"
    " graded hushed numbered pairs paired boxed boxed_once quieted worded unchanged included"
    " queued pending trailed led placed summed later later_apart heads"
    " tails tails_gone skipped once narrowed"
)
#: Of these an agent may write the masked columns too.
HIDDEN_WRITABLE = _words(
    "cards ledger computed halved partly booked lists routed routed_low routed_high ranked bounded"
    " hushed numbered paired boxed boxed_once quieted worded unchanged included queued pending"
    " trailed led placed placed_a_low placed_b summed summed_low summed_rest later later_apart"
    " heads tails tails_gone skipped once narrowed"
)
#: Partitions: where a row is tells about the value, so rows are compared as those of the whole.
_PARTS = ("by_secret_", "routed_", "mv_", "placed_", "summed_")
#: Columns that are not generated, of tables that have such.
_INSERTED = {
    "orders": "id, person_id, note, amount, placed",
    "ledger": "id, note, amount, secret",
    "owned_sums": "id, owner, secret",
    "narrowed": "id, amount, secret",
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def masked_columns() -> dict[str, list[str]]:
    """Table to masked columns, as policy.yaml says."""
    policy = yaml.safe_load((HERE / "policy.yaml").read_text())
    columns: dict[str, list[str]] = {}
    for name in policy["tags"]["secret"]:
        _, table, column = name.split(".")
        columns.setdefault(table, []).append(column)
    return columns


@dataclass
class Values:
    """Makes the masked values of one world. ``sql`` gives a literal for a column's type."""

    world: int
    canaries: Canaries = field(default_factory=Canaries)

    def sql(self, kind: str, column: str, row: int) -> str:
        world = self.world
        edges = EDGES.get(kind, EDGES.get(_ALIASES.get(kind, kind), ())) if world == 2 else ()
        if world == 2 and row % 4 == 1:
            return "NULL"
        if edges:
            return edges[(row - (row + 2) // 4) % len(edges)]
        if world == 4:
            world, row = 0, (row * 3 + 1) % ROWS
        dice = random.Random(f"{world}/{column}/{row}")
        longer = world == 1
        return _MAKERS[_ALIASES.get(kind, kind)](dice, longer, self.canaries)


def _word(dice: random.Random, longer: bool, canaries: Canaries, length: int = 12) -> str:
    size = length + dice.randrange(3, 15) if longer else length
    return canaries.text("".join(dice.choices(_LETTERS, k=size)))


def _quoted(text: str, cast: str = "") -> str:
    return f"'{text}'" + (f"::{cast}" if cast else "")


def _number(
    low: int, high: int, layout: str = ""
) -> Callable[[random.Random, bool, Canaries], str]:
    def make(dice: random.Random, longer: bool, canaries: Canaries) -> str:
        value = dice.randrange(low // (100 if longer else 1), high // (100 if longer else 1))
        canaries.number(str(value))
        if layout and value >= 2**24:
            canaries.whole(struct.pack(layout, value))
        return str(value)

    return make


def _date(dice: random.Random) -> str:
    return f"{dice.randrange(1900, 1990)}-{dice.randrange(2, 13):02}-{dice.randrange(2, 28):02}"


def _whole(text: str, canaries: Canaries, cast: str = "") -> str:
    canaries.whole(text)
    return _quoted(text, cast)


def _uuid(dice: random.Random, longer: bool, canaries: Canaries) -> str:
    value = uuid.UUID(int=dice.getrandbits(128))
    canaries.whole(value.bytes)
    for text in (str(value), value.hex):
        canaries.whole(text)
    return _quoted(str(value))


def _stamp(dice: random.Random, longer: bool, canaries: Canaries) -> str:
    return _whole(f"{_date(dice)} 11:{dice.randrange(10, 60)}:{dice.randrange(10, 60)}", canaries)


_MAKERS: dict[str, Callable[[random.Random, bool, Canaries], str]] = {
    "text": lambda d, n, c: _quoted(_word(d, n, c)),
    "char": lambda d, n, c: _quoted(_word(d, False, c, 8 if n else 12)),
    "ltree": lambda d, n, c: _quoted("t." + _word(d, n, c)),
    "long": lambda d, n, c: _quoted(_word(d, False, c, 20 if n else 3000)),
    "int4": _number(100_000_000, 999_999_999, "!i"),
    "int2": _number(100, 9_999),
    "int8": _number(10**14, 10**15, "!q"),
    "numeric": lambda d, n, c: _number(10**11, 10**12)(d, n, c) + f".{d.randrange(1000, 9999)}",
    "float8": lambda d, n, c: _number(10**8, 10**9)(d, n, c) + ".25",
    "money": lambda d, n, c: _number(10**8, 10**9)(d, n, c) + "::money",
    "date": lambda d, n, c: _whole(_date(d), c),
    "timestamptz": _stamp,
    "timestamp": _stamp,
    "time": lambda d, n, c: _whole(
        f"{d.randrange(10, 24)}:{d.randrange(10, 60)}:{d.randrange(10, 60)}"
        f".{d.randrange(10**5, 10**6)}", c),
    "interval": lambda d, n, c: _quoted(_number(10**6, 10**7)(d, False, c) + " days"),
    "uuid": _uuid,
    "jsonb": lambda d, n, c: _quoted(f'{{"k": "{_word(d, n, c)}", "n":'
                                     f' {_number(10**8, 10**9)(d, n, c)}}}'),
    "_text": lambda d, n, c: _quoted(f"{{{_word(d, n, c)},{_word(d, n, c)}}}"),
    "_int4": lambda d, n, c: _quoted(
        f"{{{_number(10**8, 10**9)(d, n, c)},{_number(10**8, 10**9)(d, n, c)}}}"),
    "bytea": lambda d, n, c: _quoted("\\x" + _word(d, n, c).encode().hex()),
    "inet": lambda d, n, c: _whole(
        f"10.{d.randrange(100, 250)}.{d.randrange(100, 250)}.{d.randrange(100, 250)}", c),
    "macaddr": lambda d, n, c: _whole(":".join(f"{d.randrange(17, 250):02x}" for _ in range(6)), c),
    "mood": lambda d, n, c: _quoted(d.choice(["sad", "ok", "happy"])),
    "bool": lambda d, n, c: d.choice(["true", "false"]),
    "address": lambda d, n, c: f"ROW('{_word(d, n, c)}', '{_word(d, n, c)}')::public.address",
    "varbit": lambda d, n, c: "B'" + "".join(d.choices("01", k=40 if n else 24)) + "'",
    "point": lambda d, n, c: (f"point({_number(10**7, 10**8)(d, n, c)},"
                              f" {_number(10**7, 10**8)(d, n, c)})"),
    "daterange": lambda d, n, c: f"daterange('{_date(d)}', '2020-01-01')",
    "hstore": lambda d, n, c: _quoted(f'{_word(d, n, c)}=>"{_word(d, n, c)}"'),
    "tsvector": lambda d, n, c: _quoted(f"{_word(d, n, c)} {_word(d, n, c)}"),
}  # fmt: skip
_ALIASES = {
    "varchar": "text",
    "citext": "text",
    "zipcode": "text",
    "json": "jsonb",
    "bpchar": "char",
}

#: Columns that hold rows of tables with masked columns.
_HELD = {
    "kept": ["who", "many", "about", "somebody"],
    "boxed": ["card", "deck"],
    "boxed_once": ["card"],
}
#: Tables that refer to masked columns of others.
_SAME = {"refs": "people.ssn", "tails": "heads.secret", "tails_gone": "heads.secret"}
_INHERITED = {"child": ["pin", "extra"], "grandchild": ["pin", "extra"]}


def _fill(connection: psycopg.Connection[Any], values: Values) -> None:
    masked = masked_columns() | _INHERITED
    kinds = {
        (table, column): kind
        for table, column, kind in connection.execute(
            "SELECT c.relname, a.attname, t.typname FROM pg_attribute a JOIN pg_class c ON c.oid ="
            " a.attrelid JOIN pg_type t ON t.oid = a.atttypid WHERE c.relnamespace ="
            " 'public'::regnamespace AND a.attnum > 0"
        ).fetchall()
    }
    made = {table for table, _ in kinds}
    script = ["SET session_replication_role = replica"]
    for table, rows in public_rows(ROWS).items():
        for public, row in rows if table in made else ():
            cells = dict(public)
            for column in masked.get(table, []):
                kind = kinds[table, column]
                kind = "long" if table == "long_texts" else kind
                same = _SAME.get(table, f"{table}.{column}")
                cells[column] = values.sql(kind, same, row)
            script.append(
                f"INSERT INTO public.{table} ({', '.join(cells)}) VALUES"
                f" ({', '.join(cells.values())})"
            )
    secret = values.sql("text", "hidden.secrets", 0)
    number = values.sql("int4", "hidden.numbers", 0)
    numbers = "setval('public.numbered_secret_seq', n), setval('hidden.numbers', n)"
    script += [
        "RESET session_replication_role",
        f"INSERT INTO hidden.secrets VALUES (1, {secret})",
        "SELECT setval('public.notes_id_seq', 100)",
        f"SELECT {numbers} FROM least(2000000000, greatest({number}, 1)) n",
        *(f"REFRESH MATERIALIZED VIEW public.mv_{name}" for name in ("people", "richest", "rich")),
        *(f"INSERT INTO pristine.{table} SELECT * FROM public.{table}" for table in WRITABLE),
        "ANALYZE",
    ]
    connection.execute(";".join(script).encode())


class Databases:
    """Makes the worlds on one server. ``names``: of them; ``builders``: of the builder's worlds."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.canaries = Canaries()
        self.names = [f"attackdb{i}" for i in range(WORLDS)]
        self.builders = ["builddb0", "builddb1"]
        self._admin = psycopg.connect(self._dsn("postgres"), autocommit=True)
        self._direct: dict[str, psycopg.Connection[Any]] = {}
        self._state_sql = ""
        self._make()

    def _dsn(self, database: str) -> str:
        return self.server.superuser_dsn.rpartition("/")[0] + "/" + database

    @property
    def role_dsn(self) -> str:
        """To world 0 as the gateway's role, past the gateway."""
        return psycopg.conninfo.make_conninfo(
            self._dsn(self.names[0]), user=ROLE, password=AGENT_PASSWORD
        )

    def _make(self) -> None:
        self._admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{AGENT_PASSWORD}'")
        powers = (
            "pg_read_server_files, pg_write_server_files, pg_execute_server_program, pg_monitor,"
            " pg_signal_backend"
        )
        self._admin.execute(f"GRANT {powers} TO {ROLE}")
        self._admin.execute(
            f"CREATE DATABASE attackbase OWNER {ROLE} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
        )
        with psycopg.connect(self._dsn("attackbase"), autocommit=True) as base:
            base.execute((HERE / "schema.sql").read_text().replace("{role}", ROLE))
            for major in (15, 18):
                if self.server.major >= major:
                    more = (HERE / f"schema-{major}.sql").read_text()
                    base.execute(more.replace("{role}", ROLE))
            base.execute("CREATE SCHEMA pristine")
            for table in WRITABLE:
                base.execute(
                    f"CREATE TABLE pristine.{table} AS SELECT * FROM public.{table} WITH NO DATA"
                )
            next_oid = base.execute("SELECT max(oid::bigint) + 1 FROM pg_class").fetchone()
            self.late_oid = int(next_oid[0]) if next_oid else 0
        for number, name in enumerate(self.names):
            self._admin.execute(f"CREATE DATABASE {name} TEMPLATE attackbase OWNER {ROLE}")
            with psycopg.connect(self._dsn(name), autocommit=True) as connection:
                _fill(connection, Values(number, self.canaries))
        for number in range(len(self.builders)):
            template = f"TEMPLATE {self.names[number]} OWNER {ROLE}"
            self._admin.execute(f"CREATE DATABASE ruin{number} {template}")
        self.rebuild()
        self.first = [self.state(i) for i in range(WORLDS)]

    def next_transaction(self) -> str:
        """The server's next transaction id: it is the same for as long as nothing is written."""
        row = self._admin.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
        return str(row[0])  # type: ignore[index]

    def are_untouched(self, since: str, worlds: int) -> bool:
        """Whether nothing was written after ``since``, not even what was rolled back. Sequences are
        looked at: nextval() does without a transaction id.
        """
        return self.next_transaction() == since and all(
            self.direct(self.names[world]).execute(_SEQUENCES_SQL).fetchall()
            == [(key, value) for key, value in self.first[world].items() if key[0] == "s"]
            for world in range(worlds)
        )

    def rebuild(self) -> str:
        """The builder's worlds as they were, with a new empty relation, whose name it returns."""
        new = f"public.rebuilt_{self.next_transaction()}"
        for number, name in enumerate(self.builders):
            self._admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self._admin.execute(f"CREATE DATABASE {name} TEMPLATE ruin{number} OWNER {ROLE}")
            with psycopg.connect(self._dsn(name), autocommit=True) as connection:
                connection.execute(f"CREATE TABLE {new} (id int)")
                connection.execute(f"GRANT SELECT ON {new} TO {ROLE}")
            self._direct.pop(name, None)
        return new

    def direct(self, name: str) -> psycopg.Connection[Any]:
        """As superuser, past the gateway."""
        if name not in self._direct:
            connection = self._direct[name] = psycopg.connect(self._dsn(name), autocommit=True)
            connection.execute("SET session_replication_role = replica")
        return self._direct[name]

    def value(self, table: str, column: str, row: int = 0) -> str:
        """A masked value of world 0, as text."""
        cursor = self.direct(self.names[0]).execute(
            f"SELECT {column}::text FROM {table} ORDER BY ctid OFFSET {row} LIMIT 1"
        )
        return str(cursor.fetchone()[0])  # type: ignore[index]

    def state(self, world: int) -> dict[str, str]:
        """What is in a world: ``p.`` the public columns of each table, ``m.`` a digest of the
        masked ones, ``c.`` the catalog.
        """
        connection = self.direct(self.names[world])
        if not self._state_sql:
            self._state_sql = _state_sql(connection)
        return dict(connection.execute(self._state_sql).fetchall())

    def reset(self, world: int) -> None:
        """Undo what a statement wrote, in every table that policy lets an agent write."""
        script = ["BEGIN", f"TRUNCATE {', '.join(f'public.{table}' for table in WRITABLE)}"]
        for table in WRITABLE:
            columns = _INSERTED.get(table, "*")
            into = f"public.{table} ({columns})" if columns != "*" else f"public.{table}"
            script.append(f"INSERT INTO {into} SELECT {columns} FROM pristine.{table}")
        script += [
            # TRUNCATE forgets how many rows there are; the planner would then guess by the widths
            # of all columns, masked ones included
            (
                f"UPDATE pg_class SET relpages = 1, reltuples = {ROWS} WHERE oid = ANY"
                f" ('{{{', '.join(WRITABLE)}}}'::regclass[])"
            ),
            "SELECT setval('public.notes_id_seq', 100)",
            "SELECT setval('public.counter', 1, false)",
            "COMMIT",
        ]
        self.direct(self.names[world]).execute(";".join(script).encode())

    def close(self) -> None:
        for connection in [self._admin, *self._direct.values()]:
            connection.close()


_SEQUENCES_SQL = (
    "SELECT 's.counter', last_value::text FROM public.counter"
    " UNION ALL SELECT 's.notes', last_value::text FROM public.notes_id_seq"
)


def _state_sql(connection: psycopg.Connection[Any]) -> str:
    masked = {
        (t, c) for t, columns in (masked_columns() | _INHERITED | _HELD).items() for c in columns
    } | MADE_OF_MASKED
    masked |= {(f"events_{year}", "secret") for year in (2025, 2026)}
    masked |= {
        (f"{table}_{part}", "secret")
        for table in ("by_secret", "routed")
        for part in ("low", "high")
    }
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped AND"
        " c.relkind IN ('r', 'm') ORDER BY c.relname, a.attnum"
    ).fetchall():
        columns.setdefault(table, []).append(column)
    parts = []
    for table, names in columns.items():
        public = ", ".join(name for name in names if (table, name) not in masked)
        secret = ", ".join(name for name in names if (table, name) in masked)
        for prefix, chosen in (("p", public), ("m", secret)):
            if chosen and not (prefix == "p" and table.startswith(_PARTS)):
                rows = f"string_agg(ROW({chosen})::text, E'\\n' ORDER BY ROW({chosen})::text)"
                value = rows if prefix == "p" else f"md5({rows})"
                parts.append(
                    f"SELECT '{prefix}.{table}', (SELECT coalesce({value}, '') FROM ONLY"
                    f" public.{table})"
                )
    names = "string_agg(x, ',' ORDER BY x)"
    catalog = {
        "relations": (
            "SELECT nspname || '.' || relname || relkind::text || coalesce(array_to_string(relacl,"
            " ' '), '') x FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname"
            " !~ '^pg_toast'"
        ),
        "columns": (
            "SELECT attrelid::regclass::text || '.' || attname || atttypid::text x FROM"
            " pg_attribute WHERE attrelid >= 16384 AND attnum > 0"
        ),
        "functions": (
            "SELECT oid::regprocedure::text || md5(prosrc) x FROM pg_proc WHERE oid >= 16384"
        ),
        "comments": "SELECT description x FROM pg_description WHERE objoid >= 16384",
        "settings": "SELECT setconfig::text x FROM pg_db_role_setting",
        "objects": "SELECT oid::text x FROM pg_largeobject_metadata",
        "roles": "SELECT rolname::text x FROM pg_roles",
        "rules": (
            "SELECT rulename::text x FROM pg_rewrite WHERE oid >= 16384 UNION ALL SELECT"
            " tgname::text FROM pg_trigger WHERE NOT tgisinternal"
        ),
        "schemas": "SELECT nspname::text x FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'",
        "extensions": "SELECT extname::text x FROM pg_extension",
        "policies": "SELECT polname::text x FROM pg_policy",
    }
    parts += [
        f"SELECT 'c.{key}', (SELECT {names} FROM ({query}) q)" for key, query in catalog.items()
    ]
    return " UNION ALL ".join([*parts, _SEQUENCES_SQL])
