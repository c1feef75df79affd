"""What is gathered while one statement is walked, and the questions that every part of the walk
asks.

An :class:`Analysis` collects the facts of one statement; :meth:`Analysis.facts` freezes them.
Nothing here raises for what a statement says: what is not understood is noted with :meth:`unknown`,
and the walk goes on with an opaque value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from msgspec import Struct
from msgspec.structs import replace

from sallyport.core.errors import RefusedError, refuse
from sallyport.sql.catalog.snapshot import TEMPORARY, CatalogSnapshot, ColumnId, Function, Relation
from sallyport.sql.expressions.grouping import GroupingLevel
from sallyport.sql.facts import (
    Access,
    BoundSetting,
    Clause,
    Comparison,
    ConstantUse,
    CopyFormat,
    DependantDrop,
    Dependence,
    Effect,
    Exposure,
    Flow,
    FunctionUse,
    Influence,
    NamedObject,
    OutputColumn,
    PlainShape,
    RangeVariable,
    RowReference,
    SchemaReference,
    SettingChange,
    StatementFacts,
    Unknown,
)
from sallyport.sql.groupings import Grouping
from sallyport.sql.lineage import FUNCTION_SOURCE, OPAQUE, Field, Sources, Value
from sallyport.sql.names import temporary_names
from sallyport.sql.names.close_names import closest, closest_relation, meant, relation_elsewhere
from sallyport.sql.names.resolve import NameResolver
from sallyport.sql.names.scope import Item, Scope
from sallyport.sql.nodes import Handlers, tag_of
from sallyport.sql.text.parse import DEFAULT_LENGTH, Node


def _trust_none(function: Function) -> bool:
    return False


class Context(Struct, frozen=True):
    """Session state that changes what a statement means.

    search_path: effective schema names in order ("$user" replaced, missing schemas left out);
    pg_catalog is searched first unless named. role: the gateway's role at the target. max_length:
    bytes of text accepted. trusted_functions: functions outside pg_catalog that policy names for
    this subject. sleeping: functions of pg_catalog that only wait, and that policy names.
    """

    search_path: tuple[str, ...] = ("public",)
    role: str = ""
    max_length: int = DEFAULT_LENGTH
    trusted_functions: Callable[[Function], bool] = _trust_none
    #: this subject may run code that is not read (sallyport.policy.checks.unread_code)
    runs_code: bool = False
    sleeping: frozenset[str] = frozenset()
    #: those of them with a body that is not followed therefore, where the caller knows them already
    opaque: frozenset[int] | None = None
    #: parameters that are declared as void: a call is made without them (parse_func.c)
    void: frozenset[int] = frozenset()
    #: types of $1, ... that Parse declares (OIDs; 0: none), where fields of one are read
    declared: tuple[int, ...] = ()
    #: Raise TooMuchWork soon: the caller has better things to do.
    hurried: bool = False
    #: The parameters stand for literals (sallyport.sql.text.template).
    template: bool = False
    #: relations that a subselect may stand for: only of those it is asked whether a statement is
    #: plain, or relies on a primary key
    masked: frozenset[int] = frozenset()
    #: those of them of which comparisons with constants are noted
    compared: frozenset[int] = frozenset()


ExpressionHandler = Callable[["Analysis", Node, Scope], Value]
ItemHandler = Callable[["Analysis", Node, Scope, list[Item]], list[Item]]
QueryHandler = Callable[["Analysis", Node, Scope], "tuple[Field, ...] | None"]
StatementHandler = Callable[["Analysis", Node, int], None]

EXPRESSIONS: Handlers[ExpressionHandler] = Handlers("expression")
FROM_ITEMS: Handlers[ItemHandler] = Handlers("FROM item")
QUERIES: Handlers[QueryHandler] = Handlers("query")
STATEMENTS: Handlers[StatementHandler] = Handlers("statement")
_expression_of = EXPRESSIONS.table.get


#: Steps beyond one for each token, and for each statement.
_STEPS = 6_000
_STATEMENT = 25
#: For a text on whose verdict the event loop waits, whatever its length.
_HURRIED = 1_500
#: For definitions in the catalog, which are walked once.
_LARGE = 250_000
#: Sources of a value that cost nothing.
_FEW = 32


class TooMuchWork(RefusedError):
    """A text whose judging took more than :class:`Work` allows."""


class Work:
    """How much of a script's bounded work is left; shared by all its statements, so that none can
    hold up the gateway.

    A step is a node of the tree, or about as much time (some microseconds): fields of a star,
    sources of a value, names looked through. The tree itself is bounded by the parser, so every
    token has a step; what is left over is for texts that mean more than they say, and whose cost
    could multiply.
    """

    def __init__(self, tokens: int = _LARGE, statements: int = 1) -> None:
        self.left = _STEPS + tokens + _STATEMENT * statements
        # only the first thing that is not known is shown, and looking for names like it takes time
        self.suggestions = 1
        self.meant = b""  # of the script: as StatementFacts.meant

    @classmethod
    def hurried(cls) -> Work:
        return cls(_HURRIED - _STEPS, 0)

    def spend(self, steps: int) -> None:
        """Raises RefusedError (SP1105) when too much was asked."""
        self.left -= steps
        if self.left < 0:
            raise TooMuchWork(
                refuse(
                    "SP1105",
                    "the statement is too large to be judged",
                    hint="Split the statement, or send data with COPY FROM STDIN.",
                )
            )


#: PostgreSQL's MaxTupleAttributeNumber: no query has more output columns.
MAX_COLUMNS = 1664


class Analysis:
    """The facts of one statement in the making."""

    def __init__(self, names: NameResolver, context: Context, work: Work) -> None:
        work.spend(20)
        self.work = work
        self.names = names
        self.types = names.types
        self.catalog: CatalogSnapshot = names.catalog
        self.context = context
        self.root: Node = {}
        self.parameter_uses: dict[int, int] | None = None  # of the root, once somebody asked
        self.kind = ""
        self.columns: tuple[OutputColumn, ...] | None = None
        self.plain_select = False  # a bare SELECT list at the top, where set_config is followed
        self.named_setting = ""  # but for set_config(name, ..) FROM pg_settings WHERE name = this
        self.against_access_method = False  # pg_am.amname = current_setting($1), by SQLAlchemy
        self.is_nested = self.inside_with = False
        #: of every UPDATE and DELETE, also inside WITH: it has a WHERE, and its key is given
        self.have_where: list[bool] = []
        self.are_by_key: list[bool] = []
        self.visited_by: set[ColumnId] = set()
        self.inner: StatementFacts | None = None
        self.copy_format: CopyFormat | None = None
        self.actions: set[str] = set()  # what is done to relations by writing
        self.setting_parameters: set[int] = set()
        self.bound_settings: list[BoundSetting] = []
        self.setting_reads: dict[str, int] = {}
        self.named_objects: dict[NamedObject, None] = {}
        self.action_aliases: set[str] = set()
        self.relations_after: dict[int, Relation] = {}
        self.new_inheritance: dict[tuple[int, int], None] = {}
        self.occurrences: dict[int, int] = {}  # how often $n occurs
        self.exposures: list[Exposure] = []
        self.settings: list[SettingChange] = []
        self.code_settings: list[SettingChange] = []
        self.effects: list[Effect] = []
        self.mentioned_columns: set[ColumnId] = set()  # whatever an error could tell about
        self.seen: set[ColumnId] = set()  # what is read
        self.views: tuple[int, ...] = ()  # whose definitions are being walked
        self.indirect = False  # inside such a definition: what is read is read by the view
        self.reads_directly = False  # inside one that no rule names: it is read by the statement
        self.following: tuple[int, ...] = ()  # SQL functions whose bodies are being walked
        self.followed: set[int] = set()
        # functions that were called here, and why their body was not walked
        self.not_followed: dict[int, str] = {}
        self.cast_parameters: set[tuple[int, int]] = set()
        self.declared_types: tuple[int, ...] = ()
        self.declared, self.asks_types = context.declared, False  # in PREPARE: by that
        self.resolves_names_at_run_time = self.tells_text = self.calls_volatile = False
        self.parameters: tuple[Value, ...] | None = None  # in such a body: what $1, ... stand for
        self.range_variables: dict[int, RangeVariable] = {}
        self.levels = 0  # of queries with range variables, so far
        self.locked: set[int] = set()  # positions of range variables
        self.sampled: set[int] = set()  # those under TABLESAMPLE
        self.schema_references: dict[int, SchemaReference] = {}
        self.row_references: dict[int, RowReference] = {}
        self.counter_calls: dict[int, None] = {}
        self.starred: set[int] = set()
        self.cascades, self.unread_code, self.absent = False, "", ""
        self.drops_first: tuple[DependantDrop, ...] = ()
        self.truncates: tuple[Relation, ...] = ()
        self.distinguished: set[ColumnId] = set()
        self.system_columns: set[ColumnId] = set()
        self.positional: set[int] = set()
        self.groupings: list[Grouping] = []
        self.comparisons: dict[int, Comparison] = {}
        self.constants: dict[int, ConstantUse] = {}
        self.quoting: frozenset[int] | None = None
        self.quoted: frozenset[int] = frozenset()
        self.constants_lost = False  # some of them meet what was too large to be followed
        self.ungrouped: GroupingLevel | None = None  # collects references outside aggregates now
        self.plain: PlainShape | None = None
        self.explain_options: dict[str, bool] = {}
        #: the clause of a write in which values of its target are read now
        self.clause = Clause.RETURNING
        # see :func:`sallyport.sql.expressions.equality.compared_by_equality`
        self.equal: frozenset[int] = frozenset()
        self.bare: Node | None = None  # the ColumnRef that is an entry of a select list by itself
        self.returned: Node | None = None  # likewise, where a write gives the entry back
        self.read_in_functions: set[ColumnId] = set()
        self.mentioned_in_views: set[ColumnId] = set()
        self.used_in_rows: set[ColumnId] = set()
        self.names_of: dict[int, str] = {}  # column name of a scalar subquery, by id of its node
        self._accesses: dict[tuple[int, str, bool], set[ColumnId]] = {}
        self._functions: dict[FunctionUse, None] = {}
        self._influences: dict[Influence, None] = {}
        self._flows: dict[Flow, None] = {}
        self._unknowns: dict[Unknown, None] = {}
        self._mentioned: dict[ColumnId, int] = {}

    # walking

    def expression(self, node: Node, scope: Scope) -> Value:
        # as tag_of: a call for each node is felt
        for tag, body in node.items():  # noqa: B007
            break
        else:
            tag, body = "", {}
        work = self.work
        work.left -= 1
        if work.left < 0:
            work.spend(0)
        entry = _expression_of(tag)
        if entry is None:
            return self.not_understood(tag, body)
        handler, fields = entry
        if not fields.issuperset(body):
            self.unread(tag, body, fields)
        value = handler(self, body, scope)
        if len(value.sources) > _FEW:
            self.work.spend(len(value.sources) // _FEW)
        return value

    def expressions(self, nodes: Iterable[Node], scope: Scope) -> list[Value]:
        return [self.expression(node, scope) for node in nodes]

    def query(self, node: Node, scope: Scope) -> tuple[Field, ...] | None:
        """A SELECT, or a data-modifying statement inside WITH; its columns, or None when it returns
        no rows.
        """
        tag, body = tag_of(node)
        self.work.spend(3)
        entry = QUERIES.table.get(tag)
        if entry is None:
            self.not_understood(tag, body)
            return None
        handler, fields = entry
        if not fields.issuperset(body):
            self.unread(tag, body, fields)
        return handler(self, body, scope)

    def check(self, tag: str, body: Node, fields: frozenset[str]) -> None:
        """A structure read in place: everything it holds must be declared."""
        if not fields.issuperset(body):
            self.unread(tag, body, fields)

    # what is not understood

    def unknown(self, code: str, what: str, hint: str = "", position: int = -1) -> Value:
        self._unknowns[Unknown(code, what, hint, position)] = None
        return OPAQUE

    def unsupported(self, message: str, hint: str, position: int = -1) -> Value:
        """A known form that no rule can allow; ``message`` is the whole message."""
        self._unknowns[Unknown("SP1107", message, hint, position, message)] = None
        return OPAQUE

    def missing(
        self, code: str, message: str, hint: str = "", position: int = -1, relation: str = ""
    ) -> Value:
        """A name that does not exist; ``message`` is what PostgreSQL says of it. ``relation``: as
        in Unknown.
        """
        self._unknowns[Unknown(code, message, hint, position, message, relation)] = None
        return OPAQUE

    def close(self, name: str, names: Iterable[str]) -> str:
        """A hint with the name most like ``name``, or ""."""
        if self.work.suggestions <= 0:
            return ""
        self.work.suggestions -= 1
        return meant(closest(name, names))

    def missing_relation(
        self, schema: str, name: str, position: int, object_kind: str = "relation"
    ) -> Value:
        """A relation by name that is not there; ``object_kind``: what PostgreSQL calls it."""
        path = self.names.path
        like = relation_elsewhere(self.catalog, name)
        if not like and self.work.suggestions > 0:
            self.work.suggestions -= 1
            like = closest_relation(self.catalog, schema, name, path)
        hint = meant(like) or f"Write its schema: the search_path is {', '.join(path)}."
        shown = f"{schema}.{name}" if schema else name
        return self.missing(
            "SP1106", f'{object_kind} "{shown}" does not exist', hint, position, name
        )

    def repeat(self, unknown: Unknown) -> None:
        """An Unknown of something inside this statement."""
        self._unknowns[unknown] = None

    def not_understood(self, tag: str, body: Node) -> Value:
        location = body.get("location", -1) if isinstance(body, dict) else -1
        return self.unknown("SP1102", f"{tag or 'this'} is not supported here", position=location)

    def unread(self, tag: str, body: Node, fields: frozenset[str]) -> None:
        for name in sorted(body.keys() - fields):
            self.unknown(
                "SP1102", f"{name} of {tag} is not supported", position=body.get("location", -1)
            )

    # what is found

    def read(self, value: Value, position: int = -1) -> Value:
        """Note that a column is read. Every reference to a column passes through here, or through
        :meth:`show`.
        """
        if value.raw:
            self.influence(value.sources, self.clause, position in self.equal, position)
        return self.show(value, position)

    def show(self, value: Value, position: int = -1) -> Value:
        """Note that a column is read and comes back as it is."""
        if value.sources:
            self.seen.update(value.sources)
        if value.denied == FUNCTION_SOURCE and not self.indirect and not self.following:
            self.name("function_source")
        elif value.denied:
            self.unknown("SP1104", value.denied, position=position)
        return value

    def note_schema_reference(self, names: tuple[str, ...], item: Item, position: int) -> None:
        """``names``: of the relation, as the reference has them."""
        if len(names) > 1 and item.variable >= 0:
            reference = SchemaReference(position, len(names), item.variable)
            self.schema_references[position] = reference

    def note_row_reference(self, parts: int, item: Item, position: int, star: bool = False) -> None:
        """``parts``: names of the item that the reference has."""
        for column in item.fields:
            self.used_in_rows.update(column.value.sources)
        if item.variable >= 0:
            reference = RowReference(position, parts, item.variable, star, item.nullable)
            self.row_references[position] = reference
            if self.ungrouped is not None:
                self.ungrouped.note_row(item.variable, position)
                for column in item.fields:
                    self.ungrouped.note(column.value, (column.name,), -1)

    def mention(self, sources: Sources, position: int = -1) -> None:
        """Note that columns are used other than as an entry of a select list by themselves."""
        if len(sources) > 15:
            self.work.spend(len(sources) >> 4)
        mentioned = self._mentioned
        for column in sources:
            first = mentioned.get(column, -1)
            if first < 0 or 0 <= position < first:
                mentioned[column] = position

    def distinguish(self, columns: Iterable[Field]) -> None:
        """Rows are told apart by these columns: DISTINCT, UNION, INTERSECT, EXCEPT."""
        for column in columns:
            self.distinguished.update(column.value.sources)

    @contextmanager
    def place(self, clause: Clause, equal: frozenset[int] = frozenset()) -> Iterator[None]:
        """Walk a clause of a write. ``equal``: byte offsets of references that are only compared by
        ``=`` with constants.
        """
        before = self.clause, self.equal
        self.clause, self.equal = clause, equal
        try:
            yield
        finally:
            self.clause, self.equal = before

    def read_relation(self, relation: Relation) -> None:
        self.access(relation.oid, "select")

    def access(self, relation: int, action: str, columns: Iterable[ColumnId] = ()) -> None:
        if action in temporary_names.THROUGH_VIEW and self.catalog.is_temporary_view(relation):
            self.unsupported(*temporary_names.ONLY_READ)
        if (
            self.catalog.shadowed
            and action != "select"
            and self.catalog.relations[relation].has_triggers
        ):
            self.looks_up_names("a trigger")
        indirect = self.indirect and not self.reads_directly
        self._accesses.setdefault((relation, action, indirect), set()).update(columns)

    def repeat_access(self, access: Access) -> None:
        """What a view's definition or a function's body reads."""
        key = (access.relation, access.action, access.indirect)
        self._accesses.setdefault(key, set()).update(access.columns)

    def access_under(self, relation: int, action: str, columns: Iterable[ColumnId]) -> None:
        """Writing to a relation through a view on it."""
        self._accesses.setdefault((relation, action, True), set()).update(columns)

    def influence(
        self, sources: Sources, clause: Clause, equality: bool = False, position: int = -1
    ) -> None:
        self.work.spend(len(sources) >> 1)
        for column in sources:
            self._influences[Influence(column, clause, equality, position)] = None

    def flow(
        self,
        target: ColumnId | None,
        sources: Sources,
        position: int = -1,
        into: tuple[str, str, str] | None = None,
    ) -> None:
        if sources:
            self._flows[Flow(target, sources, position, into)] = None

    def name(self, action: str, schema: str = "", name: str = "") -> None:
        """The statement concerns an object that is no relation of the snapshot."""
        self.named_objects[NamedObject(action, schema, name)] = None

    def call(self, function: Function, position: int) -> None:
        """A function that is not PostgreSQL's own: reported, and unknown unless policy
        trusts it.
        """
        self._functions[FunctionUse(function.schema, function.name, function.oid, position)] = None
        self.looks_up_names(what := f"function {function.schema}.{function.name}", position)
        if not self.context.trusted_functions(function):
            reason = self.not_followed.get(function.oid, "")
            self.unknown(
                "SP1103",
                f"cannot determine what {what} does" + (reason and f": {reason}"),
                "Leave it out, or ask for it to be listed under 'functions' in the policy.",
                position,
            )

    def looks_up_names(self, what: str, position: int = -1) -> None:
        """Code that nobody follows runs: it must find under every name what it would find in other
        sessions.
        """
        if self.catalog.shadowed:
            self.unknown(
                *temporary_names.before_unfollowed(what, min(self.catalog.shadowed)), position
            )

    def note_call(self, use: FunctionUse) -> None:
        """A call inside a nested statement, whose Unknown comes with that statement."""
        self._functions[use] = None

    def output(self, fields: tuple[Field, ...] | None) -> None:
        """The columns of the statement's result."""
        if fields is not None:
            self.work.spend(sum([len(f.value.sources) for f in fields]) >> 4)
            self.columns = tuple(
                [
                    OutputColumn(
                        f.name, f.value.sources, f.value.dependence, f.value.origin, f.value.raw
                    )
                    for f in fields
                ]
            )

    def relation(self, schema: str, name: str) -> Relation | None:
        """A relation by name: as given, or through the search_path."""
        if name in self.catalog.unknown_names and (not schema or schema.startswith(TEMPORARY)):
            self.unknown(*temporary_names.of_unknown_maker(name))
            return None
        if schema:
            return self.catalog.relation_by_name.get((schema, name))
        if name in self.catalog.shadowed:
            self.unknown(*temporary_names.of_two(name))
        for candidate in self.catalog.lookup_path(self.names.path):
            relation = self.catalog.relation_by_name.get((candidate, name))
            if relation is not None:
                return relation
        return None

    def named_relation(self, node: Node) -> Relation | None:
        """The relation of a RangeVar; an Unknown when the snapshot has none."""
        schema, name = node.get("schemaname", ""), node.get("relname", "")
        catalog = node.get("catalogname", self.catalog.database)
        relation = self.relation(schema, name) if catalog == self.catalog.database else None
        if relation is None:
            self.missing_relation(schema, name, node.get("location", -1))
        return relation

    def facts(self, start: int, end: int) -> StatementFacts:
        casts = {
            parameter
            for parameter, _ in self.cast_parameters
            if self.occurrences.get(parameter, 0) > 1
        }
        for number in sorted(casts) if casts else ():
            self.unknown(
                "SP1103",
                f"cannot determine the type of ${number}: a user-defined cast may apply",
                "Use a separate parameter ($1, $2, ...) for each place.",
            )
        accesses = self._accesses
        read: dict[int, list[set[ColumnId]]] = {}
        for (relation, action, _), columns in accesses.items():
            if action == "select":
                read.setdefault(relation, []).append(columns)
        for column in self.seen:
            for columns in read.get(column.relation, ()):
                columns.add(column)
        return StatementFacts(
            kind=self.kind,
            start=start,
            end=end,
            columns=self.columns,
            accesses=tuple(
                [
                    Access(relation, action, indirect, frozenset(columns))
                    for (relation, action, indirect), columns in accesses.items()
                ]
            ),
            functions=tuple(self._functions),
            influences=tuple(self._influences),
            flows=tuple(self._flows),
            settings=tuple(self.settings),
            code_settings=tuple(self.code_settings),
            setting_reads=tuple(self.setting_reads.items()),
            effects=tuple(self.effects),
            unknowns=tuple(self._unknowns),
            has_where=all(self.have_where) if self.have_where else None,
            visited_by=frozenset(self.visited_by),
            is_by_key=bool(self.are_by_key) and all(self.are_by_key),
            inner=self.inner,
            copy_format=self.copy_format,
            mentioned_columns=frozenset(self.mentioned_columns | self.seen),
            setting_parameters=frozenset(self.setting_parameters),
            bound_settings=tuple(self.bound_settings),
            named_objects=tuple(self.named_objects),
            temporary=temporary_names.concerned(
                self.catalog.temporary, self._accesses, (self.mentioned_columns, self.seen)
            ),
            action_aliases=frozenset(self.action_aliases),
            relations_after=tuple(self.relations_after.values()),
            new_inheritance=tuple(self.new_inheritance),
            exposures=tuple(self.exposures),
            followed=frozenset(self.followed),
            cast_parameters=frozenset(self.cast_parameters),
            meant=self.work.meant,
            declared_types=self.declared_types,
            asks_types=self.asks_types,
            resolves_names_at_run_time=self.resolves_names_at_run_time,
            calls_volatile=self.calls_volatile,
            read=frozenset(self.seen),
            system_columns=frozenset(self.system_columns),
            range_variables=self._range_variables(),
            row_references=tuple(self.row_references.values()),
            counter_calls=tuple(self.counter_calls),
            starred=frozenset(self.starred),
            tells_text=self.tells_text,
            cascades=self.cascades,
            absent=self.absent,
            unread_code=self.unread_code,
            drops_first=self.drops_first,
            truncates=self.truncates,
            distinguished=frozenset(self.distinguished),
            schema_references=tuple(self.schema_references.values()),
            groupings=tuple(self.groupings),
            comparisons=tuple(
                replace(
                    parameter,
                    repeated=any(
                        self.occurrences.get(number, 0) > 1 for number in parameter.parameters
                    ),
                )
                for parameter in self.comparisons.values()
            ),
            constants=() if self.constants_lost else tuple(self.constants.values()),
            quoting=self.quoting,
            quoted=self.quoted,
            positional=frozenset(self.positional),
            plain=self.plain,
            explain_options=tuple(self.explain_options.items()),
            mentioned=tuple(self._mentioned.items()),
            mentioned_in_views=frozenset(self.mentioned_in_views),
            used_in_rows=frozenset(self.used_in_rows),
            read_in_functions=frozenset(self.read_in_functions),
        )

    def _range_variables(self) -> tuple[RangeVariable, ...]:
        variables = self.range_variables.values()
        if not self.locked:
            return tuple(variables)
        return tuple(
            [
                replace(variable, locked=True) if variable.position in self.locked else variable
                for variable in variables
            ]
        )


def opaque(value: Value) -> Value:
    """The same with nothing known of how it is made but its sources."""
    return replace(value, dependence=Dependence.OPAQUE, origin=None)
