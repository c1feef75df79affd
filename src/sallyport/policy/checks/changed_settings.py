"""Which settings a subject's session may have: one decision for SET, ``set_config`` and the
parameters of a login.

Promises: a value that is let through never changes how the gateway's own reading of a statement and
the server's differ: what the parser and the masks rely on is pinned
(:mod:`sallyport.sql.utility.settings`), and names are looked up under a search_path that the
session knows.
"""

from __future__ import annotations

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.checks.influence import character_position
from sallyport.policy.checks.needs import chain
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.facts import SettingChange, StatementFacts
from sallyport.sql.names.close_names import closest, meant
from sallyport.sql.names.search_path import split_search_path
from sallyport.sql.utility.custom_settings import is_custom, is_listed, is_shown
from sallyport.sql.utility.settings import (
    MASKED_STARTUP,
    all_settings,
    classify_setting,
    exists,
    folded,
    is_known,
    milliseconds,
    show_allowed,
)

#: With none of them a name without its schema means what PostgreSQL itself defines: nothing of
#: users' can come in between.
_ALWAYS: frozenset[tuple[str, ...]] = frozenset({(), ("",), ("pg_catalog",)})
_ROLE = "Leave it out: what you may do depends on the policy, not on the role."
#: What to do instead of changing a setting, by its name.
_HINTS = {
    "client_encoding": (
        "Use UTF8. libpq: client_encoding=UTF8, or PGCLIENTENCODING=UTF8. "
        "JDBC: it is UTF8 unless allowEncodingChanges is set. Npgsql: Client Encoding=UTF8."
    ),
    "role": _ROLE,
    "session_authorization": _ROLE,
}
#: A session that is this role already stays what it is: Flyway says SET ROLE with current_user. A
#: catalog for sessions with roles of their own has none.
_ROLES = frozenset({"role", "session_authorization"})
#: Set by BEGIN and SET TRANSACTION too.
_ISOLATION = frozenset({"transaction_isolation", "default_transaction_isolation"})
#: Kinds of constraints that are indexes (:class:`sallyport.sql.catalog.snapshot.Constraint`).
_INDEXES = frozenset("iux")
#: Types whose values are written, and read, the same under every DateStyle: bool, numbers, texts,
#: json, uuid.
_WITHOUT_DATES = frozenset(
    {16, 18, 19, 20, 21, 23, 25, 114, 700, 701, 1042, 1043, 1700, 2950, 3802}
)


def check_settings(
    facts: StatementFacts, policy: SubjectPolicy, sql: str | bytes = ""
) -> Refusal | None:
    """The first refusal of :func:`check_change` among the changes that a statement makes, or that
    a function will whose SET clauses it writes.
    """
    for level in chain(facts):
        for change in (*level.settings, *level.code_settings):
            refusal = check_change(change, policy, character_position(sql, change.position))
            if refusal is not None:
                return refusal
        for name, at in level.setting_reads:
            refusal = _check_read(name, policy, character_position(sql, at))
            if refusal is not None:
                return refusal
    return None


def check_change(change: SettingChange, policy: SubjectPolicy, position: int = 0) -> Refusal | None:
    """SP1301 for a setting that may not change, SP1302 for a search_path that policy does not list,
    SP1305 for a setting that does not exist. A RESET goes back to what the gateway itself set in
    the StartupMessage.
    """
    name, value = folded(change.name), change.value
    if value is None and not name:
        return None
    if value is not None:
        if name == "search_path":
            return _check_search_path(value, policy, position)
        if name == "statement_timeout" and policy.limits.statement_timeout:
            return _check_timeout(value, policy.limits.statement_timeout, position)
        if name == "datestyle" and not masks_dates(policy):
            return None
        if name in _ROLES and value == policy.standing.catalog.role:
            return None
        if name in MASKED_STARTUP and policy.masks:
            why = (
                "It stays off for subjects with masks, because such plans would reveal masked "
                "values by the order of rows."
            )
            return _refuse(name, why, "Leave it off.", position)
        if name in _ISOLATION and folded(value) == "serializable":
            column = _locked_beside_masks(policy)
            if column is not None:
                why = (
                    f"Under SERIALIZABLE parts of indexes are locked, and {column} shares an index"
                    " with other columns: which transactions fail would tell the order of its"
                    " masked values."
                )
                return _refuse(name, why, "Use REPEATABLE READ.", position)
    if is_custom(name) and not is_known(name):
        return _check_custom(name, policy, position)
    verdict = classify_setting(name, value)
    if verdict.kind == "allowed" or (verdict.kind == "search_path" and value is None):
        return None
    if not exists(name):
        what = f'unrecognized configuration parameter "{_shown(name)}"'
        return refuse("SP1305", what, "", meant(closest(name, all_settings())), position)
    hint = _HINTS.get(name, "Leave the setting as it is.")
    return _refuse(change.name, f"{change.name} {verdict.reason}.", hint, position)


def _locked_beside_masks(policy: SubjectPolicy) -> str | None:
    """A masked column, or one computed from such, in an index with other columns: who reads by
    those locks pages of the index (README-SSI, "Index AM implementations"), into which another
    transaction's row falls or not by its value in the masked one.
    """
    catalog, masks = policy.standing.catalog, policy.masks
    relations = map(catalog.relations.get, masks.ordered_relations)
    for relation in filter(None, relations):
        masked = {c.attnum for c in relation.columns if ColumnId(relation.oid, c.attnum) in masks}
        telling = masked | {c.attnum for c in relation.columns if c.generated}
        for index in relation.constraints:
            columns = {*index.columns}
            if 0 in columns:  # the whole row
                columns |= telling
            shared = len(columns) > 1 and columns - masked
            if index.kind in _INDEXES and shared and columns & telling:
                return catalog.column_name(ColumnId(relation.oid, min(columns & telling)))
    return None


def _refuse(name: str, detail: str, hint: str, position: int) -> Refusal:
    message = f"setting {_shown(name)} cannot be changed through the gateway"
    return refuse("SP1301", message, detail, hint, position)


def _shown(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name[:63]) or "all settings"


def _check_custom(name: str, policy: SubjectPolicy, position: int) -> Refusal | None:
    read = policy.standing.catalog.read_settings
    if is_listed(name, policy.settings, read):
        return None
    if not is_shown(name, policy.settings):
        why = (
            f"{name} is a custom setting: it could carry data, and row-level security may depend"
            " on it."
        )
        return _refuse(
            name,
            why,
            "Leave it out, or ask for it to be listed under 'settings' in the policy.",
            position,
        )
    why = f"A row-security policy, view or function reads {name}, or may read any setting."
    return _refuse(
        name,
        why,
        "Ask for it to be listed by its full name under 'settings' in the policy.",
        position,
    )


def may_read(name: str, policy: SubjectPolicy) -> bool:
    """Whether SHOW and current_setting may show a setting."""
    return show_allowed(name) or is_shown(folded(name), policy.settings)


def _check_read(name: str, policy: SubjectPolicy, position: int) -> Refusal | None:
    if is_shown(name, policy.settings):
        return None
    return refuse(
        "SP1103",
        f"setting {name} cannot be read through the gateway",
        "The policy does not list it under 'settings'.",
        "Ask for it to be listed under 'settings' in the policy.",
        position,
    )


def is_within(timeout: str, limit: float) -> bool:
    """Whether a statement_timeout is no longer than policy's, in seconds; none (0) is a
    longer one.
    """
    asked = milliseconds(timeout)
    return asked is not None and 1 <= asked <= int(limit * 1000)


def _check_timeout(value: str, limit: float, position: int) -> Refusal | None:
    """A shorter time than policy's is the session's own business."""
    if is_within(value, limit):
        return None
    detail = f"Policy limits every statement to {limit:g} seconds."
    return _refuse(
        "statement_timeout",
        detail,
        f"Set a time between 1ms and {limit:g}s, or leave it as it is.",
        position,
    )


def masks_dates(policy: SubjectPolicy) -> bool:
    """Whether a masked column has values that DateStyle writes, as far as its type tells. Not
    knowing means yes.
    """
    for masked in policy.masks:
        column = policy.standing.catalog.column(masked)
        if column is None or column.type_oid not in _WITHOUT_DATES:
            return True
    return False


def _changes_nothing(path: tuple[str, ...], catalog: CatalogSnapshot) -> bool:
    """Whether names mean what they mean with the session's own search_path: it has the same schemas
    in the same order, leaving out a ``"$user"`` that does not exist. A name of no known schema
    (``pg_temp`` among them) changes something.
    """
    if any(name != "$user" and name not in catalog.schemas for name in path):
        return False
    return catalog.usable_path(path) == catalog.usable_path(catalog.default_search_path)


def _check_search_path(value: str, policy: SubjectPolicy, position: int) -> Refusal | None:
    path = split_search_path(value)
    catalog = policy.standing.catalog
    if path is not None and (
        path in _ALWAYS
        or path in policy.search_paths
        or path == catalog.default_search_path
        or (path and _changes_nothing(path, catalog))
    ):
        return None
    listed = sorted(", ".join(listed_path) for listed_path in policy.search_paths)
    return refuse(
        "SP1302",
        f"this search_path is not listed by policy: {', '.join(path or ()) or repr(value)}",
        f"The policy lists {'; '.join(listed)}." if listed else "The policy lists no search_path.",
        "Leave the search_path as it is, and write names with their schema, like public.orders.",
        position,
    )
