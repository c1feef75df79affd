"""One query that lists what a session's temporary schema holds, and in which state.

It may run while a search_path of the session's is in force, so every name in it is qualified,
operators too. Where the session has no temporary schema, no table is read.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from sallyport.core.errors import ProtocolError

_OWN = "pg_catalog.pg_my_temp_schema()"
_HERE = f"OPERATOR(pg_catalog.=) {_OWN} AND {_OWN} OPERATOR(pg_catalog.<>) 0"
#: The transaction that last wrote the relation's row, and each of its columns' rows; and a hash of
#: what a view reads, which OR REPLACE may change twice in one transaction.
_STATE = """pg_catalog.concat_ws(' ', c.relkind, c.xmin, (SELECT pg_catalog.string_agg(
    pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
      r.ev_action::pg_catalog.text, 'UTF8')), 'hex'), ',' ORDER BY r.oid)
  FROM pg_catalog.pg_rewrite r
  WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid), (SELECT pg_catalog.string_agg(
    pg_catalog.concat_ws(' ', a.attname, a.atttypid, a.xmin), ',' ORDER BY a.attnum)
  FROM pg_catalog.pg_attribute a
  WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0))"""

#: Of a type that belongs to no relation: its own row, its labels and its constraints.
_TYPE_STATE = """CASE WHEN t.typrelid OPERATOR(pg_catalog.=) 0 AND e.oid IS NULL THEN
  pg_catalog.concat_ws(' ', t.typtype, t.xmin, (SELECT pg_catalog.string_agg(
      pg_catalog.concat_ws(' ', l.enumlabel, l.xmin), ',' ORDER BY l.oid) FROM pg_catalog.pg_enum l
    WHERE l.enumtypid OPERATOR(pg_catalog.=) t.oid), (SELECT pg_catalog.string_agg(
      pg_catalog.concat_ws(' ', k.oid, k.xmin), ',' ORDER BY k.oid) FROM pg_catalog.pg_constraint k
    WHERE k.contypid OPERATOR(pg_catalog.=) t.oid)) ELSE '' END"""

#: One row with one value: see :func:`listed`.
LISTING = f"""SELECT coalesce((SELECT pg_catalog.json_agg(
  pg_catalog.json_build_array(x.owner, x.name, x.is_own, x.state)
  ORDER BY x.is_type, x.oid) FROM (
SELECT c.oid, false AS is_type, coalesce(i.indrelid, c.oid)::pg_catalog.int8 AS owner,
  c.relname AS name, i.indrelid IS NULL AS is_own, {_STATE} AS state
FROM pg_catalog.pg_class c
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid
WHERE c.relnamespace {_HERE}
UNION ALL SELECT t.oid, true,
  CASE WHEN coalesce(e.typrelid, t.typrelid) OPERATOR(pg_catalog.<>) 0
    THEN coalesce(e.typrelid, t.typrelid)::pg_catalog.int8
    ELSE OPERATOR(pg_catalog.-) coalesce(e.oid, t.oid)::pg_catalog.int8 END, t.typname,
  e.oid IS NULL AND t.typrelid OPERATOR(pg_catalog.=) 0, {_TYPE_STATE}
FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid OPERATOR(pg_catalog.=) t.typelem
  AND e.typarray OPERATOR(pg_catalog.=) t.oid
WHERE t.typnamespace {_HERE}) x)::pg_catalog.text, '[]')"""


class Listed(NamedTuple):
    """A relation, an index or a type.

    owner: OID of the relation that it is, is on, or is the row type of; minus the OID of the type
    that it is, or is the array of, where there is no relation.
    is_own: it is the owner itself.
    state: of an owner, another text whenever its definition was changed.
    """

    owner: int
    name: str
    is_own: bool
    state: str


_ROWS = msgspec.json.Decoder(list[tuple[int, str, bool, str]])


def listed(text: str) -> list[Listed]:
    """The answer to :data:`LISTING`. Raises ProtocolError where it is none."""
    try:
        return [Listed(*row) for row in _ROWS.decode(text)]
    except msgspec.MsgspecError as error:
        what = "the server's listing of temporary objects cannot be read"
        raise ProtocolError(f"{what}: {error}") from None
