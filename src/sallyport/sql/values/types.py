"""Types: names to OIDs, and what converts to what without being asked (parse_coerce.c,
approximately and on the safe side).

A type is its pg_type OID; 0 stands for one that was not inferred and may be any.
:meth:`Types.can_coerce` answers "could PostgreSQL pass this where that is wanted?" and says yes
when in doubt, so that no overload is dropped wrongly.
"""

from __future__ import annotations

from sallyport.sql.catalog.snapshot import TEMPORARY, Cast, CatalogSnapshot, Type
from sallyport.sql.lineage import UNKNOWN_TYPE

BOOL, BYTEA, CHAR, NAME, INT8, INT2, INT4, TEXT, OID = 16, 17, 18, 19, 20, 21, 23, 25, 26
REGCLASS, JSON, XML, FLOAT4, FLOAT8, BPCHAR, VARCHAR = 2205, 114, 142, 700, 701, 1042, 1043
DATE, TIME, TIMESTAMP, TIMESTAMPTZ, TIMETZ, BIT, VARBIT = 1082, 1083, 1114, 1184, 1266, 1560, 1562
TEXT_ARRAY = 1009
NUMERIC, RECORD, RECORD_ARRAY, CSTRING, JSONB, INT2VECTOR, OIDVECTOR = (
    1700,
    2249,
    2287,
    2275,
    3802,
    22,
    30,
)
VOID = 2278
ANY, ANYARRAY, ANYELEMENT, ANYNONARRAY, ANYENUM, ANYRANGE, ANYMULTIRANGE = (
    2276,
    2277,
    2283,
    2776,
    3500,
    3831,
    4537,
)
ANYCOMPATIBLE, ANYCOMPATIBLEARRAY, ANYCOMPATIBLENONARRAY, ANYCOMPATIBLERANGE = (
    5077,
    5078,
    5079,
    5080,
)
ANYCOMPATIBLEMULTIRANGE = 4538

ARRAYS = frozenset({ANYARRAY, ANYCOMPATIBLEARRAY})
ELEMENTS = frozenset({ANYELEMENT, ANYNONARRAY, ANYENUM, ANYCOMPATIBLE, ANYCOMPATIBLENONARRAY})
#: Polymorphic types that take values of different types, which become one.
COMPATIBLE = frozenset(
    {ANYCOMPATIBLE, ANYCOMPATIBLEARRAY, ANYCOMPATIBLENONARRAY, ANYCOMPATIBLERANGE}
)
POLYMORPHIC = (
    ARRAYS | ELEMENTS | {ANYRANGE, ANYMULTIRANGE, ANYCOMPATIBLERANGE, ANYCOMPATIBLEMULTIRANGE}
)
INTERVAL = 1186
#: Types whose assignment or cast with a type modifier can fail or change the value.
MODIFIED = frozenset(
    {VARCHAR, BPCHAR, BIT, VARBIT, NUMERIC, TIMESTAMP, TIMESTAMPTZ, TIME, TIMETZ, INTERVAL}
)


#: Types whose values are at most a few bytes: bool, numbers but numeric, money, dates and times,
#: uuid, addresses, oid.
SMALL = frozenset(
    {
        BOOL,
        CHAR,
        NAME,
        INT8,
        INT2,
        INT4,
        OID,
        FLOAT4,
        FLOAT8,
        DATE,
        TIME,
        TIMESTAMP,
        TIMESTAMPTZ,
        TIMETZ,
        INTERVAL,
        790,
        2950,
        829,
        774,
        869,
        650,
    }
)


class Types:
    """Type questions about one snapshot and one search_path."""

    def __init__(self, catalog: CatalogSnapshot, path: tuple[str, ...]) -> None:
        self._catalog = catalog
        self._path = path
        self._casts: dict[tuple[int, int], Cast] = {
            (cast.source, cast.target): cast for cast in catalog.casts
        }
        self._coercible: dict[tuple[int, int], bool] = {}

    def get(self, oid: int) -> Type | None:
        return self._catalog.types.get(oid)

    def named(self, names: tuple[str, ...]) -> Type | None:
        """A type by (schema,) name, without array bounds."""
        is_temporary = len(names) == 1 or names[0].startswith(TEMPORARY)
        if names and is_temporary and names[-1] in self._catalog.unknown_names:
            return None
        if len(names) == 2:
            return self._catalog.type_by_name.get((names[0], names[1]))
        if len(names) == 1:
            for schema in self._catalog.lookup_path(self._path):
                type_ = self._catalog.type_by_name.get((schema, names[0]))
                if type_ is not None:
                    return type_
        return None

    def base(self, oid: int) -> int:
        """The type under a domain, however deep."""
        for _ in range(32):
            type_ = self._catalog.types.get(oid)
            if type_ is None or type_.kind != "d":
                return oid
            oid = type_.base
        return 0

    def element(self, oid: int) -> int:
        """The element type of an array (or of a domain over one), or 0."""
        oid = self.base(oid)
        if oid == INT2VECTOR:
            return INT2
        if oid == OIDVECTOR:
            return OID
        type_ = self._catalog.types.get(oid)
        return type_.element if type_ is not None else 0

    def is_array(self, oid: int) -> bool:
        """Whether this is an array type itself: no domain over one, and neither int2vector nor
        oidvector (type_is_array).
        """
        type_ = self._catalog.types.get(oid)
        return type_ is not None and bool(type_.element) and oid not in (INT2VECTOR, OIDVECTOR)

    def array(self, oid: int) -> int:
        type_ = self._catalog.types.get(oid)
        return type_.array if type_ is not None else 0

    def relation(self, oid: int) -> int:
        """pg_class OID of a composite type (or of a domain over one), or 0."""
        type_ = self._catalog.types.get(self.base(oid))
        return type_.relation if type_ is not None else 0

    def is_range(self, oid: int) -> bool:
        """Whether it is a range or a multirange, or a domain over one."""
        type_ = self.get(self.base(oid))
        return type_ is not None and type_.kind in ("r", "m")

    def is_small(self, oid: int) -> bool:
        """Whether no value of the type is more than a few bytes long."""
        base = self.base(oid)
        type_ = self.get(base)
        return base in SMALL or (type_ is not None and type_.kind == "e")

    def cast(self, source: int, target: int) -> Cast | None:
        return self._casts.get((source, target))

    def can_coerce(self, source: int, target: int) -> bool:
        """Whether an expression of type ``source`` could be passed where ``target`` is wanted,
        implicitly.
        """
        if source == target or source in (0, UNKNOWN_TYPE):
            return True
        key = (source, target)
        answer = self._coercible.get(key)
        if answer is None:
            answer = self._coercible[key] = self._decide(source, target)
        return answer

    def _decide(self, source: int, target: int) -> bool:
        target_type = self.get(target)
        if target_type is None or self.get(source) is None:
            return True  # a type the snapshot does not know: in doubt, yes
        if target_type.kind == "p":
            return self._pseudo(source, target)
        if target_type.kind == "d":
            return self.can_coerce(source, self.base(target))
        base = self.base(source)
        if base != source:
            return self.can_coerce(base, target)
        cast = self._casts.get((source, target))
        if cast is not None and cast.context == "i":
            return True
        if self.relation(source) or source == RECORD:
            return bool(target_type.relation)
        if target in (INT2VECTOR, OIDVECTOR):
            return False  # arrays are never converted to these (find_coercion_pathway)
        from_element, to_element = self.element(source), target_type.element
        return bool(from_element and to_element) and self.can_coerce(from_element, to_element)

    def _pseudo(self, source: int, target: int) -> bool:
        if target == ANY or target in (ANYELEMENT, ANYCOMPATIBLE):
            return True
        if target in ARRAYS:
            return bool(self.element(source))
        if target in (ANYNONARRAY, ANYCOMPATIBLENONARRAY):
            return not self.element(source)
        base = self.get(self.base(source))
        kind = base.kind if base is not None else "p"
        if kind == "p":
            return target == RECORD and source == RECORD
        if target == ANYENUM:
            return kind == "e"
        if target in (ANYRANGE, ANYCOMPATIBLERANGE):
            return kind == "r"
        if target in (ANYMULTIRANGE, ANYCOMPATIBLEMULTIRANGE):
            return kind == "m"
        if target == RECORD:
            return bool(self.relation(source))
        if target == RECORD_ARRAY:
            element = self.element(source)
            return bool(element) and (element == RECORD or bool(self.relation(element)))
        return False

    def common(self, types: list[int]) -> int:
        """The type that UNION, CASE and the like choose (select_common_type), or 0 when it cannot
        be told.
        """
        typed = [type_ for type_ in types if type_ != UNKNOWN_TYPE]
        if not typed:
            return TEXT if types else 0
        if 0 in typed:
            return 0
        chosen = typed[0]
        for candidate in typed[1:]:
            if candidate == chosen:
                continue
            forth, back = self._implicit(chosen, candidate), self._implicit(candidate, chosen)
            if forth and not back:
                chosen = candidate
            elif not forth and not back:
                return 0
        return chosen

    def _implicit(self, source: int, target: int) -> bool:
        cast = self._casts.get((source, target))
        return cast is not None and cast.context == "i"
