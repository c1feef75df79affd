"""What a database role may do on a target as things stand: its own grants, PUBLIC's, and what comes
with membership.

Read over the gateway's own connection, in one read-only snapshot; nothing is changed. Names come
back as PostgreSQL quotes them. Raises :class:`PrivilegeError` when the role does not exist; what
``query`` raises passes through. Sources: PostgreSQL's documentation 5.8 (Privileges), 9.27 (access
privilege inquiry functions), 52.18 (pg_shdepend).
"""

from __future__ import annotations

from dataclasses import dataclass

from sallyport.core.errors import SallyportError
from sallyport.targets.catalog_loader import Query
from sallyport.targets.catalog_queries import PREPARE
from sallyport.targets.catalog_rows import Row


class PrivilegeError(SallyportError):
    """The role's privileges cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Privileges:
    """``*_public``: what every role has. The others: what the role may do in effect, however it
    came by it.

    relations and sequences: (OID, privilege). columns: (OID, attnum, privilege), where the whole
    relation does not have it. routines: OID to quoted name with arguments. support: routines of
    extensions behind operators, casts, indexes and types. defaults: (relation OID, sequence OID) of
    columns whose default takes from a sequence. database and schemas: privilege names. powers:
    attributes of the role that no REVOKE narrows. other_objects: on which it has privileges of
    another kind.
    """

    role: str
    database: str
    server_version: int
    powers: tuple[str, ...] = ()
    memberships: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()
    other_objects: tuple[str, ...] = ()
    default_privileges: tuple[str, ...] = ()
    relations: frozenset[tuple[int, str]] = frozenset()
    columns: frozenset[tuple[int, int, str]] = frozenset()
    sequences: frozenset[tuple[int, str]] = frozenset()
    schemas: frozenset[tuple[str, str]] = frozenset()
    database_privileges: frozenset[str] = frozenset()
    executable: frozenset[int] = frozenset()
    routines: tuple[tuple[int, str], ...] = ()
    support: frozenset[int] = frozenset()
    defaults: frozenset[tuple[int, int]] = frozenset()
    relations_public: frozenset[int] = frozenset()
    schemas_public: frozenset[tuple[str, str]] = frozenset()
    database_public: frozenset[str] = frozenset()
    routines_public: frozenset[int] = frozenset()


def quote_literal(text: str) -> str:
    """A string constant that means the same whatever standard_conforming_strings says."""
    doubled = text.replace("'", "''")
    return f"E'{doubled.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{doubled}'"


_USERS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_RELATION_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

_ROLE = """
SELECT r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb, r.rolreplication,
  pg_catalog.pg_get_userbyid(d.datdba) = r.rolname, d.datname,
  pg_catalog.current_setting('server_version_num')
FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
WHERE r.rolname = {role} AND d.datname = pg_catalog.current_database()"""

_POWERS = (
    "is a superuser: no privilege narrows it; give the gateway an ordinary role",
    "has BYPASSRLS: row security policies do not apply to it (ALTER ROLE ... NOBYPASSRLS)",
    "has CREATEROLE: it can make roles and grant itself more (ALTER ROLE ... NOCREATEROLE)",
    "has CREATEDB (ALTER ROLE ... NOCREATEDB)",
    (
        "has REPLICATION: it can read every change from the write-ahead log (ALTER ROLE ..."
        " NOREPLICATION)"
    ),
    "owns the database (ALTER DATABASE ... OWNER TO another role)",
)

_LISTS = {
    "memberships": (
        """
SELECT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_roles r
WHERE r.rolname <> {role} AND pg_catalog.pg_has_role({role}, r.oid, 'MEMBER') ORDER BY 1"""
    ),
    "owned": (
        """
SELECT pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid) FROM pg_catalog.pg_shdepend s
WHERE s.deptype = 'o' AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role})
  AND s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database
    WHERE datname = pg_catalog.current_database()))
ORDER BY 1"""
    ),
    "other_objects": (
        """
SELECT DISTINCT pg_catalog.pg_describe_object(s.classid, s.objid, 0) FROM pg_catalog.pg_shdepend s
WHERE s.deptype = 'a' AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role})
  AND s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database
    WHERE datname = pg_catalog.current_database()))
  AND s.classid NOT IN ('pg_catalog.pg_class'::pg_catalog.regclass,
    'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_namespace'::pg_catalog.regclass,
    'pg_catalog.pg_default_acl'::pg_catalog.regclass)
  AND NOT (s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
    AND s.objid = (SELECT oid FROM pg_catalog.pg_database
      WHERE datname = pg_catalog.current_database()))
ORDER BY 1"""
    ),
    "default_privileges": (
        """
SELECT DISTINCT pg_catalog.format('FOR ROLE %s%s REVOKE ALL ON %s FROM %s',
  pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(d.defaclrole)),
  CASE WHEN n.nspname IS NULL THEN '' ELSE ' IN SCHEMA ' || pg_catalog.quote_ident(n.nspname) END,
  CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES'
    WHEN 'T' THEN 'TYPES'
    WHEN 'n' THEN 'SCHEMAS' WHEN 'L' THEN 'LARGE OBJECTS' ELSE d.defaclobjtype::text END,
  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident({role}) END)
FROM pg_catalog.pg_default_acl d
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) a
WHERE a.grantee IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role}))
  AND d.defaclobjtype <> 'T'
ORDER BY 1"""
    ),
}

_RELATIONS = f"""
SELECT c.oid, p.p FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
CROSS JOIN pg_catalog.unnest(ARRAY[{{privileges}}]) p(p)
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_USERS}
  AND pg_catalog.has_table_privilege({{role}}, c.oid, p.p)"""

_COLUMNS = f"""
SELECT c.oid, a.attnum, p.p FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p(p)
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_USERS}
  AND NOT pg_catalog.has_table_privilege({{role}}, c.oid, p.p)
  AND pg_catalog.has_column_privilege({{role}}, c.oid, a.attnum, p.p)"""

_SEQUENCES = f"""
SELECT c.oid, p.p FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
CROSS JOIN pg_catalog.unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) p(p)
WHERE c.relkind = 'S' AND {_USERS} AND pg_catalog.has_sequence_privilege({{role}}, c.oid, p.p)"""

_SCHEMAS = f"""
SELECT n.nspname, p.p FROM pg_catalog.pg_namespace n
  CROSS JOIN pg_catalog.unnest(ARRAY['USAGE', 'CREATE']) p(p)
WHERE {_USERS} AND pg_catalog.has_schema_privilege({{role}}, n.oid, p.p)"""

_DATABASE = """
SELECT p.p FROM pg_catalog.unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) p(p)
WHERE pg_catalog.has_database_privilege({role}, pg_catalog.current_database(), p.p)"""

#: The last column: of an extension, and behind an operator, a cast, an index or a type; calling it
#: is part of using those.
_ROUTINES = f"""
SELECT p.oid, pg_catalog.format('%I.%I(%s)', n.nspname, p.proname,
  pg_catalog.pg_get_function_identity_arguments(p.oid)),
  pg_catalog.has_function_privilege({{role}}, p.oid, 'EXECUTE'),
  EXISTS (SELECT
    FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
    WHERE a.grantee = 0),
  EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' AND d.objid = p.oid
      AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
    AND (EXISTS (SELECT FROM pg_catalog.pg_operator o
      WHERE p.oid IN (o.oprcode, o.oprrest, o.oprjoin))
      OR EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castfunc = p.oid)
      OR EXISTS (SELECT FROM pg_catalog.pg_amproc m WHERE m.amproc = p.oid)
      OR EXISTS (SELECT FROM pg_catalog.pg_type t
        WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend,
        t.typmodin, t.typmodout, t.typanalyze)))
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE {_USERS} ORDER BY 2"""

_DEFAULTS = """
SELECT DISTINCT a.adrelid, d.refobjid FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid
  AND d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
JOIN pg_catalog.pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"""

_RELATIONS_PUBLIC = f"""
SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_USERS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND (
  EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee = 0)
  OR EXISTS (SELECT FROM pg_catalog.pg_attribute t, LATERAL pg_catalog.aclexplode(t.attacl) a
    WHERE t.attrelid = c.oid AND a.grantee = 0))"""

_SCHEMAS_PUBLIC = f"""
SELECT n.nspname, a.privilege_type
FROM pg_catalog.pg_namespace n, LATERAL pg_catalog.aclexplode(n.nspacl) a
WHERE a.grantee = 0 AND {_USERS}"""

_DATABASE_PUBLIC = """
SELECT a.privilege_type FROM pg_catalog.pg_database d,
  LATERAL pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
WHERE a.grantee = 0 AND d.datname = pg_catalog.current_database()"""


async def load_privileges(query: Query, role: str = "") -> Privileges:
    """Read what ``role`` may do (the connection's own role when it is ""). Raises PrivilegeError
    when there is no such role.
    """
    try:
        for statement in PREPARE:
            await query(statement)
        loaded = await _load(query, role or _text((await query("SELECT current_user"))[0][0]))
    except BaseException:
        await query("ROLLBACK")
        raise
    await query("COMMIT")
    return loaded


async def _load(query: Query, role: str) -> Privileges:
    name = quote_literal(role)
    about = await query(_ROLE.format(role=name))
    if len(about) != 1:
        raise PrivilegeError(
            f"there is no role {role!r} on the target. Give an existing one with --role"
        )
    _, *flags, database, version = about[0]
    privileges = _RELATION_PRIVILEGES + (("MAINTAIN",) if int(_text(version)) >= 170000 else ())
    quoted = ", ".join(f"'{p}'" for p in privileges)

    async def rows(sql: str) -> list[Row]:
        return await query(sql.replace("{role}", name).replace("{privileges}", quoted))

    lists = {key: tuple(_text(r[0]) for r in await rows(sql)) for key, sql in _LISTS.items()}
    routines = await rows(_ROUTINES)
    return Privileges(
        role=role,
        database=_text(database),
        server_version=int(_text(version)),
        powers=tuple(power for power, flag in zip(_POWERS, flags, strict=True) if flag == "t"),
        # a superuser is a member of every role
        memberships=lists["memberships"] if flags[0] != "t" else (),
        owned=lists["owned"],
        other_objects=lists["other_objects"],
        default_privileges=lists["default_privileges"],
        relations=_pairs(await rows(_RELATIONS)),
        columns=frozenset((_int(r[0]), _int(r[1]), _text(r[2])) for r in await rows(_COLUMNS)),
        sequences=_pairs(await rows(_SEQUENCES)),
        schemas=frozenset((_text(r[0]), _text(r[1])) for r in await rows(_SCHEMAS)),
        database_privileges=frozenset(_text(r[0]) for r in await rows(_DATABASE)),
        executable=frozenset(_int(r[0]) for r in routines if r[2] == "t"),
        routines=tuple((_int(r[0]), _text(r[1])) for r in routines),
        support=frozenset(_int(r[0]) for r in routines if r[4] == "t"),
        defaults=frozenset((_int(r[0]), _int(r[1])) for r in await rows(_DEFAULTS)),
        relations_public=frozenset(_int(r[0]) for r in await rows(_RELATIONS_PUBLIC)),
        schemas_public=frozenset((_text(r[0]), _text(r[1])) for r in await rows(_SCHEMAS_PUBLIC)),
        database_public=frozenset(_text(r[0]) for r in await rows(_DATABASE_PUBLIC)),
        routines_public=frozenset(_int(r[0]) for r in routines if r[3] == "t"),
    )


def _pairs(rows: list[Row]) -> frozenset[tuple[int, str]]:
    return frozenset((_int(r[0]), _text(r[1])) for r in rows)


def _text(value: str | None) -> str:
    if value is None:
        raise PrivilegeError("the target gave NULL where it cannot be")
    return value


def _int(value: str | None) -> int:
    return int(_text(value))
