"""COPY and EXPLAIN: statements whose result is another statement's, in another form."""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.snapshot import Column, ColumnId, Relation
from sallyport.sql.facts import Clause, CopyFormat, Dependence, Effect, EffectKind, OutputColumn
from sallyport.sql.lineage import Field
from sallyport.sql.names.missing import missing_column_of
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import strings, tag_of
from sallyport.sql.queries.from_items import RANGE_VAR
from sallyport.sql.queries.relation_items import relation_item
from sallyport.sql.statements import adopt, nested
from sallyport.sql.text.parse import Node
from sallyport.sql.utility.session import option_text, truth
from sallyport.sql.values.conversions import note_condition_cast
from sallyport.sql.writes.constraints import note_partition
from sallyport.sql.writes.dml import WriteTarget

on = STATEMENTS.on


#: pg_class.relkind -> what PostgreSQL calls it (BeginCopyTo in copyto.c).
_NOT_COPIED = {"v": "view", "f": "foreign table", "S": "sequence"}


@on("CopyStmt", "relation query attlist is_from is_program filename options whereClause")
def _copy(analysis: Analysis, node: Node, position: int) -> None:
    into = bool(node.get("is_from"))
    analysis.kind = "copy_in" if into else "copy_out"
    if node.get("is_program") or "filename" in node:
        what = "a program" if node.get("is_program") else "a file of the server"
        analysis.unknown(
            "SP1107", f"COPY with {what} is not allowed", "Use COPY ... TO STDOUT or FROM STDIN."
        )
    analysis.copy_format = _format(analysis, node.get("options", []), into)
    analysis.effects.append(Effect(EffectKind.COPY_IN if into else EffectKind.COPY_OUT))
    if into:
        _copy_in(analysis, node)
    elif "query" in node:
        inner, analysis.inner = nested(analysis, node["query"])
        adopt(analysis, analysis.inner)
        analysis.columns = analysis.inner.columns
        if analysis.columns is None or inner.kind not in (
            "select",
            "insert",
            "update",
            "delete",
            "merge",
        ):
            analysis.unknown("SP1102", "cannot determine the columns of this COPY")
    else:
        _copy_out(analysis, node)


def _copy_in(analysis: Analysis, node: Node) -> None:
    target = WriteTarget(analysis, node["relation"])
    if target.relation is None:
        return
    columns = _columns(analysis, target.relation, node)
    target.access(
        analysis, "insert", frozenset(ColumnId(target.relation.oid, c.attnum) for c in columns)
    )
    if "whereClause" in node:
        # the condition is about the rows that come in; they have the table's columns
        note_condition_cast(
            analysis, analysis.expression(node["whereClause"], Scope(items=[target.proposed]))
        )


def _copy_out(analysis: Analysis, node: Node) -> None:
    analysis.check("RangeVar", node["relation"], RANGE_VAR)
    relation = analysis.named_relation(node["relation"])
    if relation is None:
        return
    analysis.read_relation(relation)
    note_partition(analysis, relation)
    if relation.kind not in "rpm":
        kind = _NOT_COPIED.get(relation.kind, "non-table relation")
        hint = "" if relation.kind == "S" else "Use COPY (SELECT ...) TO STDOUT."
        analysis.missing("SP1117", f'cannot copy from {kind} "{relation.name}"', hint)
    fields: dict[str, Field] = {f.name: f for f in relation_item(analysis, relation).fields}
    analysis.output(
        tuple(
            Field(c.name, analysis.read(fields[c.name].value))
            for c in _columns(analysis, relation, node)
        )
    )


def _columns(analysis: Analysis, relation: Relation, node: Node) -> list[Column]:
    """The columns of COPY table (...): as listed, or all but the generated ones (copy.c,
    CopyGetAttnums).
    """
    if "attlist" not in node:
        return [column for column in relation.columns if not column.generated]
    by_name = {column.name: column for column in relation.columns}
    columns = []
    for name in strings(node["attlist"]):
        if name in by_name:
            columns.append(by_name[name])
        else:
            missing_column_of(analysis, name, relation.name, by_name)
    return columns


#: Options that only say how incoming rows are read; the masker does not need them.
_INCOMING = frozenset(
    {
        "freeze",
        "force_not_null",
        "force_null",
        "default",
        "on_error",
        "log_verbosity",
        "reject_limit",
    }
)


def _format(analysis: Analysis, options: list[Node], into: bool) -> CopyFormat:
    options_by_name: dict[str, str] = {}
    for item in options:
        name, text, argument = option_text(analysis, item)
        if (name in _INCOMING and into) or (
            name == "force_quote" and tag_of(argument)[0] == "List"
        ):
            continue
        if (
            name == "encoding"
            and text is not None
            and text.lower().replace("-", "") in ("utf8", "unicode")
        ):
            continue
        if name == "force_quote" and tag_of(argument)[0] == "A_Star":
            options_by_name[name] = "true"
        elif name == "header" and truth(text) is not None:
            options_by_name[name] = "true" if truth(text) else "false"
        elif name == "header" and into and text is not None and text.lower() == "match":
            options_by_name[name] = "true"
        elif (
            name in ("format", "delimiter", "null", "quote", "escape")
            and text is not None
            and name not in options_by_name
        ):
            options_by_name[name] = text
        else:
            analysis.unknown("SP1102", f"COPY option {name.upper()} is not supported in this form")
    kind = options_by_name.get("format", "text").lower()
    if kind not in ("text", "csv", "binary"):
        analysis.unknown("SP1102", f'COPY format "{kind}" is not supported')
    quote = options_by_name.get("quote", '"')
    return CopyFormat(
        kind,
        options_by_name.get("delimiter", "," if kind == "csv" else "\t"),
        options_by_name.get("null", "" if kind == "csv" else "\\N"),
        options_by_name.get("header") == "true",
        quote,
        options_by_name.get("escape", quote),
        options_by_name.get("force_quote") == "true",
    )


_EXPLAIN_OPTIONS = frozenset(
    {
        "analyze",
        "verbose",
        "costs",
        "settings",
        "generic_plan",
        "buffers",
        "wal",
        "timing",
        "summary",
        "memory",
    }
)


@on("ExplainStmt", "query options")
def _explain(analysis: Analysis, node: Node, position: int) -> None:
    options: dict[str, bool] = {}
    for item in node.get("options", []):
        name, text, _ = option_text(analysis, item)
        if name in ("format", "serialize"):
            continue
        value = truth(text)
        if name not in _EXPLAIN_OPTIONS or value is None:
            analysis.unknown("SP1102", f"EXPLAIN option {name.upper()} is not supported")
        else:
            options[name] = value
    analysis.explain_options = options
    inner, facts = nested(analysis, node["query"])
    adopt(analysis, facts)
    analysis.kind = "explain"
    analysis.columns = (OutputColumn("QUERY PLAN", frozenset(), Dependence.DERIVED),)
    if inner.kind == "execute":
        # what that name stands for the session knows, and judges: sallyport.sql.extract.explained
        analysis.effects.extend(Effect(EffectKind.EXPLAIN, e.name) for e in facts.effects)
        return
    analysis.inner = replace(facts, plain=None)  # what EXPLAIN tells depends on what its nodes hold
    if inner.kind not in (
        "select",
        "insert",
        "update",
        "delete",
        "merge",
        "create_table_as",
        "select_into",
    ):
        analysis.unknown(
            "SP1102",
            f"EXPLAIN {inner.kind.replace('_', ' ').upper()} is not supported",
            "Explain the query itself.",
        )
    if options.get("analyze"):
        analysis.effects.extend(
            effect for effect in analysis.inner.effects if effect.kind is EffectKind.DDL
        )
    if options.get("analyze") or options.get("costs", True):
        # the widths of what a write returns are those of the raw values
        for column in facts.columns or ():
            if column.raw:
                analysis.influence(column.sources, Clause.RETURNING)
