"""The masked copy M of a database D: the same schema, and in each masked table what a ``SELECT *``
through the gateway shows.

M is made of D before the gateway starts (CREATE DATABASE ... TEMPLATE keeps OIDs) and filled once
it runs. Dropped in M before: views (made again after), foreign keys, CHECKs, defaults, generation
expressions, NOT NULLs, unique constraints and indexes on tables that have masked columns. Masked
columns lose domain, length and precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import pq, sql

from tests.support.postgres import Server
from tests.workloads.families import dsn_of

_RELATIONS = """
SELECT c.relname, c.relkind::text, EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
  AS has_children
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'm')
  ORDER BY c.oid
"""
_COLUMNS = """
SELECT a.attname, a.attgenerated::text, a.attinhcount > 0, a.attnum,
       format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, -1),
       CASE WHEN a.attcollation NOT IN (0, 100) THEN a.attcollation::regcollation::text END
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = format('public.%%I', %s::text)::regclass AND a.attnum > 0 AND NOT a.attisdropped
  ORDER BY a.attnum
"""


@dataclass(frozen=True)
class Column:
    """``base``: the type without domain, length and precision. ``generated``: "", "s" (stored) or
    "v" (virtual).
    """

    name: str
    generated: str
    inherited: bool
    number: int
    base: str
    collation: str | None

    @property
    def quoted(self) -> str:
        """The name as SQL has it."""
        return '"' + self.name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Shown:
    """What the gateway shows of a relation. ``changed``: the columns that it masks."""

    relation: str
    kind: str
    only: bool
    columns: tuple[Column, ...]
    changed: tuple[Column, ...]
    rows: tuple[tuple[bytes | None, ...], ...]


def copy_database(server: Server, original: str, masked: str) -> None:
    """CREATE DATABASE ... TEMPLATE; nobody may be connected to the original."""
    with psycopg.connect(dsn_of(server, "postgres"), autocommit=True) as db:
        db.execute(f"DROP DATABASE IF EXISTS {masked} WITH (FORCE)".encode())
        db.execute(f"CREATE DATABASE {masked} TEMPLATE {original}".encode())


def fill_masked(
    server: Server,
    original: str,
    masked: str,
    through: psycopg.Connection,
    named: set[tuple[str, str, str]],
) -> dict[str, list[str]]:
    """Give M what the gateway shows. ``named``: the columns that policy masks, as schema, table,
    column.

    Returns the masked columns of each relation that has any. RuntimeError when the gateway does not
    show a table.
    """
    with psycopg.connect(dsn_of(server, original), autocommit=True) as db:
        shown = [r for r in _shown(db, through, named) if r.changed or r.kind == "m"]
    with psycopg.connect(dsn_of(server, masked), autocommit=True) as db:
        db.execute("SET session_replication_role = replica")
        views = _drop_views(db)
        _replace_materialized(db, [relation for relation in shown if relation.kind == "m"])
        _drop_constraints(db, [relation.relation for relation in shown if relation.kind == "r"])
        _loosen_columns(db, shown)
        for relation in shown:
            _fill(db, relation)
        for statement in views:
            db.execute(statement.encode())
        db.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {server.user}".encode())
        db.execute("VACUUM ANALYZE")
    return {relation.relation: [column.name for column in relation.changed] for relation in shown}


def _shown(
    db: psycopg.Connection, through: psycopg.Connection, named: set[tuple[str, str, str]]
) -> Iterator[Shown]:
    for relation, kind, only in db.execute(_RELATIONS.encode()).fetchall():
        columns = tuple(
            Column(*row) for row in db.execute(_COLUMNS.encode(), (relation,)).fetchall()
        )
        text = f'SELECT * FROM {"ONLY " if only else ""}public."{relation}"'
        raw, masked = _rows(db, text), _rows(through, text)
        if len(raw) != len(masked):
            raise RuntimeError(f"{text}: {len(raw)} rows, through the gateway {len(masked)}")
        differ = {
            i
            for i in range(len(columns))
            if any(a[i] != b[i] for a, b in zip(raw, masked, strict=True))
        }
        changed = tuple(
            column
            for i, column in enumerate(columns)
            if i in differ or ("public", relation, column.name) in named
        )
        yield Shown(relation, kind, only, columns, changed, masked)


def _rows(db: psycopg.Connection, text: str) -> tuple[tuple[bytes | None, ...], ...]:
    result = db.pgconn.exec_(text.encode())
    if result.status != pq.ExecStatus.TUPLES_OK:
        raise RuntimeError(f"{text}: {result.error_message.decode(errors='replace')}")
    width = range(result.nfields)
    return tuple(tuple(result.get_value(row, i) for i in width) for row in range(result.ntuples))


def _drop_views(db: psycopg.Connection) -> list[str]:
    """The statements that make them again, in order."""
    views = db.execute(
        "SELECT relname, pg_get_viewdef(oid) FROM pg_class"
        " WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace ORDER BY oid"
    ).fetchall()
    for name, _ in reversed(views):
        db.execute(sql.SQL("DROP VIEW public.{} CASCADE").format(sql.Identifier(name)))
    return [f'CREATE VIEW public."{name}" AS {body}' for name, body in views]


def _drop_constraints(db: psycopg.Connection, relations: list[str]) -> None:
    names = "ANY (SELECT format('public.%%I', n)::regclass FROM unnest(%s::text[]) n)"
    constraints = db.execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE conparentid = 0 AND"
        " coninhcount = 0 AND ((contype = 'f' AND connamespace = 'public'::regnamespace) OR"
        f" (contype IN ('c', 'u', 'x') AND conrelid = {names}))".encode(),
        (relations,),
    ).fetchall()
    for table, name in constraints:
        db.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {} CASCADE").format(
                sql.SQL(table), sql.Identifier(name)
            )
        )
    indexes = db.execute(
        "SELECT indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        f" WHERE NOT indisprimary AND NOT relispartition AND indrelid = {names}".encode(),
        (relations,),
    ).fetchall()
    for (name,) in indexes:
        db.execute(f"DROP INDEX {name}".encode())


def _loosen_columns(db: psycopg.Connection, shown: list[Shown]) -> None:
    """Empty the tables first: a change of type then computes nothing."""
    for relation in shown:
        if relation.kind == "r":
            db.execute(f'TRUNCATE ONLY public."{relation.relation}"'.encode())
    for relation in shown:
        for column in sorted(relation.changed, key=lambda column: not column.generated):
            if relation.kind == "r":
                table = (
                    _owner(db, relation.relation, column.name)
                    if column.inherited
                    else relation.relation
                )
                _loosen(db, table, column)


def _owner(db: psycopg.Connection, relation: str, column: str) -> str:
    """The topmost table that this one inherits the column from."""
    row = db.execute(
        "WITH RECURSIVE up (oid) AS (SELECT format('public.%%I', %s::text)::regclass::oid UNION"
        " SELECT inhparent FROM pg_inherits JOIN up ON inhrelid = oid) SELECT relname FROM up JOIN"
        " pg_class USING (oid) JOIN pg_attribute ON attrelid = pg_class.oid WHERE attname = %s AND"
        " attinhcount = 0",
        (relation, column),
    ).fetchone()
    if row is None:
        raise RuntimeError(f"{relation}.{column} is inherited from nowhere")
    return str(row[0])


def _loosen(db: psycopg.Connection, table: str, column: Column) -> None:
    alter = f'ALTER TABLE public."{table}"'
    if column.generated == "v":  # the last column of its table, see schema.sql: its place is kept
        db.execute(f"{alter} DROP COLUMN {column.quoted}".encode())
        db.execute(f"{alter} ADD COLUMN {column.quoted} {column.base}".encode())
        return
    if column.generated == "s":
        db.execute(f"{alter} ALTER COLUMN {column.quoted} DROP EXPRESSION IF EXISTS".encode())
    db.execute(f"{alter} ALTER COLUMN {column.quoted} DROP NOT NULL".encode())
    db.execute(f"{alter} ALTER COLUMN {column.quoted} DROP DEFAULT".encode())
    collation = f" COLLATE {column.collation}" if column.collation else ""
    db.execute(f"{alter} ALTER COLUMN {column.quoted} TYPE {column.base}{collation}".encode())


def _replace_materialized(db: psycopg.Connection, shown: list[Shown]) -> None:
    """Each materialized view becomes an empty table of the same columns."""
    for relation in shown:
        columns = f'SELECT * FROM public."{relation.relation}" WITH NO DATA'
        db.execute(f'CREATE TABLE public."replaced {relation.relation}" AS {columns}'.encode())
    for relation in reversed(shown):
        db.execute(f'DROP MATERIALIZED VIEW public."{relation.relation}"'.encode())
    for relation in shown:
        alter = f'ALTER TABLE public."replaced {relation.relation}"'
        db.execute(f'{alter} RENAME TO "{relation.relation}"'.encode())
        for column in relation.changed:
            alter = f'ALTER TABLE public."{relation.relation}" ALTER COLUMN {column.quoted}'
            db.execute(f"{alter} TYPE {column.base}".encode())


def _fill(db: psycopg.Connection, relation: Shown) -> None:
    name = f'public."{relation.relation}"'
    changed = {column.name for column in relation.changed}
    kept = [i for i, c in enumerate(relation.columns) if not c.generated or c.name in changed]
    columns = ", ".join(relation.columns[i].quoted for i in kept)
    with db.cursor().copy(f"COPY {name} ({columns}) FROM STDIN".encode()) as copy:
        for row in relation.rows:
            copy.write(b"\t".join(_copy_text(row[i]) for i in kept) + b"\n")


def _copy_text(value: bytes | None) -> bytes:
    if value is None:
        return b"\\N"
    escaped = value.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return escaped.replace(b"\r", b"\\r").replace(b"\t", b"\\t")
