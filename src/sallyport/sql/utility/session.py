"""Statements about the session: transactions, settings, prepared statements, cursors,
LISTEN, LOCK.
"""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.functions import FIRST_USER_OID
from sallyport.sql.expressions.calls import type_oid
from sallyport.sql.facts import (
    Dependence,
    Effect,
    EffectKind,
    OutputColumn,
    SettingChange,
    meant_by,
)
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import fields, position, string, tag_of
from sallyport.sql.queries.from_items import RANGE_VAR
from sallyport.sql.statements import adopt, nested
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.parse import Node
from sallyport.sql.utility.custom_settings import is_custom
from sallyport.sql.utility.settings import folded, show_allowed
from sallyport.sql.values.conversions import converts
from sallyport.sql.values.types import VOID
from sallyport.sql.values.void_parameters import NO_VOID

on = STATEMENTS.on
_DEF_ELEM = fields("defname arg defaction")

_TRANSACTION = {
    "TRANS_STMT_BEGIN": ("begin", EffectKind.BEGIN),
    "TRANS_STMT_START": ("begin", EffectKind.BEGIN),
    "TRANS_STMT_COMMIT": ("commit", EffectKind.COMMIT),
    "TRANS_STMT_ROLLBACK": ("rollback", EffectKind.ROLLBACK),
    "TRANS_STMT_SAVEPOINT": ("savepoint", EffectKind.SAVEPOINT),
    "TRANS_STMT_RELEASE": ("release", EffectKind.RELEASE),
    "TRANS_STMT_ROLLBACK_TO": ("rollback_to", EffectKind.ROLLBACK_TO),
    "TRANS_STMT_PREPARE": ("prepare_transaction", EffectKind.COMMIT),
    # what a prepared transaction did to the catalog shows now
    "TRANS_STMT_COMMIT_PREPARED": ("commit_prepared", EffectKind.DDL),
    "TRANS_STMT_ROLLBACK_PREPARED": ("rollback_prepared", EffectKind.DDL),
}
#: Kinds of statements with the identifier of a prepared transaction.
TWO_PHASE = frozenset({"prepare_transaction", "commit_prepared", "rollback_prepared"})
#: Transaction modes that are settings by another name.
_MODES = frozenset({"transaction_isolation", "transaction_read_only", "transaction_deferrable"})


@on("TransactionStmt", "kind options savepoint_name gid chain")
def _transaction(a: Analysis, node: Node, at: int) -> None:
    kind, effect = _TRANSACTION.get(node.get("kind", ""), ("transaction", None))
    a.kind = kind
    if kind in TWO_PHASE:
        a.effects.append(Effect(EffectKind.TWO_PHASE, node.get("gid", "")))
    if effect is None:
        a.unknown("SP1107", f"{kind.replace('_', ' ').upper()} is not supported here")
        return
    a.effects.append(Effect(effect, node.get("savepoint_name", "")))
    if node.get("chain"):
        a.effects.append(Effect(EffectKind.BEGIN))
    _modes(a, node.get("options", []), "", local=True)


def _modes(a: Analysis, options: list[Node], prefix: str, local: bool) -> None:
    for item in options:
        body = item["DefElem"]
        a.check("DefElem", body, _DEF_ELEM)
        name = body.get("defname", "")
        value = _text(body.get("arg", {}))
        if name not in _MODES or value is None:
            a.unknown("SP1102", f"transaction mode {name} is not supported")
            continue
        if name != "transaction_isolation":
            value = "off" if value in ("0", "false", "off") else "on"
        a.settings.append(SettingChange(prefix + name, value, local))


def _text(node: Node) -> str | None:
    """The text of a constant in SET; None for anything else."""
    tag, body = tag_of(node)
    if tag == "TypeCast":
        return _text(body["arg"]) if body["arg"] else None
    if tag == "A_Const":
        if "sval" in body:
            return str(body["sval"].get("sval", ""))
        if "ival" in body:
            return str(body["ival"].get("ival", 0))
        if "fval" in body:
            return str(body["fval"].get("fval", ""))
        if "boolval" in body:
            return "true" if body["boolval"].get("boolval") else "false"
    return None


@on("VariableSetStmt", "kind name args is_local jumble_args")
def _set(a: Analysis, node: Node, at: int) -> None:
    kind, name, local = node.get("kind", ""), node.get("name", ""), bool(node.get("is_local"))
    at = position(node)
    a.kind = "set"
    a.effects.append(Effect(EffectKind.SET, name.lower()))
    if kind == "VAR_SET_VALUE":
        texts = [_text(argument) for argument in node.get("args", [])]
        if None in texts:
            a.unknown("SP1102", f"this form of value for {name} is not supported", position=at)
        values = [text for text in texts if text is not None]
        # SET keeps each name of a list apart; search_path is quoted again so that it can be read
        # back
        joined = (
            ", ".join(map(quoted, values)) if name.lower() == "search_path" else ", ".join(values)
        )
        a.settings.append(SettingChange(name.lower(), joined, local, at))
    elif kind in ("VAR_SET_DEFAULT", "VAR_RESET"):
        a.kind = "set" if kind == "VAR_SET_DEFAULT" else "reset"
        a.settings.append(SettingChange(name.lower(), None, local, at))
    elif kind == "VAR_RESET_ALL":
        a.kind = "reset"
        a.settings.append(SettingChange("", None, local, at))
    elif kind == "VAR_SET_MULTI" and name == "TRANSACTION":
        a.kind = "set_transaction"
        _modes(a, node.get("args", []), "", local=True)
    elif kind == "VAR_SET_MULTI" and name == "SESSION CHARACTERISTICS":
        a.kind = "set"
        _modes(a, node.get("args", []), "default_", local=False)
    else:
        a.unknown("SP1102", f"SET {name} is not supported in this form", position=at)


@on("VariableShowStmt", "name")
def _show(a: Analysis, node: Node, at: int) -> None:
    name = node.get("name", "").lower()
    a.kind = "show"
    a.columns = (OutputColumn(name, frozenset(), Dependence.DERIVED),)
    if name == "all":
        a.columns = tuple(
            OutputColumn(n, frozenset(), Dependence.DERIVED)
            for n in ("name", "setting", "description")
        )
    if is_custom(folded(name)) and not show_allowed(name):
        a.setting_reads.setdefault(folded(name), -1)
        return
    if not show_allowed(name):
        hint = (
            "Show each setting by its name, or select from the system view pg_settings."
            if name == "all"
            else "The system view pg_settings lists the settings that can be read."
        )
        what = "all settings" if name == "all" else f"setting {name}"
        a.unknown("SP1103", f"{what} cannot be read through the gateway", hint)


@on("DiscardStmt", "target")
def _discard(a: Analysis, node: Node, at: int) -> None:
    a.kind = "discard"
    target = node.get("target", "DISCARD_ALL").removeprefix("DISCARD_").lower()
    a.effects.append(Effect(EffectKind.DISCARD, target))
    if target == "all":
        a.settings.append(SettingChange("", None))


@on("ConstraintsSetStmt", "constraints deferred")
def _constraints(a: Analysis, node: Node, at: int) -> None:
    a.kind = "set_constraints"


@on("PrepareStmt", "name argtypes query")
def _prepare(a: Analysis, node: Node, at: int) -> None:
    for item in node.get("argtypes", []):
        if type_oid(a, item["TypeName"]) == VOID:
            a.unknown(*NO_VOID)
    a.inner = nested(a, node["query"])[1]
    adopt(a, a.inner)
    a.kind = "prepare"
    a.effects.append(Effect(EffectKind.PREPARE, node.get("name", "")))
    a.declared_types = tuple(type_oid(a, item["TypeName"]) for item in node.get("argtypes", []))
    _declared(a, a.declared_types, at)


def _declared(a: Analysis, types: tuple[int, ...], at: int) -> None:
    """The types that PREPARE gives its parameters, where a cast of users' making would convert
    them.
    """
    made = {cast.target for cast in a.names.made_casts if cast.target >= FIRST_USER_OID}
    declared = {(meant_by(a.work.meant, number), type_) for number, type_ in enumerate(types, 1)}
    if not a.cast_parameters.isdisjoint(declared) or not made.isdisjoint(types):
        a.unknown(
            "SP1103",
            "cannot determine which cast converts a parameter of this type",
            "Give it no type.",
            at,
        )


@on("ExecuteStmt", "name params")
def _execute(a: Analysis, node: Node, at: int) -> None:
    a.kind = "execute"
    values = a.expressions(node.get("params", []), Scope())
    for value in values:
        # PREPARE takes no parameter that a constant would be made into
        if not value.constant or value.type >= FIRST_USER_OID:
            converts(a, value, 0, at, assignment=True)
    a.effects.append(Effect(EffectKind.EXECUTE, node.get("name", "")))


@on("DeallocateStmt", "name isall")
def _deallocate(a: Analysis, node: Node, at: int) -> None:
    a.kind = "deallocate"
    a.effects.append(Effect(EffectKind.DEALLOCATE, node.get("name", "")))


#: CURSOR_OPT_SCROLL and CURSOR_OPT_HOLD (parsenodes.h): such a cursor keeps the rows that it read.
_STORES_ROWS = 0x0002 | 0x0020


@on("DeclareCursorStmt", "portalname options query")
def _declare(a: Analysis, node: Node, at: int) -> None:
    inner, a.inner = nested(a, node["query"])
    adopt(a, a.inner)
    if node.get("options", 0) & _STORES_ROWS:
        a.inner = replace(a.inner, plain=None)
    if inner.actions or inner.kind != "select":
        a.unknown("SP1102", "a cursor can only be declared for a query")
    a.kind = "declare"
    a.effects.append(Effect(EffectKind.DECLARE, node.get("portalname", "")))


@on("FetchStmt", "direction howMany portalname ismove direction_keyword")
def _fetch(a: Analysis, node: Node, at: int) -> None:
    a.kind = "move" if node.get("ismove") else "fetch"
    a.effects.append(Effect(EffectKind.FETCH, node.get("portalname", "")))


@on("ClosePortalStmt", "portalname")
def _close(a: Analysis, node: Node, at: int) -> None:
    a.kind = "close"
    a.effects.append(Effect(EffectKind.CLOSE, node.get("portalname", "")))


@on("ListenStmt", "conditionname")
def _listen(a: Analysis, node: Node, at: int) -> None:
    a.kind = "listen"
    a.effects.append(Effect(EffectKind.LISTEN, node.get("conditionname", "")))


@on("UnlistenStmt", "conditionname")
def _unlisten(a: Analysis, node: Node, at: int) -> None:
    a.kind = "unlisten"


@on("NotifyStmt", "conditionname payload")
def _notify(a: Analysis, node: Node, at: int) -> None:
    a.kind = "notify"
    a.effects.append(Effect(EffectKind.NOTIFY, node.get("conditionname", "")))


#: AccessShareLock (lockdefs.h).
_ACCESS_SHARE = 1


@on("LockStmt", "relations mode nowait")
def _lock(a: Analysis, node: Node, at: int) -> None:
    a.kind = "lock"
    for item in node.get("relations", []):
        a.check("RangeVar", item["RangeVar"], RANGE_VAR)
        relation = a.named_relation(item["RangeVar"])
        if relation is not None:
            # As in PostgreSQL (LockTableAclCheck): the lock that reading takes needs no more than
            # reading.
            a.access(relation.oid, "select" if node.get("mode") == _ACCESS_SHARE else "lock")


def option_text(a: Analysis, item: Node) -> tuple[str, str | None, Node]:
    """A DefElem's name, its value as text (None when it has none) and the value's node."""
    body = item["DefElem"]
    a.check("DefElem", body, _DEF_ELEM)
    argument = body.get("arg", {})
    tag, inner = tag_of(argument)
    text: str | None = None
    if tag == "String":
        text = string(argument)
    elif tag == "Boolean":
        text = "true" if inner.get("boolval") else "false"
    elif tag == "Integer":
        text = str(inner.get("ival", 0))
    elif tag == "Float":
        text = str(inner.get("fval", ""))
    return body.get("defname", "").lower(), text, argument


def truth(text: str | None) -> bool | None:
    """An option's boolean as defGetBoolean reads it; None when it is none."""
    if text is None:
        return True
    lowered = text.lower()
    if lowered in ("true", "on", "1"):
        return True
    if lowered in ("false", "off", "0"):
        return False
    return None
