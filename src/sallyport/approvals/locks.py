"""Which locks a schema change takes, and on what: from its parse tree (PostgreSQL's documentation, "Explicit Locking" and ALTER TABLE). Pure."""

from __future__ import annotations

from typing import Any, Final

from sallyport.core.errors import RefusedError
from sallyport.sql.parse import MAX_LENGTH, parse

EXCLUSIVE: Final = "ACCESS EXCLUSIVE: nobody else reads or writes until it is over"
_SHARE_ROW: Final = "SHARE ROW EXCLUSIVE: others read, nobody else writes until it is over"
_SHARE: Final = "SHARE: others read, nobody writes until it is over"
_UPDATE: Final = "SHARE UPDATE EXCLUSIVE: others read and write; other schema changes wait"
_READ: Final = "EXCLUSIVE: others read, nobody else writes until it is over"

#: Kinds of ALTER TABLE that take less than ACCESS EXCLUSIVE.
_ALTER: Final = {
    "AT_ValidateConstraint": _UPDATE,
    "AT_SetStatistics": _UPDATE,
    "AT_ClusterOn": _UPDATE,
    "AT_DropCluster": _UPDATE,
    "AT_AttachPartition": f"{_UPDATE}; ACCESS EXCLUSIVE on the partition and the default partition",
    "AT_EnableTrig": _SHARE_ROW,
    "AT_DisableTrig": _SHARE_ROW,
    "AT_EnableTrigAll": _SHARE_ROW,
    "AT_DisableTrigAll": _SHARE_ROW,
    "AT_EnableTrigUser": _SHARE_ROW,
    "AT_DisableTrigUser": _SHARE_ROW,
}
#: By node; None where there are no locks on relations that others would feel.
_NODES: Final[dict[str, str | None]] = {
    "TruncateStmt": EXCLUSIVE,
    "DropStmt": EXCLUSIVE,
    "RenameStmt": EXCLUSIVE,
    "RuleStmt": EXCLUSIVE,
    "AlterObjectSchemaStmt": EXCLUSIVE,
    "AlterOwnerStmt": None,
    "CreateTrigStmt": _SHARE_ROW,
    "CreatePolicyStmt": EXCLUSIVE,
    "AlterPolicyStmt": EXCLUSIVE,
    "CreateStatsStmt": _UPDATE,
    "CommentStmt": _UPDATE,
    "CreateStmt": None,
    "CreateTableAsStmt": None,
    "ViewStmt": None,
    "CreateFunctionStmt": None,
    "CreateSchemaStmt": None,
    "CreateSeqStmt": None,
    "GrantStmt": None,
}


def locks_of(sql: str) -> list[str]:
    """The lock on the relations that the statement names, one line each kind; the strongest when it is not known."""
    try:
        statements = parse(sql.encode(), MAX_LENGTH)
    except RefusedError:
        return [EXCLUSIVE]
    found = [lock for one in statements for kind, node in one.node.items() for lock in _locks(kind, node)]
    return list(dict.fromkeys(found))


def _locks(kind: str, node: dict[str, Any]) -> list[str]:
    concurrent = bool(node.get("concurrent"))
    match kind:
        case "IndexStmt":
            return [_UPDATE if concurrent else _SHARE]
        case "DropStmt" if concurrent:
            return [_UPDATE]
        case "RefreshMatViewStmt":
            return [_READ if concurrent else EXCLUSIVE]
        case "AlterTableStmt":
            return [_alter(item.get("AlterTableCmd", {})) for item in node.get("cmds", ())] or [EXCLUSIVE]
        case "VacuumStmt":
            full = any(o.get("DefElem", {}).get("defname") == "full" for o in node.get("options", ()))
            return [EXCLUSIVE if full else _UPDATE]
    lock = _NODES.get(kind, EXCLUSIVE)
    return [lock] if lock else []


def _alter(command: dict[str, Any]) -> str:
    subtype = str(command.get("subtype", ""))
    constraint = command.get("def", {}).get("Constraint", {}) if isinstance(command.get("def"), dict) else {}
    if subtype == "AT_AddConstraint" and constraint.get("contype") == "CONSTR_FOREIGN":
        return f"{_SHARE_ROW}; the same on the table it refers to"
    return _ALTER.get(subtype, EXCLUSIVE)
