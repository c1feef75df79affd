"""Where the text of a range variable stands: relation_expr and tablesample_clause of gram.y.

The raw parse tree gives the byte offset of a relation's name. What belongs to it is found at
tokens: ``ONLY`` and parentheses before it, ``*`` behind it, ``UESCAPE``, an alias and
``TABLESAMPLE``. What is cut out is parsed again: it must be that range variable and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from sallyport.core.errors import RefusedError, refuse
from sallyport.sql.facts import RangeVariable, RowReference
from sallyport.sql.nodes import position_of
from sallyport.sql.rewrite.cuts import Cut
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.parse import parse
from sallyport.sql.text.tokens import Tokens


def cannot_rewrite(what: str, hint: str = "") -> RefusedError:
    """A refusal (SP1206) of a statement whose masked columns cannot be replaced in its text."""
    return RefusedError(
        refuse(
            "SP1206",
            "the masks cannot be applied in this statement",
            what,
            hint or "Write it in a simpler form, with an alias for each table.",
        )
    )


def name_end(tokens: Tokens, first: int, parts: int) -> int:
    """The number of the last token of a name of ``parts`` parts that begins at token ``first``."""
    last = first
    for part in range(parts):
        if part:
            if tokens.text(last + 1) != b".":
                raise cannot_rewrite("The gateway cannot locate a name in the statement's text.")
            last += 2
        if tokens.word(last + 1) == b"uescape":
            last += 2
    return last


def reference_end(tokens: Tokens, first: int) -> int:
    """The number of the last token of a name, of however many parts, that begins at token
    ``first``.
    """
    last = first
    while tokens.text(last + 1) == b".":
        last = name_end(tokens, last + 2, 1)
    return last


def sample_clause(tokens: Tokens, last: int, variable: RangeVariable) -> tuple[int, int]:
    """Numbers of the first and last token of the TABLESAMPLE clause behind a range variable that
    ends at ``last``.
    """
    number = last + 1
    if variable.has_alias:
        number += tokens.word(number) == b"as"
        number = name_end(tokens, number, 1) + 1
        if tokens.text(number) == b"(":
            number = tokens.closing(number) + 1
    if tokens.word(number) != b"tablesample":
        raise cannot_rewrite("The gateway cannot locate TABLESAMPLE in the statement's text.")
    opening = number + 1
    while tokens.text(opening) not in (b"(", b""):
        opening += 1
    end = tokens.closing(opening)
    if tokens.word(end + 1) == b"repeatable":
        end = tokens.closing(end + 2)
    if end < 0:
        raise cannot_rewrite("The gateway cannot locate the end of TABLESAMPLE in the text.")
    return number, end


def replace_range(
    tokens: Tokens, variable: RangeVariable, subselect: Callable[[str, str], str], alias: str
) -> list[Cut]:
    """The cuts that put a subselect in the place of a range variable.

    ``subselect``: makes its text, without parentheses, of what stands before and behind the
    relation's name: ``ONLY`` and a TABLESAMPLE clause, or "". ``alias``: what it is called where
    the text gives it no alias. Raises RefusedError (SP1206).
    """
    first = tokens.at(variable.position)
    if first < 0:
        raise cannot_rewrite("The gateway cannot locate a relation in the statement's text.")
    last = name_end(tokens, first, len(variable.path))
    while tokens.text(first - 1) == b"(" and tokens.text(last + 1) == b")":
        if tokens.word(first - 2) != b"only":
            break
        first, last = first - 1, last + 1
    if tokens.word(first - 1) == b"only":
        first -= 1
    elif tokens.text(last + 1) == b"*":
        last += 1
    _prove(tokens, variable, first, last)
    cuts = []
    sample = ""
    if variable.sampled:
        begin, end = sample_clause(tokens, last, variable)
        start, stop = tokens.starts[begin], tokens.ends[end]
        sample = " " + tokens.sql[start:stop].decode()
        cuts.append(Cut(start, stop, b""))
    made = subselect("ONLY " if variable.only else "", sample)
    before, behind = "", "" if variable.has_alias else f" AS {quoted(alias)}"
    if tokens.word(first - 1) == b"table" and not variable.has_alias:
        first, before = first - 1, "SELECT * FROM "
    text, skeleton = f"{before}({made}){behind}", f"{before}(SELECT){behind}"
    cuts.append(Cut(tokens.starts[first], tokens.ends[last], text.encode(), skeleton.encode()))
    return cuts


def _prove(tokens: Tokens, variable: RangeVariable, first: int, last: int) -> None:
    """What is cut out is exactly the range variable."""
    text = tokens.sql[tokens.starts[first] : tokens.ends[last]]
    try:
        tree = parse(b"SELECT FROM " + text)[0].node["SelectStmt"]
    except RefusedError:
        raise cannot_rewrite("The text of a relation cannot be parsed by itself.") from None
    sources = tree.get("fromClause", [])
    node = sources[0].get("RangeVar", {}) if len(sources) == 1 else {}
    path = tuple([node[key] for key in ("catalogname", "schemaname", "relname") if key in node])
    same = (
        path == variable.path and bool(node.get("inh")) is not variable.only and "alias" not in node
    )
    if not same or position_of(node) < len(b"SELECT FROM "):
        raise cannot_rewrite("The text of a relation does not match its parse tree.")


def typed_row(tokens: Tokens, reference: RowReference, alias: str, type_: str) -> Cut:
    """A reference to a subselect's whole row becomes one of the relation's row type. ``type_``: its
    qualified name.
    """
    return _replace_row(tokens, reference, f"(({quoted(alias)})::{type_})")


def row_of_group(tokens: Tokens, reference: RowReference, alias: str) -> Cut:
    """A reference to a subselect's whole row becomes that of any row of the group, which the key in
    GROUP BY makes one.
    """
    made = f"(SELECT (pg_catalog.array_agg({quoted(alias)}))[1] AS {quoted(alias)})"
    return _replace_row(tokens, reference, made)


def _replace_row(tokens: Tokens, reference: RowReference, made: str) -> Cut:
    first = tokens.at(reference.position)
    if first < 0:
        raise cannot_rewrite("The gateway cannot locate a row in the statement's text.")
    last = name_end(tokens, first, reference.parts)
    if reference.star:
        last += 2
        if tokens.text(last) != b"*":
            raise cannot_rewrite("The gateway cannot locate a row in the statement's text.")
    return Cut(tokens.starts[first], tokens.ends[last], made.encode())


def replace_reference(tokens: Tokens, position: int, parts: int, alias: str) -> Cut:
    """``schema.relation`` in a reference to a column becomes the alias. ``parts``: of the
    relation's name.
    """
    first = tokens.at(position)
    if first < 0:
        raise cannot_rewrite("The gateway cannot locate a column in the statement's text.")
    last = name_end(tokens, first, parts)
    return Cut(tokens.starts[first], tokens.ends[last], quoted(alias).encode())
