"""Is the target's role more powerful than a gateway's role should be? Asked once per target at
connect time.

The gateway does not depend on the answers: it judges every statement. They are the second wall, so
an operator should hear about holes in it.
"""

from __future__ import annotations

from sallyport.targets.catalog_loader import Query

_ROLE = """
SELECT r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb, r.rolreplication,
  pg_catalog.pg_get_userbyid(d.datdba) = r.rolname
FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()"""

#: pg_has_role ... 'MEMBER' also sees roles that need SET ROLE first. Superusers are members of
#: everything.
_MEMBERSHIPS = """
SELECT r.rolname FROM pg_catalog.pg_roles r
WHERE r.oid < 16384 AND r.rolname <> current_user
  AND pg_catalog.pg_has_role(current_user, r.oid, 'MEMBER')
ORDER BY r.rolname"""

_SCHEMAS = """
SELECT s FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) s
WHERE pg_catalog.has_schema_privilege(current_user, s, 'CREATE') ORDER BY s"""

_EXTENSIONS = """
SELECT extname FROM pg_catalog.pg_extension
WHERE extname IN (
  'adminpack', 'dblink', 'file_fdw', 'pageinspect', 'pg_walinspect', 'plperlu', 'plpython3u',
  'pltclu')
ORDER BY extname"""

_POWERS = (
    "is a superuser: the database itself would stop nothing that the gateway lets through",
    "has BYPASSRLS: row security policies do not apply to it",
    "has CREATEROLE: it can grant itself more",
    "has CREATEDB",
    "has REPLICATION: it can read everything from the write-ahead log",
    "owns the database",
)
_GROUPS = {
    "pg_read_server_files": "can read the server's files",
    "pg_write_server_files": "can write the server's files",
    "pg_execute_server_program": "can run programs on the server",
    "pg_read_all_data": "can read every table",
    "pg_write_all_data": "can change every table",
    "pg_read_all_settings": "can read settings that hold secrets",
    "pg_read_all_stats": "can see other sessions' statements",
    "pg_monitor": "can see other sessions' statements and all settings",
    "pg_signal_backend": "can end other sessions",
    "pg_signal_autovacuum_worker": "can end autovacuum workers",
    "pg_create_subscription": "can create subscriptions to other servers",
    "pg_maintain": "can maintain every table",
    "pg_checkpoint": "can force checkpoints",
    "pg_use_reserved_connections": "can use connections reserved for administrators",
    "pg_database_owner": "",  # said by "owns the database"
    "pg_stat_scan_tables": "can run monitoring functions that lock tables",
}


async def role_warnings(query: Query) -> list[str]:
    """One sentence per power that a role for agents should not have; an empty list is what one
    wants.
    """
    rows = await query(_ROLE)
    if len(rows) != 1:
        return ["the role's own properties cannot be read from pg_roles"]
    name, *flags = rows[0]
    warnings = [
        f"role {name} {power}" for power, flag in zip(_POWERS, flags, strict=True) if flag == "t"
    ]
    if flags[0] != "t":
        for (group,) in await query(_MEMBERSHIPS):
            what = _GROUPS.get(group or "", f"has what the built-in role {group} grants")
            if what:
                warnings.append(f"role {name} is a member of {group}: it {what}")
        for (schema,) in await query(_SCHEMAS):
            warnings.append(
                f"role {name} can create objects in schema {schema}, which its search_path names:"
                f" they could take the place of others' (REVOKE CREATE ON SCHEMA {schema})"
            )
    for (extension,) in await query(_EXTENSIONS):
        warnings.append(
            f"extension {extension} is installed: its functions reach past tables, to files or"
            " servers"
        )
    return warnings
