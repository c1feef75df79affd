"""Which locks a schema change takes, and on what: from its parse tree. Pure.

Sources: PostgreSQL's documentation, "Explicit Locking" (13.3) and the pages of the commands; for
ALTER TABLE ``AlterTableGetLockLevel`` in src/backend/commands/tablecmds.c, for storage parameters
src/backend/access/common/reloptions.c. The locks of PostgreSQL 14 to 18 are the same here. What is
not in the tables counts as the strongest. A test compares the tables with ``pg_locks`` of real
servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from sallyport.core.errors import RefusedError
from sallyport.sql.text.parse import MAX_LENGTH, parse


def _words(text: str) -> list[str]:
    return text.split()


EXCLUSIVE: Final = "ACCESS EXCLUSIVE: nobody else can read or write until it ends"
_SHARE_ROW: Final = "SHARE ROW EXCLUSIVE: others can read, nobody else can write until it ends"
_SHARE: Final = "SHARE: others can read, nobody can write until it ends"
_UPDATE: Final = "SHARE UPDATE EXCLUSIVE: others can read and write; other schema changes wait"
_READ: Final = "EXCLUSIVE: others can read, nobody else can write until it ends"

#: Forms of ALTER TABLE (and INDEX, VIEW, ...) that take less than ACCESS EXCLUSIVE. Those that
#: decide by more than their kind are below.
_ALTER: Final = {
    **dict.fromkeys(
        ("AT_ValidateConstraint", "AT_SetStatistics", "AT_ClusterOn", "AT_DropCluster",
        "AT_SetOptions", "AT_ResetOptions"), _UPDATE
    ),
    "AT_AttachPartition": f"{_UPDATE}; ACCESS EXCLUSIVE on the partition and the default partition",
    "AT_DetachPartitionFinalize": f"{_UPDATE}; ACCESS EXCLUSIVE on the partition",
    **dict.fromkeys(
        (
            "AT_EnableTrig", "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig", "AT_EnableTrigAll",
            "AT_EnableTrigUser",
            "AT_DisableTrig", "AT_DisableTrigAll", "AT_DisableTrigUser",
        ), _SHARE_ROW
    ),
}  # fmt: skip
#: Storage parameters whose change takes no more than SHARE UPDATE EXCLUSIVE; autovacuum_* besides.
_WEAK_OPTIONS: Final = frozenset(
    {
        "fillfactor", "parallel_workers", "toast_tuple_target", "vacuum_index_cleanup",
        "vacuum_truncate",
        "vacuum_max_eager_freeze_failure_rate", "log_autovacuum_min_duration", "deduplicate_items",
        "n_distinct", "n_distinct_inherited",
    }
)  # fmt: skip
#: Kinds of objects that are no relations: nobody reads or writes them, so nobody waits.
_NO_RELATION: Final = frozenset(
    f"OBJECT_{name}"
    for name in _words(
        """
        AGGREGATE CAST COLLATION CONVERSION DOMAIN DOMCONSTRAINT FUNCTION LANGUAGE OPCLASS OPERATOR
        OPFAMILY PROCEDURE ROUTINE ROLE SCHEMA STATISTIC_EXT TSCONFIGURATION TSDICTIONARY TSPARSER
        TSTEMPLATE TYPE DATABASE TABLESPACE EXTENSION
        """
    )
)
_DROPS_MORE: Final = "ACCESS EXCLUSIVE on the tables that lose a column or constraint by it"
#: By node; None where there are no locks on relations that others would feel.
_NODES: Final[dict[str, str | None]] = {
    "TruncateStmt": EXCLUSIVE,
    "RuleStmt": EXCLUSIVE,
    "ClusterStmt": EXCLUSIVE,
    "CreatePolicyStmt": EXCLUSIVE,
    "AlterPolicyStmt": EXCLUSIVE,
    "CreateTrigStmt": _SHARE_ROW,
    "AlterSeqStmt": _SHARE_ROW,
    "CreateStatsStmt": _UPDATE,
    "AlterDomainStmt": f"{_SHARE}; on every table that has the domain, where it gets a constraint",
    **dict.fromkeys(
        _words(
            """
            AlterEnumStmt AlterFunctionStmt AlterOwnerStmt AlterStatsStmt AlterTypeStmt
            CompositeTypeStmt CreateDomainStmt CreateEnumStmt CreateFunctionStmt CreateRangeStmt
            CreateSchemaStmt CreateSeqStmt CreateTableAsStmt DefineStmt GrantStmt GrantRoleStmt
            AlterDefaultPrivilegesStmt
            """
        )
    ),
}


def locks_of(sql: str) -> list[str]:
    """The lock on the relations that the statement names, one line each kind; the strongest when it
    is not known.
    """
    try:
        statements = parse(sql.encode(), MAX_LENGTH)
    except RefusedError:
        return [EXCLUSIVE]
    lines = [
        lock
        for statement in statements
        for kind, node in statement.node.items()
        for lock in _locks(kind, node)
    ]
    return list(dict.fromkeys(lines))


def columns_of(sql: str) -> list[str]:
    """The columns that it is about, when it drops, renames or retypes columns and does nothing
    else; else [].
    """
    try:
        statements = parse(sql.encode(), MAX_LENGTH)
    except RefusedError:
        return []
    if len(statements) != 1:
        return []
    kind = next(iter(statements[0].node), "")
    node: dict[str, Any] = statements[0].node.get(kind, {})
    if kind == "RenameStmt" and node.get("renameType") == "OBJECT_COLUMN":
        return [str(node.get("subname", ""))]
    if kind != "AlterTableStmt":
        return []
    commands = [item.get("AlterTableCmd", {}) for item in node.get("cmds", ())]
    if any(c.get("subtype") not in ("AT_DropColumn", "AT_AlterColumnType") for c in commands):
        return []
    return [str(command.get("name", "")) for command in commands]


def _locks(kind: str, node: dict[str, Any]) -> list[str]:
    special = _SPECIAL.get(kind)
    if special is not None:
        return list(dict.fromkeys(special(node)))
    lock = _NODES.get(kind, EXCLUSIVE)
    return [lock] if lock else []


def _alter_table(node: dict[str, Any]) -> Iterator[str]:
    if node.get("objtype") == "OBJECT_TYPE":
        yield f"{EXCLUSIVE}; on every table that is of the type"
        return
    for item in node.get("cmds", ()):
        yield from _alter(item.get("AlterTableCmd", {}))
    if not node.get("cmds"):
        yield EXCLUSIVE


def _alter(command: dict[str, Any]) -> Iterator[str]:
    subtype, definition = str(command.get("subtype", "")), command.get("def", {})
    constraint = definition.get("Constraint", {}) if isinstance(definition, dict) else {}
    match subtype:
        case "AT_AddConstraint" if constraint.get("contype") == "CONSTR_FOREIGN":
            yield f"{_SHARE_ROW}; the same on the table it refers to"
        case "AT_AddColumn" if any(_foreign(definition.get("ColumnDef", {}))):
            yield EXCLUSIVE
            yield "SHARE ROW EXCLUSIVE on the table it refers to"
        case "AT_DropConstraint":
            yield f"{EXCLUSIVE}; for a foreign key also on the table it refers to"
        case "AT_SetRelOptions" | "AT_ResetRelOptions":
            names = [
                option.get("DefElem", {}).get("defname", "")
                for option in definition.get("List", {}).get("items", ())
            ]
            weak = all(name in _WEAK_OPTIONS or name.startswith("autovacuum_") for name in names)
            yield _UPDATE if weak else EXCLUSIVE
        case "AT_DetachPartition":
            concurrent = definition.get("PartitionCmd", {}).get("concurrent")
            yield (
                f"{_UPDATE}; ACCESS EXCLUSIVE on the partition in the end"
                if concurrent
                else EXCLUSIVE
            )
        case _:
            yield _ALTER.get(subtype, EXCLUSIVE)


def _foreign(column: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in column.get("constraints", ()):
        if item.get("Constraint", {}).get("contype") == "CONSTR_FOREIGN":
            yield item


def _create_table(node: dict[str, Any]) -> Iterator[str]:
    """A new table is nobody's yet; others are concerned where it refers to them or becomes part of
    them.
    """
    if "partbound" in node:
        yield "ACCESS EXCLUSIVE on the partitioned table and its default partition"
    elif node.get("inhRelations"):
        yield "SHARE UPDATE EXCLUSIVE on its parents"
    elements = node.get("tableElts", ())
    if any(
        element.get("Constraint", {}).get("contype") == "CONSTR_FOREIGN"
        or any(_foreign(element.get("ColumnDef", {})))
        for element in elements
    ):
        yield "SHARE ROW EXCLUSIVE on the tables it refers to"


def _drop(node: dict[str, Any]) -> Iterator[str]:
    kind = str(node.get("removeType", ""))
    if kind in _NO_RELATION:
        if node.get("behavior") == "DROP_CASCADE":
            yield (
                _DROPS_MORE
                if kind != "OBJECT_SCHEMA"
                else f"{EXCLUSIVE}; on everything in the schema"
            )
    elif kind == "OBJECT_INDEX":
        yield _UPDATE if node.get("concurrent") else f"{EXCLUSIVE}; on its table as well"
    elif kind in ("OBJECT_TABLE", "OBJECT_FOREIGN_TABLE"):
        yield f"{EXCLUSIVE}; also on tables that its foreign keys refer to, or that refer to it"
    else:
        yield EXCLUSIVE


def _rename(node: dict[str, Any]) -> Iterator[str]:
    kind = str(node.get("renameType", ""))
    if kind == "OBJECT_INDEX":
        yield _UPDATE
    elif kind not in _NO_RELATION:
        yield EXCLUSIVE


def _reindex(node: dict[str, Any]) -> Iterator[str]:
    options = {parameter.get("DefElem", {}).get("defname") for parameter in node.get("params", ())}
    yield _UPDATE if "concurrently" in options else f"{_SHARE}; ACCESS EXCLUSIVE on the indexes"


def _vacuum(node: dict[str, Any]) -> Iterator[str]:
    full = any(
        option.get("DefElem", {}).get("defname") == "full" for option in node.get("options", ())
    )
    yield EXCLUSIVE if full else _UPDATE


def _index(node: dict[str, Any]) -> Iterator[str]:
    yield _UPDATE if node.get("concurrent") else _SHARE


def _refresh(node: dict[str, Any]) -> Iterator[str]:
    yield _READ if node.get("concurrent") else EXCLUSIVE


def _view(node: dict[str, Any]) -> Iterator[str]:
    if node.get("replace"):
        yield f"{EXCLUSIVE}; on the view, when there is one"


def _schema(node: dict[str, Any]) -> Iterator[str]:
    if node.get("objectType") not in _NO_RELATION:
        yield EXCLUSIVE


def _comment(node: dict[str, Any]) -> Iterator[str]:
    if node.get("objtype") not in _NO_RELATION:
        yield _UPDATE


_SPECIAL: Final[dict[str, Callable[[dict[str, Any]], Iterator[str]]]] = {
    "AlterTableStmt": _alter_table,
    "CreateStmt": _create_table,
    "DropStmt": _drop,
    "RenameStmt": _rename,
    "ReindexStmt": _reindex,
    "VacuumStmt": _vacuum,
    "IndexStmt": _index,
    "RefreshMatViewStmt": _refresh,
    "ViewStmt": _view,
    "AlterObjectSchemaStmt": _schema,
    "CommentStmt": _comment,
}
