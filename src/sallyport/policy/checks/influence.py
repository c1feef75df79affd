"""What a statement may not do with masked columns, whatever rule allows it; and the checks beside
the rules.

``check_unknowns``: anything not understood is a refusal. ``check_functions``: functions outside
pg_catalog need a line in policy. ``check_influence``: a raw value must not steer a write (SP1201)
unless its ``filter`` says so. ``check_mentions``: with ``filter: deny`` a column is only selected
as it is (SP1201). ``check_functions_read``: bodies of functions do not read masked columns
(SP1103). ``check_flows``: masked data is not copied to where it would be read unmasked (SP1202).
Each returns the first refusal or None. Positions in facts are byte offsets; refusals carry 1-based
characters, as PostgreSQL's do.
"""

from __future__ import annotations

from collections.abc import Mapping

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.bound import BoundPolicy, SubjectPolicy
from sallyport.policy.checks.needs import chain
from sallyport.policy.checks.renames import is_hidden
from sallyport.policy.containment import RELEASE_HINT
from sallyport.policy.decision import EQUALITY, ColumnMask, Filter
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.facts import Clause, Flow, Influence, StatementFacts, Unknown

_LISTED = 5
_NAMES = "The gateway resolves names as its own database role sees them."
_IN_A_VIEW = "Write to the table itself: the condition is in the definition of a view."
_ALL_OF_IT = "The gateway runs a statement only if it can tell all that the statement does."
_REFUSED_ROWS = frozenset(
    {Clause.UNIQUE, Clause.FOREIGN_KEY, Clause.CHECK, Clause.INDEX_SIZE, Clause.ROW_SIZE}
)


def character_position(sql: str | bytes, byte_offset: int) -> int:
    """1-based character position of a byte offset into the UTF-8 text; 0 when unknown."""
    if byte_offset < 0 or not sql:
        return 0
    raw = sql if isinstance(sql, bytes) else sql.encode()
    return len(raw[:byte_offset].decode("utf-8", "ignore")) + 1


def check_unknowns(facts: StatementFacts, sql: str | bytes = "") -> Refusal | None:
    """The first thing that was not understood; DETAIL lists the rest up to a bound."""
    unknowns: list[Unknown] = [u for level in chain(facts) for u in level.unknowns]
    if not unknowns:
        return None
    first = unknowns[0]
    at = character_position(sql, first.position)
    if first.message:
        return refuse(first.code, first.message, "" if first.hint else _NAMES, first.hint, at)
    sentences = [_ALL_OF_IT] if first.code == "SP1102" else []
    further = list(dict.fromkeys(u.what for u in unknowns if u.what != first.what))
    if further:
        more = f" (and {len(further) - _LISTED} more)" if len(further) > _LISTED else ""
        sentences.append(f"Further reasons: {'; '.join(further[:_LISTED])}{more}.")
    return refuse(first.code, first.what, " ".join(sentences), first.hint, at)


def check_form(facts: StatementFacts, sql: str | bytes = "") -> Refusal | None:
    """SP1107 for a form that no rule can allow."""
    for level in chain(facts):
        for unknown in level.unknowns:
            if unknown.is_form:
                at = character_position(sql, unknown.position)
                return refuse(
                    unknown.code,
                    unknown.message,
                    "No rule of the policy can allow this form.",
                    unknown.hint,
                    at,
                )
    return None


def check_functions(
    facts: StatementFacts, policy: SubjectPolicy, sql: str | bytes
) -> Refusal | None:
    """Functions outside pg_catalog that policy does not name: what they do cannot be seen from
    outside.
    """
    for level in chain(facts):
        for use in level.functions:
            name = f"{use.schema}.{use.name}"
            if policy.trusts_name(use.schema, use.name):
                contained = policy.contained
                if contained is None or not policy.closes_functions:
                    continue
                return refuse(
                    "SP1005",
                    f"the function {name} is closed: untrusted text was read before",
                    f"{name} may send data elsewhere, unseen. {contained.reason()}",
                    RELEASE_HINT,
                    character_position(sql, use.position),
                )
            return refuse(
                "SP1103",
                f"function {name} is not known to be safe",
                f"{name} is not part of PostgreSQL, and the policy does not list it under"
                " 'functions'.",
                "Leave the function out, or ask for it to be listed under 'functions' in the"
                " policy.",
                character_position(sql, use.position),
            )
    return None


def check_influence(
    facts: StatementFacts,
    masks: Mapping[ColumnId, ColumnMask],
    catalog: CatalogSnapshot,
    sql: str | bytes,
) -> Refusal | None:
    """SP1201 for the first masked column whose raw value may not influence the statement the way it
    does.
    """
    for level in chain(facts):
        for influence in level.influences:
            mask = masks.get(influence.column)
            if mask is not None and not _may_influence(influence, mask):
                return _influence_refusal(influence, mask, catalog, sql)
    return None


def _may_influence(influence: Influence, mask: ColumnMask) -> bool:
    if influence.clause in (Clause.SEQUENCE, Clause.TRIGGER):
        return False  # the number is shown, and so is what a trigger copies
    if mask.filter is Filter.ALLOW:
        return True
    if mask.write_filter and influence.clause is Clause.WHERE and mask.filter is not Filter.DENY:
        return True  # the mask stands in the reference's place (sallyport.judge.rewriting)
    return mask.filter in EQUALITY and influence.equality


def _influence_refusal(
    influence: Influence, mask: ColumnMask, catalog: CatalogSnapshot, sql: str | bytes
) -> Refusal:
    name, at = catalog.column_name(influence.column), character_position(sql, influence.position)
    why = f"{name} is masked ({mask.origin})" if mask.origin else f"{name} is masked"
    detail, hint = _influence_words(influence.clause, _last(name), mask)
    text = sql.decode("utf-8", "ignore") if isinstance(sql, bytes) else sql
    if influence.clause is Clause.WHERE and text and _last(name).lower() not in text.lower():
        hint = _IN_A_VIEW
    return refuse(
        "SP1201",
        f"masked column {name} would influence the result in {influence.clause.value}",
        f"{why} with filter {mask.filter.value}. {detail}",
        hint,
        at,
    )


def _influence_words(clause: Clause, column: str, mask: ColumnMask) -> tuple[str, str]:
    """How the raw value of ``column`` would show in a clause, and what to do instead."""
    if clause in _REFUSED_ROWS:
        return (
            "Whether the row is accepted would reveal which values exist.",
            (
                "Leave out the columns of that constraint, or ask for 'filter: allow' in the"
                " column's mask."
            ),
        )
    if clause is Clause.SEQUENCE:
        return (
            "The sequence gives the column its values, and its last number is the newest row's.",
            f"Let INSERT take the default of {column}.",
        )
    if clause is Clause.PARTITION:
        return (
            (
                "A table that is partitioned by it returns rows partition by partition, which would"
                " reveal values."
            ),
            "",
        )
    if clause is Clause.STORED_FORM:
        return (
            (
                "Whether PostgreSQL compresses the other values of a row, or moves them out of it,"
                " would reveal how long it is."
            ),
            "Measure values with octet_length() or length().",
        )
    detail = (
        f"In {clause.value} its value would decide which rows are written, or what is written or"
        " returned."
    )
    if clause is Clause.WHERE and mask.filter in EQUALITY:
        return (
            detail,
            f"Compare it only by = or IN with constants or parameters, as in WHERE {column} = $1.",
        )
    if clause is Clause.WHERE and mask.filter is Filter.MASKED:
        return (
            detail,
            "Select the rows by their key, or ask for 'write_filter: masked' in the column's mask.",
        )
    return detail, f"Leave {column} out of {clause.value}, and use columns that are not masked."


def check_writes(
    facts: StatementFacts, masks: Mapping[ColumnId, ColumnMask], catalog: CatalogSnapshot
) -> Refusal | None:
    """SP1201 for an UPDATE of a masked column: statistics, indexes and triggers tell whether it had
    the new value before.
    """
    for level in chain(facts):
        for access in level.accesses:
            for column in sorted(access.columns) if access.action == "update" else ():
                mask = masks.get(column)
                if mask is None or mask.write or mask.filter is Filter.ALLOW:
                    continue
                name = catalog.column_name(column)
                return refuse(
                    "SP1201",
                    f"masked column {name} cannot be changed",
                    f"{name} is masked ({mask.origin}). Setting it to a guess would reveal "
                    "whether the guess is right.",
                    f"Leave {_last(name)} out, or ask for 'write: allow' in the column's mask.",
                )
    return None


def check_refresh(
    facts: StatementFacts, masks: Mapping[ColumnId, ColumnMask], catalog: CatalogSnapshot
) -> Refusal | None:
    """SP1201 for REFRESH of a materialized view that computes with masked columns: it runs as it
    was written.
    """
    if facts.kind != "refresh_materialized_view":
        return None
    for column, _ in facts.mentioned:
        if column in masks:
            name = catalog.column_name(column)
            return refuse(
                "SP1201",
                f"the materialized view is computed from masked column {name}",
                f"{name} is masked ({masks[column].origin}), and an error of the refresh could "
                "reveal its values.",
                "Ask somebody for whom the column is not masked to refresh the view.",
            )
    return None


def check_functions_read(
    facts: StatementFacts,
    masks: Mapping[ColumnId, ColumnMask],
    catalog: CatalogSnapshot,
    sql: str | bytes,
) -> Refusal | None:
    """SP1103 where the body of a function that is called reads a masked column: no mask can stand
    in a body.
    """
    for level in chain(facts):
        for column in sorted(level.read_in_functions):
            if column not in masks:
                continue
            name = catalog.column_name(column)
            called = [
                catalog.functions[oid] for oid in sorted(level.followed) if oid in catalog.functions
            ]
            names = ", ".join(f"{function.schema}.{function.name}" for function in called[:_LISTED])
            at = next((use.position for use in level.functions), -1)
            return refuse(
                "SP1103",
                f"a function that is called here reads masked column {name}",
                f"{name} is masked ({masks[column].origin}), and inside a function it would be "
                "read without its mask. "
                f"The functions called here are {names}.",
                "Query the table itself, or ask for the function to be listed under 'functions' "
                "in the policy.",
                character_position(sql, at),
            )
    return None


def check_mentions(
    facts: StatementFacts,
    masks: Mapping[ColumnId, ColumnMask],
    catalog: CatalogSnapshot,
    sql: str | bytes,
) -> Refusal | None:
    """SP1201 for a column with ``filter: deny`` that is used other than in the plain output."""
    for level in chain(facts):
        for column, position in level.mentioned:
            mask = masks.get(column)
            if mask is None or mask.filter is not Filter.DENY:
                continue
            name = catalog.column_name(column)
            return refuse(
                "SP1201",
                f"masked column {name} can only be selected as it is",
                f"{name} is masked ({mask.origin}) with filter deny, so it cannot be used in "
                "conditions or expressions.",
                f"Select {_last(name)} by itself, and leave it out of the rest of the statement.",
                character_position(sql, position),
            )
    return None


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def check_flows(
    facts: StatementFacts,
    masks: Mapping[ColumnId, ColumnMask],
    catalog: CatalogSnapshot,
    sql: str | bytes = "",
    bound_policy: BoundPolicy | None = None,
) -> Refusal | None:
    """SP1202 for masked data that would be written to where it could be read (more) freely.
    ``bound_policy``: what the policy says of names that do not exist yet.
    """
    for level in chain(facts):
        for flow in level.flows:
            for source in sorted(flow.sources):
                if source not in masks or _may_copy(flow, source, masks):
                    continue
                if (
                    flow.into is None
                    or bound_policy is None
                    or not is_hidden(bound_policy, source, flow.into)
                ):
                    return _flow_refusal(flow, source, masks, catalog, sql)
    return None


def _may_copy(flow: Flow, source: ColumnId, masks: Mapping[ColumnId, ColumnMask]) -> bool:
    """With ``copies: masked`` a mask's values may be stored, but never over the values that a mask
    hides.
    """
    mask = masks[source]
    if not mask.copies or mask.filter is Filter.ALLOW:
        return False
    return flow.target is None or (
        flow.target.relation != source.relation and flow.target not in masks
    )


def _flow_refusal(
    flow: Flow,
    source: ColumnId,
    masks: Mapping[ColumnId, ColumnMask],
    catalog: CatalogSnapshot,
    sql: str | bytes,
) -> Refusal:
    name = catalog.column_name(source)
    to = ".".join(flow.into) if flow.into else "a new relation"
    if flow.target is not None:
        to = catalog.column_name(flow.target)
    hint = f"Leave {_last(name)} out."
    if flow.target in masks:
        why = f"The values in {to} would be overwritten with masked values."
    else:
        why = "The policy does not allow storing its masked values elsewhere."
        hint = f"Leave {_last(name)} out, or ask for 'copies: masked' in the column's mask."
    return refuse(
        "SP1202",
        f"masked column {name} would be copied to {to}",
        f"{name} is masked ({masks[source].origin}). {why}",
        hint,
        character_position(sql, flow.position),
    )
