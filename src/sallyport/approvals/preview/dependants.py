"""What depends on relations, as questions to PostgreSQL's own catalog (pg_depend, pg_inherits,
pg_proc), for PostgreSQL 14 to 18.

Formatted with ``oids`` (numbers, comma-separated), ``names`` (quoted literals), ``only`` and
``maximum``. pg_depend knows views, foreign keys, indexes, defaults, triggers, policies, and
functions whose body is SQL's own (BEGIN ATOMIC). A function whose body is a string is not in it:
those whose text has the name are listed apart, as what they are, a resemblance.
"""

from __future__ import annotations

from typing import Final

#: One row: how many partitions and children there are, at all levels.
CHILDREN: Final = """
WITH RECURSIVE below(oid) AS (
  SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent IN ({oids})
  UNION SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
) SELECT pg_catalog.count(*) FROM below"""

#: A condition on ``d`` (pg_depend): it is about one of these columns.
COLUMNS: Final = """
    AND EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid IN ({oids})
      AND a.attrelid = d.refobjid
                AND a.attnum = d.refobjsubid AND a.attname IN ({names}))"""

#: Descriptions of what depends on the relations, through views to any depth. A view's rule counts
#: as its view.
DEPENDANTS: Final = """
WITH RECURSIVE dependant(classid, objid, objsubid) AS (
  SELECT d.classid, d.objid, d.objsubid FROM pg_catalog.pg_depend d
  WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid IN ({oids})
    AND d.deptype IN ('n', 'a')
    AND NOT (d.classid = d.refclassid AND d.objid IN ({oids})){only}
  UNION
  SELECT d.classid, d.objid, d.objsubid FROM dependant known
  JOIN pg_catalog.pg_rewrite r ON known.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    AND r.oid = known.objid
  JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.refobjid = r.ev_class
   AND d.deptype IN ('n', 'a')
) SELECT DISTINCT CASE WHEN r.rulename = '_RETURN'
    THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0)
    ELSE pg_catalog.pg_describe_object(one.classid, one.objid, one.objsubid) END
FROM dependant one
LEFT JOIN pg_catalog.pg_rewrite r ON one.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  AND r.oid = one.objid
ORDER BY 1 LIMIT {maximum}"""

#: Functions whose text has the name of one of the relations in it.
MENTIONS: Final = """
SELECT DISTINCT
  pg_catalog.pg_describe_object('pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 0)
    || ' has ' || c.relname || ' in its text'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_proc p
  ON pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower(c.relname)) > 0
JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('c', 'internal')
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
WHERE c.oid IN ({oids}) ORDER BY 1 LIMIT {maximum}"""
