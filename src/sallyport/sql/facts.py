"""What a statement does, as a frozen value. Facts know nothing of policy; policy knows nothing of
SQL text.

Made by :func:`sallyport.sql.extract.analyze`. Anything the extractor does not understand is an
:class:`Unknown`, and any unknown is a refusal (promise 3: fail closed).
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from sallyport.sql.catalog.snapshot import ColumnId, Relation
from sallyport.sql.groupings import Grouping


class Dependence(Enum):
    """How an output column depends on its sources."""

    # the value of exactly one column, unchanged (a mask of that column applies)
    IDENTITY = "identity"
    DERIVED = "derived"  # computed from its sources (redacted when any source is masked)
    # computed in a way that was not followed (an Unknown comes with it unless trusted)
    OPAQUE = "opaque"


class Clause(Enum):
    """Where a raw value influences a statement: a mask cannot stand in its place there.

    The first five are references to the target of a write; the rest is what PostgreSQL itself does
    with rows that are written.
    """

    WHERE = "WHERE"
    SET = "SET"
    MERGE_CONDITION = "MERGE condition"
    ON_CONFLICT = "ON CONFLICT"
    RETURNING = "RETURNING"
    UNIQUE = "a unique index"  # that a value is taken shows when a row is refused
    FOREIGN_KEY = "a foreign key"
    # constraints, generated columns, index expressions, conversions
    CHECK = "a check or computed value"
    # which are bounded: a value that is too long is refused
    TRIGGER = "a trigger"  # which may copy it
    INDEX_SIZE = "the size of an index entry"
    ROW_SIZE = "the size of a row"
    STORED_FORM = "the stored form of a value"  # which depends on how long its row is
    PARTITION = "the choice of a partition"
    SEQUENCE = "the numbers of its sequence"  # the last of which is the newest row's value
    DEFINITION = "the definition of a materialized view"  # which REFRESH computes


class Influence(Struct, frozen=True):
    """``equality``: the column is only compared by ``=``/IN with constants or parameters.

    ``position``: 0-based byte offset in the script, or -1.
    """

    column: ColumnId
    clause: Clause
    equality: bool = False
    position: int = -1


class OutputColumn(Struct, frozen=True):
    """One column of the result (or of COPY data).

    ``origin`` is what RowDescription must say for it (table OID, attnum), or None for (0, 0): the
    second lock compares. ``sources`` holds base columns with views, CTEs and subqueries expanded,
    and the view's own column as well. ``raw``: it comes from the target of a write (RETURNING),
    where no subselect can stand.
    """

    name: str
    sources: frozenset[ColumnId]
    dependence: Dependence
    origin: ColumnId | None = None
    raw: bool = False


class Access(Struct, frozen=True):
    """``action`` is a policy action (select, insert, update, delete, merge, truncate, lock, ...).
    ``indirect``: reached through a view's definition.
    """

    relation: int
    action: str
    indirect: bool = False
    columns: frozenset[ColumnId] = frozenset()


class FunctionUse(Struct, frozen=True):
    """A call of a function that is not in pg_catalog; policy must name it. ``oid`` 0: not resolved
    to one overload.
    """

    schema: str
    name: str
    oid: int = 0
    position: int = -1


class Flow(Struct, frozen=True):
    """Data written: ``sources`` end up in ``target`` (a column), or in one that does not exist yet
    (target None).

    ``into``: schema, relation and name of a column that does not exist yet, where they are known.
    """

    target: ColumnId | None
    sources: frozenset[ColumnId]
    position: int = -1
    into: tuple[str, str, str] | None = None


class NamedObject(Struct, frozen=True):
    """An object, by name, that ``action`` concerns and that is no relation of the snapshot: a new
    table, a type, a new name.

    ``name`` "": the schema itself. ``schema`` "": an object that is in no schema.
    """

    action: str
    schema: str = ""
    name: str = ""


class SettingChange(Struct, frozen=True):
    """SET / RESET / set_config. ``value`` None: RESET or DEFAULT. ``name`` '' with RESET ALL.
    ``local``: SET LOCAL.
    """

    name: str
    value: str | None
    local: bool = False
    position: int = -1


class BoundSetting(Struct, frozen=True):
    """set_config whose name or value is a parameter: its number in the place of the text. What it
    sets shows at Bind.
    """

    name: str | int
    value: str | int


class Unknown(Struct, frozen=True):
    """``code``: a refusal code of :mod:`sallyport.core.errors` (SP1102, SP1103, ...).
    ``what``: the refusal's message.

    ``message``: the same where it is PostgreSQL's own, or the form is one that no rule can allow
    (``is_form``); "" otherwise. ``relation``: of a missing relation, its name without a schema.
    """

    code: str
    what: str
    hint: str = ""
    position: int = -1
    message: str = ""
    relation: str = ""

    @property
    def is_form(self) -> bool:
        """The form of the statement is not supported, whatever it is about."""
        return self.code == "SP1107" and bool(self.message)


class Exposure(Struct, frozen=True):
    """A view gets a column (``name``) computed from ``sources``, or ("") rows chosen by them, where
    statements that were judged a moment ago may still mean another relation by the view's name.
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
    CURRENT_OF = "current of"  # name: of the cursor whose row is written
    CLOSE = "close"  # name, "" means ALL
    SET = "set"
    DISCARD = "discard"  # name: all | plans | temp | sequences
    COPY_IN = "copy in"
    COPY_OUT = "copy out"
    DDL = "ddl"  # the catalog snapshot is stale once it succeeds
    LISTEN = "listen"
    NOTIFY = "notify"
    TWO_PHASE = "two phase"  # name: the identifier that a transaction is prepared or finished by


class Effect(Struct, frozen=True):
    """Something that a statement changes in its session. ``hold``: of DECLARE, WITH HOLD."""

    kind: EffectKind
    name: str = ""
    hold: bool = False


class CopyFormat(Struct, frozen=True):
    """Options of a COPY as the masker needs them. ``format``: text | csv | binary."""

    format: str = "text"
    delimiter: str = "\t"
    null: str = "\\N"
    header: bool = False
    quote: str = '"'
    escape: str = '"'
    force_quote: bool = False


class RangeVariable(Struct, frozen=True):
    """A relation by name in FROM, USING or as the target of a write (RangeVar in parsenodes.h).

    ``position``: byte offset of its name in the script. ``relation``: pg_class.oid, 0 for a WITH
    query. ``name``: what it answers to. ``path``: the relation's name as written, 1 to 3 parts.
    ``locked``: FOR UPDATE or the like may lock its rows. ``level``: equal for those of one FROM
    clause.
    """

    position: int
    relation: int
    name: str
    path: tuple[str, ...] = ()
    has_alias: bool = False
    has_column_aliases: bool = False
    only: bool = False
    sampled: bool = False
    locked: bool = False
    target: bool = False
    level: int = 0


class Comparison(Struct, frozen=True):
    """An AND-ed part of WHERE that compares a range variable's column with constants or parameters
    by ``=``, IN or ANY.

    ``reference``: byte offset of the column's reference, which has ``parts`` names. ``tree``: the
    condition's parse tree as JSON, without positions. The range variable's rows are in the result
    only where the condition is true. ``parameters``: numbers of those that stand in it without a
    cast; ``array``: they are arrays of what the column is compared with; ``repeated``: one of them
    stands elsewhere in the statement too, which may be what gives it its type.
    """

    column: ColumnId
    variable: int
    reference: int
    parts: int
    tree: bytes
    parameters: frozenset[int] = frozenset()
    array: bool = False
    repeated: bool = False


class SchemaReference(Struct, frozen=True):
    """A reference that names a relation with its schema. ``parts``: how many names stand before the
    column's.
    """

    position: int
    parts: int
    variable: int


class RowReference(Struct, frozen=True):
    """A reference to the whole row of a range variable, as ``t`` or ``t.*`` where one value is
    wanted.

    ``parts``: names of the range variable. ``star``: ``.*`` stands behind them. ``nullable``: an
    outer join may make the row NULL.
    """

    position: int
    parts: int
    variable: int
    star: bool = False
    nullable: bool = False


class ConstantUse(Struct, frozen=True):
    """A literal or parameter of the statement that is compared with, or written to, ``columns`` and
    nothing else.

    ``position``: its byte offset in the script. ``is_value``: it is a whole value of the one column
    that is meant (views' columns are named with those under them). ``listed``: it stands in a list
    whose later constants the tree may lack.
    """

    position: int
    columns: frozenset[ColumnId]
    is_value: bool = False
    listed: bool = False


class DependantDrop(Struct, frozen=True):
    """A statement that drops what CASCADE would reach, and what that is, as PostgreSQL says it."""

    sql: str
    what: tuple[str, ...]


class PlainShape(Struct, frozen=True):
    """A SELECT over one relation and nothing that could store or order its rows: see
    :mod:`sallyport.sql.plain`.

    ``outputs``: names of the columns in the select list, "*" for a star. ``names``: every other
    identifier in the statement. ``order``: names of the columns in ORDER BY. ``is_limited``: LIMIT
    or OFFSET chooses among its rows.
    """

    relation: int
    outputs: tuple[str, ...]
    names: frozenset[str]
    order: tuple[str, ...] = ()
    is_limited: bool = False


def meant_by(meant: bytes, number: int) -> int:
    """As :meth:`StatementFacts.meant_by`."""
    return int.from_bytes(meant[2 * number : 2 * number + 2], "little") or number


class StatementFacts(Struct, frozen=True):
    """``kind`` is the policy action of the statement as a whole (select, update, explain, set,
    begin, ...).

    ``start``/``end``: byte offsets of the statement in the UTF-8 script. ``columns``: None when the
    statement returns no rows. ``has_where``: for UPDATE and DELETE (None otherwise). ``inner``: of
    EXPLAIN, PREPARE, DECLARE, COPY (query), CTAS.
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
    code_settings: tuple[SettingChange, ...] = ()  # a function's: in force while it runs
    effects: tuple[Effect, ...] = ()
    unknowns: tuple[Unknown, ...] = ()
    has_where: bool | None = None
    #: foreign keys look up the rows that point at those written, and lock them, by these columns
    visited_by: frozenset[ColumnId] = frozenset()
    #: each UPDATE and DELETE in it gives the whole primary key of the row it writes
    is_by_key: bool = False
    inner: StatementFacts | None = None
    copy_format: CopyFormat | None = None
    #: every column mentioned anywhere: errors about them are scrubbed
    mentioned_columns: frozenset[ColumnId] = frozenset()
    #: parameters ($n, from 1) that name a setting which is read: at Bind their values must satisfy
    #: policy's may_read
    setting_parameters: frozenset[int] = frozenset()
    #: likewise what it sets, which must satisfy policy's check_change
    bound_settings: tuple[BoundSetting, ...] = ()
    #: custom settings whose values are shown, with positions: policy says which
    setting_reads: tuple[tuple[str, int], ...] = ()
    #: what the statement does to objects that are no relations of the snapshot
    named_objects: tuple[NamedObject, ...] = ()
    #: OIDs of temporary relations that it concerns
    temporary: frozenset[int] = frozenset()
    #: other actions that rules may call ``kind`` by: ALTER TABLE ... RENAME is also rename
    action_aliases: frozenset[str] = frozenset()
    #: relations as they are called, and whose children they are, once the statement has run; only
    #: those that change in this
    relations_after: tuple[Relation, ...] = ()
    #: (relation, parent) whose rows can be read through the parent afterwards
    new_inheritance: tuple[tuple[int, int], ...] = ()
    #: (number, pg_type OID): a parameter that a cast which users made converts, if of this type; or
    #: that is no argument, unless of any type (sallyport.sql.values.void_parameters)
    cast_parameters: frozenset[tuple[int, int]] = frozenset()
    #: parameters that others stand for in all of this (sallyport.wire.scan.outline): see
    #: :meth:`meant_by`
    meant: bytes = b""
    #: of PREPARE: the types (pg_type OIDs) that it gives its parameters, in order
    declared_types: tuple[int, ...] = ()
    #: fields of a parameter are read, whose type was not given
    asks_types: bool = False
    exposures: tuple[Exposure, ...] = ()
    #: OIDs of functions that were judged by their body, those that such bodies call included
    followed: frozenset[int] = frozenset()
    #: one of them is text whose names PostgreSQL looks up when it runs
    resolves_names_at_run_time: bool = False
    #: it calls a volatile function: what that gives may depend on the rows that it was called for
    #: before
    calls_volatile: bool = False
    #: every column that an expression reads
    read: frozenset[ColumnId] = frozenset()
    #: system columns that are named, as (relation, negative attribute number)
    system_columns: frozenset[ColumnId] = frozenset()
    range_variables: tuple[RangeVariable, ...] = ()
    schema_references: tuple[SchemaReference, ...] = ()
    row_references: tuple[RowReference, ...] = ()
    #: byte offsets of calls of functions that give counters of a relation
    #: (sallyport.sql.catalog.system_views)
    counter_calls: tuple[int, ...] = ()
    #: columns by which rows are told apart: DISTINCT, UNION, INTERSECT, EXCEPT
    distinguished: frozenset[ColumnId] = frozenset()
    #: it calls current_query()
    tells_text: bool = False
    #: what it makes or runs of code that is not read, "" for none (sallyport.sql.ddl.code)
    unread_code: str = ""
    #: it ends in CASCADE, which is sent as RESTRICT (sallyport.sql.rewrite.cascade)
    cascades: bool = False
    #: sent in its place: it alters, IF EXISTS, what is not there (sallyport.sql.ddl.absent)
    absent: str = ""
    #: what it reaches, as far as that is known, dependants first (sallyport.sql.ddl.dependants)
    drops_first: tuple[DependantDrop, ...] = ()
    #: what TRUNCATE CASCADE empties besides what it names (sallyport.sql.ddl.truncate)
    truncates: tuple[Relation, ...] = ()
    #: relations all of whose columns a ``*`` stands for
    starred: frozenset[int] = frozenset()
    groupings: tuple[Grouping, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    #: relations whose columns are renamed by position
    positional: frozenset[int] = frozenset()
    plain: PlainShape | None = None
    #: options of EXPLAIN that are on or off by name
    explain_options: tuple[tuple[str, bool], ...] = ()
    #: columns that are used other than as an entry of a select list by themselves or in a whole
    #: row, each with the byte offset of its first mention (-1: not known). Lineage is followed;
    #: what definitions of views mention is not in it.
    mentioned: tuple[tuple[ColumnId, int], ...] = ()
    #: likewise inside the definitions of the views that are read or written, in their conditions as
    #: in their outputs
    mentioned_in_views: frozenset[ColumnId] = frozenset()
    #: columns of rows that are referred to as a whole
    used_in_rows: frozenset[ColumnId] = frozenset()
    #: columns that are read inside the bodies of ``followed`` functions
    read_in_functions: frozenset[ColumnId] = frozenset()
    #: those of its literals and parameters of which it is known what they meet
    constants: tuple[ConstantUse, ...] = ()
    #: numbers (from 0) of its output columns that may repeat a literal or parameter of its text;
    #: None: it is not known of any
    quoting: frozenset[int] | None = None
    #: byte offsets of the literals and parameters in the expressions of those columns
    quoted: frozenset[int] = frozenset()

    @property
    def set_names(self) -> tuple[str | int, ...]:
        """Names of settings that are set, "" for all; the number of a parameter that is one."""
        return (
            *(setting.name for setting in self.settings),
            *(setting.name for setting in self.bound_settings),
        )

    def meant_by(self, number: int) -> int:
        """The parameter of which is said what is true of ``$number``: itself, or one that is used
        in the same way.
        """
        return meant_by(self.meant, number)

    @property
    def computed_with(self) -> frozenset[ColumnId]:
        """Columns whose values decide or enter expressions, those in views that are read
        included.
        """
        mentioned = frozenset(column for column, _ in self.mentioned)
        return mentioned | self.mentioned_in_views | self.distinguished | self.used_in_rows
