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
from sallyport.sql.names.missing import missing_setting
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import fields, position_of, string, tag_of
from sallyport.sql.queries.from_items import RANGE_VAR
from sallyport.sql.statements import adopt, nested
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.parse import Node
from sallyport.sql.utility.custom_settings import is_custom
from sallyport.sql.utility.settings import exists, folded, show_allowed
from sallyport.sql.values.conversions import note_implicit_cast
from sallyport.sql.values.types import VOID
from sallyport.sql.values.void_parameters import NO_VOID, is_converted

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
def _transaction(analysis: Analysis, node: Node, position: int) -> None:
    kind, effect = _TRANSACTION.get(node.get("kind", ""), ("transaction", None))
    analysis.kind = kind
    if kind in TWO_PHASE:
        analysis.effects.append(Effect(EffectKind.TWO_PHASE, node.get("gid", "")))
    if effect is None:
        analysis.unknown("SP1107", f"{kind.replace('_', ' ').upper()} is not supported here")
        return
    analysis.effects.append(Effect(effect, node.get("savepoint_name", "")))
    if node.get("chain"):
        analysis.effects.append(Effect(EffectKind.BEGIN))
    _modes(analysis, node.get("options", []), "", local=True)


def _modes(analysis: Analysis, options: list[Node], prefix: str, local: bool) -> None:
    for item in options:
        body = item["DefElem"]
        analysis.check("DefElem", body, _DEF_ELEM)
        name = body.get("defname", "")
        value = _text(body.get("arg", {}))
        if name not in _MODES or value is None:
            analysis.unknown("SP1102", f"transaction mode {name} is not supported")
            continue
        if name != "transaction_isolation":
            value = "off" if value in ("0", "false", "off") else "on"
        analysis.settings.append(SettingChange(prefix + name, value, local))


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
def _set(analysis: Analysis, node: Node, position: int) -> None:
    kind, name = node.get("kind", ""), node.get("name", "")
    analysis.kind = "reset" if kind in ("VAR_RESET", "VAR_RESET_ALL") else "set"
    analysis.effects.append(Effect(EffectKind.SET, name.lower()))
    change = setting_change(analysis, node)
    if change is not None:
        analysis.settings.append(change)
    elif kind == "VAR_SET_MULTI" and name == "TRANSACTION":
        analysis.kind = "set_transaction"
        _modes(analysis, node.get("args", []), "", local=True)
    elif kind == "VAR_SET_MULTI" and name == "SESSION CHARACTERISTICS":
        analysis.kind = "set"
        _modes(analysis, node.get("args", []), "default_", local=False)
    else:
        position = position_of(node)
        analysis.unknown("SP1102", f"SET {name} is not supported in this form", position=position)


def setting_change(analysis: Analysis, node: Node) -> SettingChange | None:
    """What SET or RESET of one setting, or RESET ALL, changes; None for their other forms."""
    kind, name, position = node.get("kind", ""), node.get("name", "").lower(), position_of(node)
    is_local = bool(node.get("is_local"))
    if kind == "VAR_RESET_ALL":
        return SettingChange("", None, is_local, position)
    if kind in ("VAR_SET_DEFAULT", "VAR_RESET"):
        return SettingChange(name, None, is_local, position)
    if kind != "VAR_SET_VALUE":
        return None
    texts = [_text(argument) for argument in node.get("args", [])]
    if None in texts:
        what = f"this form of value for {node.get('name', '')} is not supported"
        analysis.unknown("SP1102", what, position=position)
    values = [text for text in texts if text is not None]
    # SET keeps each name of a list apart; search_path is quoted again so that it can be read back
    joined = ", ".join(map(quoted, values) if name == "search_path" else values)
    return SettingChange(name, joined, is_local, position)


@on("VariableShowStmt", "name")
def _show(analysis: Analysis, node: Node, position: int) -> None:
    name = node.get("name", "").lower()
    analysis.kind = "show"
    analysis.columns = (OutputColumn(name, frozenset(), Dependence.DERIVED),)
    if name == "all":
        analysis.columns = tuple(
            OutputColumn(n, frozenset(), Dependence.DERIVED)
            for n in ("name", "setting", "description")
        )
    if is_custom(folded(name)) and not show_allowed(name):
        analysis.setting_reads.setdefault(folded(name), -1)
    elif name != "all" and not exists(name):
        missing_setting(analysis, name)
    elif not show_allowed(name):
        hint = (
            "Show each setting by its name, or select from the system view pg_settings."
            if name == "all"
            else "The system view pg_settings lists the settings that can be read."
        )
        what = "all settings" if name == "all" else f"setting {name}"
        analysis.unknown("SP1103", f"{what} cannot be read through the gateway", hint)


@on("DiscardStmt", "target")
def _discard(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "discard"
    target = node.get("target", "DISCARD_ALL").removeprefix("DISCARD_").lower()
    analysis.effects.append(Effect(EffectKind.DISCARD, target))
    if target == "all":
        analysis.settings.append(SettingChange("", None))


@on("ConstraintsSetStmt", "constraints deferred")
def _constraints(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "set_constraints"


@on("PrepareStmt", "name argtypes query")
def _prepare(analysis: Analysis, node: Node, position: int) -> None:
    types = tuple(type_oid(analysis, item["TypeName"]) for item in node.get("argtypes", []))
    if VOID in types:
        analysis.unknown(*NO_VOID)
    analysis.declared = analysis.declared_types = types
    analysis.inner = nested(analysis, node["query"])[1]
    adopt(analysis, analysis.inner)
    analysis.kind = "prepare"
    analysis.effects.append(Effect(EffectKind.PREPARE, node.get("name", "")))
    _declared(analysis, types, position)


def _declared(analysis: Analysis, types: tuple[int, ...], position: int) -> None:
    """The types that PREPARE gives its parameters, where a cast of users' making would convert
    them.
    """
    made = {cast.target for cast in analysis.names.made_casts if cast.target >= FIRST_USER_OID}
    is_converting = any(
        is_converted(analysis.cast_parameters, meant_by(analysis.work.meant, number), type_)
        for number, type_ in enumerate(types, 1)
    )
    if is_converting or not made.isdisjoint(types):
        analysis.unknown(
            "SP1103",
            "cannot determine which cast converts a parameter of this type",
            "Give it no type.",
            position,
        )


@on("ExecuteStmt", "name params")
def _execute(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "execute"
    values = analysis.expressions(node.get("params", []), Scope())
    for value in values:
        # PREPARE takes no parameter that a constant would be made into
        if not value.constant or value.type >= FIRST_USER_OID:
            note_implicit_cast(analysis, value, 0, position, assignment=True)
    analysis.effects.append(Effect(EffectKind.EXECUTE, node.get("name", "")))


@on("DeallocateStmt", "name isall")
def _deallocate(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "deallocate"
    analysis.effects.append(Effect(EffectKind.DEALLOCATE, node.get("name", "")))


#: CURSOR_OPT_SCROLL and CURSOR_OPT_HOLD (parsenodes.h): such a cursor keeps the rows that it read.
_HOLD = 0x0020
_STORES_ROWS = 0x0002 | _HOLD


@on("DeclareCursorStmt", "portalname options query")
def _declare(analysis: Analysis, node: Node, position: int) -> None:
    inner, analysis.inner = nested(analysis, node["query"])
    adopt(analysis, analysis.inner)
    options = node.get("options", 0)
    if options & _STORES_ROWS:
        analysis.inner = replace(analysis.inner, plain=None)
    if inner.actions or inner.kind != "select":
        analysis.unknown("SP1102", "a cursor can only be declared for a query")
    analysis.kind = "declare"
    hold = bool(options & _HOLD)
    analysis.effects.append(Effect(EffectKind.DECLARE, node.get("portalname", ""), hold))


@on("FetchStmt", "direction howMany portalname ismove direction_keyword")
def _fetch(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "move" if node.get("ismove") else "fetch"
    analysis.effects.append(Effect(EffectKind.FETCH, node.get("portalname", "")))


@on("ClosePortalStmt", "portalname")
def _close(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "close"
    analysis.effects.append(Effect(EffectKind.CLOSE, node.get("portalname", "")))


@on("ListenStmt", "conditionname")
def _listen(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "listen"
    analysis.effects.append(Effect(EffectKind.LISTEN, node.get("conditionname", "")))


@on("UnlistenStmt", "conditionname")
def _unlisten(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "unlisten"


@on("NotifyStmt", "conditionname payload")
def _notify(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "notify"
    analysis.effects.append(Effect(EffectKind.NOTIFY, node.get("conditionname", "")))


#: AccessShareLock (lockdefs.h).
_ACCESS_SHARE = 1


@on("LockStmt", "relations mode nowait")
def _lock(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "lock"
    for item in node.get("relations", []):
        analysis.check("RangeVar", item["RangeVar"], RANGE_VAR)
        relation = analysis.named_relation(item["RangeVar"])
        if relation is not None:
            # As in PostgreSQL (LockTableAclCheck): the lock that reading takes needs no more than
            # reading.
            analysis.access(relation.oid, "select" if node.get("mode") == _ACCESS_SHARE else "lock")


def option_text(analysis: Analysis, item: Node) -> tuple[str, str | None, Node]:
    """A DefElem's name, its value as text (None when it has none) and the value's node."""
    body = item["DefElem"]
    analysis.check("DefElem", body, _DEF_ELEM)
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
