"""Changes of the schema that can be judged: simple tables, indexes, columns, DROP, TRUNCATE, VACUUM, ANALYZE.

What can put masked data where no mask is, or run code that nobody judged, is an Unknown: temporary and inherited tables, LIKE,
ALTER TABLE other than adding and dropping columns, views, functions, triggers and so on (see statements.kind_of).
"""

from __future__ import annotations

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.calls import type_oid
from sallyport.sql.catalog import ColumnId, Relation
from sallyport.sql.facts import Clause, Effect, EffectKind
from sallyport.sql.from_items import RANGE_VAR, make_item
from sallyport.sql.lineage import Field, Value
from sallyport.sql.nodes import fields, string, strings, tag_of
from sallyport.sql.parse import Node
from sallyport.sql.relation_items import relation_item
from sallyport.sql.scope import Item, Scope

on = STATEMENTS.on

_SERIAL = frozenset({"serial", "serial2", "serial4", "serial8", "bigserial", "smallserial"})
_COLUMN = fields("colname typeName is_local constraints collClause")
_CONSTRAINT = fields(
    "contype conname is_enforced initially_valid skip_validation raw_expr keys including pktable pk_attrs fk_attrs "
    "fk_matchtype fk_upd_action fk_del_action generated_when generated_kind nulls_not_distinct "
    "deferrable initdeferred is_no_inherit"
)
_INDEX_ELEMENT = fields("name expr collation opclass ordering nulls_ordering")
_COMMAND = fields("subtype def behavior missing_ok name")
_SIMPLE = frozenset(
    {
        "CONSTR_NULL",
        "CONSTR_NOTNULL",
        "CONSTR_PRIMARY",
        "CONSTR_UNIQUE",
        "CONSTR_ATTR_DEFERRABLE",
        "CONSTR_ATTR_NOT_DEFERRABLE",
        "CONSTR_ATTR_DEFERRED",
        "CONSTR_ATTR_IMMEDIATE",
        "CONSTR_ATTR_ENFORCED",
        "CONSTR_IDENTITY",
    }
)


def changes_schema(a: Analysis, kind: str) -> None:
    a.kind = kind
    a.effects.append(Effect(EffectKind.DDL))


@on("CreateStmt", "relation tableElts if_not_exists oncommit")
def _create_table(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_table")
    target = node["relation"]
    a.check("RangeVar", target, RANGE_VAR)
    if target.get("relpersistence", "p") == "t" or target.get("schemaname", "").startswith("pg_temp"):
        a.unknown("SP1102", "follow temporary tables", "Use WITH, or a permanent table.")
    if node.get("oncommit", "ONCOMMIT_NOOP") != "ONCOMMIT_NOOP":
        a.unknown("SP1102", "understand ON COMMIT")
    columns, constraints = [], []
    for item in node.get("tableElts", []):
        tag, body = tag_of(item)
        if tag == "ColumnDef":
            columns.append(Field(body.get("colname", ""), Value(type=_column_type(a, body))))
            constraints.extend(body.get("constraints", []))
        elif tag == "Constraint":
            constraints.append(item)
        else:
            a.unknown("SP1102", f"judge {tag} in CREATE TABLE", "List the columns.")
    scope = Scope(items=[make_item(target.get("relname", ""), tuple(columns))])
    for item in constraints:
        _constraint(a, item["Constraint"], scope)


def _column_type(a: Analysis, node: Node) -> int:
    a.check("ColumnDef", node, _COLUMN)
    names = strings(node["typeName"].get("names", []))
    if len(names) == 1 and names[0] in _SERIAL:
        return 23
    return type_oid(a, node["typeName"])


def _constraint(a: Analysis, node: Node, scope: Scope) -> Value:
    """A column's or table's constraint; the value it computes for DEFAULT and GENERATED."""
    a.check("Constraint", node, _CONSTRAINT)
    kind = node.get("contype", "CONSTR_NULL")
    if kind in ("CONSTR_DEFAULT", "CONSTR_GENERATED"):
        return a.expression(node["raw_expr"], scope)
    if kind == "CONSTR_CHECK":
        a.influence(a.expression(node["raw_expr"], scope).sources, Clause.MAY_FAIL)
    elif kind == "CONSTR_FOREIGN":
        _reference(a, node)
    elif kind not in _SIMPLE:
        a.unknown("SP1102", f"judge {kind.removeprefix('CONSTR_')} constraints")
    return Value()


def _reference(a: Analysis, node: Node) -> None:
    """REFERENCES: inserting into the new table tells whether a value exists in the other one."""
    a.check("RangeVar", node["pktable"], RANGE_VAR)
    relation = a.named_relation(node["pktable"])
    if relation is None:
        return
    a.read_relation(relation)
    names = strings(node.get("pk_attrs", []))
    if not names:
        a.unknown("SP1102", "know which columns are referenced", "Write REFERENCES table (column).")
    for column in relation.columns:
        if column.name in names:
            id_ = frozenset((ColumnId(relation.oid, column.attnum),))
            a.seen.update(id_)
            a.influence(id_, Clause.WHERE, True)


def _relation(a: Analysis, node: Node, action: str) -> tuple[Relation, Item] | None:
    a.check("RangeVar", node, RANGE_VAR)
    relation = a.named_relation(node)
    if relation is None:
        return None
    a.access(relation.oid, action)
    a.touched.update(ColumnId(relation.oid, c.attnum) for c in relation.columns)
    return relation, relation_item(a, relation)


@on("AlterTableStmt", "relation cmds objtype missing_ok")
def _alter_table(a: Analysis, node: Node, at: int) -> None:
    objtype = node.get("objtype", "OBJECT_TABLE").removeprefix("OBJECT_").lower()
    changes_schema(a, f"alter_{_OBJECTS.get(objtype, objtype)}")
    found = _relation(a, node["relation"], a.kind)
    if objtype != "table":
        a.unknown("SP1102", f"judge {a.kind.replace('_', ' ').upper()}")
    if found is None:
        return
    scope = Scope(items=[found[1]])
    for item in node.get("cmds", []):
        body = item["AlterTableCmd"]
        a.check("AlterTableCmd", body, _COMMAND)
        subtype = body.get("subtype", "")
        if subtype == "AT_AddColumn":
            column = body["def"]["ColumnDef"]
            _column_type(a, column)
            for constraint in column.get("constraints", []):
                value = _constraint(a, constraint["Constraint"], scope)
                a.flow(None, value.sources)
        elif subtype == "AT_DropColumn" and body.get("behavior") == "DROP_CASCADE":
            a.unknown(
                "SP1102", "know what DROP COLUMN CASCADE reaches", "Drop what depends on it by name first."
            )
        elif subtype != "AT_DropColumn":
            a.unknown(
                "SP1102", f"judge ALTER TABLE {_words(subtype)}", "ADD COLUMN and DROP COLUMN are understood."
            )


def _words(subtype: str) -> str:
    text = subtype.removeprefix("AT_")
    return "".join(f" {c}" if c.isupper() else c for c in text).strip().upper()


@on(
    "IndexStmt",
    "idxname relation accessMethod indexParams indexIncludingParams whereClause unique concurrent if_not_exists "
    "nulls_not_distinct",
)
def _create_index(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_index")
    found = _relation(a, node["relation"], "create_index")
    if found is None:
        return
    scope = Scope(items=[found[1]])
    for item in [*node.get("indexParams", []), *node.get("indexIncludingParams", [])]:
        body = item["IndexElem"]
        a.check("IndexElem", body, _INDEX_ELEMENT)
        if "expr" in body:
            value = a.expression(body["expr"], scope)
        else:
            reference = {"fields": [{"String": {"sval": body.get("name", "")}}], "location": -1}
            value = a.expression({"ColumnRef": reference}, scope)
        if node.get("unique"):
            a.influence(value.sources, Clause.DISTINCT)  # it fails when two rows are equal
    if "whereClause" in node:
        a.condition(a.expression(node["whereClause"], scope), Clause.WHERE)


_OBJECTS = {
    "matview": "materialized_view",
    "access_method": "access_method",
    "foreign_server": "server",
    "fdw": "foreign_data_wrapper",
    "opclass": "operator_class",
    "opfamily": "operator_family",
    "statistic_ext": "statistics",
    "tsconfiguration": "text_search_configuration",
    "tsdictionary": "text_search_dictionary",
    "tsparser": "text_search_parser",
    "tstemplate": "text_search_template",
}
_RELATIONS = frozenset({"table", "view", "materialized_view", "index", "sequence", "foreign_table"})


@on("DropStmt", "objects removeType behavior missing_ok concurrent")
def _drop(a: Analysis, node: Node, at: int) -> None:
    removed = node.get("removeType", "").removeprefix("OBJECT_").lower()
    thing = _OBJECTS.get(removed, removed)
    changes_schema(a, f"drop_{thing}")
    if node.get("behavior") == "DROP_CASCADE":
        a.unknown("SP1102", "know what DROP CASCADE reaches", "Name what is to be dropped.")
    if thing not in _RELATIONS:
        return
    for item in node.get("objects", []):
        names = [string(part) for part in item.get("List", {}).get("items", [])]
        if not 1 <= len(names) <= 2 or not all(names):
            a.unknown("SP1102", f"know the {thing} {'.'.join(names)}")
            continue
        relation = a.relation(names[0] if len(names) == 2 else "", names[-1])
        if relation is not None:
            a.access(relation.oid, a.kind)
        elif thing != "index" and not node.get("missing_ok"):
            schema = names[0] if len(names) == 2 else ""
            a.missing_relation(schema, names[-1], -1, thing.replace("_", " "))


@on("TruncateStmt", "relations restart_seqs behavior")
def _truncate(a: Analysis, node: Node, at: int) -> None:
    a.kind = "truncate"
    if node.get("behavior") == "DROP_CASCADE":
        a.unknown("SP1102", "know what TRUNCATE CASCADE reaches", "List the tables.")
    for item in node.get("relations", []):
        body = item["RangeVar"]
        a.check("RangeVar", body, RANGE_VAR)
        relation = a.named_relation(body)
        waiting = [relation] if relation is not None else []
        seen: set[int] = set()
        while waiting:
            current = waiting.pop()
            if current.oid in seen:
                continue
            seen.add(current.oid)
            a.access(current.oid, "truncate")
            if body.get("inh"):
                children = (a.catalog.relations.get(child) for child in current.children)
                waiting.extend(child for child in children if child is not None)


@on("VacuumStmt", "options rels is_vacuumcmd")
def _vacuum(a: Analysis, node: Node, at: int) -> None:
    a.kind = "vacuum" if node.get("is_vacuumcmd") else "analyze"
    for item in node.get("rels", []):
        relation = a.named_relation(item["VacuumRelation"].get("relation", {}))
        if relation is not None:
            a.access(relation.oid, a.kind)
