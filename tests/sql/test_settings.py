"""Settings by example: what drivers send at connect works, what would move a wall does not."""

from __future__ import annotations

import pytest

from sallyport.sql.utility.settings import (
    STARTUP,
    any_value_allowed,
    classify_setting,
    show_allowed,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extra_float_digits", "3"),  # JDBC
        ("application_name", "PostgreSQL JDBC Driver"),
        ("client_encoding", "UTF8"),
        ("CLIENT_ENCODING", "utf-8"),
        ("client_encoding", "'UNICODE'".strip("'")),
        ("DateStyle", "ISO"),
        ("datestyle", "ISO, DMY"),
        ("TimeZone", "Europe/Berlin"),
        ("IntervalStyle", "iso_8601"),
        ("bytea_output", "hex"),
        ("standard_conforming_strings", "on"),
        ("standard_conforming_strings", "true"),
        ("row_security", "on"),
        ("row_security", "off"),  # which only makes a filtered read fail
        ("client_min_messages", "warning"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "5000"),
        ("idle_in_transaction_session_timeout", "0"),  # pg_dump
        ("enable_seqscan", "off"),
        ("jit", "off"),  # asyncpg
        ("default_transaction_isolation", "serializable"),
        ("transaction_read_only", "on"),
        ("work_mem", "64MB"),
        ("maintenance_work_mem", "64MB"),
        ("lc_messages", "en_US.UTF-8"),
        ("default_tablespace", ""),  # a script of pg_dump's
        ("default_table_access_method", "heap"),
        ("default_text_search_config", "pg_catalog.english"),
        ("default_text_search_config", "english"),
        ("hnsw.ef_search", "200"),
        ("HNSW.iterative_scan", "Strict_Order"),
        ("pg_trgm.similarity_threshold", "0.45"),
        ("ivfflat.probes", None),
        ("role", None),  # RESET ROLE
        ("statement_timeout", None),
    ],
)
def test_allowed(name: str, value: str | None) -> None:
    assert classify_setting(name, value).kind == "allowed"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("search_path", "public", "search_path"),
        ("SEARCH_PATH", None, "search_path"),
        ("client_encoding", "SJIS", "pinned"),
        ("client_encoding", "LATIN1", "pinned"),
        ("standard_conforming_strings", "off", "pinned"),
        ("session_replication_role", "replica", "pinned"),
        ("role", "postgres", "pinned"),
        ("role", "none", "pinned"),
        ("Session_Authorization", "postgres", "pinned"),
        ("backslash_quote", "on", "denied"),
        ("app.note", "x", "denied"),
        ("app.note", None, "denied"),
        ("seed", "0.5", "denied"),
        ("transform_null_equals", "on", "denied"),
        ("client_min_messages", "debug1", "denied"),
        ("client_min_messages", "log", "denied"),
        ("DateStyle", "German", "denied"),
        ("DateStyle", "SQL, DMY", "denied"),
        ("work_mem", "100GB", "denied"),
        ("default_text_search_config", "public.mine", "denied"),
        ("default_text_search_config", "mine", "denied"),
        ("log_min_error_statement", "panic", "denied"),
        ("log_statement", "all", "denied"),
        ("debug_print_plan", "on", "denied"),
        ("hnsw.ef_search", "100; x", "denied"),
        ("hnsw.ef_search", "", "denied"),
        ("hnsw.iterative_scan", "4711", "denied"),
        ("pg_trgm.similarity_threshold", "secret", "denied"),
        ("pg_trgm.other", "1", "denied"),
        ("postgis.gdal_enabled_drivers", "ENABLE_ALL", "denied"),
        ("lc_messages", "../x", "denied"),
        ("default_tablespace", "fast", "denied"),
        ("default_table_access_method", "columnar", "denied"),
        ("maintenance_work_mem", "100GB", "denied"),
        ("local_preload_libraries", "x", "denied"),
        ("transaction_snapshot", "00000003-1", "denied"),
        ("wor\u212a_mem", "1MB", "denied"),  # KELVIN SIGN lowers to k, but not for PostgreSQL
        ("", "x", "denied"),
        ("all", None, "denied"),
    ],
)
def test_refused(name: str, value: str | None, kind: str) -> None:
    judgement = classify_setting(name, value)
    assert judgement.kind == kind
    assert judgement.reason


@pytest.mark.parametrize(
    "name", ["standard_conforming_strings", "transaction_isolation", "server_version", "TimeZone"]
)
def test_shown(name: str) -> None:
    assert show_allowed(name)


@pytest.mark.parametrize(
    "name",
    ["all", "primary_conninfo", "app.secret", "archive_command", "data_directory", "hba_file", ""],
)
def test_not_shown(name: str) -> None:
    assert not show_allowed(name)


def test_what_is_sent_at_startup_may_be_set_again() -> None:
    assert all(classify_setting(name, value).kind == "allowed" for name, value in STARTUP.items())


def test_a_parameter_may_only_stand_for_harmless_values() -> None:
    assert any_value_allowed("JIT")
    assert any_value_allowed("TimeZone")
    for name in (
        "client_encoding",
        "search_path",
        "role",
        "datestyle",
        "work_mem",
        "x",
    ):
        assert not any_value_allowed(name)


@pytest.mark.parametrize(
    "name",
    [
        "shared_buffers",
        "Work_Mem",
        "max_connections",
        "autovacuum_naptime",
        "max_wal_size",
        "log_min_duration_statement",
        "server_version",
        "default_statistics_target",
        "effective_cache_size",
        "wal_level",
        "checkpoint_timeout",
        "io_method",
        "crdb_version",  # ent and Atlas: CockroachDB has it, PostgreSQL answers NULL
    ],
)
def test_what_tools_look_at_is_shown(name: str) -> None:
    assert show_allowed(name)


@pytest.mark.parametrize(
    "name",
    [
        "data_directory",
        "config_file",
        "hba_file",
        "ident_file",
        "external_pid_file",
        "ssl_key_file",
        "ssl_cert_file",
        "ssl_ca_file",
        "ssl_passphrase_command",
        "archive_command",
        "restore_command",
        "archive_library",
        "archive_cleanup_command",
        "recovery_end_command",
        "primary_conninfo",
        "primary_slot_name",
        "listen_addresses",
        "unix_socket_directories",
        "port",
        "krb_server_keyfile",
        "shared_preload_libraries",
        "session_preload_libraries",
        "dynamic_library_path",
        "log_directory",
        "log_filename",
        "log_line_prefix",
        "synchronous_standby_names",
        "cluster_name",
        "password_encryption",
        "event_source",
        "temp_tablespaces",
        "app.token",
        "all",
    ],
)
def test_what_may_tell_paths_addresses_or_secrets_is_not(name: str) -> None:
    assert not show_allowed(name)
