"""What a statement may not do with masked columns, whatever rule allows it; and the checks beside the
rules.

``check_unknowns``: anything not understood is a refusal. ``check_functions``: functions outside pg_catalog
need a line in policy. ``check_influence``: a masked column must not steer a result (SP1201) or an error
(SP1204) unless its ``filter`` says so. ``check_flows``: masked data is not copied to where it would be read
unmasked (SP1202). ``check_settings``: pinned settings and search_path (SP1301, SP1302). Each returns the
first refusal or None. Positions in facts are byte offsets; refusals carry 1-based characters, as
PostgreSQL's do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.bind import BoundPolicy, SubjectPolicy
from sallyport.policy.decision import ColumnMask, Filter
from sallyport.policy.needs import chain
from sallyport.policy.renames import is_hidden
from sallyport.sql.catalog import CatalogSnapshot, ColumnId
from sallyport.sql.facts import Clause, Flow, Influence, SettingChange, StatementFacts, Unknown
from sallyport.sql.search_path import split_search_path
from sallyport.sql.settings import classify_setting

_LISTED = 5
_NAMES = "Names are looked up in the catalog as the gateway's own role sees it."
_VALUE_INDEPENDENT = frozenset({"redact", "null", "constant"})
_REFUSED_ROWS = frozenset({Clause.UNIQUE, Clause.FOREIGN_KEY, Clause.CHECK, Clause.INDEX_SIZE})
_STRICTNESS = {Filter.DENY: 0, Filter.EQUALITY: 1, Filter.ALLOW: 2}


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
    if first.message:
        at = character_position(sql, first.position)
        return refuse(first.code, first.message, "", first.hint or _NAMES, at)
    texts = list(dict.fromkeys(u.what for u in unknowns))
    more = f" (and {len(texts) - _LISTED} more)" if len(texts) > _LISTED else ""
    return refuse(
        first.code,
        f"the gateway does not {first.what}",
        "What the gateway cannot judge does not run. It does not "
        + "; it does not ".join(texts[:_LISTED])
        + more
        + ".",
        first.hint or "Write the statement without it.",
        character_position(sql, first.position),
    )


def check_functions(facts: StatementFacts, policy: SubjectPolicy, sql: str | bytes) -> Refusal | None:
    """Functions outside pg_catalog that policy does not name: what they do cannot be seen from outside."""
    for level in chain(facts):
        for use in level.functions:
            if policy.trusts_name(use.schema, use.name):
                continue
            name = f"{use.schema}.{use.name}"
            return refuse(
                "SP1103",
                f"the function {name} is not known to be safe",
                f"{name} is not part of PostgreSQL itself and the policy does not list it under 'functions'.",
                "Write the expression without it, or ask for it to be listed.",
                character_position(sql, use.position),
            )
    return None


def check_influence(
    facts: StatementFacts, masks: Mapping[ColumnId, ColumnMask], catalog: CatalogSnapshot, sql: str | bytes
) -> Refusal | None:
    """SP1201 / SP1204 for the first masked column that may not influence the result the way it does."""
    for level in chain(facts):
        for influence in level.influences:
            mask = masks.get(influence.column)
            if mask is not None and not _may_influence(influence, mask):
                return _influence_refusal(influence, mask, catalog, sql)
    return None


def _may_influence(influence: Influence, mask: ColumnMask) -> bool:
    if influence.clause is Clause.MAY_FAIL:
        return False  # the error's text, not only its presence, would tell the value
    if mask.filter is Filter.ALLOW:
        return True
    return mask.filter is Filter.EQUALITY and influence.equality and influence.clause is not Clause.STATISTICS


def _influence_refusal(
    influence: Influence, mask: ColumnMask, catalog: CatalogSnapshot, sql: str | bytes
) -> Refusal:
    name, at = catalog.column_name(influence.column), character_position(sql, influence.position)
    why = f"{name} is masked ({mask.origin})" if mask.origin else f"{name} is masked"
    if influence.clause is Clause.MAY_FAIL:
        return refuse(
            "SP1204",
            f"an expression over the masked column {name} could fail and tell its value",
            f"{why}; an error raised while computing with it, or its absence, would reveal what it holds.",
            "Select the column itself (its mask applies); keep it out of casts, arithmetic and the like.",
            at,
        )
    equality = mask.filter is Filter.EQUALITY
    clause = influence.clause.value
    detail = (
        f"{why} with filter {mask.filter.value}: in {clause} it would show in which rows or values come back."
    )
    if influence.clause in _REFUSED_ROWS:
        detail = f"{why} with filter {mask.filter.value}: whether the row is accepted would tell what values there are."
        hint = (
            "Leave out the columns of that constraint, or ask for a filter that lets the column be compared."
        )
    elif equality:
        hint = f"Compare it only by = or IN with constants or parameters, like WHERE {_last(name)} = $1."
    else:
        hint = f"Leave {_last(name)} out of {clause}; use columns that are not masked there."
    return refuse(
        "SP1201",
        f"the masked column {name} would influence the result in {influence.clause.value}",
        detail,
        hint,
        at,
    )


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def check_flows(
    facts: StatementFacts,
    masks: Mapping[ColumnId, ColumnMask],
    catalog: CatalogSnapshot,
    sql: str | bytes = "",
    whole: BoundPolicy | None = None,
) -> Refusal | None:
    """SP1202 for masked data that would be written to where it could be read (more) freely. ``whole``: what the policy says of
    names that do not exist yet.
    """
    for level in chain(facts):
        for flow in level.flows:
            for source in sorted(flow.sources):
                if source not in masks or _stays_hidden(flow, source, masks, catalog):
                    continue
                if flow.into is None or whole is None or not is_hidden(whole, source, flow.into):
                    return _flow_refusal(flow, source, masks, catalog, sql)
    return None


def _stays_hidden(
    flow: Flow, source: ColumnId, masks: Mapping[ColumnId, ColumnMask], catalog: CatalogSnapshot
) -> bool:
    """A mask that shows part of the value (partial, hash, date, ...) shows another part once the value is
    rewritten (``SET ssn = reverse(ssn)``), so the target's mask must not depend on the value at all; nor
    may it be easier to filter by.
    """
    target = masks.get(flow.target) if flow.target is not None else None
    if flow.target is None or target is None or target.spec.kind not in _VALUE_INDEPENDENT:
        return False
    relation = catalog.relations.get(flow.target.relation)
    if relation is None or relation.kind == "v":
        return False  # it would land in another relation's column, under another name
    if target.filter is Filter.DENY:
        return True
    return flow.target == source and target.filter is Filter.ALLOW


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
    if flow.target in masks:
        why = f"The mask of {to} shows something of what is written there, or lets it be filtered by."
    else:
        why = f"What is in {to} is not masked, so it could be read there."
    return refuse(
        "SP1202",
        f"the masked column {name} would be copied to {to}",
        f"{name} is masked ({masks[source].origin}). {why}",
        f"Write constants, parameters or columns that are not masked; leave {_last(name)} out.",
        character_position(sql, flow.position),
    )


def check_settings(facts: StatementFacts, policy: SubjectPolicy, sql: str | bytes = "") -> Refusal | None:
    """SP1301 for settings that may not change, SP1302 for a search_path that policy does not list. RESET
    goes back to the session's own.
    """
    for change in _settings(facts):
        verdict = classify_setting(change.name, change.value)
        position = character_position(sql, change.position)
        if (
            change.value is not None
            and change.name.lower() == "statement_timeout"
            and policy.limits.statement_timeout
        ):
            return refuse(
                "SP1301",
                "the setting statement_timeout cannot be changed through the gateway",
                f"Policy bounds every statement to {policy.limits.statement_timeout:g} seconds.",
                "Leave it as it is.",
                position,
            )
        if verdict.kind == "allowed" or (not change.name and change.value is None):
            continue  # RESET ALL goes back to what the gateway itself set in the StartupMessage
        if verdict.kind == "search_path":
            refusal = _check_search_path(change, policy, position)
            if refusal is not None:
                return refusal
            continue
        name = change.name or "all settings"
        return refuse(
            "SP1301",
            f"the setting {name} cannot be changed through the gateway",
            f"The setting {name} {verdict.reason}.",
            "Leave it as it is; the statement before and after it will work without.",
            position,
        )
    return None


def _settings(facts: StatementFacts) -> Iterator[SettingChange]:
    for level in chain(facts):
        yield from level.settings


def _changes_nothing(path: tuple[str, ...], catalog: CatalogSnapshot) -> bool:
    """Whether names mean what they mean with the session's own search_path: it has the same schemas in the same
    order, leaving out a ``"$user"`` that does not exist. A name of no known schema (``pg_temp`` among them) changes
    something.
    """
    if any(name != "$user" and name not in catalog.schemas for name in path):
        return False
    return catalog.usable_path(path) == catalog.usable_path(catalog.default_search_path)


def _check_search_path(change: SettingChange, policy: SubjectPolicy, position: int) -> Refusal | None:
    if change.value is None:
        return None
    path = split_search_path(change.value) or ()
    if path in policy.search_paths or (path and _changes_nothing(path, policy.standing.catalog)):
        return None
    listed = sorted(", ".join(one) for one in policy.search_paths)
    return refuse(
        "SP1302",
        f"this search_path is not listed by policy: {', '.join(path) or repr(change.value)}",
        f"The policy lists {'; '.join(listed)}." if listed else "The policy lists no search_path.",
        "Keep the search_path and write names with their schema, like public.orders.",
        position,
    )
