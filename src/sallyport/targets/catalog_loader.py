"""Reads a target's catalog into a :class:`~sallyport.sql.catalog.snapshot.CatalogSnapshot`, over
the gateway's own connection: all of it once, and then what changed
(:mod:`sallyport.targets.catalog_changes`).

Promises: everything is read in one read-only transaction with an empty search_path, so that the
text of views and expressions is fully qualified; the epoch is a hash of all that was read, so two
gateways agree on it, however often either of them read it.

Raises :class:`CatalogError` for a server that is not PostgreSQL 14 to 18 or an answer that makes no
sense; what ``query`` raises passes through. The connection is left outside any transaction in every
case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sallyport.core.interpreter import compute_beside
from sallyport.sql.catalog.snapshot import (
    TEMPORARY,
    Cast,
    CatalogDelta,
    CatalogSnapshot,
    Function,
    Relation,
    TemporaryObjects,
    Type,
)
from sallyport.sql.names.temporary_listing import LISTING
from sallyport.sql.utility.custom_settings import read_by
from sallyport.targets import catalog_queries as queries
from sallyport.targets.catalog_changes import (
    NOTHING,
    WHOLE,
    ChangedRows,
    Changes,
    KnownRows,
    changed_rows,
    changes_query,
    counts_query,
    known_rows,
    oids,
    presence_query,
)
from sallyport.targets.catalog_digests import Digests, json_text
from sallyport.targets.catalog_rows import (
    CatalogError,
    Row,
    bool_of,
    function_of,
    hidden_functions,
    int_of,
    operator_of,
    path_of,
    relation_of,
    text,
    type_of,
)

#: Runs one statement through the simple protocol; rows as text, None for NULL. Raises when the
#: server does.
Query = Callable[[str], Awaitable[list[Row]]]

SUPPORTED = range(14, 19)

#: Read whole each time: few rows.
_SMALL = {
    "schemas": queries.SCHEMAS,
    "event_triggers": queries.EVENT_TRIGGERS,
    "operators": queries.OPERATORS,
    "casts": queries.CASTS,
    "inheritance": queries.INHERITANCE,
    "members": queries.EXTENSION_MEMBERS,
    "hidden": queries.HIDDEN_FUNCTIONS,
}
#: What reads settings: (kind, OID, definition).
_READERS = "setting_readers"
#: By the relation that has them, and by OID.
_OF_RELATIONS = ("relations", "columns", "constraints", "indexes")


@dataclass(frozen=True, slots=True)
class LoadedCatalog:
    """A snapshot, and what is kept to bring it up to date. ``rows``: of the small catalogs, and
    what reads settings. ``server``: the answer to
    :data:`~sallyport.targets.catalog_queries.SERVER`.
    """

    snapshot: CatalogSnapshot
    rows: Mapping[str, list[Row]]
    digests: Digests
    known_rows: KnownRows
    server: Row
    #: the first transaction that had not begun when the snapshot became what it is
    as_of: int


async def load_catalog(query: Query) -> LoadedCatalog:
    """Read the whole catalog as the role of this connection sees it (a fraction of a second for
    some hundred relations).
    """
    search_path = text((await query(queries.DEFAULT_SEARCH_PATH))[0][0])
    async with _Reading(
        query, queries.PREPARE, "COMMIT", "ROLLBACK", sees_one_snapshot=True
    ) as reading:
        return await reading.everything(path_of(search_path))


async def refreshed_catalog(query: Query, before: LoadedCatalog) -> LoadedCatalog:
    """``before``, brought up to date; with the same snapshot where nothing changed."""
    search_path = text((await query(queries.DEFAULT_SEARCH_PATH))[0][0])
    async with _Reading(
        query, queries.PREPARE, "COMMIT", "ROLLBACK", sees_one_snapshot=True
    ) as reading:
        return await reading.since(before, path_of(search_path))


async def load_inside(query: Query, before: LoadedCatalog) -> CatalogSnapshot:
    """Read the catalog as an open transaction sees it, over its own connection; it stays as
    it was.
    """
    return (await load_session(query, before, False))[0]


async def load_session(
    query: Query, before: LoadedCatalog, temporary: bool
) -> tuple[CatalogSnapshot, TemporaryObjects | None]:
    """As :func:`load_inside`. ``temporary``: and what the session has in its temporary schema."""
    back = "; ".join(queries.OUTSIDE)
    async with _Reading(query, queries.INSIDE, back, back, sees_one_snapshot=False) as reading:
        snapshot = (await reading.since(before, before.snapshot.default_search_path)).snapshot
        return snapshot, await reading.temporary() if temporary else None


async def load_temporary(query: Query, inside: bool) -> TemporaryObjects:
    """What a session has in its temporary schema, over its own connection. ``inside``: of an open
    transaction, which stays as it was.
    """
    back = "; ".join(queries.OUTSIDE) if inside else "ROLLBACK"
    prepare = queries.INSIDE if inside else queries.PREPARE
    async with _Reading(query, prepare, back, back, sees_one_snapshot=False) as reading:
        return await reading.temporary()


class _Reading:
    """One reading of the catalog, in a transaction (or savepoint) of its own."""

    def __init__(
        self,
        query: Query,
        begin: Iterable[str],
        end: str,
        end_failed: str,
        *,
        sees_one_snapshot: bool,
    ) -> None:
        """``sees_one_snapshot``: every query sees what the first one sees, and the transaction
        itself writes nothing.
        """
        self._query, self._begin, self._end, self._end_failed = (
            query,
            "; ".join(begin),
            end,
            end_failed,
        )
        self._sees_one_snapshot = sees_one_snapshot

    async def __aenter__(self) -> _Reading:
        try:
            await self._query(self._begin)
        except BaseException:
            await self._query(self._end_failed)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._query(self._end if kind is None else self._end_failed)

    async def everything(self, path: tuple[str, ...]) -> LoadedCatalog:
        server = await self._server()
        digest = (await self._query(WHOLE))[0]
        sql = {
            **_SMALL,
            **{name: queries.of_all(name) for name in (*_OF_RELATIONS, "types", "functions")},
            _READERS: queries.setting_readers(),
            **KnownRows.queries(),
        }
        loaded = {name: await self._query(statement) for name, statement in sql.items()}
        rows_as_loaded = KnownRows.of(loaded, digest)
        return await compute_beside(_made, None, server, path, loaded, NOTHING, rows_as_loaded)

    async def since(self, before: LoadedCatalog, path: tuple[str, ...]) -> LoadedCatalog:
        digest = (await self._query(WHOLE))[0]
        if int_of(digest[2]) < before.as_of:
            # REPEATABLE READ: PostgreSQL looks names up in the catalog as it is now, which queries
            # of this transaction do not see.
            raise CatalogError(
                "the catalog has changed since this transaction's snapshot was taken"
            )
        if not before.known_rows.is_current(digest) or path != before.snapshot.default_search_path:
            return await self.everything(path)
        newest = int_of(digest[2]) if self._sees_one_snapshot else None
        if newest == before.known_rows.horizon:
            return before  # nothing was running then, and nothing began since
        changed = changed_rows(await self._query(changes_query(before.known_rows.horizon, newest)))
        gone, complete = await self._gone(before, changed)
        changes, rows_now = await compute_beside(
            before.known_rows.changes, changed, gone, complete, digest
        )
        if not changes:
            return replace(before, known_rows=rows_now)
        changes = changes.extended(await self._query(changes.dependants_query()))
        loaded = {name: await self._query(sql) for name, sql in _queries(changes).items()}
        return await compute_beside(_made, before, before.server, path, loaded, changes, rows_now)

    async def _gone(
        self, before: LoadedCatalog, changed: Mapping[str, ChangedRows]
    ) -> tuple[dict[str, frozenset[int]], dict[str, tuple[frozenset[int], list[Row]]]]:
        """Keys of rows that are gone, by part, and of parts where that cannot be guessed the
        buckets that may have lost some, with their rows.
        """
        rows_before = before.known_rows
        gaps = rows_before.gaps(changed)
        if not gaps:
            return {}, {}
        gone = await compute_beside(rows_before.presumed_gone, changed, gaps, before.snapshot)
        present: dict[str, set[int]] = {}
        for part, key in await self._query(presence_query(gone)) if gone else []:
            present.setdefault(text(part), set()).add(int_of(key))
        gone = {part: keys for part, keys in gone.items() if not keys & present.get(part, set())}
        complete = {}
        for part in gaps.keys() - gone.keys():
            counts = await self._query(counts_query(part, rows_before.horizon))
            buckets = rows_before.differing(part, changed[part], counts)
            complete[part] = buckets, await self._query(known_rows(part, buckets))
        return gone, complete

    async def temporary(self) -> TemporaryObjects:
        names = (*_OF_RELATIONS, "types", "functions")
        loaded = {name: await self._query(queries.of_temporary(name)) for name in names}
        loaded["hidden"] = await self._query(queries.HIDDEN_FUNCTIONS) if loaded["types"] else []
        loaded["listing"] = await self._query(LISTING)
        return _temporary_of(loaded)

    async def _server(self) -> Row:
        server = (await self._query(queries.SERVER))[0]
        version = text(server[0])
        if int(version) // 10000 not in SUPPORTED:
            raise CatalogError(
                f"the server's version is {version}; supported are PostgreSQL {SUPPORTED[0]} to"
                f" {SUPPORTED[-1]}"
            )
        return server


def _queries(changes: Changes) -> dict[str, str]:
    """What is to be read again, by its name."""
    relations, types, functions = (
        oids(numbers) for numbers in (changes.relations, changes.types, changes.functions)
    )
    sql = {
        "hidden": _SMALL["hidden"],
        _READERS: queries.setting_readers(
            {"relations": relations, "types": types, "functions": functions}
        ),
    }
    if changes.parents:
        sql["inheritance"] = _SMALL["inheritance"]
    if changes.relations:
        sql.update({name: queries.of_some(name, relations) for name in _OF_RELATIONS})
    if changes.types:
        sql["types"] = queries.of_some("types", types)
    if changes.functions:
        sql["functions"] = queries.of_some("functions", functions)
    return sql


def _setting_readers(
    before: LoadedCatalog | None, loaded: list[Row], changes: Changes
) -> list[Row]:
    """All of them, in an order of their own."""
    if before is not None:
        again = {
            "relation": changes.relations,
            "type": changes.types,
            "function": changes.functions,
        }
        kept = [row for row in before.rows[_READERS] if int_of(row[1]) not in again[text(row[0])]]
        loaded = [*kept, *loaded]
    return sorted(loaded, key=lambda row: (text(row[0]), int_of(row[1]), text(row[2])))


def _made(
    before: LoadedCatalog | None,
    server: Row,
    path: tuple[str, ...],
    loaded: Mapping[str, list[Row]],
    changes: Changes,
    rows_as_loaded: KnownRows,
) -> LoadedCatalog:
    """``loaded``: answers of all queries, or where there is something ``before``, those of its
    ``changes``.
    """
    rows = {
        name: loaded.get(name, before.rows[name] if before is not None else []) for name in _SMALL
    }
    rows[_READERS] = _setting_readers(before, loaded[_READERS], changes)
    making = _Making(before, rows, loaded)
    relations = making.change(changes)
    version, database, role, encoding = (text(value) for value in server)
    common: dict[str, Any] = {
        "server_version": int(version),
        "epoch": making.digests.epoch([server, list(path), rows]),
        "database": database,
        "role": role,
        "default_search_path": path,
        "schemas": frozenset(text(row[0]) for row in rows["schemas"]),
        "unusable": frozenset(text(row[0]) for row in rows["schemas"] if not bool_of(row[1])),
        "indexes": making.indexes(relations),
        "event_triggers": bool(rows["event_triggers"]),
        "encoding": encoding,
        "read_settings": read_by([text(row[2]) for row in rows[_READERS]]),
    }
    if before is not None and not changes.functions:
        snapshot = before.snapshot.with_relations(
            making.relations,
            relations,
            types=making.types,
            delta=CatalogDelta(before.snapshot.epoch, relations, making.changed_types),
            type_by_name=making.types_by_name(before.snapshot),
            **common,
        )
    else:
        snapshot = CatalogSnapshot.make(
            relations=tuple(making.relations.values()),
            types=tuple(making.types.values()),
            functions=tuple(making.functions.values()),
            operators=tuple(operator_of(row, making.members) for row in rows["operators"]),
            casts=tuple(
                Cast(int_of(r[0]), int_of(r[1]), int_of(r[2]), text(r[3]), text(r[4]))
                for r in rows["casts"]
            ),
            **common,
        )
    return LoadedCatalog(
        snapshot, rows, making.digests, rows_as_loaded, server, rows_as_loaded.newest
    )


def _temporary_of(loaded: Mapping[str, list[Row]]) -> TemporaryObjects:
    columns, constraints = _grouped(loaded["columns"], 0), _grouped(loaded["constraints"], 0)
    on_relation, on_domain = hidden_functions(loaded["hidden"])
    relations = []
    for row in loaded["relations"]:
        oid = int_of(row[0])
        made = relation_of(
            row,
            columns.get(oid, []),
            constraints.get(oid, []),
            (),
            (),
            "",
            on_relation.get(oid, ()),
        )
        relations.append(replace(made, schema=TEMPORARY))
    return TemporaryObjects(
        tuple(relations),
        tuple([replace(type_of(row, {}, on_domain), schema=TEMPORARY) for row in loaded["types"]]),
        # what they do is not followed: their names mean other code in every session
        tuple(
            [replace(function_of(r, {}), schema=TEMPORARY, body="") for r in loaded["functions"]]
        ),
        {(TEMPORARY, text(row[1])): int_of(row[2]) for row in loaded["indexes"]},
        hashlib.sha256(
            json_text({name: rows for name, rows in loaded.items() if name != "hidden"})
        ).hexdigest(),
        listing=text(loaded["listing"][0][0]),
    )


def _grouped(rows: list[Row], key: int) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(int_of(row[key]), []).append(row)
    return groups


class _Making:
    """The parts of a snapshot: those of the one before, with what was read in the place of what
    changed.
    """

    def __init__(
        self,
        before: LoadedCatalog | None,
        rows: Mapping[str, list[Row]],
        loaded: Mapping[str, list[Row]],
    ) -> None:
        self._before, self._rows, self._loaded = before, rows, loaded
        old = before.snapshot if before is not None else None
        self.relations: dict[int, Relation] = dict(old.relations) if old is not None else {}
        self.types: dict[int, Type] = dict(old.types) if old is not None else {}
        self.functions: dict[int, Function] = dict(old.functions) if old is not None else {}
        self.changed_types: frozenset[int] = frozenset()
        self.digests = Digests(before.digests if before is not None else None)
        self.members = {
            (text(r[0]).removeprefix("pg_catalog."), int_of(r[1])): text(r[2])
            for r in rows["members"]
        }
        self._on_relation, self._on_domain = hidden_functions(rows["hidden"])

    def change(self, changes: Changes) -> frozenset[int]:
        """Take what was read in the place of what changed. OIDs of the relations that differ from
        those before.
        """
        parents: dict[int, tuple[int, ...]] = {}
        children: dict[int, tuple[int, ...]] = {}
        for row in self._rows["inheritance"]:
            child, parent = int_of(row[0]), int_of(row[1])
            parents[child] = (*parents.get(child, ()), parent)
            children[parent] = (*children.get(parent, ()), child)
        columns, constraints = (
            _grouped(self._loaded.get(name, []), 0) for name in ("columns", "constraints")
        )
        indexes = _grouped(self._loaded.get("indexes", []), 2)

        def relation(row: Row) -> Relation:
            oid = int_of(row[0])
            return relation_of(
                row,
                columns.get(oid, []),
                constraints.get(oid, []),
                parents.get(oid, ()),
                children.get(oid, ()),
                self.members.get(("pg_class", oid), ""),
                self._on_relation.get(oid, ()),
            )

        def belongings(oid: int) -> list[list[Row]]:
            return [columns.get(oid, []), constraints.get(oid, []), indexes.get(oid, [])]

        changed = self._replace("relation", self.relations, changes.relations, relation, belongings)
        self.changed_types = changes.types | self._replace(
            "type",
            self.types,
            changes.types,
            lambda row: type_of(row, self.members, self._on_domain),
        )
        self._replace(
            "function",
            self.functions,
            changes.functions,
            lambda row: function_of(row, self.members),
        )
        return changes.relations | changed | self._change_hidden()

    def _replace(
        self,
        kind: str,
        objects: dict[int, Any],
        gone: frozenset[int],
        make: Callable[[Row], Any],
        belongings: Callable[[int], list[list[Row]]] = lambda oid: [],
    ) -> frozenset[int]:
        """Put the objects that were read into the place of those that are ``gone``, in the order of
        OIDs. ``belongings``: what else of an object the epoch depends on. OIDs of what was read.
        """
        rows = {int_of(row[0]): row for row in self._loaded.get(f"{kind}s", [])}
        for oid in gone - rows.keys():
            objects.pop(oid, None)
            self.digests.put(kind, oid, None)
        last = next(reversed(objects), 0)
        for oid, row in rows.items():
            objects[oid] = make(row)
            self.digests.put(kind, oid, [row, *belongings(oid)])
        if any(oid < last for oid in rows):  # new ones are mostly behind all others
            ordered = sorted(objects.items())
            objects.clear()
            objects.update(ordered)
        return frozenset(rows)

    def _change_hidden(self) -> frozenset[int]:
        """What a relation's or domain's machinery calls changes without it: an operator gets
        another function. Gives the relations.
        """
        if self._before is None:
            return frozenset()
        on_relation, on_domain = hidden_functions(self._before.rows["hidden"])
        relations = [
            oid
            for oid in on_relation.keys() | self._on_relation.keys()
            if oid in self.relations and on_relation.get(oid) != self._on_relation.get(oid)
        ]
        for oid in relations:
            hidden = self._on_relation.get(oid, ())
            self.relations[oid] = replace(self.relations[oid], hidden_functions=hidden)
        for oid in on_domain.keys() | self._on_domain.keys():
            if oid in self.types and on_domain.get(oid) != self._on_domain.get(oid):
                self.changed_types |= {oid}
                checks = self._on_domain.get(oid, ())
                self.types[oid] = replace(self.types[oid], check_functions=checks)
        return frozenset(relations)

    def types_by_name(self, before: CatalogSnapshot) -> Mapping[tuple[str, str], Type]:
        gone = [before.types[oid] for oid in self.changed_types if oid in before.types]
        come = [self.types[oid] for oid in self.changed_types if oid in self.types]
        by_name = dict(before.type_by_name)
        for type_ in gone:
            by_name.pop((type_.schema, type_.name), None)
        by_name.update({(type_.schema, type_.name): type_ for type_ in come})
        return by_name

    def indexes(self, changed: frozenset[int]) -> dict[tuple[str, str], int]:
        kept = dict(self._before.snapshot.indexes) if self._before is not None else {}
        for name in [name for name, oid in kept.items() if oid in changed]:
            del kept[name]
        for row in self._loaded.get("indexes", []):
            kept[text(row[0]), text(row[1])] = int_of(row[2])
        return kept
