"""Which parts of a catalog changed since it was last read, told by one query over the system
catalogs.

Every row names its last writer (xmin). Whatever ended before the *horizon*, the oldest transaction
that was running when the catalog was last read, was seen then; so a row of a later writer is new or
changed. A row that is gone shows in the number of those that are left: all of them are older than
the horizon, and were known. (pg_attribute needs no count: DROP COLUMN is an update, and with a
relation its own row goes.) Other rows are few and seldom change (schemas, extensions, casts,
operators, roles, settings): where one of them did, everything is read again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.targets.catalog_queries import SHARED_NAMESPACE, fingerprint_part
from sallyport.targets.catalog_rows import Row, int_of, text
from sallyport.targets.role_names import ROLES

#: A transaction id counts as in the past for so many transactions (xid wraps at 2^32; vacuum keeps
#: clear of 2^31).
_MOST_TRANSACTIONS = 1_000_000_000

_CLASS = "'pg_catalog.pg_class'::pg_catalog.regclass"
#: Part -> (catalog, key, owner, condition): keys are unique in a part; the owner is what has to be
#: read again. Both are bigint.
_PARTS: Mapping[str, tuple[str, str, str, str]] = {
    "class": (
        "pg_class",
        "x.oid",
        "x.oid",
        "x.relkind <> 't' AND " + SHARED_NAMESPACE.format("relnamespace"),
    ),
    "index": ("pg_index", "x.indexrelid", "x.indrelid", "x.indrelid >= 16384"),
    # the owner of a domain's is its type, negated
    "constraint": (
        "pg_constraint",
        "x.oid",
        "CASE WHEN x.contypid = 0 THEN x.conrelid::int8 ELSE -x.contypid::int8 END",
        "(x.conrelid >= 16384 OR x.contypid <> 0)",
    ),
    "default": ("pg_attrdef", "x.oid", "x.adrelid", "true"),
    "rule": ("pg_rewrite", "x.oid", "x.ev_class", "true"),
    "trigger": ("pg_trigger", "x.oid", "x.tgrelid", "NOT x.tgisinternal"),
    "policy": ("pg_policy", "x.oid", "x.polrelid", "true"),
    "statistics": ("pg_statistic_ext", "x.oid", "x.stxrelid", "x.stxrelid >= 16384"),
    "parent": ("pg_inherits", "(x.inhrelid::int8 << 32) | x.inhparent::int8", "x.inhrelid", "true"),
    "sequence": (
        "pg_depend",
        "(x.objid::int8 << 32) | (x.refobjid::int8)",
        "x.objid",
        (
            f"x.classid = {_CLASS} AND x.refclassid = {_CLASS} AND x.refobjsubid > 0 AND x.objsubid"
            " = 0 AND x.deptype IN ('a', 'i') AND EXISTS (SELECT FROM pg_catalog.pg_sequence s"
            " WHERE s.seqrelid = x.objid)"
        ),
    ),
    "type": ("pg_type", "x.oid", "x.oid", SHARED_NAMESPACE.format("typnamespace")),
    "function": ("pg_proc", "x.oid", "x.oid", SHARED_NAMESPACE.format("pronamespace")),
}
#: Parts whose key has the OID of the row's object in its upper half, by the column that holds it;
#: of the others it is the key.
_UPPER: Mapping[str, str] = {"parent": "x.inhrelid", "sequence": "x.objid"}
#: The part of changed columns: keys and owners are their relations.
_COLUMN = "column"
#: Parts whose owners are relations.
_OF_RELATIONS = (
    "class",
    "index",
    "constraint",
    "default",
    "rule",
    "trigger",
    "policy",
    "statistics",
    "parent",
    "sequence",
)


def _not_ours(*columns: str) -> str:
    return (
        f"NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid IN ({', '.join(columns)})"
        f" AND r.rolname ~ '{ROLES}')"
    )


_WHOLE = (
    fingerprint_part("pg_namespace", "x.oid::int8", "x.nspname !~ '^pg_(temp|toast)'"),
    fingerprint_part("pg_event_trigger", "x.oid::int8"),
    fingerprint_part("pg_cast", "x.oid::int8"),
    fingerprint_part("pg_extension", "x.oid::int8"),
    fingerprint_part(
        "pg_depend",
        "x.objid::int8",
        "x.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND x.deptype = 'e'",
    ),
    # but for the gateway's own roles, which come and go with sessions and change no meaning
    fingerprint_part(
        "pg_db_role_setting",
        "(x.setdatabase::int8 << 32) | x.setrole::int8",
        _not_ours("x.setrole"),
    ),
    # what the role may use comes from others too, and from what it is
    fingerprint_part(
        "pg_auth_members",
        "(x.roleid::int8 << 32) | x.member::int8",
        _not_ours("x.roleid", "x.member"),
    ),
    (
        "(SELECT pg_catalog.sum(pg_catalog.hashint8(x.oid::int8 * 4 + x.rolsuper::int4 * 2 +"
        f" x.rolinherit::int4)) FROM pg_catalog.pg_roles x WHERE x.rolname !~ '{ROLES}')"
    ),
    (
        "(SELECT x.datdba FROM pg_catalog.pg_database x WHERE x.datname ="
        " pg_catalog.current_database())"
    ),
    # their names stand in the text of views, defaults and conditions
    fingerprint_part("pg_enum", "x.oid::int8"),
    fingerprint_part("pg_collation", "x.oid::int8"),
    fingerprint_part("pg_ts_config", "x.oid::int8"),
    fingerprint_part("pg_ts_dict", "x.oid::int8"),
    fingerprint_part("pg_operator", "x.oid::int8"),
)
#: One row: a digest of everything that concerns the whole database, and the horizon of this
#: snapshot.
WHOLE = (
    "SELECT pg_catalog.md5(pg_catalog.concat_ws('|',"
    " pg_catalog.current_setting('server_version_num'), pg_catalog.pg_postmaster_start_time(),"
    " (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname ="
    f" pg_catalog.current_database()), current_user, {', '.join(_WHOLE)})),"
    " pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()),"
    " pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())"
)


#: By the last bits of their key (this is a power of two) rows are counted where some of them are
#: gone, to find out which.
_BUCKETS = 1024


def known_rows(part: str, buckets: frozenset[int] | None = None) -> str:
    """The query for (key, owner) of every row of a part, or of those in some buckets."""
    table, key, owner, condition = _PARTS[part]
    if buckets is not None:
        listed = ",".join(map(str, sorted(buckets)))
        condition += f" AND ({key})::int8 & {_BUCKETS - 1} = ANY ('{{{listed}}}')"
    return f"SELECT {key}, {owner} FROM pg_catalog.{table} x WHERE {condition}"


def counts_query(part: str, horizon: int) -> str:
    """(bucket, number of rows older than the horizon) of a part."""
    table, key, _, condition = _PARTS[part]
    return (
        f"SELECT ({key})::int8 & {_BUCKETS - 1}, pg_catalog.count(*) FROM pg_catalog.{table} x"
        f" WHERE {condition} AND pg_catalog.age(x.xmin) > {_age(horizon)} GROUP BY 1"
    )


def _age(horizon: int) -> str:
    return f"(SELECT pg_catalog.age('{horizon}'::pg_catalog.xid8::pg_catalog.xid))"


#: So many transaction ids are named in a query; more are compared by their age, which takes twice
#: as long.
_MOST_NAMED = 2000


def _is_recent(horizon: int, newest: int | None) -> str:
    """Whether the writer of row x came not before the horizon. ``newest``: no row is of this
    transaction or of a later one.
    """
    if newest is None or newest - horizon > _MOST_NAMED:
        return f"pg_catalog.age(x.xmin) <= {_age(horizon)}"
    ids = ",".join(str(xid & 0xFFFFFFFF) for xid in range(horizon, newest))
    return f"x.xmin = ANY ('{{{ids}}}'::pg_catalog.xid[])"


def _changed_rows(part: str, is_recent: str) -> str:
    table, key, owner, condition = _PARTS[part]
    return (
        f"SELECT '{part}', pg_catalog.count(*), pg_catalog.sum(({key})::int8),"
        f" pg_catalog.json_agg(ARRAY[({key})::int8, ({owner})::int8]) FILTER (WHERE {is_recent})"
        f" FROM pg_catalog.{table} x WHERE {condition}"
    )


def changes_query(horizon: int, newest: int | None = None) -> str:
    """For each part (its name, number of rows, sum of their keys, [[key, owner], ...] of rows that
    are not older than the horizon), and the same of changed columns, uncounted. ``newest``: an
    upper bound of the transactions whose rows can be seen, where it is known.
    """
    is_recent = _is_recent(horizon, newest)
    columns = (
        f"SELECT '{_COLUMN}', 0, 0, pg_catalog.json_agg(DISTINCT ARRAY[x.attrelid::int8,"
        f" x.attrelid::int8]) FROM pg_catalog.pg_attribute x WHERE {is_recent} AND x.attnum > 0 AND"
        " x.attrelid >= 16384"
    )
    return " UNION ALL ".join([*(_changed_rows(part, is_recent) for part in _PARTS), columns])


def presence_query(presumed: Mapping[str, frozenset[int]]) -> str:
    """(part, key) of rows that are still there although they are ``presumed`` to be gone. By the
    indexes of the catalogs.
    """
    queries = []
    for part, keys in presumed.items():
        table, key, _, condition = _PARTS[part]
        upper = _UPPER.get(part)
        objects = frozenset(number >> 32 & 0xFFFFFFFF for number in keys) if upper else keys
        column = upper or key
        queries.append(
            f"SELECT '{part}', ({key})::int8 FROM pg_catalog.{table} x"
            f" WHERE {condition} AND {column} = ANY ({oids(objects)})"
        )
    return " UNION ALL ".join(queries)


class ChangedRows(NamedTuple):
    """Of one part: how many rows there are, the sum of their keys, and those not older than the
    horizon, owners by key.
    """

    number: int
    key_sum: int
    recent: Mapping[int, int]


def changed_rows(rows: list[Row]) -> dict[str, ChangedRows]:
    """The answer to :func:`changes_query`, by part."""
    return {
        text(part): ChangedRows(
            int_of(count),
            int(total or 0),
            {key: owner for key, owner in json.loads(recent or "[]")},
        )
        for part, count, total, recent in rows
    }


#: What is written with the names of these objects in its text, by the kind of object that has the
#: text.
_DEPENDANTS = """
SELECT 'relation', coalesce(r.ev_class, a.adrelid, k.conrelid, i.indrelid, p.polrelid, t.tgrelid,
  CASE WHEN d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass THEN d.objid END)
FROM pg_catalog.pg_depend d
LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  AND r.oid = d.objid
LEFT JOIN pg_catalog.pg_attrdef a ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
  AND a.oid = d.objid
LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
  AND k.oid = d.objid
LEFT JOIN pg_catalog.pg_index i ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND i.indexrelid = d.objid
LEFT JOIN pg_catalog.pg_policy p ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
  AND p.oid = d.objid
LEFT JOIN pg_catalog.pg_trigger t ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
  AND t.oid = d.objid
WHERE {objects}
UNION SELECT 'function', d.objid FROM pg_catalog.pg_depend d
WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND {objects}"""


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be read again, as OIDs; those that are gone are among them. ``parents``: who
    inherits from whom, of all.
    """

    relations: frozenset[int]
    types: frozenset[int]
    functions: frozenset[int]
    parents: bool

    def __bool__(self) -> bool:
        return bool(self.relations or self.types or self.functions)

    def dependants_query(self) -> str:
        """(kind, OID) of what names these objects in its text: views, defaults, conditions, bodies
        of functions.
        """
        objects = " OR ".join(
            f"(d.refclassid = 'pg_catalog.{table}'::pg_catalog.regclass AND d.refobjid = ANY"
            f" ({oids(objects_of_kind)}))"
            for table, objects_of_kind in (
                ("pg_class", self.relations),
                ("pg_type", self.types),
                ("pg_proc", self.functions),
            )
            if objects_of_kind
        )
        return _DEPENDANTS.replace("{objects}", f"({objects or 'false'})")

    def extended(self, rows: list[Row]) -> Changes:
        """With the answer to :meth:`dependants_query`."""
        more = {
            kind: frozenset(int(oid) for of, oid in rows if of == kind and oid is not None)
            for kind in ("relation", "function")
        }
        return replace(
            self,
            relations=self.relations | more["relation"],
            functions=self.functions | more["function"],
        )


NOTHING = Changes(frozenset(), frozenset(), frozenset(), parents=False)


def oids(numbers: frozenset[int]) -> str:
    """An array of OIDs as SQL."""
    return "'{" + ",".join(map(str, sorted(numbers))) + "}'::pg_catalog.oid[]"


class KnownRows:
    """The keys of every part, with their owners, as they were when the catalog was read. Never
    changed once made.
    """

    def __init__(self, owners: Mapping[str, Mapping[int, int]], digest: Row) -> None:
        """``digest``: the answer to :data:`WHOLE`."""
        self.owners = owners
        self.whole, self.horizon, self.newest = (
            text(digest[0]),
            int_of(digest[1]),
            int_of(digest[2]),
        )

    @staticmethod
    def queries() -> dict[str, str]:
        return {f"known {part}": known_rows(part) for part in _PARTS}

    @classmethod
    def of(cls, loaded: Mapping[str, list[Row]], digest: Row) -> KnownRows:
        """Of the answers to :meth:`queries` and :data:`WHOLE`."""
        return cls({part: _owners(loaded[f"known {part}"]) for part in _PARTS}, digest)

    def is_current(self, digest: Row) -> bool:
        """Whether changes can be told: nothing that concerns the whole database changed, nor is it
        too long ago.
        """
        return (
            digest[0] == self.whole and 0 <= int_of(digest[2]) - self.horizon < _MOST_TRANSACTIONS
        )

    def gaps(self, changed: Mapping[str, ChangedRows]) -> dict[str, int]:
        """By part, how many rows are gone (fewer than 0: so many came from before the horizon);
        parts in which none is are left out.
        """
        gaps = {
            part: (
                len(owners)
                + len(changed[part].recent.keys() - owners.keys())
                - changed[part].number
            )
            for part, owners in self.owners.items()
        }
        return {part: gap for part, gap in gaps.items() if gap}

    def presumed_gone(
        self, changed: Mapping[str, ChangedRows], gaps: Mapping[str, int], snapshot: CatalogSnapshot
    ) -> dict[str, frozenset[int]]:
        """Keys of rows that are gone, for parts of which that can be guessed: as many as there are
        gaps, so that they are the ones if none of them is there any more. ``snapshot``: of the same
        rows.

        One row is told by the sum of all keys; a relation with its indexes and sequences, or a type
        with its array, by the sum of theirs; and with relations go their types, constraints and so
        on.
        """
        presumed: dict[str, frozenset[int]] = {}
        for part, gap in sorted(gaps.items(), key=lambda item: item[0] != "class"):
            owners, present = self.owners[part], changed[part]
            total = sum(owners) + sum(present.recent.keys() - owners.keys()) - present.key_sum
            relations = presumed.get("class", frozenset())
            if gap == 1:
                keys = {total}
            elif part == "class":
                keys = self._relation_with_its_own(gap, total)
            elif part == "type":
                keys = _types_of(relations, snapshot) or _type_with_array(gap, total, snapshot)
            else:
                keys = {key for key, owner in owners.items() if owner in relations}
                if len(keys) + 1 == gap:  # the index of a TOAST table, which itself is in no part
                    keys.add(total - sum(keys))
            if len(keys) == gap and keys <= owners.keys():
                presumed[part] = frozenset(keys)
        return presumed

    def _relation_with_its_own(self, number: int, total: int) -> set[int]:
        """A relation, its indexes and sequences: so many, with this sum of OIDs. Empty where there
        are none.
        """
        sums: dict[int, int] = {}
        for index, relation in self.owners["index"].items():
            sums[relation] = sums.get(relation, relation) + index
        sequences = [
            (key & 0xFFFFFFFF, sequence) for key, sequence in self.owners["sequence"].items()
        ]
        for relation, sequence in sequences:
            sums[relation] = sums.get(relation, relation) + sequence
        for candidate in [relation for relation, own in sums.items() if own == total]:
            indexes = [
                index for index, relation in self.owners["index"].items() if relation == candidate
            ]
            own = {
                candidate,
                *indexes,
                *(oid for relation, oid in sequences if relation == candidate),
            }
            if len(own) == number:
                return own
        return set()

    def differing(self, part: str, changed: ChangedRows, counts: list[Row]) -> frozenset[int]:
        """The buckets in which rows of this part are gone or came from before the horizon.
        ``counts``: the answer to :func:`counts_query`.
        """
        expected = Counter(
            key & (_BUCKETS - 1) for key in self.owners[part].keys() - changed.recent.keys()
        )
        left = _owners(counts)
        return frozenset(n for n in range(_BUCKETS) if expected[n] != left.get(n, 0))

    def changes(
        self,
        changed: Mapping[str, ChangedRows],
        gone: Mapping[str, frozenset[int]],
        complete: Mapping[str, tuple[frozenset[int], list[Row]]],
        digest: Row,
    ) -> tuple[Changes, KnownRows]:
        """``gone``: keys of rows that are not there any more, by part. ``complete``: of parts in
        which that is not known, buckets with all rows in them.
        """
        touched: dict[str, set[int]] = {part: set() for part in self.owners}
        owners = dict(self.owners)
        for part, before in self.owners.items():
            recent, lost = changed[part].recent, gone.get(part, frozenset())
            if not recent and not lost and part not in complete:
                continue
            after = dict(before)  # no merging: a copy is ten times as fast
            after.update(recent)
            for key in lost:
                del after[key]
            keys = recent.keys() | lost
            if part in complete:
                buckets, rows = complete[part]
                kept = {
                    key: owner
                    for key, owner in after.items()
                    if key & (_BUCKETS - 1) not in buckets
                }
                after = {**kept, **_owners(rows)}
                keys |= before.keys() ^ after.keys()
            touched[part] = {side[key] for key in keys for side in (before, after) if key in side}
            if part == "parent":  # the key holds both ends
                touched[part].update(
                    end for key in keys for end in (key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF)
                )
            owners[part] = after
        domains = frozenset(-owner for owner in touched["constraint"] if owner < 0)
        touched["constraint"] = {owner for owner in touched["constraint"] if owner > 0}
        relations = changed[_COLUMN].recent.keys() | set().union(
            *(touched[part] for part in _OF_RELATIONS)
        )
        indexes = {**self.owners["index"], **owners["index"]}
        changes = Changes(
            frozenset(indexes.get(oid, oid) for oid in relations),
            frozenset(touched["type"] | domains),
            frozenset(touched["function"]),
            bool(touched["parent"]),
        )
        return changes, KnownRows(owners, digest)


def _types_of(relations: frozenset[int], snapshot: CatalogSnapshot) -> set[int]:
    """The row types of relations, and the arrays over these."""
    rows = (snapshot.relations[oid].row_type for oid in relations if oid in snapshot.relations)
    own = [snapshot.types[oid] for oid in rows if oid in snapshot.types]
    return {oid for type_ in own for oid in (type_.oid, type_.array) if oid}


def _type_with_array(number: int, total: int, snapshot: CatalogSnapshot) -> set[int]:
    for type_ in snapshot.types.values():
        if number == 2 and type_.array and type_.oid + type_.array == total:
            return {type_.oid, type_.array}
    return set()


def _owners(rows: list[Row]) -> dict[int, int]:
    return {int_of(key): int_of(owner) for key, owner in rows}
