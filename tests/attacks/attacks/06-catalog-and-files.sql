--: Statistics
SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'people'
SELECT null_frac, avg_width, n_distinct, correlation FROM pg_stats WHERE attname = 'ssn'
SELECT * FROM pg_statistic
SELECT stavalues1::text FROM pg_catalog.pg_statistic
SELECT * FROM pg_stats_ext
SELECT * FROM pg_stats_ext_exprs
SELECT * FROM pg_statistic_ext_data
SELECT stxname FROM pg_statistic_ext
SELECT reltuples, relpages FROM pg_class WHERE relname = 'people'
SELECT reltuples, relpages FROM pg_class WHERE relname = 'long_texts'
[residual size] SELECT reltuples FROM pg_class WHERE relname = 'by_secret_low'
SELECT relpages, reltuples, relallvisible FROM pg_class WHERE relname LIKE 'people%' ORDER BY relname
[residual size] SELECT pg_relation_size('long_texts'), pg_total_relation_size('long_texts')
[residual size] SELECT pg_table_size('long_texts'), pg_indexes_size('people')
[residual size] SELECT pg_relation_size('by_secret_low'), pg_relation_size('people')
[residual size] SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'long_texts'
[restless] SELECT pg_relation_filenode('people'), pg_relation_filepath('people')
[restless] SELECT pg_database_size(current_database())
[residual size] SELECT n_live_tup, n_tup_ins, seq_scan FROM pg_stat_user_tables WHERE relname = 'by_secret_low'
[restless] SELECT * FROM pg_stat_all_tables WHERE relname = 'people'
[residual size] SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes
SELECT heap_blks_read, toast_blks_hit FROM pg_statio_user_tables WHERE relname = 'long_texts'
[residual size] SELECT pg_stat_get_live_tuples('by_secret_low'::regclass), pg_stat_get_tuples_inserted('people'::regclass)
SELECT calls, total_time FROM pg_stat_user_functions
SELECT blks_hit, tup_returned FROM pg_stat_database
[residual size] TRUNCATE cards ;; EXPLAIN SELECT id FROM cards
--: Other people's statements and secrets
SELECT query FROM pg_stat_activity
SELECT pid, usename, application_name, query FROM pg_stat_activity WHERE query <> ''
SELECT query FROM pg_stat_statements
SELECT * FROM public.pg_stat_statements(true)
SELECT pg_stat_statements_reset()
SELECT pg_stat_get_backend_activity(1), pg_stat_get_activity(NULL)
SELECT * FROM pg_stat_get_activity(NULL)
SELECT statement FROM pg_prepared_statements
SELECT name, statement, is_holdable, is_binary, is_scrollable FROM pg_cursors
SELECT rolpassword FROM pg_authid
SELECT passwd FROM pg_shadow
SELECT usename, passwd FROM pg_user
SELECT umoptions FROM pg_user_mapping
SELECT umoptions FROM pg_user_mappings
SELECT srvoptions FROM pg_foreign_server
SELECT option_value FROM information_schema.user_mapping_options
SELECT ftoptions FROM pg_foreign_table
SELECT subconninfo FROM pg_subscription
SELECT * FROM pg_hba_file_rules
SELECT * FROM pg_file_settings
SELECT setting FROM pg_settings WHERE name = 'data_directory'
SHOW data_directory
SHOW ALL
SHOW primary_conninfo
SELECT current_setting('data_directory')
SELECT * FROM pg_config
SELECT setconfig FROM pg_db_role_setting
SELECT * FROM pg_shmem_allocations
SELECT * FROM pg_backend_memory_contexts
SELECT mode, relation::regclass FROM pg_locks
SELECT * FROM pg_replication_slots
SELECT * FROM pg_stat_replication
SELECT data FROM pg_largeobject
SELECT lo_get(1), loread(1, 10), lo_open(1, 1)
SELECT * FROM pg_prepared_xacts
SELECT * FROM pg_stat_progress_copy
--: Files
SELECT pg_read_file('/etc/passwd')
SELECT pg_read_binary_file('postgresql.conf'), pg_stat_file('PG_VERSION')
SELECT * FROM pg_ls_dir('.')
SELECT * FROM pg_ls_logdir()
SELECT * FROM pg_ls_waldir()
SELECT * FROM pg_ls_tmpdir()
SELECT pg_file_write('x', 'y', false)
SELECT pg_walfile_name(pg_current_wal_lsn())
SELECT * FROM pg_create_logical_replication_slot('s', 'test_decoding')
SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)
SELECT pg_logical_emit_message(true, 'x', (SELECT max(ssn) FROM people))
SELECT * FROM heap_page_items(get_raw_page('people', 0))
SELECT get_raw_page('people', 0)
SELECT * FROM bt_page_items('people_salary', 1)
SELECT bt_metap('people_salary')
SELECT pg_reload_conf(), pg_rotate_logfile(), pg_promote()
SELECT pg_cancel_backend(pid), pg_terminate_backend(pid) FROM pg_locks
SELECT pg_export_snapshot()
SELECT pg_current_snapshot() IS NULL
--: Sources of objects
SELECT prosrc FROM pg_proc WHERE proname = 'f_ssn'
SELECT pg_get_functiondef('f_ssn'::regproc), pg_get_function_sqlbody('f_ssn'::regproc)
SELECT pg_get_viewdef('v_people'), pg_get_ruledef(1), pg_get_constraintdef(1), pg_get_indexdef('people_lower'::regclass)
SELECT definition FROM pg_views WHERE viewname = 'v_people'
SELECT routine_definition FROM information_schema.routines
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
SELECT attname, attstattarget, attmissingval FROM pg_attribute WHERE attrelid = 'people'::regclass AND attnum > 0
SELECT pg_get_statisticsobjdef_expressions(oid) FROM pg_statistic_ext
SELECT pg_partition_root('events_2025'), pg_get_partkeydef('events'::regclass)
SELECT consrc FROM pg_constraint
SELECT * FROM information_schema.columns WHERE table_name = 'people' AND ordinal_position < 3
SELECT relacl FROM pg_class WHERE relname = 'people'
SELECT pg_describe_object(1259, 1259, 0), obj_description('people'::regclass)
SELECT * FROM pg_seclabels
SELECT pg_sequence_last_value('counter'::regclass), last_value FROM counter
SELECT * FROM pg_sequences
SELECT pg_identify_object(1259, 'people'::regclass, 0)
SELECT pg_collation_for(ssn) FROM people
SELECT pg_input_is_valid(ssn, 'int4') FROM people
SELECT * FROM people, pg_input_error_info(ssn, 'int4')
SELECT pg_filenode_relation(0, 1), pg_my_temp_schema(), pg_is_other_temp_schema(1)
SELECT binary_upgrade_set_next_heap_relfilenode(1::oid)
