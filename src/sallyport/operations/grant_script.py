"""Writes the GRANT/REVOKE script for :class:`~sallyport.operations.grants.RequiredPrivileges`: SQL
that a person reads before running it.

Promises: one transaction; running it twice is the same as once; every name is quoted and qualified;
comments hold no line breaks, so that no name can end one; nothing in a name is invisible or turns
the line around (such names are written as ``U&"..."``, PostgreSQL's documentation, 4.1.1); a
privilege stands beside the rules that need it. What PUBLIC has is taken away only where PUBLIC has
it, and not at all with ``keep_public``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sallyport.audit.display import inert
from sallyport.operations.grants import RequiredPrivileges, warnings_of
from sallyport.policy.checks.reach import GrantedAction
from sallyport.sql.catalog.snapshot import ColumnId, Relation
from sallyport.sql.text.identifiers import quoted
from sallyport.targets.privileges import Privileges

_WIDTH = 130


def quote(name: str) -> str:
    """A name as a quoted identifier; with Unicode escapes where somebody who reads it could be
    deceived.
    """
    plain = quoted(name)
    if inert(name) == name:
        return plain
    return "U&" + "".join(c if c != "\\" and inert(c) == c else _escaped(c) for c in plain)


def _escaped(character: str) -> str:
    return "\\\\" if character == "\\" else f"\\+{ord(character):06x}"


def quoted_routine(text: str) -> str:
    """A routine as PostgreSQL writes it, its quoted names by :func:`quote`."""
    return re.sub(r'"((?:[^"]|"")*)"', lambda match: quote(match[1].replace('""', '"')), text)


def comment(text: str, indent: str = "") -> Iterator[str]:
    """``-- text`` in lines; control characters become spaces, so that a name cannot end the
    comment.
    """
    line = "--" + indent
    for word in inert(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text)).split(" "):
        if len(line) + len(word) > _WIDTH and line.strip("- "):
            yield line
            line = "--   " + indent
        line += " " + word
    yield line


def script(
    want: RequiredPrivileges,
    live: Privileges,
    *,
    target: str,
    policy: str,
    keep_public: bool = False,
) -> str:
    """The whole script. ``policy``: its file and version, for the heading."""
    return "\n".join(_Writer(want, live, keep_public).lines(target, policy)) + "\n"


class _Writer:
    def __init__(self, want: RequiredPrivileges, live: Privileges, keep_public: bool) -> None:
        self.want, self.live, self.keep_public = want, live, keep_public
        self.catalog = want.catalog
        self.role = quote(live.role)

    def lines(self, target: str, policy: str) -> Iterator[str]:
        yield from comment(
            f"Role {self.role} of target {target}, database {quote(self.live.database)}: as narrow"
            f" as policy {policy} allows."
        )
        yield from comment(
            f"Made by: sallyport grants --target {target}. Read it, then run it as a superuser in"
            " that database:"
        )
        yield from comment("psql -X -v ON_ERROR_STOP=1 -f this-file", "   ")
        yield from comment(
            "PostgreSQL cannot say everything that the policy says: masks, conditions, windows,"
            " approvals and who is asking stay the gateway's. Masked columns are granted, because"
            " the gateway reads them in order to mask them; what is written here is the second"
            " wall, for whoever gets past the gateway."
        )
        yield from ("", "BEGIN;", "SET LOCAL search_path = '';", "")
        yield from self._database()
        yield from self._from_nothing()
        if not self.keep_public:
            yield from self._public()
        yield from self._grants()
        yield from ("COMMIT;", "")
        yield from comment("What this script does not narrow:")
        for warning in warnings_of(self.want, self.live):
            yield from comment(f"- {warning}")
        if self.keep_public:
            yield from comment(
                "- what PUBLIC has: every role has it, this one too (made with --keep-public)"
            )

    def _database(self) -> Iterator[str]:
        database = quote(self.live.database)
        tables = "temporary tables" if self.want.temporary else "no temporary tables"
        yield from comment(f"The database: connecting, {tables}, no new schemas.")
        yield f"REVOKE ALL ON DATABASE {database} FROM {self.role};"
        yield (
            f"GRANT {', '.join(sorted(self.want.of_database))} ON DATABASE {database} TO"
            f" {self.role};"
        )
        yield ""

    def _from_nothing(self) -> Iterator[str]:
        yield from comment("Begin with nothing.")
        for schema in self._schemas():
            for what in ("TABLES", "SEQUENCES", "ROUTINES"):
                yield f"REVOKE ALL ON ALL {what} IN SCHEMA {quote(schema)} FROM {self.role};"
            yield f"REVOKE ALL ON SCHEMA {quote(schema)} FROM {self.role};"
        yield ""

    def _schemas(self) -> list[str]:
        return sorted(
            s for s in self.catalog.schemas if not s.startswith("pg_") and s != "information_schema"
        )

    def _public(self) -> Iterator[str]:
        lines = list(self._from_public())
        if not lines:
            return
        yield from comment(
            "What PUBLIC has, every role has, so it must go as well. THIS CONCERNS OTHER ROLES:"
            " give those that need it their own grants first, or leave this part out"
            " (--keep-public)."
        )
        yield from lines
        yield ""

    def _from_public(self) -> Iterator[str]:
        live = self.live
        for privilege in sorted(live.database_public - {"CONNECT"}):
            yield f"REVOKE {privilege} ON DATABASE {quote(live.database)} FROM PUBLIC;"
        for schema, privilege in sorted(live.schemas_public):
            if privilege == "CREATE" or schema not in self.want.schemas:
                yield f"REVOKE {privilege} ON SCHEMA {quote(schema)} FROM PUBLIC;"
        for relation in self._ordered(live.relations_public):
            what = "SEQUENCE" if relation.kind == "S" else "TABLE"
            yield f"REVOKE ALL ON {what} {relation_name(relation)} FROM PUBLIC;"
        for oid, name in live.routines:
            if (
                oid in live.routines_public
                and oid not in live.support
                and oid not in self.want.functions
            ):
                yield f"REVOKE ALL ON ROUTINE {quoted_routine(name)} FROM PUBLIC;"

    def _ordered(self, oids: frozenset[int]) -> list[Relation]:
        relations = [self.catalog.relations[oid] for oid in oids if oid in self.catalog.relations]
        return sorted(relations, key=lambda r: (r.schema, r.name))

    # -- what the policy needs

    def _grants(self) -> Iterator[str]:
        yield from comment("What the policy can allow, to anybody, at any time.")
        if not (self.want.relations or self.want.sequences or self.want.functions):
            yield from comment("Nothing.")
        for schema in sorted(self.want.schemas):
            yield f"GRANT USAGE ON SCHEMA {quote(schema)} TO {self.role};"
        yield ""
        for relation in self._ordered(frozenset(self.want.relations)):
            yield from self._relation(relation)
        for relation in self._ordered(frozenset(self.want.sequences)):
            privileges = self.want.sequences[relation.oid]
            because = dict.fromkeys(b for reasons in privileges.values() for b in reasons)
            yield from comment(f"{relation.qualified}: {', '.join(because)}")
            yield (
                f"GRANT {', '.join(sorted(privileges))} ON SEQUENCE {relation_name(relation)} TO"
                f" {self.role};"
            )
            yield ""
        yield from self._functions()

    def _relation(self, relation: Relation) -> Iterator[str]:
        privileges = self.want.relations[relation.oid]
        yield from comment(relation.qualified)
        groups: dict[tuple[str, ...], list[str]] = {}
        for privilege, permit in privileges.items():
            groups.setdefault(permit.because, []).append(privilege)
        for because, names in groups.items():
            yield from comment(f"{', '.join(names)}: {', '.join(because)}", "  ")
        yield from self._masked(relation, privileges.get("SELECT"))
        said = ", ".join(
            privilege_text(relation, name, permit) for name, permit in privileges.items()
        )
        yield f"GRANT {said} ON TABLE {relation_name(relation)} TO {self.role};"
        yield ""

    def _masked(self, relation: Relation, permit: GrantedAction | None) -> Iterator[str]:
        if permit is None:
            return
        names = [
            c.name
            for c in relation.columns
            if ColumnId(relation.oid, c.attnum) in self.want.reach.masked
            and (permit.columns is None or c.attnum in permit.columns)
        ]
        if names:
            yield from comment(
                f"masked by the gateway, not by PostgreSQL: {', '.join(names)}", "  "
            )

    def _functions(self) -> Iterator[str]:
        trusted = self.want.reach.functions
        yield from self._executable("Functions that the policy trusts.", trusted)
        yield from self._executable(
            "Functions in SQL that the gateway judges by their body, which reads only what is"
            " granted above; of views as well.",
            self.want.functions - trusted,
        )

    def _executable(self, what: str, oids: frozenset[int]) -> Iterator[str]:
        names = [name for oid, name in self.live.routines if oid in oids]
        if names:
            yield from comment(what)
        for name in names:
            yield f"GRANT EXECUTE ON ROUTINE {quoted_routine(name)} TO {self.role};"
        if names:
            yield ""


def relation_name(relation: Relation) -> str:
    """With its schema, quoted."""
    return f"{quote(relation.schema)}.{quote(relation.name)}"


def privilege_text(relation: Relation, name: str, permit: GrantedAction) -> str:
    """A privilege as GRANT writes it, with its columns where it is for some of them."""
    if permit.columns is None:
        return name
    columns = ", ".join(quote(c.name) for c in relation.columns if c.attnum in permit.columns)
    return f"{name} ({columns})"
