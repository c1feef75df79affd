"""Which settings a session may change and show, and why. Pure.

Promises: every name that is not listed is ``denied``; names compare as PostgreSQL compares them
(ASCII case folded, guc.c). A custom setting (``a.b``) is denied: it is a variable in which anything
could be kept and read back; excepted are a few numbers and words that tune the searches of common
extensions. Values are judged only when they are constants; a computed value never reaches this
module.

Kinds: ``allowed``; ``pinned``: the gateway relies on one value, which is the only one allowed;
``search_path``: policy decides; ``denied``. A RESET (value None) goes back to what the connection
started with: :data:`STARTUP` is sent upstream in the StartupMessage so that RESET, ``RESET ALL``
and ``DISCARD ALL`` cannot leave the pinned values either.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from sallyport.sql.utility.custom_settings import is_custom

#: Sent upstream in every StartupMessage: the values that masks, the parser and name resolution rely
#: on.
STARTUP: dict[str, str] = {
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "row_security": "on",
    "DateStyle": "ISO",
}

#: Sent as well where the subject has masks. Memoize nodes are keyed by raw values, and the order of
#: an index-only scan is that of them; a hint in a comment would ask for either all the same, where
#: the server has that extension loaded.
MASKED_STARTUP: dict[str, str] = {
    "enable_memoize": "off",
    "enable_indexonlyscan": "off",
    "pg_hint_plan.enable_hint": "off",
}

#: What identifiers of the subject's prepared transactions begin with
#: (:mod:`sallyport.session.two_phase`).
PREPARED_PREFIX = "sallyport.prepared_prefix"

#: Who is asking (:mod:`sallyport.session.identity_settings`): given to the target by the gateway,
#: changed by nobody, shown to its own session, so that row-level security can decide by them.
IDENTITY = frozenset(
    f"sallyport.{name}" for name in ("subject", "issuer", "groups", "agent", "session")
) | {PREPARED_PREFIX}

Kind = Literal["allowed", "pinned", "search_path", "denied"]


@dataclass(frozen=True, slots=True)
class SettingClass:
    """``reason`` completes "the setting ..."."""

    kind: Kind
    reason: str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TRUE = _words("t tr tru true y ye yes on 1")  # parse_bool: unique prefixes
_PLANNER = _words(
    """
    enable_async_append enable_bitmapscan enable_distinct_reordering enable_gathermerge
    enable_group_by_reordering enable_hashagg enable_hashjoin enable_incremental_sort
    enable_indexonlyscan enable_indexscan enable_material enable_memoize enable_mergejoin
    enable_nestloop enable_parallel_append enable_parallel_hash enable_partition_pruning
    enable_partitionwise_aggregate enable_partitionwise_join enable_presorted_aggregate
    enable_self_join_elimination enable_seqscan enable_sort enable_tidscan constraint_exclusion
    cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction effective_cache_size
    effective_io_concurrency from_collapse_limit geqo geqo_effort geqo_generations geqo_pool_size
    geqo_selection_bias geqo_threshold join_collapse_limit jit jit_above_cost jit_inline_above_cost
    jit_optimize_above_cost max_parallel_workers_per_gather min_parallel_index_scan_size
    min_parallel_table_scan_size parallel_leader_participation parallel_setup_cost
    parallel_tuple_cost plan_cache_mode random_page_cost recursive_worktable_factor seq_page_cost
    synchronize_seqscans
    """
)
_PLAIN = _words(
    """
    application_name timezone intervalstyle extra_float_digits bytea_output xmloption xmlbinary
    quote_all_identifiers escape_string_warning check_function_bodies synchronous_commit
    row_security restrict_nonsystem_relation_kind transaction_isolation transaction_read_only
    transaction_deferrable default_transaction_isolation default_transaction_read_only
    default_transaction_deferrable
    """
)
#: A session may set its own. The gateway's own limits do not depend on them, but for policy's
#: statement_timeout, which bounds that.
_TIMEOUTS = _words(
    """statement_timeout lock_timeout transaction_timeout idle_in_transaction_session_timeout
    idle_session_timeout"""
)
#: What the server is and how much it may use: planner, memory, vacuum, write-ahead log, limits of
#: connections, what is logged. Not shown: files and directories, addresses, commands, preloaded
#: libraries, names of certificates and of standby servers, how passwords are kept, connection
#: strings, and switches for developers.
_TUNING = _words(
    """
    archive_mode archive_timeout array_nulls authentication_timeout autovacuum
    autovacuum_analyze_scale_factor autovacuum_analyze_threshold autovacuum_freeze_max_age
    autovacuum_max_workers autovacuum_multixact_freeze_max_age autovacuum_naptime
    autovacuum_vacuum_cost_delay autovacuum_vacuum_cost_limit autovacuum_vacuum_insert_scale_factor
    autovacuum_vacuum_insert_threshold autovacuum_vacuum_max_threshold
    autovacuum_vacuum_scale_factor autovacuum_vacuum_threshold autovacuum_work_mem
    autovacuum_worker_slots backend_flush_after backslash_quote bgwriter_delay bgwriter_flush_after
    bgwriter_lru_maxpages bgwriter_lru_multiplier checkpoint_completion_target
    checkpoint_flush_after checkpoint_timeout checkpoint_warning client_connection_check_interval
    commit_delay commit_siblings commit_timestamp_buffers compute_query_id deadlock_timeout
    debug_assertions default_statistics_target dynamic_shared_memory_type effective_io_concurrency
    file_copy_method file_extend_method fsync full_page_writes geqo_seed gin_fuzzy_search_limit
    gin_pending_list_limit hash_mem_multiplier hot_standby hot_standby_feedback huge_page_size
    huge_pages huge_pages_status icu_validation_level idle_replication_slot_timeout io_combine_limit
    io_max_combine_limit io_max_concurrency io_method io_workers jit_expressions jit_tuple_deforming
    lo_compat_privileges log_autovacuum_min_duration log_checkpoints log_connections
    log_disconnections log_duration log_error_verbosity log_executor_stats log_hostname
    log_lock_failures log_lock_waits log_min_duration_sample log_min_duration_statement
    log_min_error_statement log_min_messages log_parameter_max_length
    log_parameter_max_length_on_error log_parser_stats log_planner_stats log_recovery_conflict_waits
    log_replication_commands log_rotation_age log_rotation_size log_startup_progress_interval
    log_statement log_statement_sample_rate log_statement_stats log_temp_files log_timezone
    log_transaction_sample_rate log_truncate_on_rotation logging_collector logical_decoding_work_mem
    maintenance_io_concurrency maintenance_work_mem max_active_replication_origins
    max_files_per_process max_locks_per_transaction max_logical_replication_workers
    max_notify_queue_pages max_parallel_apply_workers_per_subscription
    max_parallel_maintenance_workers max_parallel_workers max_pred_locks_per_page
    max_pred_locks_per_relation max_pred_locks_per_transaction max_prepared_transactions
    max_replication_slots max_slot_wal_keep_size max_stack_depth max_standby_archive_delay
    max_standby_streaming_delay max_sync_workers_per_subscription max_wal_senders max_wal_size
    max_worker_processes min_dynamic_shared_memory min_wal_size multixact_member_buffers
    multixact_offset_buffers notify_buffers num_os_semaphores old_snapshot_threshold
    recovery_min_apply_delay recovery_prefetch reserved_connections restart_after_crash
    serializable_buffers shared_buffers shared_memory_size shared_memory_size_in_huge_pages
    shared_memory_type ssl_library ssl_max_protocol_version ssl_min_protocol_version
    stats_fetch_consistency subtransaction_buffers summarize_wal superuser_reserved_connections
    sync_replication_slots tcp_keepalives_count tcp_keepalives_idle tcp_keepalives_interval
    tcp_user_timeout temp_buffers temp_file_limit timezone_abbreviations track_activities
    track_activity_query_size track_commit_timestamp track_cost_delay_timing track_counts
    track_functions track_io_timing track_wal_io_timing transaction_buffers transform_null_equals
    update_process_title vacuum_buffer_usage_limit vacuum_cost_delay vacuum_cost_limit
    vacuum_cost_page_dirty vacuum_cost_page_hit vacuum_cost_page_miss vacuum_defer_cleanup_age
    vacuum_failsafe_age vacuum_freeze_min_age vacuum_freeze_table_age
    vacuum_max_eager_freeze_failure_rate vacuum_multixact_failsafe_age
    vacuum_multixact_freeze_min_age vacuum_multixact_freeze_table_age vacuum_truncate wal_buffers
    wal_compression wal_decode_buffer_size wal_init_zero wal_keep_size wal_level wal_log_hints
    wal_receiver_status_interval wal_receiver_timeout wal_recycle wal_retrieve_retry_interval
    wal_segment_size wal_sender_timeout wal_skip_threshold wal_summary_keep_time wal_sync_method
    wal_writer_delay wal_writer_flush_after
    """
)
#: crdb_version is of CockroachDB: tools ask for it to learn that this is PostgreSQL.
_SHOWN = _words(
    """
    block_size client_encoding data_checksums datestyle default_text_search_config in_hot_standby
    integer_datetimes is_superuser lc_collate lc_ctype lc_messages lc_monetary lc_numeric lc_time
    max_connections max_function_args max_identifier_length max_index_keys role row_security
    search_path segment_size server_encoding server_version server_version_num session_authorization
    session_replication_role ssl standard_conforming_strings client_min_messages work_mem
    wal_block_size default_table_access_method default_tablespace default_toast_compression
    crdb_version
    """
)


def _iso_only(value: str) -> bool:
    parts = [part.strip().lower() for part in value.split(",")]
    orders = _words("iso mdy us dmy european euro ymd noneuro noneuropean")
    return bool(parts) and all(part in orders for part in parts)


def _utf8(value: str) -> bool:
    return re.sub(r"[^a-z0-9]", "", value.lower()) in ("utf8", "unicode")  # clean_encoding_name


_KILOBYTES = {"": 1, "kB": 1, "MB": 1024, "GB": 1024 * 1024}
_MAX_WORK_MEM = 1024 * 1024  # 1 GB, in kB


def _modest_memory(value: str) -> bool:
    match = re.fullmatch(r"\s*(\d{1,9})\s*(kB|MB|GB)?\s*", value)
    return match is not None and int(match[1]) * _KILOBYTES[match[2] or ""] <= _MAX_WORK_MEM


@dataclass(frozen=True, slots=True)
class _Rule:
    """``kind`` and ``reason`` are the answer when ``fits`` says no (a RESET always fits)."""

    fits: Callable[[str], bool]
    kind: Kind
    reason: str


def _true(value: str) -> bool:
    return value.strip().lower() in _TRUE


def _never(value: str) -> bool:
    return False


def _number(value: str) -> bool:
    return re.fullmatch(r"\s*(\d{1,9}|\d{0,9}\.\d{1,9})\s*", value) is not None


def _scan_order(value: str) -> bool:
    return value.strip().lower() in ("off", "relaxed_order", "strict_order")


#: Of pgvector and pg_trgm: how thoroughly an index is searched, and what counts as similar.
_NUMBERS = _words(
    """
    hnsw.ef_search hnsw.max_scan_tuples hnsw.scan_mem_multiplier ivfflat.probes ivfflat.max_probes
    pg_trgm.similarity_threshold pg_trgm.word_similarity_threshold
    pg_trgm.strict_word_similarity_threshold
    """
)
_SCAN_ORDERS = _words("hnsw.iterative_scan ivfflat.iterative_scan")


#: Configurations that come with PostgreSQL (src/backend/snowball/Makefile; "simple").
_LANGUAGES = _words(
    """arabic armenian basque catalan danish dutch english estonian finnish french german greek
    hindi hungarian indonesian irish italian lithuanian nepali norwegian portuguese romanian russian
    serbian simple spanish swedish tamil turkish yiddish"""
)


_RULES: dict[str, _Rule] = {
    "client_encoding": _Rule(
        _utf8, "pinned", "is pinned to UTF8, because the gateway reads statements and data as UTF-8"
    ),
    "standard_conforming_strings": _Rule(
        _true, "pinned", "is pinned to on, because the gateway parses statements that way"
    ),
    "session_replication_role": _Rule(
        lambda v: v.strip().lower() == "origin",
        "pinned",
        "is pinned to origin, so that triggers and rules stay enabled",
    ),
    "role": _Rule(_never, "pinned", "is pinned to the role that the gateway connects as"),
    "session_authorization": _Rule(
        _never, "pinned", "is pinned to the role that the gateway connects as"
    ),
    "datestyle": _Rule(
        _iso_only,
        "denied",
        "can only be ISO with a field order, because masks of dates are written in ISO",
    ),
    "client_min_messages": _Rule(
        lambda v: v.strip().lower() in ("notice", "warning", "error"),
        "denied",
        "can only be notice, warning or error, because lower levels print internals",
    ),
    "work_mem": _Rule(_modest_memory, "denied", "can be at most 1GB through the gateway"),
    "maintenance_work_mem": _Rule(
        _modest_memory, "denied", "can be at most 1GB through the gateway"
    ),
    "default_tablespace": _Rule(
        lambda v: not v.strip(), "denied", "can only be '', the database's own"
    ),
    "default_table_access_method": _Rule(
        lambda v: v.strip().lower() == "heap", "denied", "can only be heap"
    ),
    "lc_messages": _Rule(
        lambda v: re.fullmatch(r"[A-Za-z_]{0,20}(\.[A-Za-z0-9-]{1,20})?", v, re.ASCII) is not None,
        "denied",
        "can only be a locale name",
    ),
    "default_text_search_config": _Rule(
        lambda v: v in _LANGUAGES or re.fullmatch(r"\s*pg_catalog\.[a-z_]+\s*", v) is not None,
        "denied",
        "can only be a configuration of pg_catalog",
    ),
    **{name: _Rule(_number, "denied", "can only be a number") for name in _NUMBERS},
    **{
        name: _Rule(_scan_order, "denied", "can only be off, relaxed_order or strict_order")
        for name in _SCAN_ORDERS
    },
}

_ALLOWED = SettingClass("allowed", "can be changed")
_CUSTOM = SettingClass("denied", "is a custom setting")
_WHO = SettingClass("pinned", "is set by the gateway")
_UNLISTED = SettingClass("denied", "is not one of those that can be changed through the gateway")
_SEARCH_PATH = SettingClass("search_path", "can only be what policy lists")


#: Settings that a session may change and that change what a statement means (how its constants are
#: read, what its casts give), under PostgreSQL's spelling. Those that the server reports by itself
#: (config.sgml, "ParameterStatus"; default_transaction_read_only since 14):
REPORTED = ("DateStyle", "IntervalStyle", "TimeZone", "default_transaction_read_only")
#: Those that it does not report:
UNREPORTED = (
    _words(
        """
        bytea_output check_function_bodies default_text_search_config default_transaction_deferrable
        default_transaction_isolation extra_float_digits quote_all_identifiers xmlbinary xmloption
        """
    )
    | _NUMBERS
    | _SCAN_ORDERS
)
_REPORTED = frozenset(name.lower() for name in REPORTED)


def changes_meaning(name: str) -> bool:
    """Is it one of :data:`REPORTED` or :data:`UNREPORTED`, a custom one (views and policies may
    read it), all settings (""), or one that masks rely on (:func:`orders_rows`)?
    """
    key = folded(name)
    return not key or "." in key or key in _REPORTED or key in UNREPORTED or key in MASKED_STARTUP


def orders_rows(name: str) -> bool:
    """Is it one of :data:`MASKED_STARTUP`?"""
    return folded(name) in MASKED_STARTUP


def is_unreported(name: str) -> bool:
    """Of those, one whose value the server does not report; all settings ("") among them."""
    key = folded(name)
    return not key or "." in key or key in UNREPORTED


def folded(name: str) -> str:
    """Lower case of ASCII letters only, as guc_name_compare does; other characters stay and match
    nothing.
    """
    return "".join(c.lower() if c.isascii() else c for c in name)


def classify_setting(name: str, value: str | None) -> SettingClass:
    """May a session SET ``name`` to the constant ``value`` (None: RESET or DEFAULT)?"""
    key = folded(name)
    if key == "search_path":
        return _SEARCH_PATH
    if key in IDENTITY:
        return _WHO
    rule = _RULES.get(key)
    if rule is not None:
        return (
            _ALLOWED if value is None or rule.fits(value) else SettingClass(rule.kind, rule.reason)
        )
    if key in _PLAIN or key in _PLANNER or key in _TIMEOUTS:
        return _ALLOWED
    return _CUSTOM if "." in key else _UNLISTED


@cache
def all_settings() -> frozenset[str]:
    """Of PostgreSQL 14 to 18, in small letters."""
    text = resources.files("sallyport.sql.catalog").joinpath("settings.tsv").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def exists(name: str) -> bool:
    """Whether PostgreSQL has such a setting, or lets anybody make one of that name."""
    key = folded(name)
    return "." in key or key in all_settings()


def is_pinned(name: str) -> bool:
    """Is it a setting that has one value in every session?"""
    rule = _RULES.get(folded(name))
    return rule is not None and rule.kind == "pinned"


_UNITS = {
    "us": 0.001,
    "ms": 1.0,
    "": 1.0,
    "s": 1000.0,
    "min": 60_000.0,
    "h": 3_600_000.0,
    "d": 86_400_000.0,
}


def milliseconds(value: str) -> int | None:
    """A time as ``parse_int`` (guc.c) reads it for a setting in milliseconds; None for what is not
    written plainly, with at most 15 digits.
    """
    match = re.fullmatch(r"\s*([1-9]\d{0,14}|0)\s*(us|ms|s|min|h|d)?\s*", value, re.ASCII)
    return None if match is None else round(int(match[1]) * _UNITS[match[2] or ""])


def any_value_allowed(name: str) -> bool:
    """Is every value of ``name`` allowed? Then a parameter may stand for it (``set_config('jit',
    $1, false)``).
    """
    key = folded(name)
    return key in _PLAIN or key in _PLANNER or (is_custom(key) and not is_known(key))


def is_known(name: str) -> bool:
    """Does this module itself say what values a setting may have?"""
    return folded(name) in _RULES


def show_allowed(name: str) -> bool:
    """May a session see ``name`` with SHOW or ``current_setting``? ``ALL`` and custom
    settings: no.
    """
    key = folded(name)
    return key in _ALL_SHOWN


_ALL_SHOWN = _PLAIN | _PLANNER | _TIMEOUTS | _SHOWN | _TUNING | IDENTITY
#: Settings that PostgreSQL does not write in small letters.
_SPELLED = {"datestyle": "DateStyle", "intervalstyle": "IntervalStyle", "timezone": "TimeZone"}


def shown_names() -> tuple[str, ...]:
    """The settings that :func:`show_allowed` permits, as pg_settings spells them."""
    return tuple(sorted(_SPELLED.get(name, name) for name in _ALL_SHOWN))
