"""Functions, operators and casts: from a name and argument types to what could be called, and
whether that is safe.

Follows parse_func.c and parse_oper.c as far as it must: which candidates *could* be chosen. Where
more than one remains, the most restrictive answer holds. Answers are kept per snapshot and
search_path, as nothing in them depends on the statement.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from sallyport.sql.catalog.extensions import knows_type
from sallyport.sql.catalog.functions import (
    FIRST_USER_OID,
    NO_CAST,
    classify,
    classify_cast,
    classify_operator,
    is_known,
)
from sallyport.sql.catalog.numbering import numbered_columns
from sallyport.sql.catalog.snapshot import (
    TEMPORARY,
    Cast,
    CatalogSnapshot,
    ColumnId,
    Function,
    Operator,
)
from sallyport.sql.lineage import UNKNOWN_TYPE
from sallyport.sql.names.overloads import chosen
from sallyport.sql.values.polymorphism import consistent, is_compatible, result_type
from sallyport.sql.values.types import (
    ANY,
    ARRAYS,
    JSON,
    POLYMORPHIC,
    TEXT,
    Types,
)

#: Schemas whose functions are PostgreSQL's own; functions.py tells those that were added to them
#: from those that came with it.
SYSTEM = frozenset({"pg_catalog", "information_schema"})
NOT_KNOWN = "is not known to be safe"


class Resolved(NamedTuple):
    """What could be called. ``reason`` "" when every known candidate is safe. ``users``: candidates
    that are neither PostgreSQL's nor listed of an extension.
    """

    exists: bool
    reason: str = ""
    changes_settings: bool = False
    writes: bool = False
    result: int = 0
    returns_set: bool = False
    kinds: frozenset[str] = frozenset()
    users: tuple[Function, ...] = ()
    candidates: tuple[Function, ...] = ()
    followed: bool = False  # the call's value and effects are those of the function's body


def _nobody() -> None:
    return None


class NameResolver:
    """Everything that can be looked up by name in one snapshot under one search_path.

    ``opaque``: functions that policy trusts although they have a body that could be followed.
    """

    def __init__(
        self, catalog: CatalogSnapshot, path: tuple[str, ...], opaque: frozenset[int] = frozenset()
    ) -> None:
        self.catalog = catalog
        self.asked = path
        self.opaque = opaque
        #: None: these are the session's own; else those, or what refers to nothing any more
        self._session: Callable[[], NameResolver | None] | None = None
        self.path = path if "pg_catalog" in path else ("pg_catalog", *path)
        self.types = Types(catalog, self.path)
        self.relations: dict[
            int, Any
        ] = {}  # expansions, kept by sallyport.sql.queries.relation_items
        self.definitions: dict[int, Any] = {}  # facts of views, kept by the same
        # of materialized views, kept by sallyport.sql.queries.stored_rows
        self.stored_rows: dict[int, Any] = {}
        self.computed: dict[int, Any] = {}  # what writing a row computes, kept by the same
        self.bodies: dict[
            Any, Any
        ] = {}  # of SQL functions, kept by sallyport.sql.expressions.function_bodies
        # of relations, kept by sallyport.sql.writes.constraints
        self.partition_keys: dict[int, set[str]] = {}
        self.expanding: set[int] = set()  # relations whose columns are being found out
        self._qualified: NameResolver | None = None
        self._owners: NameResolver | None = None
        self._pinned: dict[tuple[str, ...], NameResolver] = {}
        self._functions: dict[tuple[tuple[str, ...], tuple[int, ...], bool, bool], Resolved] = {}
        self._operators: dict[tuple[tuple[str, ...], int | None, int], Resolved] = {}
        self._cast_classes: dict[tuple[int, int], Resolved] = {}

    @property
    def session(self) -> NameResolver | None:
        """The names that functions of text see when they run under these; None where that cannot be
        told, inside a function with its owner's rights.
        """
        return self if self._session is None else self._session()

    def qualified(self) -> NameResolver:
        """The same snapshot with pg_catalog alone on the path, as definitions in the catalog are
        written.
        """
        if self.path == ("pg_catalog",):
            return self
        if self._qualified is None:
            made = NameResolver(self.catalog, (), self.opaque)
            # weak: names that refer to each other would have to be searched for when their snapshot
            # was replaced
            made._session = weakref.ref(self) if self._session is None else self._session
            self._qualified = made
        return self._qualified

    @cached_property
    def aggregates(self) -> frozenset[str]:
        """Names that some aggregate function has."""
        return frozenset(f.name for f in self.catalog.functions.values() if f.kind == "a")

    @cached_property
    def numbered(self) -> Mapping[int, frozenset[ColumnId]]:
        """See :func:`numbered_columns`."""
        return numbered_columns(self.catalog)

    @cached_property
    def set_returning(self) -> frozenset[str]:
        """Names that some function has that returns a set."""
        return frozenset(f.name for f in self.catalog.functions.values() if f.returns_set)

    @cached_property
    def made_casts(self) -> tuple[Cast, ...]:
        """Casts that PostgreSQL uses without being asked, through functions that it does
        not ship.
        """
        return tuple(
            c for c in self.catalog.casts if c.context in "ia" and c.function >= FIRST_USER_OID
        )

    @cached_property
    def json_casts(self) -> tuple[Cast, ...]:
        """Casts to json, of whatever context, through functions that PostgreSQL does not ship."""
        return tuple(
            c for c in self.catalog.casts if c.target == JSON and c.function >= FIRST_USER_OID
        )

    @cached_property
    def hidden_by_temporary(self) -> frozenset[str]:
        """Names that a temporary relation would hide: of relations and types that others
        see too.
        """
        relations = (name for schema, name in self.catalog.relation_by_name if schema != TEMPORARY)
        types = (name for schema, name in self.catalog.type_by_name if schema != TEMPORARY)
        return frozenset([*relations, *types])

    def owners(self) -> NameResolver:
        """As :meth:`qualified`, inside a function that runs with its owner's rights: not every
        schema is usable to both.
        """
        if self.session is None:
            return self.qualified()
        if self._owners is None:
            made = NameResolver(self.catalog, (), self.opaque)
            made._session = _nobody
            self._owners = made
        return self._owners

    def pinned(self, path: tuple[str, ...]) -> NameResolver:
        """Inside a function with a search_path of its own."""
        resolver = self._pinned.get(path)
        if resolver is None:
            resolver = self._pinned[path] = NameResolver(self.catalog, path, self.opaque)
        return resolver

    # functions

    def function(
        self,
        names: tuple[str, ...],
        types: tuple[int, ...],
        named: bool = False,
        variadic: bool = False,
    ) -> Resolved:
        """Candidates for a call. ``named``: some arguments are given by name, so positions say
        nothing of types.
        """
        key = (names, types, named, variadic)
        resolved = self._functions.get(key)
        if resolved is None:
            resolved = self._functions[key] = self._find_function(names, types, named, variadic)
        return resolved

    def _find_function(
        self, names: tuple[str, ...], types: tuple[int, ...], named: bool, variadic: bool
    ) -> Resolved:
        if len(names) > 2:
            return Resolved(False)
        schemas = (names[0],) if len(names) == 2 else self.path
        visible = [
            f for f in self.catalog.functions_by_name.get(names[-1], ()) if f.schema in schemas
        ]
        argument_types = tuple(0 for _ in types) if named else types
        matching = [
            f for f in visible if f.kind != "p" and self._accepts(f, argument_types, variadic)
        ]
        if not named and types and 0 not in types and UNKNOWN_TYPE not in types:
            exact = [f for f in matching if f.arg_types == types and (not f.variadic or variadic)]
            if exact:
                matching = [min(exact, key=lambda f: schemas.index(f.schema))]
        if (
            len(matching) > 1
            and not named
            and 0 not in types
            and not any(f.variadic for f in matching)
        ):
            matching = chosen(self.types, matching, types)
        return self._judge(matching, argument_types)

    def _accepts(self, function: Function, types: tuple[int, ...], variadic: bool) -> bool:
        declared = function.arg_types
        if function.variadic and not variadic and declared:
            last = declared[-1]
            element = last if last == ANY else (0 if last in ARRAYS else self.types.element(last))
            plain = declared[:-1]
            if len(types) < len(plain) - function.n_defaults:
                return False
            declared = plain + (element or ANY,) * max(0, len(types) - len(plain))
        elif not len(declared) - function.n_defaults <= len(types) <= len(declared):
            return False
        return all(map(self.types.can_coerce, types, declared))

    def _judge(self, candidates: list[Function], types: tuple[int, ...]) -> Resolved:
        """``types``: of the arguments, 0 where their position says nothing."""
        if not candidates:
            return Resolved(False)
        system = [f for f in candidates if is_known(f)]
        classes = [classify(f) for f in system]
        reason = next((c.reason or NOT_KNOWN for c in classes if not c.safe), "")
        results = {self._result(f, types) for f in candidates}
        users = tuple(f for f in candidates if not is_known(f))
        return Resolved(
            True,
            reason,
            any(c.changes_settings for c in classes),
            any(c.writes for c in classes),
            results.pop() if len(results) == 1 else 0,
            any(f.returns_set for f in candidates),
            frozenset(f.kind for f in candidates),
            users,
            tuple(candidates),
        )

    def _result(self, function: Function, types: tuple[int, ...]) -> int:
        return result_type(self.types, function.return_type, function.arg_types, types)

    # operators

    def operator(self, names: tuple[str, ...], left: int | None, right: int) -> Resolved:
        """Candidates for an operator; ``left`` None for a prefix operator."""
        key = (names, left, right)
        resolved = self._operators.get(key)
        if resolved is None:
            resolved = self._operators[key] = self._find_operator(names, left, right)
        return resolved

    def _find_operator(self, names: tuple[str, ...], left: int | None, right: int) -> Resolved:
        if len(names) > 2:
            return Resolved(False)
        schemas = (names[0],) if len(names) == 2 else self.path
        named = [
            o for o in self.catalog.operators_by_name.get(names[-1], ()) if o.schema in schemas
        ]
        if left is None:
            matching = [o for o in named if not o.left and self.types.can_coerce(right, o.right)]
            exact = [o for o in matching if o.right == right]
        else:
            matching = [
                o
                for o in named
                if o.left
                and self.types.can_coerce(left, o.left)
                and self.types.can_coerce(right, o.right)
            ]
            exact = self._exact(matching, left, right)
        if exact:
            matching = [min(exact, key=lambda o: schemas.index(o.schema))]
        elif left is not None and len(matching) > 1:
            matching = self._consistent(matching, left, right)
        return self._judge_operators(matching, left, right)

    def _exact(self, candidates: list[Operator], left: int, right: int) -> list[Operator]:
        """binary_oper_exact: an unknown literal is taken to be of the other side's type; a
        parameter may be declared as anything.
        """
        if 0 in (left, right):
            return []
        if left == UNKNOWN_TYPE:
            left = right
        elif right == UNKNOWN_TYPE:
            right = left
        if left == UNKNOWN_TYPE:
            return []
        matches = [o for o in candidates if (o.left, o.right) == (left, right)]
        base = self.types.base(left)
        if not matches and left == right and base != left:
            matches = [o for o in candidates if (o.left, o.right) == (base, base)]
        return matches

    def _consistent(self, candidates: list[Operator], left: int, right: int) -> list[Operator]:
        """Those of whose polymorphic operands the types fit together; an untyped literal is the
        other side's where nothing else tells.
        """

        def fitting(left: int, right: int) -> list[Operator]:
            return [
                o for o in candidates if consistent(self.types, (o.left, o.right), (left, right))
            ]

        kept = fitting(left, right)
        if len(kept) > 1 and (left == UNKNOWN_TYPE) != (right == UNKNOWN_TYPE):
            # the last resort of func_select_candidate, which is reached where all candidates take
            # any type
            type_ = right if left == UNKNOWN_TYPE else left
            if all(is_compatible(o.left) and is_compatible(o.right) for o in kept):
                same = [o for o in fitting(type_, type_) if o in kept]
                kept = same if len(same) == 1 else kept
        return kept or candidates

    def _judge_operators(
        self, candidates: list[Operator], left: int | None, right: int
    ) -> Resolved:
        if not candidates:
            return Resolved(False)
        implementations = [self.catalog.functions.get(o.function) for o in candidates]
        functions = tuple(f for f in implementations if f is not None)
        pairs = list(zip(candidates, implementations, strict=True))
        users = tuple(f for o, f in pairs if f is not None and not _is_known_through(o, f))
        classes = [
            classify_operator(o, self.catalog)
            for o, f in pairs
            if f is None or _is_known_through(o, f)
        ]
        reason = next((c.reason or NOT_KNOWN for c in classes if not c.safe), "")
        results = {self._operator_result(o, left, right) for o in candidates}
        return Resolved(
            True,
            reason,
            any(c.changes_settings for c in classes),
            any(c.writes for c in classes),
            results.pop() if len(results) == 1 else 0,
            users=users,
            candidates=functions,
        )

    def _operator_result(self, operator: Operator, left: int | None, right: int) -> int:
        """The type of what it gives; of polymorphic ones only arrays, whose elements may be
        converted to what both sides have in common.
        """
        if operator.result in POLYMORPHIC and operator.result not in ARRAYS:
            return 0
        return result_type(
            self.types, operator.result, (operator.left, operator.right), (left or 0, right)
        )

    # casts

    def cast(self, source: int, target: int) -> Resolved:
        """What an explicit cast does. ``source`` 0: any type could be cast."""
        key = (source, target)
        resolved = self._cast_classes.get(key)
        if resolved is None:
            resolved = self._cast_classes[key] = self._judge_cast(source, target)
        return resolved

    def _judge_cast(self, source: int, target: int) -> Resolved:
        base = self.types.base(target)
        if self.types.get(base) is None:
            return Resolved(False)
        if target == source:
            return Resolved(True, result=target)
        # a parameter or an expression of unknown type: as from text, and whatever cast function
        # there is for the target
        answer = classify_cast(source or TEXT, target, self.catalog)
        if answer == NO_CAST and source:
            return Resolved(False)
        reason = "" if answer.safe else (answer.reason or NOT_KNOWN)
        if source == 0:
            functions = [c.function for c in self.catalog.casts if c.target == base and c.function]
        else:
            cast = self.types.cast(self.types.base(source), base)
            functions = [cast.function] if cast is not None and cast.function else []
            if cast is None or cast.method == "i":
                reason = reason or self._input_function(base)
        implementations = [self.catalog.functions.get(oid) for oid in functions]
        users = tuple(f for f in implementations if f is not None and not is_known(f))
        listed = [
            classify(f) for f in implementations if f is not None and f.extension and is_known(f)
        ]
        reason = reason or next((c.reason for c in listed if not c.safe), "")
        if users and all(c.safe for c in listed):
            reason = ""  # what is not PostgreSQL's own is reported as a call, and policy decides
        return Resolved(True, reason, answer.changes_settings, answer.writes, target, users=users)

    def _input_function(self, target: int) -> str:
        """Why text must not be read as this type: a base type of users' making has an input
        function of its own.
        """
        element = self.types.get(self.types.element(target) or target)
        if (
            element is None
            or element.kind != "b"
            or element.oid < FIRST_USER_OID
            or knows_type(element)
        ):
            return ""
        return f"type {element.schema}.{element.name} has a user-defined input function"


def _is_known_through(operator: Operator, function: Function) -> bool:
    """An operator that users put over an extension's function is theirs, as the name says nothing
    of it.
    """
    if not is_known(function):
        return False
    return not function.extension or operator.extension == function.extension


#: Look-up tables of one snapshot: sessions of different search_paths, subjects of different trusts.
_KEPT = 64


def name_resolver(
    catalog: CatalogSnapshot, path: tuple[str, ...], opaque: frozenset[int] = frozenset()
) -> NameResolver:
    """The lookup tables for a snapshot and search_path; a few are kept, as long as the snapshot."""
    resolver: NameResolver | None = catalog.lookups.get((path, opaque))
    if resolver is None:
        resolver = NameResolver(catalog, path, opaque)
        if len(catalog.lookups) >= _KEPT:
            catalog.lookups.clear()
        catalog.keep((path, opaque), resolver)
    return resolver
