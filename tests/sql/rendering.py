"""Facts as lines that a person can review; the golden table ``facts.table`` is written in them.

Run ``python -m tests.sql.rendering`` to write the table's expectations again from what the code
says now, then read the diff.
"""

from __future__ import annotations

from pathlib import Path

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.extract import Context, analyze
from sallyport.sql.facts import Flow, StatementFacts

TABLE = Path(__file__).with_name("facts.table")
CONTEXT = Context(search_path=("fx", "public"))


def column(catalog: CatalogSnapshot, id_: ColumnId) -> str:
    relation = catalog.relations[id_.relation]
    name = catalog.column_name(id_) if id_.attnum > 0 else f"{relation.qualified}.#{id_.attnum}"
    return name.removeprefix("fx.")


def columns(catalog: CatalogSnapshot, ids: frozenset[ColumnId]) -> str:
    return " ".join(sorted(column(catalog, id_) for id_ in ids)) or "-"


def _target(catalog: CatalogSnapshot, flow: Flow) -> str:
    if flow.target is not None:
        return column(catalog, flow.target)
    return "new " + ".".join(flow.into).removeprefix("fx.") if flow.into else "new relation"


def _names(facts: StatementFacts, catalog: CatalogSnapshot) -> list[str]:
    """What the statement does to names."""
    lines = [
        f"  {named.action} by name {named.schema}.{named.name}".removesuffix(".").removesuffix(".")
        for named in facts.named_objects
    ]
    if facts.action_aliases:
        lines.append(f"  also {' '.join(sorted(facts.action_aliases))}")
    if facts.cascades:
        lines.append("  cascades, and is sent as RESTRICT")
    lines += map("  is sent as {}".format, filter(None, [facts.absent]))
    for emptied in facts.truncates:
        lines.append(f"  and empties {emptied.name}")
    for new in sorted(facts.relations_after, key=lambda relation: relation.oid):
        old = catalog.relations[new.oid]
        before, after = (
            {c.attnum: c.name for c in old.columns},
            {c.attnum: c.name for c in new.columns},
        )
        what = [
            f"{name} becomes {after.get(n, 'nothing')}"
            for n, name in before.items()
            if after.get(n) != name
        ]
        for word, ours, theirs in (
            ("parents", old.parents, new.parents),
            ("children", old.children, new.children),
        ):
            if ours != theirs:
                what.append(f"{word} {' '.join(catalog.relations[o].name for o in theirs) or '-'}")
        lines.append(
            f"  after: {old.qualified} is {new.qualified}{''.join(', ' + w for w in what)}"
        )
    for child, parent in facts.new_inheritance:
        lines.append(
            f"  rows of {catalog.relations[child].name} come under {catalog.relations[parent].name}"
        )
    return lines


def render(facts: StatementFacts, catalog: CatalogSnapshot, indent: str = "") -> list[str]:
    where = (
        "" if facts.has_where is None else " with WHERE" if facts.has_where else " without WHERE"
    )
    lines = [f"{facts.kind}{where}"]
    for out in facts.columns or ():
        origin = f" as {column(catalog, out.origin)}" if out.origin is not None else ""
        lines.append(
            f'  column "{out.name}" {out.dependence.value} of'
            f" {columns(catalog, out.sources)}{origin}" + (" raw" if out.raw else "")
        )
    for access in facts.accesses:
        how = " indirectly" if access.indirect else ""
        name = catalog.relations[access.relation].qualified.removeprefix("fx.")
        lines.append(f"  {access.action}{how} {name}: {columns(catalog, access.columns)}")
    lines += sorted(
        {
            f"  influence {column(catalog, i.column)} in"
            f" {i.clause.value}{' by equality' if i.equality else ''}"
            for i in facts.influences
        }
    )
    if facts.mentioned:
        lines.append(f"  mentions {columns(catalog, frozenset(id_ for id_, _ in facts.mentioned))}")
    if facts.mentioned_in_views:
        lines.append(f"  views mention {columns(catalog, facts.mentioned_in_views)}")
    if facts.read_in_functions:
        lines.append(f"  functions read {columns(catalog, facts.read_in_functions)}")
    lines += sorted(
        f"  flow {columns(catalog, f.sources)} -> {_target(catalog, f)}" for f in facts.flows
    )
    if facts.unread_code:
        lines.append(f"  unread code {facts.unread_code}")
    for use in facts.functions:
        lines.append(f"  calls {use.schema}.{use.name}")
    for change in facts.settings:
        lines.append(
            f"  set {change.name or 'everything'} ="
            f" {change.value}{' locally' if change.local else ''}"
        )
    for effect in facts.effects:
        lines.append(f"  effect {effect.kind.value} {effect.name}".rstrip())
    lines += _names(facts, catalog)
    for unknown in facts.unknowns:
        lines.append(f"  UNKNOWN {unknown.code} {unknown.message or unknown.what}")
    if facts.copy_format is not None:
        lines.append(f"  {facts.copy_format}")
    if facts.inner is not None:
        lines.extend(["  inside:", *render(facts.inner, catalog, "    ")])
    return [indent + line for line in lines]


def rendered(sql: str, catalog: CatalogSnapshot) -> list[str]:
    try:
        return [
            line
            for facts in analyze(sql.encode(), catalog, CONTEXT)
            for line in render(facts, catalog)
        ]
    except RefusedError as error:
        return [f"REFUSED {error.refusal.text}"]


def cases() -> list[tuple[str, str, list[str]]]:
    """Section, SQL and expected lines of every case in the table."""
    sections: list[tuple[str, str, list[str]]] = []
    section = ""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            section = line[2:]
        elif line.startswith(">> "):
            sections.append((section, line[3:], []))
        elif line.strip() and sections:
            sections[-1][2].append(line)
    return sections


def write_again(catalog: CatalogSnapshot) -> None:
    lines, section = ["Facts by example; see rendering.py for how to read and renew it.", ""], None
    for part, sql, _ in cases():
        if part != section:
            lines += [f"# {part}", ""]
            section = part
        lines += [f">> {sql}", *rendered(sql, catalog), ""]
    TABLE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    from tests.sql.conftest import fixture_database
    from tests.support.postgres import start_server
    from tests.targets.query import catalog_of

    server = start_server()
    try:
        with fixture_database(server.superuser_dsn) as dsn:
            write_again(catalog_of(dsn))
    finally:
        server.stop()
