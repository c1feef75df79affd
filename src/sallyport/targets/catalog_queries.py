"""The SQL that reads a target's catalog, for PostgreSQL 14 to 18. Used by
:mod:`sallyport.targets.catalog_loader` only.

Every query runs in one read-only transaction with an empty search_path, through the simple
protocol, and gives text. Temporary and TOAST schemas are left out: the first belong to one session,
the second to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Makes invisible what other sessions commit meanwhile, and the text of expressions independent of
#: settings.
PREPARE = (
    "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "SET LOCAL search_path = ''",
    "SET LOCAL lock_timeout = '5s'",  # the text of views waits for whoever changes what they read
    "SET LOCAL datestyle = 'ISO, MDY'",
    "SET LOCAL intervalstyle = 'postgres'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL quote_all_identifiers = off",
)

#: In place of PREPARE in somebody's open transaction, and afterwards, which leaves everything as it
#: was.
_POINT = "sallyport reads the catalog"
INSIDE = (f'SAVEPOINT "{_POINT}"', *PREPARE[1:])
OUTSIDE = (f'ROLLBACK TO SAVEPOINT "{_POINT}"', f'RELEASE SAVEPOINT "{_POINT}"')

#: Before PREPARE: the search_path that a session of this role starts with.
DEFAULT_SEARCH_PATH = "SELECT pg_catalog.current_setting('search_path')"

SERVER = """SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_database(),
  current_user, pg_catalog.current_setting('server_encoding')"""

_SHARED_SCHEMA = "n.nspname !~ '^pg_(temp|toast)'"

#: Names are not looked up in schemas that the role may not use (namespace.c,
#: recomputeNamespacePath).
SCHEMAS = (
    "SELECT n.nspname, pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
    f" FROM pg_catalog.pg_namespace n WHERE {_SHARED_SCHEMA} ORDER BY 1"
)

#: View text only where it is needed: relations of the system schemas are classified, not expanded.
RELATIONS = f"""
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.reltype,
  pg_catalog.array_to_string(c.reloptions, ','),
  c.relhasrules AND EXISTS (
    SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'),
  c.relhastriggers AND EXISTS (
    SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
  CASE WHEN c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    THEN pg_catalog.pg_get_viewdef(c.oid) END,
  CASE WHEN c.relkind = 'p' THEN pg_catalog.array_to_json(ARRAY(
    SELECT k.attnum::int4
    FROM pg_catalog.pg_partitioned_table t, pg_catalog.unnest(t.partattrs) k(attnum)
    WHERE t.partrelid = c.oid AND k.attnum > 0
    UNION SELECT d.objsubid FROM pg_catalog.pg_partitioned_table t JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = t.partrelid
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = t.partrelid
      AND d.objsubid > 0 AND d.refobjsubid = 0
    WHERE t.partrelid = c.oid AND t.partexprs IS NOT NULL ORDER BY 1)) END,
  pg_catalog.has_table_privilege(c.oid, 'SELECT'),
  CASE WHEN c.relkind = 'S' THEN pg_catalog.array_to_json(ARRAY(
    SELECT u.n
    FROM pg_catalog.pg_depend d, LATERAL (VALUES (d.refobjid::int8), (d.refobjsubid::int8)) u(n)
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
      AND d.objsubid = 0
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
      AND d.deptype IN ('a', 'i'))) END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND {_SHARED_SCHEMA} /*only c.oid*/
ORDER BY c.oid"""

COLUMNS = f"""
SELECT a.attrelid, a.attname, a.attnum, a.atttypid, a.attnotnull,
  a.atthasdef OR a.attidentity <> '', a.attgenerated,
  CASE WHEN a.atthasdef THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END, a.atttypmod
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND {_SHARED_SCHEMA} /*only a.attrelid*/
ORDER BY a.attrelid, a.attnum"""

#: Attribute numbers in the expressions and the predicate of an index; 0 is the whole row.
_IN_EXPRESSIONS = """SELECT v[1]::int4 FROM pg_catalog.regexp_matches(
      pg_catalog.concat(i.indexprs, i.indpred), ':varattno ([0-9]+)', 'g') v"""
_KEYS = f"""pg_catalog.array_to_json(ARRAY(
    SELECT i.indkey[n]::int4 FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) n
    WHERE i.indkey[n] > 0 UNION {_IN_EXPRESSIONS} ORDER BY 1))"""

#: Columns of a B-tree index in its order, 0 where it does not compare a column as its type does by
#: itself (expressions, other operator classes and collations).
_IN_ORDER = """CASE m.amname WHEN 'btree' THEN pg_catalog.array_to_json(ARRAY(
    SELECT CASE WHEN o.opcdefault AND a.attcollation = i.indcollation[n]
      THEN a.attnum::int4 ELSE 0 END
    FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) n
    JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[n]
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n]
      AND a.attnum > 0
    ORDER BY n)) END"""

#: The condition of a trigger, without comparisons of a column's value before and after: they tell
#: nothing of a column that does not change.
_NAME, _CAST = r'("(?:[^"]|"")+"|\w+|\*)', r'(?:::[\w ."]+)?'
_UNCHANGED = rf"\(\(?old\.{_NAME}\)?{_CAST} IS DISTINCT FROM \(?new\.\1\)?{_CAST}\)"
_CONDITION = f"""CASE WHEN t.tgqual IS NULL THEN '' ELSE pg_catalog.regexp_replace(
    pg_catalog.pg_get_triggerdef(t.oid), '{_UNCHANGED}', '', 'g') END"""
_IN_CONDITION = """pg_catalog.strpos(q.condition, 'old.' || pg_catalog.quote_ident(a.attname)) > 0
        OR pg_catalog.strpos(q.condition, 'new.' || pg_catalog.quote_ident(a.attname)) > 0"""
#: An argument of a trigger is a name, or has it inside.
_IN_ARGUMENTS = """pg_catalog.position(t.tgargs,
          pg_catalog.convert_to(a.attname, pg_catalog.getdatabaseencoding())) > 0"""

#: Indexes with every column in them and what they compute, statistics of values that occur
#: together, checks and foreign keys, of relations that users made; the conditions of row security
#: policies; and triggers whose functions nobody has to list, with the columns that decide whether
#: they run or what they compute. (A hash index takes a value of any size: it refuses
#: nothing. What an index INCLUDEs is not compared, but makes an entry longer, and decides where
#: others than B-trees split, and so in which order they give rows.)
CONSTRAINTS = f"""
SELECT i.indrelid, CASE WHEN i.indisexclusion THEN 'x' WHEN i.indisunique THEN 'u' ELSE 'i' END,
  {_KEYS}, 0, NULL::json, '', '', '', c.relname, i.indisprimary AND i.indimmediate, {_IN_ORDER}
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE i.indrelid >= 16384 AND (m.amname <> 'hash' OR i.indisexclusion) /*only i.indrelid*/
UNION ALL
SELECT i.indrelid, CASE m.amname WHEN 'btree' THEN 'n' ELSE 'i' END,
  {_KEYS.replace("indnkeyatts", "indnatts")}, 0, NULL::json, '', '', '', c.relname, false,
  NULL::json
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE i.indrelid >= 16384 AND i.indnatts > i.indnkeyatts /*only i.indrelid*/
UNION ALL
SELECT t.tgrelid, 't', pg_catalog.array_to_json(ARRAY(
    SELECT 0 WHERE pg_catalog.strpos(q.condition, 'old.*') > 0
      OR pg_catalog.strpos(q.condition, 'new.*') > 0
    UNION SELECT a.attnum::int4 FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = t.tgrelid AND a.attnum > 0 AND NOT a.attisdropped
      AND ({_IN_CONDITION} OR {_IN_ARGUMENTS})
    ORDER BY 1)), 0, NULL::json, '', '', '', t.tgname, false, NULL::json
FROM pg_catalog.pg_trigger t, LATERAL (SELECT {_CONDITION}) q(condition)
WHERE NOT t.tgisinternal AND t.tgrelid >= 16384 AND (t.tgqual IS NOT NULL OR t.tgnargs > 0)
  AND (t.tgfoid < 16384 OR EXISTS (SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = t.tgfoid
      AND d.deptype = 'e')) /*only t.tgrelid*/
UNION ALL
SELECT i.indrelid, 'e', '[]'::json, 0, NULL::json, '', '', pg_catalog.concat_ws(', ',
  pg_catalog.pg_get_expr(i.indexprs, i.indrelid), pg_catalog.pg_get_expr(i.indpred, i.indrelid)),
  '', false, NULL::json
FROM pg_catalog.pg_index i
WHERE (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) AND i.indrelid >= 16384 /*only i.indrelid*/
UNION ALL
SELECT k.conrelid, k.contype::text, pg_catalog.array_to_json(k.conkey), k.confrelid,
  pg_catalog.array_to_json(k.confkey), k.confdeltype::text, k.confupdtype::text, '', k.conname,
  false, NULL::json
FROM pg_catalog.pg_constraint k
WHERE k.contype IN ('c', 'f') AND k.conrelid >= 16384 /*only k.conrelid*/
UNION ALL
SELECT l.polrelid, 'p', pg_catalog.array_to_json(ARRAY(
    SELECT v[1]::int4 FROM pg_catalog.regexp_matches(
      l.polqual::text, ':varattno ([0-9]+)', 'g') v ORDER BY 1)),
  0, NULL::json, '', '', '', l.polname, false, NULL::json
FROM pg_catalog.pg_policy l WHERE l.polqual IS NOT NULL /*only l.polrelid*/
UNION ALL
SELECT x.stxrelid, 's', pg_catalog.array_to_json(ARRAY(
    SELECT k.attnum::int4 FROM pg_catalog.unnest(x.stxkeys::int2[]) k(attnum)
    UNION SELECT v[1]::int4 FROM pg_catalog.regexp_matches(
      x.stxexprs::text, ':varattno ([0-9]+)', 'g') v ORDER BY 1)),
  0, NULL::json, '', '', '', x.stxname, false, NULL::json
FROM pg_catalog.pg_statistic_ext x
WHERE 'm' = ANY (x.stxkind) AND x.stxrelid >= 16384 /*only x.stxrelid*/
ORDER BY 1, 2, 4, 9, 8"""

#: Indexes by name, with the relation they are on; of relations that users made.
INDEXES = f"""
SELECT n.nspname, c.relname, i.indrelid
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid >= 16384 AND {_SHARED_SCHEMA} /*only i.indrelid*/ ORDER BY i.indexrelid"""

EVENT_TRIGGERS = (
    "SELECT e.evtname FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled <> 'D' ORDER BY 1"
)

INHERITANCE = "SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits ORDER BY inhrelid, inhseqno"

#: A true array (not point or name, which merely have elements) is one that array subscripting
#: handles.
TYPES = f"""
SELECT t.oid, n.nspname, t.typname, t.typtype, t.typcategory,
  CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc
    THEN t.typelem ELSE 0 END,
  t.typarray, t.typbasetype, t.typrelid, t.typispreferred
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE {_SHARED_SCHEMA} /*only t.oid*/ ORDER BY t.oid"""

FUNCTIONS = f"""
SELECT p.oid, n.nspname, p.proname, p.prokind, p.proargtypes, p.prorettype, p.proretset,
  p.pronargdefaults,
  p.provariadic <> 0, p.provolatile, p.proisstrict, p.prosecdef, l.lanname,
  pg_catalog.array_to_json(p.proargmodes), pg_catalog.array_to_json(p.proargnames),
  pg_catalog.array_to_json(p.proallargtypes),
  CASE WHEN p.oid >= 16384 AND l.lanname = 'sql' AND p.prokind = 'f'
    THEN coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) END,
  p.prosqlbody IS NOT NULL,
  CASE WHEN p.oid >= 16384 AND l.lanname = 'sql' AND p.prokind = 'f'
    THEN pg_catalog.pg_get_expr(p.proargdefaults, 0) END,
  pg_catalog.array_to_json(p.proconfig)
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE {_SHARED_SCHEMA} /*only p.oid*/ ORDER BY p.oid"""

OPERATORS = f"""
SELECT o.oid, n.nspname, o.oprname, o.oprleft, o.oprright, o.oprresult, o.oprcode::pg_catalog.oid
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE {_SHARED_SCHEMA} ORDER BY o.oid"""

CASTS = """
SELECT castsource, casttarget, castfunc, castmethod, castcontext FROM pg_catalog.pg_cast
ORDER BY castsource, casttarget"""

EXTENSION_MEMBERS = """
SELECT d.classid::pg_catalog.regclass, d.objid, e.extname
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
  AND d.classid IN ('pg_catalog.pg_class'::pg_catalog.regclass,
    'pg_catalog.pg_type'::pg_catalog.regclass,
    'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
ORDER BY 1, 2"""

#: Which user-made functions an object's own machinery calls: (relation or 0, domain or 0,
#: function). Built-in functions leave no trace in pg_depend. A user-made operator counts as the
#: function behind it; a view's _RETURN rule does not count, because views are expanded by their
#: text.
HIDDEN_FUNCTIONS = """
WITH used AS (
  SELECT d.classid, d.objid, coalesce(o.oprcode::pg_catalog.oid, d.refobjid) AS function
  FROM pg_catalog.pg_depend d
  LEFT JOIN pg_catalog.pg_operator o
    ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid
  WHERE d.refclassid IN (
    'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
    AND d.refobjid >= 16384)
SELECT DISTINCT
  coalesce(k.conrelid, a.adrelid, i.indrelid, p.polrelid, t.tgrelid, r.ev_class, c.oid, 0),
  coalesce(k.contypid, 0), u.function
FROM used u
LEFT JOIN pg_catalog.pg_constraint k
  ON u.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = u.objid
LEFT JOIN pg_catalog.pg_attrdef a
  ON u.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND a.oid = u.objid
LEFT JOIN pg_catalog.pg_index i
  ON u.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = u.objid
LEFT JOIN pg_catalog.pg_policy p
  ON u.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = u.objid
LEFT JOIN pg_catalog.pg_trigger t
  ON u.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = u.objid
LEFT JOIN pg_catalog.pg_rewrite r
  ON u.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = u.objid
    AND r.rulename <> '_RETURN'
LEFT JOIN pg_catalog.pg_class c
  ON u.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = u.objid
WHERE coalesce(k.oid, a.oid, i.indexrelid, p.oid, t.oid, r.oid, c.oid) IS NOT NULL
ORDER BY 1, 2, 3"""


_LARGE = {
    "relations": RELATIONS,
    "columns": COLUMNS,
    "constraints": CONSTRAINTS,
    "indexes": INDEXES,
    "types": TYPES,
    "functions": FUNCTIONS,
}
_ONLY = re.compile(r"/\*only ([\w.]+)\*/")


def of_all(name: str) -> str:
    """The query for all relations, columns, constraints, indexes, types or functions."""
    return _LARGE[name]


def of_some(name: str, oids: str) -> str:
    """The same for those that are, or belong to, objects with these OIDs (an array in SQL)."""
    return _ONLY.sub(lambda match: f" AND {match.group(1)} = ANY ({oids})", _LARGE[name])


def of_temporary(name: str) -> str:
    """The same for what is in the session's own temporary schema."""
    own = "n.oid = pg_catalog.pg_my_temp_schema()"
    if name == "constraints":
        return of_some(
            name,
            "ARRAY(SELECT c.oid FROM pg_catalog.pg_class c WHERE"
            f" {own.replace('n.oid', 'c.relnamespace')})",
        )
    return _ONLY.sub("", _LARGE[name].replace(_SHARED_SCHEMA, own))


def fingerprint_part(table: str, key: str, condition: str = "true") -> str:
    """A number that changes when any row of ``table`` is inserted, updated or deleted: xmin names
    its last writer, ``key`` (a bigint) the row.
    """
    return (
        f"(SELECT pg_catalog.sum(pg_catalog.hashint8extended(x.xmin::text::int8, {key}))"
        f" FROM pg_catalog.{table} x WHERE {condition})"
    )


#: What users made that may read a setting: functions, row-security policies, views, rules,
#: triggers, defaults and checks. Trees name the function current_setting by its OID (2077, 3294)
#: and pg_settings by that of its function (2084) or its own.
_SETTING_NEEDLES = (
    *(f"':funcid {oid} '" for oid in (2077, 3294, 2084)),
    "':relid ' || 'pg_catalog.pg_settings'::pg_catalog.regclass::oid || ' '",
)


def _reads_setting(tree: str) -> str:
    """strpos and no pattern: there may be tens of thousands of trees, and a pattern takes ten times
    as long for each.
    """
    conditions = [f"pg_catalog.strpos({tree}::text, {needle}) > 0" for needle in _SETTING_NEEDLES]
    return f"({' OR '.join(conditions)})"


_NOT_SYSTEM = "n.nspname NOT IN ('pg_catalog', 'information_schema')"
_SETTING_READERS = f"""
WITH f AS MATERIALIZED (  -- first, or the planner looks into what PostgreSQL brings along
  SELECT p.oid, p.prosrc, p.prosqlbody, p.proargdefaults FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE {_NOT_SYSTEM} /*functions p.oid*/
), r AS MATERIALIZED (
  SELECT r.oid, r.ev_class, r.ev_action, r.ev_qual FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {_NOT_SYSTEM} /*relations r.ev_class*/
)
SELECT 'function', f.oid, f.prosrc FROM f
  WHERE f.prosrc ~* 'current_setting|pg_settings|pg_show_all_settings|\\mshow\\M'
UNION ALL SELECT 'function', f.oid, pg_catalog.pg_get_function_sqlbody(f.oid) FROM f
  WHERE {_reads_setting("f.prosqlbody")}
UNION ALL SELECT 'function', f.oid, pg_catalog.pg_get_expr(f.proargdefaults, 0) FROM f
  WHERE {_reads_setting("f.proargdefaults")}
UNION ALL SELECT 'relation', r.ev_class, pg_catalog.pg_get_ruledef(r.oid) FROM r
  WHERE {_reads_setting("r.ev_action")} OR {_reads_setting("r.ev_qual")}
UNION ALL SELECT 'relation', l.polrelid, pg_catalog.pg_get_expr(q.tree, l.polrelid)
  FROM pg_catalog.pg_policy l, LATERAL (VALUES (l.polqual), (l.polwithcheck)) q(tree)
  WHERE {_reads_setting("q.tree")} /*relations l.polrelid*/
UNION ALL SELECT 'relation', g.tgrelid, pg_catalog.pg_get_triggerdef(g.oid)
FROM pg_catalog.pg_trigger g
  WHERE NOT g.tgisinternal AND {_reads_setting("g.tgqual")} /*relations g.tgrelid*/
UNION ALL SELECT 'relation', d.adrelid, pg_catalog.pg_get_expr(d.adbin, d.adrelid)
  FROM pg_catalog.pg_attrdef d WHERE {_reads_setting("d.adbin")} /*relations d.adrelid*/
UNION ALL SELECT 'relation', k.conrelid, pg_catalog.pg_get_constraintdef(k.oid)
  FROM pg_catalog.pg_constraint k
  WHERE k.conrelid <> 0 AND {_reads_setting("k.conbin")} /*relations k.conrelid*/
UNION ALL SELECT 'type', k.contypid, pg_catalog.pg_get_constraintdef(k.oid)
  FROM pg_catalog.pg_constraint k
  WHERE k.contypid <> 0 AND {_reads_setting("k.conbin")} /*types k.contypid*/"""
_ONLY_OF = re.compile(r"/\*(functions|relations|types) ([\w.]+)\*/")


def setting_readers(oids: Mapping[str, str] | None = None) -> str:
    """(kind, OID, definition) of what users made that reads a setting. ``oids``: of these
    functions, relations and types only (arrays in SQL by ``functions``, ``relations``, ``types``).
    """
    if oids is None:
        return _SETTING_READERS
    return _ONLY_OF.sub(
        lambda match: f" AND {match.group(2)} = ANY ({oids[match.group(1)]})", _SETTING_READERS
    )


#: Of a row x, by its column that names a schema: not in one that belongs to a session or to nobody.
SHARED_NAMESPACE = """x.{} NOT IN (SELECT n.oid FROM pg_catalog.pg_namespace n
  WHERE n.nspname ~ '^pg_(temp|toast)')"""
