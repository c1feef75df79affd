-- Descriptions of a table through the OID in a counting view.
-- rows: 1
select d.description from pg_catalog.pg_statio_all_tables st join pg_catalog.pg_description d on d.objoid = st.relid where st.relname = 'users';
