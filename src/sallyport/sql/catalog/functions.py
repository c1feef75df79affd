"""What calling a built-in function, operator or cast can do. Pure; the judgement is data in
``functions.tsv``.

Promises: :func:`classify` answers for functions that PostgreSQL itself ships (schema ``pg_catalog``
or ``information_schema``, OID below 16384) by name *and* argument types, and for those of
extensions that :mod:`sallyport.sql.catalog.extensions` lists. Everything else, including an
overload that somebody added to ``pg_catalog`` and anything a newer server brings, is
``safe=False``.

``safe`` means: the call can neither run SQL text, read files, send data elsewhere, change settings
or session state, read other people's data or collected statistics, lock, sleep, nor signal. It may
still raise.

``special`` marks functions that the caller may treat as what they stand for: ``current_setting``
(allowed for a constant name that :func:`sallyport.sql.utility.settings.show_allowed` lists),
``set_config`` (judged as SET when name and value are constants) and ``constants`` (harmless when
every argument is a constant or a parameter: advisory locks).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from sallyport.sql.catalog.extensions import listed
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Function, Operator, Type
from sallyport.sql.catalog.system_views import follows_views

#: Objects that users create have OIDs from here on (access/transam.h, FirstNormalObjectId).
FIRST_USER_OID = 16384

#: Argument or result types that only the server itself, access methods and languages handle.
_INTERNAL_TYPES = frozenset(
    {
        "internal",
        "cstring",
        "_cstring",
        "trigger",
        "event_trigger",
        "language_handler",
        "fdw_handler",
        "index_am_handler",
        "table_am_handler",
        "tsm_handler",
    }
)

#: Class in the data file -> how the sentence "this function ..." goes on.
_REASONS = {
    "changes settings": "changes settings",
    "reads settings": "reads a setting",
    "runs SQL text": "runs SQL text or reads relations that are named at run time",
    "reads files": "reads the server's files or shows their paths",
    "reads function source": "reads function source",
    "reads rows by name": "reads a relation that is named at run time",
    "type named at run time": "uses a type that is named at run time",
    "sends data elsewhere": "sends data elsewhere",
    "session state": "keeps or reads session state",
    "advisory locks": "takes a lock on a key that is not a constant",
    "sleeps": "sleeps",
    "other sessions": "shows or disturbs other sessions",
    "large objects": "reads or writes large objects",
    "replication": "reads or changes replication, backup or the write-ahead log",
    "statistics": "reads or changes collected statistics",
    "sequences": "reads or sets a sequence that rules cannot check",
    "maintenance": "is for server maintenance",
    "internal": "is internal to the server",
}


@dataclass(frozen=True, slots=True)
class FunctionClass:
    """``reason`` completes "this function ..."; see the module docstring for the flags."""

    safe: bool
    reason: str
    changes_settings: bool = False
    writes: bool = False
    special: str = ""  # "" | "current_setting" | "set_config" | "constants"


#: Functions of pg_catalog that policy may name, and that are refused otherwise.
SLEEPING = frozenset({"pg_sleep", "pg_sleep_for", "pg_sleep_until"})

_NOT_BUILT_IN = FunctionClass(False, "is not built into PostgreSQL")
_NOT_LISTED = FunctionClass(False, "is not classified by this version of the gateway")
_INTERNAL = FunctionClass(False, _REASONS["internal"])
_COUNTS = FunctionClass(True, "gives what the counting views show")


def _class_of(kind: str, name: str) -> FunctionClass:
    if kind == "safe":
        return FunctionClass(True, "is safe")
    if kind == "safe writes":
        return FunctionClass(True, "advances a sequence", writes=True)
    special = name if name in ("current_setting", "set_config") else ""
    if kind == "advisory locks":
        special = "constants"
    return FunctionClass(
        False, _REASONS[kind], changes_settings=name == "set_config", special=special
    )


def _rows(file: str) -> Iterator[list[str]]:
    text = resources.files("sallyport.sql.catalog").joinpath(file).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


@cache
def type_names() -> dict[int, str]:
    """pg_type.oid -> typname of the built-in types (arrays as ``_int4``)."""
    return {int(oid): name for oid, name in _rows("types.tsv")}


@cache
def _table() -> dict[tuple[str, tuple[str, ...]], FunctionClass]:
    table: dict[tuple[str, tuple[str, ...]], FunctionClass] = {}
    for kind, name, signatures in _rows("functions.tsv"):
        for signature in signatures.split(";"):
            arguments = () if signature == "-" else tuple(signature.split(","))
            table[name, arguments] = _class_of(kind, name)
    return table


def _of_extension(function: Function) -> FunctionClass | None:
    """The class of a listed function of an extension; None for any other."""
    if not function.extension:
        return None
    names = type_names()
    arguments = tuple(names.get(oid, "") for oid in function.arg_types)
    kind = listed(function, arguments)
    if kind is None:
        return None
    if not _INTERNAL_TYPES.isdisjoint((*arguments, names.get(function.return_type, ""))):
        return _INTERNAL
    return _class_of(kind, "")


def is_known(function: Function) -> bool:
    """Whether :func:`classify` says what it does: PostgreSQL's own schemas, and listed functions of
    extensions. Others are users'.
    """
    return (
        function.schema in ("pg_catalog", "information_schema")
        or _of_extension(function) is not None
    )


def classify(function: Function) -> FunctionClass:
    """What a call of ``function`` can do; ``safe=False`` for whatever is not listed."""
    extension = _of_extension(function)
    if extension is not None:
        return extension
    if (
        function.schema not in ("pg_catalog", "information_schema")
        or not 0 < function.oid < FIRST_USER_OID
    ):
        return _NOT_BUILT_IN
    if function.security_definer:  # none is, as shipped
        return _NOT_BUILT_IN
    names = type_names()
    arguments = tuple(names.get(oid, "") for oid in function.arg_types)
    if not _INTERNAL_TYPES.isdisjoint((*arguments, names.get(function.return_type, ""))):
        return _INTERNAL
    prefix = "" if function.schema == "pg_catalog" else "information_schema."
    if not prefix and arguments == ("oid",) and follows_views(function.name):
        return _COUNTS
    return _table().get((prefix + function.name, arguments), _NOT_LISTED)


def classify_operator(op: Operator, catalog: CatalogSnapshot) -> FunctionClass:
    """Through the function behind the operator; an operator that users made is never safe."""
    function = catalog.functions.get(op.function)
    if function is not None and op.extension and op.extension == function.extension:
        return classify(function)
    if op.schema != "pg_catalog" or not 0 < op.oid < FIRST_USER_OID or function is None:
        return _NOT_BUILT_IN
    return classify(function)


_SAME = FunctionClass(True, "keeps the value")
_THROUGH_TEXT = FunctionClass(True, "is read from or written as text")
NO_CAST = FunctionClass(False, "is not in the catalog")


def _base(oid: int, catalog: CatalogSnapshot) -> Type | None:
    """The type under any domains; None when it is not in the catalog."""
    type_ = catalog.types.get(oid)
    for _ in range(32):
        if type_ is None or type_.kind != "d":
            return type_
        type_ = catalog.types.get(type_.base)
    return None


def _is_string(type_: Type) -> bool:
    """Category S or a bare literal: I/O conversion applies (parse_coerce.c,
    find_coercion_pathway).
    """
    return type_.category == "S" or type_.oid == 705


def _through_pg_cast(source: Type, target: Type, catalog: CatalogSnapshot) -> FunctionClass | None:
    for cast in catalog.casts:
        if (cast.source, cast.target) != (source.oid, target.oid):
            continue
        if cast.method == "b":
            return _SAME
        if cast.method == "i":
            return _THROUGH_TEXT
        function = catalog.functions.get(cast.function)
        return _NOT_BUILT_IN if function is None else classify(function)
    return None


def _into_domain(domain: Type, source_oid: int, catalog: CatalogSnapshot) -> FunctionClass:
    """A domain's CHECK runs: it is unsafe when it calls functions that users made."""
    step: Type | None = domain
    while step is not None and step.kind == "d":
        functions = [catalog.functions.get(oid) for oid in step.check_functions]
        if not all(f is not None and classify(f).safe for f in functions):
            return FunctionClass(
                False,
                f"runs a check of domain {step.schema}.{step.name} that calls user-defined"
                " functions",
            )
        step = catalog.types.get(step.base)
    if step is None:
        return NO_CAST
    inner = classify_cast(source_oid, step.oid, catalog)
    return FunctionClass(inner.safe, inner.reason)


def classify_cast(source_oid: int, target_oid: int, catalog: CatalogSnapshot) -> FunctionClass:
    """What converting a value of one type to another can do, without its type modifier.

    The path is PostgreSQL's (parse_coerce.c): pg_cast first, then array by element, then through
    text.
    """
    target = catalog.types.get(target_oid)
    source = _base(source_oid, catalog)
    if target is None or source is None:
        return NO_CAST
    if source_oid == target_oid:
        return _SAME
    if target.kind == "d":
        return _into_domain(target, source_oid, catalog)
    if source.oid == target.oid:
        return _SAME
    function_class = _through_pg_cast(source, target, catalog)
    if function_class is not None:
        return function_class
    # never int2vector, oidvector
    if source.element and target.element and target.oid not in (22, 30):
        return classify_cast(source.element, target.element, catalog)
    if _is_string(target) or (_is_string(source) and target.kind != "p"):
        return _THROUGH_TEXT
    # record <-> a row type
    if "c" in (source.kind, target.kind) and 2249 in (source.oid, target.oid):
        return _THROUGH_TEXT
    return NO_CAST
