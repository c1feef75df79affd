"""GROUP BY that holds a primary key, over a subselect that has none: the other columns are added to
it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.functions import FIRST_USER_OID
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.groupings import Grouping, StarColumn, UngroupedColumn
from sallyport.sql.rewrite.cuts import Cut
from sallyport.sql.rewrite.ranges import cannot_rewrite, name_end, reference_end
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.tokens import Tokens

#: Types of pg_catalog without a default operator class for = (pg_opclass): json, xml, pg_node_tree,
#: point, lseg, path, box, polygon, line, circle, refcursor, txid_snapshot, pg_ndistinct,
#: pg_dependencies, gtsvector, jsonpath, the summaries of BRIN, pg_mcv_list, pg_snapshot.
_WITHOUT_EQUALITY = frozenset(
    {
        114,
        142,
        194,
        600,
        601,
        602,
        603,
        604,
        628,
        718,
        1790,
        2970,
        3361,
        3402,
        3642,
        4072,
        4600,
        4601,
        5017,
        5038,
    }
)
_KINDS_WITH_EQUALITY = frozenset({"b", "e", "r", "m"})


def group_cuts(
    tokens: Tokens,
    grouping: Grouping,
    rewritten: Mapping[int, str],
    qualified: Mapping[int, int],
    catalog: CatalogSnapshot,
) -> list[Cut]:
    """What makes ``grouping`` valid over subselects. ``rewritten``: what replaced range variables
    are called, by position. ``qualified``: how many names stand before the column's in references
    that name the schema, by position.
    """
    names, wrapped = [], []
    for column in grouping.columns:
        if column.variable not in rewritten:
            continue
        catalog_column = catalog.column(column.column)
        if catalog_column is None or not _has_equality(catalog_column.type_oid, catalog):
            if catalog_column is None or _is_array(catalog_column.type_oid, catalog):
                raise cannot_rewrite(
                    "An array whose elements have no equality operator stands beside GROUP BY.",
                    "Leave it out.",
                )
            wrapped.append(column)
        else:
            names.append(".".join(map(quoted, column.reference)))
    cuts = [
        cut
        for column in wrapped
        for cut in _wrapped(tokens, column, rewritten[column.variable], qualified, grouping.stars)
    ]
    for position, star in grouping.stars.items():
        columns = {(c.variable, c.column) for c in wrapped if position in c.positions}
        if columns:
            cuts.append(_expanded(tokens, position, star, columns, rewritten))
    if names:
        position = _behind_group_by(tokens, grouping.position)
        cuts.append(Cut(position, position, f" {', '.join(names)},".encode()))
    return cuts


def _has_equality(oid: int, catalog: CatalogSnapshot) -> bool:
    """Whether values of a type can be grouped by; False where it is not known, as of rows."""
    type_ = catalog.types.get(oid)
    while type_ is not None and (type_.element or type_.kind == "d"):
        type_ = catalog.types.get(type_.element or type_.base)
    if type_ is None or type_.kind not in _KINDS_WITH_EQUALITY or type_.oid in _WITHOUT_EQUALITY:
        return False
    if type_.kind != "b" or type_.oid < FIRST_USER_OID:
        return True
    return any(o.left == o.right == type_.oid for o in catalog.operators_by_name.get("=", ()))


def _is_array(oid: int, catalog: CatalogSnapshot) -> bool:
    type_ = catalog.types.get(oid)
    while type_ is not None and type_.kind == "d":
        type_ = catalog.types.get(type_.base)
    return type_ is None or type_.element != 0


def _wrapped(
    tokens: Tokens,
    column: UngroupedColumn,
    alias: str,
    qualified: Mapping[int, int],
    stars: Collection[int],
) -> list[Cut]:
    """Each reference to a column that cannot be grouped by, but for those by ``*``."""
    cuts = []
    for position in column.positions:
        if position in stars:
            continue
        first = _reference_at(tokens, position)
        last = reference_end(tokens, first)
        if tokens.text(last) == b"*":
            raise _no_reference()
        text = tokens.sql[tokens.starts[first] : tokens.ends[last]]
        if position in qualified:
            relation_end = tokens.ends[name_end(tokens, first, qualified[position])]
            text = quoted(alias).encode() + tokens.sql[relation_end : tokens.ends[last]]
        made = _any_of_group(text, column.reference[-1])
        cuts.append(Cut(tokens.starts[first], tokens.ends[last], made))
    return cuts


def _expanded(
    tokens: Tokens,
    position: int,
    columns: tuple[StarColumn, ...],
    wrapped: Set[tuple[int, ColumnId]],
    rewritten: Mapping[int, str],
) -> Cut:
    """The columns of a ``*``, of which those in ``wrapped`` cannot be grouped by."""
    first = _reference_at(tokens, position)
    entries = []
    for column in columns:
        names = column.reference
        if len(names) > 1 and column.item in rewritten:
            names = (rewritten[column.item], names[-1])
        text = ".".join(map(quoted, names)).encode()
        if (column.variable, column.column) in wrapped:
            text = _any_of_group(text, names[-1])
        entries.append(text)
    end = tokens.ends[reference_end(tokens, first)]
    return Cut(tokens.starts[first], end, b", ".join(entries))


def _reference_at(tokens: Tokens, position: int) -> int:
    first = tokens.at(position)
    if first < 0:
        raise _no_reference()
    return first


def _no_reference() -> RefusedError:
    return cannot_rewrite(
        "A column without an equality operator comes from a whole row, or from * of another query,"
        " beside GROUP BY.",
        "List the columns.",
    )


def _any_of_group(text: bytes, name: str) -> bytes:
    """The value of a column that a GROUP BY determines: any row of the group has it. A sublink has
    the name of its column, as the reference had, also inside a cast.
    """
    return b"(SELECT (pg_catalog.array_agg(" + text + b"))[1] AS " + quoted(name).encode() + b")"


def _behind_group_by(tokens: Tokens, position: int) -> int:
    """The byte behind ``GROUP BY [ALL | DISTINCT]`` of the clause whose first expression has this
    position (of its operator, where it is an operation).
    """
    number = tokens.at(position)
    depth = 0
    while number > 0:
        token = tokens.text(number)
        depth += (token == b")") - (token == b"(")
        if depth <= 0 and tokens.word(number) == b"by" and tokens.word(number - 1) == b"group":
            number += tokens.word(number + 1) in (b"all", b"distinct")
            return tokens.ends[number]
        number -= 1
    raise cannot_rewrite("The gateway cannot locate GROUP BY in the statement's text.")
