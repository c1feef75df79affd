"""Masks at the scan: the text that is sent in the place of one that computes with masked columns.

Whatever an expression sees of a masked column is the mask's value, computed in the scan: every
range variable of a relation with masks becomes a subselect that applies them. The second branch,
which gives no row, keeps PostgreSQL from flattening the subselect, so that no node of the plan
above the scan holds the raw column; the planner proves it empty and drops it
(docs/adr/0007-masks-at-the-scan.md).

Plain statements (:mod:`sallyport.sql.plain`) go as they came, and their rows are masked on the way
back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from sallyport.core.errors import RefusedError, refuse
from sallyport.judge.comparisons import (
    chosen_by_masks,
    compared_in_target,
    masked_reference,
    moved_comparisons,
    typed_comparison,
)
from sallyport.judge.masked_relations import MaskedRelations, tells_turns
from sallyport.judge.sending import check_sent
from sallyport.judge.subselects import INNER, Subselects, source
from sallyport.judge.verdict import EXECUTES_MEASURED, Verdict
from sallyport.policy.checks.needs import chain
from sallyport.policy.checks.renames import is_hidden
from sallyport.sql.catalog.snapshot import Relation
from sallyport.sql.catalog.system_views import is_substituted
from sallyport.sql.facts import RangeVariable, StatementFacts
from sallyport.sql.queries.relation_items import view_facts
from sallyport.sql.rewrite.cascade import cascade_cuts
from sallyport.sql.rewrite.counters import counter_cuts
from sallyport.sql.rewrite.cuts import Cut, Rewritten
from sallyport.sql.rewrite.explain import COSTS_TELL, SHOWS_STORAGE, explain_cuts
from sallyport.sql.rewrite.groups import group_cuts
from sallyport.sql.rewrite.proof import disproved
from sallyport.sql.rewrite.ranges import (
    cannot_rewrite,
    replace_range,
    replace_reference,
    row_of_group,
    typed_row,
)
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.tokens import Tokens

log = structlog.get_logger("sallyport.judge")

_MAX_DEPTH = 16
_TELLS_TEXT = (
    "current_query() would return the text that the gateway sends.",
    "Leave current_query() out.",
)
#: Statements whose queries run later, as they were written.
_STORED_AS_WRITTEN = frozenset({"create_view"})


@dataclass(frozen=True, slots=True)
class Replacement:
    """What is done to one statement. ``cuts``: in the script's text. ``relations``: OIDs of those
    that subselects stand for. ``positions``: of the range variables. ``compared``: of references
    that are compared with constants inside their subselect.
    """

    cuts: tuple[Cut, ...] = ()
    relations: frozenset[int] = frozenset()
    positions: frozenset[int] = frozenset()
    compared: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class _Level:
    """One statement or view body whose text is cut. ``explained``: nothing in it counts as plain.
    ``tells_turns``: something in the statement may tell in which order it was called for rows.
    ``measured``: EXPLAIN ANALYZE tells how much memory nodes of its plan take.
    """

    tokens: Tokens
    facts: StatementFacts
    explained: bool
    tells_turns: bool
    measured: bool
    depth: int = 0


@dataclass(slots=True)
class Rewriter:
    """Puts one subject's masks into texts over one catalog."""

    relations: MaskedRelations
    subselects: Subselects = field(init=False)
    _views: dict[tuple[int, bool, bool, bool, bool], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.subselects = Subselects(self.relations)

    def statement(self, sql: bytes, facts: StatementFacts) -> Replacement:
        """The cuts for one statement of the script ``sql``. Raises RefusedError."""
        made = self._replacement(sql, facts)
        check_sent(self.relations, facts, made.relations)
        return made

    def _replacement(self, sql: bytes, facts: StatementFacts) -> Replacement:
        if facts.cascades:
            return Replacement(cascade_cuts(sql, facts))
        if facts.absent:
            return Replacement((Cut(facts.start, facts.end, facts.absent.encode()),))
        levels = [level for level in chain(facts) if level.range_variables or level.counter_calls]
        self._check_order(facts)
        self._check_stored(facts)
        if facts.kind in _STORED_AS_WRITTEN or not any(map(self.relations.concerns, levels)):
            return Replacement()
        explained = self._is_never_plain(facts)
        replaced = any(self.relations.replaced(level, explained) for level in levels)
        writes = facts.kind == "explain" and any(
            self.relations.writes_masked(level) for level in levels
        )
        if not (replaced or writes or any(map(self._is_cut, levels))):
            return Replacement()
        if any(level.tells_text for level in levels):
            raise cannot_rewrite(*_TELLS_TEXT)
        tokens = Tokens(sql)
        turns = any(map(tells_turns, chain(facts)))
        measured = self._is_measured(facts)
        parts = [self._cuts(_Level(tokens, level, explained, turns, measured)) for level in levels]
        if replaced and not any(part.cuts for part in parts):
            raise cannot_rewrite("No masked relation could be replaced in its text.")
        if facts.kind == "explain" and self.relations.policy.masks:
            told = any(map(self.relations.planned_by_masks, levels))
            version = self.relations.catalog.server_version
            parts.append(Replacement(tuple(explain_cuts(tokens, facts, writes, told, version))))
        if replaced and facts.kind == "create_materialized_view":
            raise cannot_rewrite(
                "The materialized view would store masked values for everybody.",
                "Ask somebody for whom the columns are not masked to create it. They stay masked"
                " for you.",
            )
        return Replacement(
            tuple(cut for part in parts for cut in part.cuts),
            frozenset(oid for part in parts for oid in part.relations),
            frozenset(position for part in parts for position in part.positions),
            frozenset(position for part in parts for position in part.compared),
        )

    def _check_order(self, facts: StatementFacts) -> None:
        for level in chain(facts) if self.relations.policy.masks else ():
            condition = self.relations.ordering_condition(level)
            if condition is not None:
                name, place = self.relations.catalog.column_name(condition[0]), condition[1]
                hint = "Select the rows first, and write them by their primary key."
                if level.kind == "copy_out":
                    hint = "Use COPY (SELECT ...) TO STDOUT."
                elif level.visited_by and condition[0] in level.visited_by:
                    hint = "Change the rows that refer to it first, by their primary key."
                raise RefusedError(
                    refuse(
                        "SP1201",
                        f"the order of masked values would show by {name} in {place}",
                        f"{name} shares an index or extended statistics with a masked column. These"
                        " may decide in which order the server visits rows, and they are locked,"
                        " copied, returned or written in that order.",
                        hint,
                    )
                )

    def _check_stored(self, facts: StatementFacts) -> None:
        """Raises RefusedError where what masks hide chose, or ordered, rows that are read."""
        if not self.relations.policy.masks or facts.kind in _STORED_AS_WRITTEN:
            return
        for level in chain(facts):
            for access in level.accesses:
                relation = self.relations.catalog.relations.get(access.relation)
                if relation is not None and access.action == "select":
                    why = self.relations.why_stored(relation)
                    if why:
                        raise self._opaque_view(relation, why)

    def check_executed(self, sql: bytes, facts: StatementFacts) -> None:
        """EXPLAIN EXECUTE, in which nothing is changed. Raises RefusedError (SP1201) where it would
        tell how large masked values are.
        """
        levels = [level for level in chain(facts) if level.range_variables]
        writes = any(self.relations.writes_masked(level) for level in levels)
        if not writes and not any(
            self.relations.replaced(level, explained=True) for level in levels
        ):
            return
        told = any(map(self.relations.planned_by_masks, levels))
        if told and dict(facts.explain_options).get("costs", True):
            raise RefusedError(COSTS_TELL)
        version = self.relations.catalog.server_version
        explain_cuts(Tokens(sql), facts, writes, told, version)
        if self._is_measured(facts):
            raise RefusedError(EXECUTES_MEASURED)

    def proved(
        self, sql: bytes, statements: Iterable[StatementFacts], verdicts: Iterable[Verdict]
    ) -> Rewritten:
        """The script as it is sent. Raises RefusedError (SP1206) when that is not what it should
        be, a fault of the gateway.
        """
        rewritten = rewritten_text(sql, [cut for verdict in verdicts for cut in verdict.cuts])
        if any(level.tells_text for facts in statements for level in chain(facts)):
            raise cannot_rewrite(*_TELLS_TEXT)
        variables: dict[int, RangeVariable] = {}
        positions: set[int] = set()
        emptied: set[int] = set()
        for facts in statements:
            if facts.kind == "truncate":
                emptied.update(access.relation for access in facts.accesses)
            for level in chain(facts):
                variables.update(
                    (variable.position, variable) for variable in level.range_variables
                )
                positions.update(
                    variable.position
                    for variable in self.relations.replaced(level, self._is_never_plain(facts))
                )
        path = self.relations.path
        self._prove(rewritten, variables, frozenset(positions), path, frozenset(emptied))
        return rewritten

    def _prove(
        self,
        rewritten: Rewritten,
        variables: Mapping[int, RangeVariable],
        positions: frozenset[int],
        path: tuple[str, ...],
        emptied: frozenset[int] = frozenset(),
    ) -> None:
        catalog = self.relations.catalog
        try:
            why = disproved(rewritten, variables, positions, catalog, path, emptied)
        except RefusedError:
            why = "nothing that can be parsed"
        if why:
            log.error("rewritten statement refused", reason=why)
            raise cannot_rewrite(f"The statement as rewritten would name {why}.")

    # -- what is replaced

    def _is_never_plain(self, facts: StatementFacts) -> bool:
        """Whether rows are not only masked on their way back: EXPLAIN tells of what it reads, and
        what is stored are masks' values. COPY data that is too long to be masked is withheld.

        Under names that are masked as well a plain copy keeps the values; one that masks would
        change on the way is refused.
        """
        if _is_told_otherwise(facts):
            return True
        flows = [flow for level in chain(facts) for flow in level.flows]
        masked = self.relations.applied.keys()
        into = [(flow, source) for flow in flows for source in flow.sources & masked]
        bound = self.relations.policy.for_everybody
        if not into:
            return False
        if bound is None or any(
            flow.into is None or not is_hidden(bound, source, flow.into) for flow, source in into
        ):
            return True
        if any(self.relations.replaced(level, False) for level in chain(facts)):
            raise cannot_rewrite(
                "The statement would store masked values in columns that are masked themselves.",
                "Copy the columns from one table, without a join, ORDER BY or an expression.",
            )
        return False

    def _is_measured(self, facts: StatementFacts) -> bool:
        shows = facts.kind == "explain" and bool(dict(facts.explain_options).get("analyze"))
        return shows and self.relations.catalog.server_version >= SHOWS_STORAGE

    def _is_cut(self, facts: StatementFacts) -> bool:
        """Whether something else than range variables is replaced."""
        if facts.counter_calls and self.relations.oids:
            return True
        return bool(
            chosen_by_masks(self.relations, facts) or compared_in_target(self.relations, facts)
        )

    # -- cutting

    def _cuts(self, level: _Level) -> Replacement:
        facts, tokens = level.facts, level.tokens
        replaced = self.relations.replaced(facts, level.explained, level.depth > 0)
        aliases = _aliases(facts.range_variables, replaced)
        cuts: list[Cut] = []
        compared: set[int] = set()
        for variable in replaced:
            relation = self.relations.catalog.relations[variable.relation]
            cuts += self._replace(level, variable, relation, aliases[variable.position], compared)
        rows = self._typed_rows(level, replaced, aliases)
        cuts += rows.values()
        groups = self._group_cuts(level, aliases)
        cuts += groups
        for reference in facts.schema_references:
            if any(cut.start <= reference.position < cut.end for cut in groups):
                continue
            if reference.variable in aliases and reference.position not in rows:
                alias = aliases[reference.variable]
                cuts.append(replace_reference(tokens, reference.position, reference.parts, alias))
        for influence in chosen_by_masks(self.relations, facts):
            cuts.append(masked_reference(self.relations, tokens, facts, influence))
        for comparison in compared_in_target(self.relations, facts):
            compared.add(comparison.reference)
            if comparison.repeated:
                cuts.append(typed_comparison(self.relations, tokens, comparison))
        for position in facts.counter_calls if self.relations.oids else ():
            cuts += counter_cuts(tokens, position, self.relations.oids)
        relations = frozenset(variable.relation for variable in replaced)
        return Replacement(tuple(cuts), relations, frozenset(aliases), frozenset(compared))

    def _group_cuts(self, level: _Level, aliases: Mapping[int, str]) -> list[Cut]:
        qualified = {
            reference.position: reference.parts for reference in level.facts.schema_references
        }
        return [
            cut
            for grouping in level.facts.groupings
            for cut in group_cuts(
                level.tokens, grouping, aliases, qualified, self.relations.catalog
            )
        ]

    def _replace(
        self,
        level: _Level,
        variable: RangeVariable,
        relation: Relation,
        alias: str,
        compared: set[int],
    ) -> list[Cut]:
        """The cuts for one range variable; references that are compared inside its subselect are
        added to ``compared``.
        """
        standing = (
            self.relations.substitute(variable, level.facts, relation)
            if is_substituted(relation)
            else None
        )
        if standing is not None:
            view = self.subselects.proved(standing)
            return replace_range(level.tokens, variable, lambda only, sample: view, alias)
        if relation.kind == "v" and not self.relations.is_wrapped(relation):
            body = self.subselects.proved(self._view(level, relation, variable.locked))
            return replace_range(level.tokens, variable, lambda only, sample: body, alias)
        by_place = self._is_by_place(level, variable, relation)
        columns = self.subselects.columns(level.facts, variable, relation)
        # an EXPLAIN would show how many rows the server expects to have a value
        moved = (
            moved_comparisons(self.relations, level.tokens, level.facts, variable)
            if not level.explained
            else []
        )
        compared.update(reference for reference, _, _ in moved)
        # no condition of the statement is moved below a sort that has an OFFSET
        barrier = " OFFSET 0" if by_place and self._is_fenced(level, variable, relation) else ""
        conditions = " AND ".join(f"({condition})" for _, _, condition in moved)

        def subselect(only: str, sample: str) -> str:
            rows = f"{only}{source(relation)}{sample}{' WHERE ' if moved else ''}{conditions}"
            text = self.subselects.text(
                relation, columns, variable.locked, rows, by_place, level.measured
            )
            return self.subselects.proved(text + barrier)

        cuts = [cut for _, cut, _ in moved]
        return [*cuts, *replace_range(level.tokens, variable, subselect, alias)]

    def _is_by_place(self, level: _Level, variable: RangeVariable, relation: Relation) -> bool:
        """Whether rows must come as they lie. Raises RefusedError where they cannot."""
        if not self.relations.is_ordered_by_masks(level.facts, relation, level.depth > 0):
            return False
        if relation.kind == "v":
            if self.relations.policy.trusts_view(relation):
                return False
            if not self.relations.keeps_rows(relation):
                raise self._opaque_view(relation, "it may show the order of masked values")
        if level.tells_turns and variable.locked:
            # with an OFFSET below the conditions all rows would be locked
            raise cannot_rewrite(
                f"The order of masked values in {relation.qualified} may show by the turns in which"
                " a volatile function is called for its rows.",
                "Leave that function out of a query with FOR UPDATE: write now() for"
                " clock_timestamp().",
            )
        return True

    def _is_fenced(self, level: _Level, variable: RangeVariable, relation: Relation) -> bool:
        """Whether conditions must stand above the subselect. Below, where rows are locked: all of
        them would be.
        """
        return level.tells_turns or (
            not variable.locked
            and self.relations.planned_jointly(level.facts, relation, level.depth > 0)
        )

    def _typed_rows(
        self, level: _Level, replaced: list[RangeVariable], aliases: Mapping[int, str]
    ) -> dict[int, Cut]:
        """Whole rows of subselects as rows of the relation's type, by position. An outer join's
        NULL would become a row of NULLs, a domain's check could refuse a mask's value, and a type
        with a length could lose a part: those rows stay without a type.
        """
        relations = {
            variable.position: self.relations.catalog.relations[variable.relation]
            for variable in replaced
        }
        ungrouped = frozenset(at for grouping in level.facts.groupings for at in grouping.rows)
        cuts = {}
        for reference in level.facts.row_references:
            relation = relations.get(reference.variable)
            if relation is None:
                continue
            alias = aliases[reference.variable]
            if not reference.nullable and self.relations.has_castable_rows(relation):
                type_ = f"{quoted(relation.schema)}.{quoted(relation.name)}"
                cuts[reference.position] = typed_row(level.tokens, reference, alias, type_)
            elif reference.position in ungrouped:
                cuts[reference.position] = row_of_group(level.tokens, reference, alias)
        return cuts

    # -- views

    def _view(self, level: _Level, view: Relation, locked: bool) -> str:
        """The definition of a view, with masks in it. ``locked``: FOR UPDATE may lock its rows."""
        key = (view.oid, locked, level.explained, level.tells_turns, level.measured)
        text = self._views.get(key)
        if text is None:
            text = self._views[key] = self._expanded(level, view, locked)
        return text

    def _expanded(self, level: _Level, view: Relation, locked: bool) -> str:
        facts = view_facts(self.relations.names, view)
        if locked:
            variables = tuple(replace(variable, locked=True) for variable in facts.range_variables)
            facts = replace(facts, range_variables=variables)
        text = view.view_definition.rstrip().removesuffix(";").encode()
        why = self.relations.why_opaque(view, facts)
        if why or level.depth >= _MAX_DEPTH:
            raise self._opaque_view(view, why or "views stand on views too deeply")
        turns, depth = level.tells_turns, level.depth + 1
        inner = _Level(Tokens(text), facts, level.explained, turns, level.measured, depth)
        replacement = self._cuts(inner)
        rewritten = rewritten_text(text, replacement.cuts)
        positions = {variable.position: variable for variable in facts.range_variables}
        self._prove(rewritten, positions, replacement.positions, ("pg_catalog",))
        body = rewritten.text.decode()
        if view.security_barrier:
            # the statement's conditions must not see the rows that the view hides
            body = f"SELECT * FROM ({body}) AS {INNER} OFFSET 0"
        return self.subselects.with_own_masks(view, facts, body, locked)

    @staticmethod
    def _opaque_view(view: Relation, why: str) -> RefusedError:
        return cannot_rewrite(
            f"{view.qualified} is a view over masked columns, and {why}.",
            f"Query the tables under it, or ask for 'views: {{{view.qualified}: trusted}}' in the"
            " policy.",
        )


def rewritten_text(text: bytes, cuts: Iterable[Cut]) -> Rewritten:
    """``text`` with ``cuts`` made. Raises RefusedError (SP1206) where they overlap."""
    try:
        return Rewritten(text, cuts)
    except ValueError:
        raise cannot_rewrite("Two changed parts of the statement overlap.") from None


def _is_told_otherwise(facts: StatementFacts) -> bool:
    """EXPLAIN, and COPY of computed columns: a row could be made as long as may be masked."""
    computed = any(column.origin is None for column in facts.columns or ())
    return facts.kind == "explain" or (facts.kind == "copy_out" and computed)


def _aliases(variables: Iterable[RangeVariable], replaced: list[RangeVariable]) -> dict[int, str]:
    """What each replaced range variable is called, by position: as before, or another name where
    two without an alias share it.
    """
    bare = Counter(
        (range_variable.level, range_variable.name)
        for range_variable in variables
        if not range_variable.has_alias
    )
    aliases = {}
    for variable in replaced:
        shared = bare[variable.level, variable.name] > 1 and len(variable.path) > 1
        shared = shared and not variable.has_alias
        name = f"{variable.path[-2]}.{variable.name}" if shared else variable.name
        aliases[variable.position] = name
    return aliases
