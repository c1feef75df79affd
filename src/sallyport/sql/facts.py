"""What a statement does, as a frozen value. Facts know nothing of policy; policy knows nothing of SQL text.

Made by :func:`sallyport.sql.extract.analyze`. Anything the extractor does not understand is an :class:`Unknown`, and any unknown
is a refusal (promise 3: fail closed).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from sallyport.sql.catalog import ColumnId, Relation


class Dependence(Enum):
    """How an output column depends on its sources."""

    IDENTITY = "identity"  # the value of exactly one column, unchanged (a mask of that column applies)
    DERIVED = "derived"  # computed from its sources (redacted when any source is masked)
    OPAQUE = "opaque"  # computed in a way that was not followed (an Unknown comes with it unless trusted)


class Clause(Enum):
    """Where a column influences a result without being output."""

    WHERE = "WHERE"
    JOIN = "JOIN"
    GROUP_BY = "GROUP BY"
    HAVING = "HAVING"
    ORDER_BY = "ORDER BY"
    DISTINCT = "DISTINCT"
    SET_OPERATION = "UNION/INTERSECT/EXCEPT"
    CASE = "CASE/COALESCE"
    FILTER = "FILTER"
    WINDOW = "WINDOW"
    LIMIT = "LIMIT/OFFSET"
    ROW_COUNT = "set-returning function"
    ON_CONFLICT = "ON CONFLICT"
    MAY_FAIL = "an expression that can fail"  # an error, or its absence, would tell the value
    MERGE_CONDITION = "MERGE condition"
    STATISTICS = "EXPLAIN costs and widths"
    COPY_WHERE = "COPY ... WHERE"
    UNIQUE = "a unique index"  # that a value is taken shows when a row is refused
    FOREIGN_KEY = "a foreign key"
    CHECK = "a check constraint"
    INDEX_SIZE = "the size of an index entry"  # which is bounded: a value that is too long is refused
    GUARD = (
        "a condition that decides whether something is computed"  # and so whether it fails or has an effect
    )
    PARTITION = "the choice of a partition"


@dataclass(frozen=True, slots=True)
class Influence:
    """``equality``: the column is only compared by ``=``/IN with constants or parameters. ``position``: 0-based byte offset in the script, or -1."""

    column: ColumnId
    clause: Clause
    equality: bool = False
    position: int = -1


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """One column of the result (or of COPY data).

    ``origin`` is what RowDescription must say for it (table OID, attnum), or None for (0, 0): the second lock compares.
    ``sources`` holds base columns with views, CTEs and subqueries expanded, and the view's own column as well.
    """

    name: str
    sources: frozenset[ColumnId]
    dependence: Dependence
    origin: ColumnId | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """``action`` is a policy action (select, insert, update, delete, merge, truncate, lock, ...). ``indirect``: reached through a view's definition."""

    relation: int
    action: str
    indirect: bool = False
    columns: frozenset[ColumnId] = frozenset()


@dataclass(frozen=True, slots=True)
class FunctionUse:
    """A call of a function that is not in pg_catalog; policy must name it. ``oid`` 0: not resolved to one overload."""

    schema: str
    name: str
    oid: int = 0
    position: int = -1


@dataclass(frozen=True, slots=True)
class Flow:
    """Data written: ``sources`` end up in ``target`` (a column), or in one that does not exist yet (target None).

    ``into``: schema, relation and name of a column that does not exist yet, where they are known.
    """

    target: ColumnId | None
    sources: frozenset[ColumnId]
    position: int = -1
    into: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Naming:
    """An object, by name, that ``action`` concerns and that is no relation of the snapshot: a new table, a type, a new name.

    ``name`` "": the schema itself. ``schema`` "": an object that is in no schema.
    """

    action: str
    schema: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """SET / RESET / set_config. ``value`` None: RESET or DEFAULT. ``name`` '' with RESET ALL. ``local``: SET LOCAL."""

    name: str
    value: str | None
    local: bool = False
    position: int = -1


@dataclass(frozen=True, slots=True)
class Unknown:
    """``code``: a refusal code of :mod:`sallyport.core.errors` (SP1102, SP1103, ...). ``what`` completes 'The gateway does not ...'.

    ``message``: the whole message where it is PostgreSQL's own ("" otherwise).
    """

    code: str
    what: str
    hint: str = ""
    position: int = -1
    message: str = ""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A view gets a column (``name``) computed from ``sources``, or ("") rows chosen by them, where statements that were judged a moment ago
    may still mean another relation by the view's name.
    """

    schema: str
    relation: str
    name: str
    sources: frozenset[ColumnId]


class EffectKind(Enum):
    """What a statement does to the session, which the session machine must follow."""

    BEGIN = "begin"
    COMMIT = "commit"  # COMMIT, END, COMMIT AND CHAIN, PREPARE TRANSACTION
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    ROLLBACK_TO = "rollback to"
    RELEASE = "release"
    PREPARE = "prepare"  # name; the inner statement is ``StatementFacts.inner``
    EXECUTE = "execute"  # name: rows follow the plan of that prepared statement
    DEALLOCATE = "deallocate"  # name, "" means ALL
    DECLARE = "declare"  # name; ``inner``
    EXPLAIN = "explain"  # name: EXPLAIN EXECUTE, judged as EXPLAIN of that prepared statement
    FETCH = "fetch"  # name: rows follow the plan of that cursor (MOVE as well)
    CLOSE = "close"  # name, "" means ALL
    SET = "set"
    DISCARD = "discard"  # name: all | plans | temp | sequences
    COPY_IN = "copy in"
    COPY_OUT = "copy out"
    DDL = "ddl"  # the catalog snapshot is stale once it succeeds
    LISTEN = "listen"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class Effect:
    kind: EffectKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class CopyFormat:
    """Options of a COPY as the masker needs them. ``format``: text | csv | binary."""

    format: str = "text"
    delimiter: str = "\t"
    null: str = "\\N"
    header: bool = False
    quote: str = '"'
    escape: str = '"'
    force_quote: bool = False


@dataclass(frozen=True, slots=True)
class TypedParameter:
    """``$number`` must be declared as one of ``types`` (pg_type OIDs) or not at all: as another type it would convert ``sources``, which
    can fail.
    """

    number: int
    types: frozenset[int]
    sources: frozenset[ColumnId]


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """``kind`` is the policy action of the statement as a whole (select, update, explain, set, begin, ...).

    ``start``/``end``: byte offsets of the statement in the UTF-8 script. ``columns``: None when the statement returns no rows.
    ``has_where``: for UPDATE and DELETE (None otherwise). ``inner``: of EXPLAIN, PREPARE, DECLARE, COPY (query), CTAS.
    """

    kind: str
    start: int
    end: int
    columns: tuple[OutputColumn, ...] | None = None
    accesses: tuple[Access, ...] = ()
    functions: tuple[FunctionUse, ...] = ()
    influences: tuple[Influence, ...] = ()
    flows: tuple[Flow, ...] = ()
    settings: tuple[SettingChange, ...] = ()
    effects: tuple[Effect, ...] = ()
    unknowns: tuple[Unknown, ...] = ()
    has_where: bool | None = None
    inner: StatementFacts | None = None
    copy_format: CopyFormat | None = None
    #: every column mentioned anywhere: errors about them are scrubbed
    touched: frozenset[ColumnId] = field(default=frozenset())
    #: parameters ($n, from 1) that name a setting: at Bind their values must satisfy settings.show_allowed
    setting_parameters: frozenset[int] = frozenset()
    #: parameters that stand beside columns which another type of parameter would convert, and so let fail
    typed_parameters: tuple[TypedParameter, ...] = ()
    #: what the statement does to objects that are no relations of the snapshot
    namings: tuple[Naming, ...] = ()
    #: other actions that rules may call ``kind`` by: ALTER TABLE ... RENAME is alter_table and rename
    also: frozenset[str] = frozenset()
    #: relations as they are called, and whose children they are, once the statement has run; only those that change in this
    after: tuple[Relation, ...] = ()
    #: (relation, parent) whose rows can be read through the parent afterwards
    joins: tuple[tuple[int, int], ...] = ()
    exposures: tuple[Exposure, ...] = ()
    #: (number, pg_type OID): a parameter that, were it declared as this type, would be converted by a cast that users made
    cast_parameters: frozenset[tuple[int, int]] = frozenset()
    #: OIDs of functions that were judged by their body, those that such bodies call included
    followed: frozenset[int] = frozenset()
    #: one of them is text whose names PostgreSQL looks up when it runs
    late_names: bool = False
