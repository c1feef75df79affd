"""What stands in place of some system views: the same rows and columns, without what a subject must
not see.

:func:`substitute` gives the text of a SELECT for a relation; a rewriter puts it, in parentheses,
where the relation's name stood. Names in it are qualified, operators too, and every value has the
column's own type.

- ``pg_settings``: only settings that SHOW shows
(:func:`sallyport.sql.utility.settings.show_allowed`),
  without the files they come from.
- ``pg_locks``, ``pg_stat_activity``, ``pg_stat_gssapi``, ``pg_stat_ssl``: only this session's own
  rows; its query is the text that the gateway sent, so it is NULL.
- ``pg_prepared_xacts``: what the subject itself has prepared in this database.
- ``pg_stat_*`` and ``pg_statio_*`` of tables and indexes: counters are NULL for relations with
  masks, their TOAST tables, and the planner's statistics. How many rows a scan read tells where it
  stopped, and HOT updates tell whether a value changed.
- ``pg_stat_database``: rows of other databases and what counts sessions are NULL; with masks, so
  are tuples, blocks and temporary files.
- ``pg_attribute``: without ``attmissingval``, which is data. ``pg_sequences``: without the numbers,
  which rules for each sequence give. Others without options, connection strings and settings, which
  may be secrets.
- ``pg_replication_slots``, ``pg_stat_replication``, ``pg_stat_subscription`` and the relations of
  security labels: no rows.

Columns that a later server adds to the counting views are NULL for relations with masks, as all are
that are not named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sallyport.sql.catalog.snapshot import Relation
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.utility.settings import PREPARED_PREFIX, shown_names


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Columns of the counting views that are no counters: what the row is of, and when and how often it
#: was vacuumed or analyzed.
_KEPT: Final = _words(
    """
    relid indexrelid schemaname relname indexrelname last_vacuum last_autovacuum last_analyze
    last_autoanalyze vacuum_count autovacuum_count analyze_count autoanalyze_count
    """
)
_COUNTING: Final = frozenset(
    {
        f"pg_stat_{whose}_{what}"
        for whose in ("all", "user", "sys")
        for what in ("tables", "indexes")
    }
    | {f"pg_stat_xact_{whose}_tables" for whose in ("all", "user", "sys")}
    | {
        f"pg_statio_{whose}_{what}"
        for whose in ("all", "user", "sys")
        for what in ("tables", "indexes", "sequences")
    }
)
_FUNCTIONS: Final = _words("pg_stat_user_functions pg_stat_xact_user_functions")
_FUNCTION_COLUMNS: Final = _words("funcid schemaname funcname")
_OWN: Final = _words("pg_locks pg_stat_activity pg_stat_gssapi pg_stat_ssl")
#: Of pg_stat_database: not what sessions of the database did in sum, but how many there are and how
#: long they work.
_OF_SESSIONS: Final = _words(
    """
    numbackends session_time active_time idle_in_transaction_time sessions sessions_abandoned
    sessions_fatal sessions_killed parallel_workers_to_launch parallel_workers_launched
    """
)
_OF_DATABASE: Final = _words(
    """
    datid datname xact_commit xact_rollback conflicts deadlocks checksum_failures
    checksum_last_failure stats_reset
    """
)

#: Functions of a relation's OID (of a table, an index or a TOAST table) that give what the counting
#: views show as NULL: a call for one of :func:`hidden_relations` must give NULL as well.
COUNTER_FUNCTIONS: Final = frozenset(
    f"pg_stat_get_{name}"
    for name in _words(
        """
        blocks_fetched blocks_hit dead_tuples ins_since_vacuum lastscan live_tuples
        mod_since_analyze numscans total_analyze_time total_autoanalyze_time total_autovacuum_time
        total_vacuum_time tuples_deleted tuples_fetched tuples_hot_updated tuples_inserted
        tuples_newpage_updated tuples_returned tuples_updated xact_blocks_fetched xact_blocks_hit
        xact_numscans xact_tuples_deleted xact_tuples_fetched xact_tuples_hot_updated
        xact_tuples_inserted xact_tuples_newpage_updated xact_tuples_returned xact_tuples_updated
        """
    )
)


#: Functions of a relation's OID that tell when and how often it was vacuumed or analyzed, which the
#: views show of every relation.
_MAINTENANCE_FUNCTIONS: Final = frozenset(
    f"pg_stat_get_{name}"
    for name in _words(
        """
        analyze_count autoanalyze_count autovacuum_count vacuum_count last_analyze_time
        last_autoanalyze_time last_autovacuum_time last_vacuum_time
        """
    )
)


#: Columns that are NULL; whoever does not name them gets the relation itself.
_HIDDEN: Final[dict[str, frozenset[str]]] = {
    "pg_attribute": frozenset({"attmissingval"}),
    "pg_db_role_setting": frozenset({"setconfig"}),
    "pg_foreign_data_wrapper": frozenset({"fdwoptions"}),
    "pg_foreign_server": frozenset({"srvoptions"}),
    "pg_foreign_table": frozenset({"ftoptions"}),
    "pg_roles": frozenset({"rolconfig"}),
    "pg_sequences": frozenset({"last_value"}),
    "pg_user": frozenset({"useconfig"}),
    "pg_subscription": frozenset({"subconninfo"}),
    "pg_user_mappings": frozenset({"umoptions"}),
}
_EMPTY: Final = _words(
    """pg_replication_slots pg_seclabel pg_seclabels pg_shseclabel
    pg_stat_replication pg_stat_subscription"""
)

_SUBSTITUTED: Final = (
    _COUNTING
    | _FUNCTIONS
    | _OWN
    | {"pg_prepared_xacts", "pg_settings", "pg_stat_database"}
    | _HIDDEN.keys()
    | _EMPTY
)


#: OIDs of pg_statistic and pg_statistic_ext_data (catalog/pg_statistic.h, pg_statistic_ext_data.h):
#: how many rows and blocks of them are read or written goes by the values that they describe.
_STATISTICS: Final = (2619, 3429)


def follows_views(function: str) -> bool:
    """May this function of pg_catalog be called because the counting views show what it gives?"""
    return function in COUNTER_FUNCTIONS or function in _MAINTENANCE_FUNCTIONS


def hides_secrets(relation: Relation) -> bool:
    """Does a substitute keep options, connection strings, settings or labels back?"""
    return relation.schema == "pg_catalog" and (relation.name in _HIDDEN or relation.name in _EMPTY)


def is_substituted(relation: Relation) -> bool:
    """Could :func:`substitute` give something for it?"""
    return relation.schema == "pg_catalog" and relation.name in _SUBSTITUTED


def substitute(
    relation: Relation, columns: Sequence[str] | None, masked_relations: Sequence[int]
) -> str | None:
    """The SELECT that stands in place of a system relation; None where the relation is used as it
    is.

    columns: those to give, in the relation's order; None: all. masked_relations: OIDs of the
    relations with masks for the subject, partitions and children among them. Raises ValueError for
    a column that the relation does not have.
    """
    if relation.schema != "pg_catalog":
        return None
    names = [column.name for column in relation.columns]
    if relation.name in _HIDDEN and columns is not None and "tableoid" in columns:
        names.append("tableoid")  # pg_dump asks for it; a sub-select has it where it is named
    chosen = names if columns is None else [name for name in names if name in columns]
    if columns is not None and len(chosen) != len(set(columns)):
        raise ValueError(
            f"{relation.qualified} has no such columns: {sorted(set(columns) - set(chosen))}"
        )
    if relation.name in _COUNTING:
        return _counting(relation, chosen, masked_relations) if masked_relations else None
    if relation.name in _FUNCTIONS:
        return _select(relation, chosen, _FUNCTION_COLUMNS) if masked_relations else None
    if relation.name in _OWN:
        own = 'v."pid" OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()'
        return _select(relation, chosen, frozenset(names) - {"query"}, where=own)
    if relation.name == "pg_prepared_xacts":
        return _prepared(relation, chosen)
    if relation.name == "pg_settings":
        return _settings(relation, chosen)
    if relation.name == "pg_stat_database":
        return _database(relation, chosen, bool(masked_relations))
    if relation.name in _EMPTY:
        return _select(relation, chosen, frozenset(names), where="false")
    hidden = _HIDDEN.get(relation.name, frozenset())
    if not hidden.isdisjoint(chosen):
        return _select(relation, chosen, frozenset(names) - hidden)
    return None


def hidden_relations(masked_relations: Sequence[int]) -> str:
    """SQL for the array of OIDs (pg_catalog.oid[]) whose counters are hidden: relations with masks,
    those that hold the planner's statistics of their values, the TOAST tables and indexes of both.
    """
    return (
        "ARRAY(SELECT h.o FROM pg_catalog.pg_class r LEFT JOIN pg_catalog.pg_index i ON i.indrelid"
        " OPERATOR(pg_catalog.=) r.oid OR i.indrelid OPERATOR(pg_catalog.=) r.reltoastrelid,"
        " LATERAL (VALUES (r.oid), (r.reltoastrelid), (i.indexrelid)) h(o) WHERE r.oid"
        f" OPERATOR(pg_catalog.=) ANY ({_array((*masked_relations, *_STATISTICS))})"
        " AND h.o OPERATOR(pg_catalog.<>)"
        " 0::pg_catalog.oid)"
    )


def _array(oids: Sequence[int]) -> str:
    return f"ARRAY[{', '.join(str(int(oid)) for oid in sorted(oids))}]::pg_catalog.oid[]"


def _source(relation: Relation) -> str:
    return f"{quoted(relation.schema)}.{quoted(relation.name)} v"


def _as(expression: str, name: str) -> str:
    return f"{expression} AS {quoted(name)}"


def _select(
    relation: Relation, chosen: Sequence[str], kept: frozenset[str], where: str = ""
) -> str:
    """The relation with NULL for all columns but ``kept``, of their own type."""
    items = [
        (
            _as(f"v.{quoted(name)}", name)
            if name in kept
            else _as(f"CASE WHEN false THEN v.{quoted(name)} END", name)
        )
        for name in chosen
    ]
    condition = f" WHERE {where}" if where else ""
    return f"SELECT {', '.join(items)} FROM {_source(relation)}{condition}"


def _counting(relation: Relation, chosen: Sequence[str], masked: Sequence[int]) -> str:
    items = [
        (
            _as(f"v.{quoted(name)}", name)
            if name in _KEPT
            else _as(
                'CASE WHEN v."relid" OPERATOR(pg_catalog.=) ANY (h.hidden) THEN NULL ELSE'
                f" v.{quoted(name)} END",
                name,
            )
        )
        for name in chosen
    ]
    # OFFSET 0: computed once, not for each column
    hidden = f"(SELECT {hidden_relations(masked)} AS hidden OFFSET 0) h"
    return f"SELECT {', '.join(items)} FROM {hidden}, {_source(relation)}"


#: What identifiers of the subject's prepared transactions begin with; NULL where the session was
#: not told, and nothing is its own.
_OWN_PREFIX: Final = f"pg_catalog.current_setting('{PREPARED_PREFIX}', true)"
#: Where their own part begins.
_OWN_PART: Final = f"pg_catalog.length({_OWN_PREFIX}) OPERATOR(pg_catalog.+) 1"


def _prepared(relation: Relation, chosen: Sequence[str]) -> str:
    items = [
        _as(
            f"pg_catalog.substr(v.gid, {_OWN_PART})" if name == "gid" else f"v.{quoted(name)}", name
        )
        for name in chosen
    ]
    return (
        f"SELECT {', '.join(items)} FROM {_source(relation)}"
        f" WHERE pg_catalog.starts_with(v.gid, {_OWN_PREFIX})"
        " AND v.database OPERATOR(pg_catalog.=) pg_catalog.current_database()"
    )


def _settings(relation: Relation, chosen: Sequence[str]) -> str:
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in shown_names())
    where = f'v."name" OPERATOR(pg_catalog.=) ANY (ARRAY[{names}]::pg_catalog.text[])'
    kept = frozenset(column.name for column in relation.columns) - {"sourcefile", "sourceline"}
    # OFFSET 0: before any condition of the statement is evaluated for a row
    return _select(relation, chosen, kept, f"{where} OFFSET 0")


def _database(relation: Relation, chosen: Sequence[str], masks: bool) -> str:
    names = frozenset(column.name for column in relation.columns)
    shown = (_OF_DATABASE if masks else names - _OF_SESSIONS) & names
    items = []
    for name in chosen:
        column = f"v.{quoted(name)}"
        if name in ("datid", "datname"):
            items.append(_as(column, name))
        else:
            own = "v.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
            items.append(
                _as(f"CASE WHEN {own if name in shown else 'false'} THEN {column} END", name)
            )
    return f"SELECT {', '.join(items)} FROM {_source(relation)}"
