"""ALTER of relations: what each of PostgreSQL's subcommands (AlterTableType in parsenodes.h) means.

A subcommand without an entry in :data:`ACTIONS` is refused. RENAME and SET SCHEMA are in
:mod:`sallyport.sql.ddl.names`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.descendants import with_descendants
from sallyport.sql.catalog.snapshot import Column, ColumnId, Relation
from sallyport.sql.ddl.absent import alters_nothing
from sallyport.sql.ddl.changes import (
    existing_target,
    index_table,
    not_stored,
    object_type,
    scope_of,
)
from sallyport.sql.ddl.dependants import of_column, of_constraint
from sallyport.sql.ddl.names import altered_relation, as_changed, record_change
from sallyport.sql.ddl.refused import NOT_ALTERED
from sallyport.sql.ddl.tables import (
    Table,
    bound,
    column_type,
    constraint,
    index_options,
    only_beside,
    parent,
    sequence_options,
    storage,
    unprotected,
)
from sallyport.sql.expressions.calls import cast_to, type_oid
from sallyport.sql.facts import Clause, Dependence
from sallyport.sql.lineage import Field, Value
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import fields, string, strings, tag_of
from sallyport.sql.queries.from_items import RANGE_VAR, make_item
from sallyport.sql.text.parse import Node
from sallyport.sql.values.types import VARCHAR
from sallyport.sql.writes.constraints import note_attached, note_plain_storage, note_write
from sallyport.sql.writes.hidden_code import computing

on = STATEMENTS.on

#: The storage of values that are neither compressed nor moved out of their row.
_PLAIN = "plain"
_COMMAND = fields("subtype def behavior missing_ok name newowner num recurse")
_NEW_TYPE = fields("typeName raw_default collClause")
_PARTITION = fields("name bound concurrent")
_ALTER_CONSTRAINT = fields(
    "conname alterEnforceability is_enforced alterDeferrability deferrable initdeferred"
    " alterInheritability noinherit"
)


@dataclass(slots=True)
class _Change:
    """One ALTER TABLE. ``added``: columns of earlier subcommands, which later ones may name."""

    analysis: Analysis
    relation: Relation
    only: bool
    added: list[Field] = field(default_factory=list)

    @property
    def table(self) -> Table:
        relation = self.relation
        fields = scope_of(self.analysis, relation).items[0].fields
        item = make_item(relation.name, (*fields, *self.added))
        item.relation, item.schema, item.row_type = relation.oid, relation.schema, relation.row_type
        return Table(relation.schema, relation.name, Scope(items=[item]), relation)

    def column(self, name: str) -> tuple[Column, ColumnId] | None:
        column = next((c for c in self.relation.columns if c.name == name), None)
        if column is None:
            if all(added.name != name for added in self.added):
                self.table.column(self.analysis, name)  # says that there is none
            return None
        return column, ColumnId(self.relation.oid, column.attnum)


#: Commands of which CASCADE is the last word.
_DROPS = {"AT_DropColumn": of_column, "AT_DropConstraint": of_constraint}


@on("AlterTableStmt", "relation cmds objtype missing_ok")
def _alter(analysis: Analysis, node: Node, position: int) -> None:
    objtype = object_type(node.get("objtype", "OBJECT_TABLE"))
    if alters_nothing(analysis, node, objtype, node["relation"]):
        return
    if objtype == "index":
        _alter_index(analysis, node)
        return
    relation = altered_relation(analysis, node["relation"])
    if relation is None:
        return
    change = _Change(analysis, relation, not node["relation"].get("inh"))
    commands = node.get("cmds", [])
    for item in commands:
        body = item["AlterTableCmd"]
        analysis.check("AlterTableCmd", body, _COMMAND)
        subtype = body.get("subtype", "AT_AddColumn")
        if body.get("behavior") == "DROP_CASCADE" and subtype in _DROPS and item is commands[-1]:
            analysis.cascades = True
            analysis.drops_first = _DROPS[subtype](analysis, relation, body.get("name", ""))
        elif body.get("behavior") == "DROP_CASCADE":
            analysis.unknown(
                "SP1102",
                f"cannot determine what {words(subtype)} CASCADE would drop",
                "Drop the dependent objects first, each by name.",
            )
        action = ACTIONS.get(subtype)
        if relation.kind not in _WHERE.get(subtype, "rp") or action is None:
            analysis.unknown(
                "SP1102",
                f"{analysis.kind.replace('_', ' ').upper()} {words(subtype)} is not supported",
                NOT_ALTERED.get(subtype, ""),
            )
            continue
        action(change, body)


#: What the names of subcommands shorten.
_SPELLINGS = (("TRIG", "TRIGGER"), ("TABLE SPACE", "TABLESPACE"), ("CHANGE OWNER", "OWNER TO"))


def words(subtype: str) -> str:
    """AT_AddColumn as people write it: ADD COLUMN."""
    text = subtype.removeprefix("AT_")
    spelled = "".join(f" {c}" if c.isupper() else c for c in text).strip().upper()
    for short, long in _SPELLINGS:
        spelled = spelled.replace(short, long)
    return spelled


def _alter_index(analysis: Analysis, node: Node) -> None:
    target = node["relation"]
    analysis.check("RangeVar", target, RANGE_VAR)
    schema, name = target.get("schemaname", ""), target.get("relname", "")
    relation = index_table(analysis, schema, name)
    if relation is None:
        analysis.missing_relation(schema, name, -1, "index")
        return
    analysis.access(relation.oid, analysis.kind)
    for item in node.get("cmds", []):
        subtype = item["AlterTableCmd"].get("subtype", "")
        if subtype not in (
            "AT_SetRelOptions",
            "AT_ResetRelOptions",
            "AT_SetStatistics",
            "AT_AttachPartition",
        ):
            analysis.unknown(
                "SP1102",
                f"ALTER INDEX {words(subtype)} is not supported through the gateway",
                NOT_ALTERED.get(subtype, "Drop the index and create it again."),
            )


# subcommands


def _add_column(change: _Change, body: Node) -> None:
    analysis, node = change.analysis, body["def"]["ColumnDef"]
    name = node.get("colname", "")
    type_ = column_type(analysis, node)
    change.added.append(Field(name, Value(type=type_)))
    constraints = [definition["Constraint"] for definition in node.get("constraints", [])]
    if body.get("missing_ok") and any(c.name == name for c in change.relation.columns):
        return
    if change.analysis.types.base(type_) != type_ or any(map(_is_computed, constraints)):
        _computes(change)
    if node.get("storage_name", "").lower() == _PLAIN:
        note_plain_storage(analysis, change.relation)
    for definition in constraints:
        # whether there is a row is all that tells
        if definition.get("contype") != "CONSTR_NOTNULL":
            constraint(analysis, definition, change.table, name)


def _is_computed(node: Node) -> bool:
    """Whether a new column's values are computed row by row, which writes the table anew."""
    kind = node.get("contype")
    if kind == "CONSTR_DEFAULT":
        tag, body = tag_of(node["raw_expr"])
        return tag != "A_Const" and not (tag == "TypeCast" and "A_Const" in body.get("arg", {}))
    return kind in ("CONSTR_GENERATED", "CONSTR_IDENTITY")


def _computes(change: _Change) -> None:
    """The rows may be written anew: what user-made functions their indexes, checks and generated
    columns call, they call now.
    """
    for part in with_descendants(change.analysis.catalog, change.relation.oid):
        computing(change.analysis, part)


def _drop_column(change: _Change, body: Node) -> None:
    name = body.get("name", "")
    if not body.get("missing_ok") and change.column(name) is None:
        return
    # partitions lose the column with their parent; a child may keep its own, which then is nobody's
    # but its
    parts = (
        with_descendants(change.analysis.catalog, change.relation.oid)
        if change.relation.kind == "p"
        else (change.relation,)
    )
    for part in parts:
        record_change(
            change.analysis,
            part,
            columns=tuple(c for c in as_changed(change.analysis, part).columns if c.name != name),
        )


def _set_default(change: _Change, body: Node) -> None:
    column = change.column(body.get("name", ""))
    if "def" in body:
        value = change.analysis.expression(body["def"], Scope())  # functions in it may read
        change.analysis.flow(column[1] if column is not None else None, value.sources)


def _not_null(change: _Change, body: Node) -> None:
    column = change.column(body.get("name", ""))
    if column is not None:
        change.analysis.influence(frozenset((column[1],)), Clause.CHECK)


def _known_column(change: _Change, body: Node) -> None:
    if body.get("name"):
        change.column(body["name"])


def _set_storage(change: _Change, body: Node) -> None:
    change.column(body.get("name", ""))
    if string(body["def"]).lower() == _PLAIN:
        note_plain_storage(change.analysis, change.relation)


def _add_constraint(change: _Change, body: Node) -> None:
    constraint(change.analysis, body["def"]["Constraint"], change.table)


def _any_constraint(change: _Change, body: Node) -> None:
    """VALIDATE, ENFORCE: rows that are there fit or not."""
    analysis, relation, name = change.analysis, change.relation, body.get("name", "")
    if "def" in body:
        definition = body["def"]["ATAlterConstraint"]
        analysis.check("ATAlterConstraint", definition, _ALTER_CONSTRAINT)
        name = definition.get("conname", "")
        if not definition.get("alterEnforceability") or not definition.get("is_enforced"):
            return
    _computes(change)
    for existing in relation.constraints:
        clause = {"c": Clause.CHECK, "f": Clause.FOREIGN_KEY}.get(existing.kind)
        if clause is not None and existing.name == name:
            for oid, columns in (
                (relation.oid, existing.columns),
                (existing.referenced, existing.referenced_columns),
            ):
                analysis.influence(frozenset(ColumnId(oid, n) for n in columns), clause)


def _drop_constraint(change: _Change, body: Node) -> None:
    return None


def _alter_type(change: _Change, body: Node) -> None:
    """The values are converted: with USING they may become anything, without it they stay what they
    are.
    """
    analysis, node = change.analysis, body["def"]["ColumnDef"]
    analysis.check("ColumnDef", node, _NEW_TYPE)
    _computes(change)
    column_with_id = change.column(body.get("name", ""))
    target = type_oid(analysis, node["typeName"])
    if column_with_id is None or not target:
        return
    column, id_ = column_with_id
    own = Value(frozenset((id_,)), Dependence.IDENTITY, id_, column.type_oid)
    if "raw_default" not in node or _is_plain_cast(
        node["raw_default"], column.name, node["typeName"]
    ):
        if not (
            column.type_oid == target and target == VARCHAR and _is_longer(column, node["typeName"])
        ):
            modified = bool(node["typeName"].get("typmods"))
            cast_to(analysis, own, target, -1, modified)
            if modified or not _keeps_bytes(analysis, column.type_oid, target):
                analysis.influence(own.sources, Clause.CHECK)
                note_write(analysis, id_.relation, "update", {id_: False}, -1)
        return
    value = analysis.expression(node["raw_default"], change.table.scope)
    cast_to(analysis, value, target, -1, bool(node["typeName"].get("typmods")))
    analysis.flow(id_, value.sources)
    note_write(analysis, id_.relation, "update", {id_: not value.sources}, -1)


def _is_plain_cast(node: Node, column: str, target: Node) -> bool:
    """USING column::type, as tools write it: nothing but the conversion itself."""
    tag, body = tag_of(node)
    if tag != "TypeCast" or "ColumnRef" not in body.get("arg", {}):
        return False
    written = body.get("typeName", {})
    same = all(written.get(key) == target.get(key) for key in ("names", "typmods", "arrayBounds"))
    return same and strings(body["arg"]["ColumnRef"].get("fields", [])) == (column,)


def _keeps_bytes(analysis: Analysis, source: int, target: int) -> bool:
    """Whether the values stay as they are stored, so that nothing can fail."""
    if source == target or analysis.types.base(source) == target:
        return True
    cast = analysis.types.cast(analysis.types.base(source), target)
    return cast is not None and cast.method == "b"


def _is_longer(column: Column, node: Node) -> bool:
    """varchar(n) to the same or a longer varchar: nothing is looked at."""
    sizes = [
        item.get("A_Const", {}).get("ival", {}).get("ival", 0) for item in node.get("typmods", [])
    ]
    return not sizes or (len(sizes) == 1 and 0 < column.typmod <= sizes[0] + 4)


def _set_expression(change: _Change, body: Node) -> None:
    analysis = change.analysis
    _computes(change)
    column = change.column(body.get("name", ""))
    value = analysis.expression(body["def"], change.table.scope)
    if column is not None:
        analysis.flow(column[1], value.sources)
        not_stored(analysis, change.relation)


def _drop_expression(change: _Change, body: Node) -> None:
    """What was computed stays, and nothing tells any longer from what."""
    column = change.column(body.get("name", ""))
    if column is None:
        return
    item = change.table.scope.items[0]
    value = item.column(body.get("name", ""))
    if value is not None:
        change.analysis.flow(column[1], value.sources - {column[1]})
    not_stored(change.analysis, change.relation)


def _identity(change: _Change, body: Node) -> None:
    change.column(body.get("name", ""))
    node = body.get("def", {})
    if "Constraint" in node:
        constraint(change.analysis, node["Constraint"], change.table, body.get("name", ""))
    for item in node.get("List", {}).get("items", []):
        if item["DefElem"].get("defname") not in ("generated",):
            sequence_options(change.analysis, [item])


def _options(change: _Change, body: Node) -> None:
    items = body.get("def", {}).get("List", {}).get("items", [])
    if change.relation.kind in "rpm":
        storage(change.analysis, items)
    elif any(item["DefElem"].get("defname") != "check_option" for item in items):
        change.analysis.unknown(
            "SP1102",
            "changing these options of a view is not supported",
            "Create the view again with these options.",
        )


def _column_options(change: _Change, body: Node) -> None:
    change.column(body.get("name", ""))
    index_options(change.analysis, body.get("def", {}).get("List", {}).get("items", []))


def _sequence(change: _Change, body: Node) -> None:
    return None


# inheritance


def _under(analysis: Analysis, child: Relation, above: Relation) -> None:
    only_beside(analysis, above, child.schema)
    record_change(analysis, child, parents=(*as_changed(analysis, child).parents, above.oid))
    record_change(analysis, above, children=(*as_changed(analysis, above).children, child.oid))
    analysis.new_inheritance[(child.oid, above.oid)] = None


def _apart(analysis: Analysis, child: Relation, above: Relation) -> None:
    record_change(
        analysis,
        child,
        parents=tuple(oid for oid in as_changed(analysis, child).parents if oid != above.oid),
    )
    record_change(
        analysis,
        above,
        children=tuple(oid for oid in as_changed(analysis, above).children if oid != child.oid),
    )


def _inherit(change: _Change, body: Node) -> None:
    above = parent(change.analysis, body["def"]["RangeVar"])
    if above is not None:
        _under(change.analysis, change.relation, above)


def _no_inherit(change: _Change, body: Node) -> None:
    above = parent(change.analysis, body["def"]["RangeVar"])
    if above is not None:
        _apart(change.analysis, change.relation, above)


def _attach(change: _Change, body: Node) -> None:
    """Rows that are there must fit, and those of a default partition must not: failing tells about
    the key.
    """
    analysis, node = change.analysis, body["def"]["PartitionCmd"]
    analysis.check("PartitionCmd", node, _PARTITION)
    child = existing_target(analysis, node["name"])
    bound(analysis, node.get("bound", {}), [change.relation])
    unprotected(analysis, change.relation)
    if child is None:
        return
    computing(analysis, child)
    names = {c.name for c in change.relation.columns if c.attnum in change.relation.partition_key}
    keys = frozenset(ColumnId(child.oid, c.attnum) for c in child.columns if c.name in names)
    analysis.influence(keys, Clause.PARTITION)
    note_attached(analysis, child, change.relation)
    _under(analysis, child, change.relation)


def _detach(change: _Change, body: Node) -> None:
    analysis, node = change.analysis, body["def"]["PartitionCmd"]
    analysis.check("PartitionCmd", node, _PARTITION)
    child = existing_target(analysis, node["name"])
    if child is not None:
        _apart(analysis, child, change.relation)


def _switch_triggers(change: _Change, body: Node) -> None:
    """ENABLE and DISABLE TRIGGER: which code runs with a write."""
    change.analysis.unread_code = f"ALTER TABLE {words(body['subtype'])}"


TRIGGER_SWITCHES = (
    *("AT_EnableTrig", "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig", "AT_DisableTrig"),
    *("AT_EnableTrigAll", "AT_DisableTrigAll", "AT_EnableTrigUser", "AT_DisableTrigUser"),
)
#: What each subcommand means.
ACTIONS: dict[str, Callable[[_Change, Node], None]] = {
    "AT_AddColumn": _add_column,
    "AT_DropColumn": _drop_column,
    "AT_ColumnDefault": _set_default,
    "AT_SetNotNull": _not_null,
    "AT_DropNotNull": _known_column,
    "AT_AlterColumnType": _alter_type,
    "AT_SetExpression": _set_expression,
    "AT_DropExpression": _drop_expression,
    "AT_AddIdentity": _identity,
    "AT_SetIdentity": _identity,
    "AT_DropIdentity": _known_column,
    "AT_SetStatistics": _known_column,
    "AT_SetStorage": _set_storage,
    "AT_SetCompression": _known_column,
    "AT_SetOptions": _column_options,
    "AT_ResetOptions": _column_options,
    "AT_AddConstraint": _add_constraint,
    "AT_ValidateConstraint": _any_constraint,
    "AT_AlterConstraint": _any_constraint,
    "AT_DropConstraint": _drop_constraint,
    "AT_AddInherit": _inherit,
    "AT_DropInherit": _no_inherit,
    "AT_AttachPartition": _attach,
    "AT_DetachPartition": _detach,
    "AT_DetachPartitionFinalize": _detach,
    "AT_SetRelOptions": _options,
    "AT_ResetRelOptions": _options,
    "AT_SetLogged": _sequence,
    "AT_SetUnLogged": _sequence,
    **dict.fromkeys(TRIGGER_SWITCHES, _switch_triggers),
}
#: The kinds of relations that a subcommand is judged for, where it is not tables alone.
_WHERE = {
    "AT_AddColumn": "rpc",
    "AT_DropColumn": "rpc",
    "AT_ColumnDefault": "rpv",
    "AT_SetRelOptions": "rpvm",
    "AT_ResetRelOptions": "rpvm",
    "AT_SetStatistics": "rpm",
    "AT_SetStorage": "rpm",
    "AT_SetCompression": "rpm",
    "AT_SetLogged": "rpS",
    "AT_SetUnLogged": "rpS",
    **dict.fromkeys(TRIGGER_SWITCHES, "rpv"),
}
