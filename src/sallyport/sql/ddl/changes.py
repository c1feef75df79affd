"""Changes of the schema: what they all share, and DROP, VACUUM, REINDEX and indexes.

A change passes when three things are known of it: which relations and names it concerns (policy's
``relations`` are matched against the old name and the new), that masked data does not come to stand
under a name that has no mask, and what expressions, defaults and checks in it compute and call.
Tables are in :mod:`sallyport.sql.ddl.tables` and :mod:`sallyport.sql.ddl.alter`, new names in
:mod:`sallyport.sql.ddl.names`, views in :mod:`sallyport.sql.ddl.views`, other objects in
:mod:`sallyport.sql.ddl.objects`, TRUNCATE in :mod:`sallyport.sql.ddl.truncate`, and what stays
refused, with what to do instead, in
:mod:`sallyport.sql.ddl.refused`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.descendants import with_descendants
from sallyport.sql.catalog.snapshot import TEMPORARY, ColumnId, Relation
from sallyport.sql.ddl.dependants import of_relations
from sallyport.sql.ddl.refused import ADMINISTRATOR
from sallyport.sql.ddl.schema_contents import of_schemas
from sallyport.sql.expressions.columns import named_column
from sallyport.sql.facts import Clause, DependantDrop, Effect, EffectKind
from sallyport.sql.lineage import Value
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.names.scope import Scope, raw_item
from sallyport.sql.names.temporary_names import of_unknown_maker
from sallyport.sql.nodes import fields, string, strings, tag_of
from sallyport.sql.queries.from_items import RANGE_VAR
from sallyport.sql.queries.relation_items import expand, relation_item
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_condition_cast
from sallyport.sql.writes.constraints import note_entries
from sallyport.sql.writes.hidden_code import computing

on = STATEMENTS.on


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: pg_class.relkind -> what rules call it.
THINGS = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized_view",
    "f": "foreign_table",
    "S": "sequence",
    "c": "type",
}
_NOT_TEMPORARY = "nothing of this kind can be temporary through the gateway"
_INSTEAD = (
    "Tables, views, sequences, functions, enums, composite types and domains can be temporary:"
    " make one of those, or name another schema."
)
_MAY_BE_TEMPORARY = frozenset(
    {"create_table", "create_table_as", "select_into", "create_sequence", "create_view"}
)
#: What may be made in ``pg_temp`` by who may make code that is not read; of functions PostgreSQL
#: looks no name up there that is not written with the schema.
_TEMPORARY_CODE = {
    "create_function": "",
    "create_procedure": "",
    "create_type": "CREATE TYPE in pg_temp",
    "create_domain": "CREATE DOMAIN in pg_temp",
}
_INDEX_ELEMENT = fields("name expr collation opclass opclassopts ordering nulls_ordering")
_METHODS = frozenset({"btree", "hash", "gist", "gin", "spgist", "brin"})
#: Index methods of extensions whose operator classes call functions of the extension only.
_EXTENSION_METHODS = {"bloom": "bloom", "hnsw": "vector", "ivfflat": "vector", "rum": "rum"}
#: Operator classes that are PostgreSQL's own and have names that people write.
_CLASSES = _words(
    """text_pattern_ops varchar_pattern_ops bpchar_pattern_ops jsonb_ops jsonb_path_ops array_ops
    tsvector_ops inet_ops range_ops text_ops varchar_ops bpchar_ops int2_ops int4_ops int8_ops
    float4_ops float8_ops numeric_ops bool_ops date_ops time_ops timetz_ops timestamp_ops
    timestamptz_ops uuid_ops bytea_ops oid_ops name_ops char_ops cidr_ops macaddr_ops
    interval_ops bit_ops varbit_ops point_ops box_ops circle_ops poly_ops quad_point_ops
    kd_point_ops network_ops enum_ops"""
)
#: Extensions whose functions extensions.tsv names one by one, or that only compute with their
#: arguments; each may be made by a database's owner (trusted = true in its control file).
EXTENSIONS = _words(
    """btree_gin btree_gist citext cube fuzzystrmatch hstore intarray isn ltree pg_trgm
    pgcrypto plpgsql seg tablefunc unaccent vector"""
)
_CLASSES_OF = {
    "pg_trgm": frozenset({"gin_trgm_ops", "gist_trgm_ops"}),
    "ltree": frozenset({"ltree_ops", "gist_ltree_ops"}),
    "hstore": frozenset(
        {"gin_hstore_ops", "gist_hstore_ops", "hash_hstore_ops", "btree_hstore_ops"}
    ),
    "intarray": frozenset({"gin__int_ops", "gist__int_ops", "gist__intbig_ops"}),
    "citext": frozenset({"citext_ops", "citext_pattern_ops"}),
    "vector": _words(
        """vector_l2_ops vector_ip_ops vector_cosine_ops vector_l1_ops halfvec_l2_ops
        halfvec_ip_ops halfvec_cosine_ops halfvec_l1_ops bit_hamming_ops bit_jaccard_ops
        sparsevec_l2_ops sparsevec_ip_ops sparsevec_cosine_ops sparsevec_l1_ops"""
    ),
    "postgis": frozenset({"gist_geometry_ops_2d", "gist_geometry_ops_nd", "gist_geography_ops"}),
}


def changes_schema(analysis: Analysis, kind: str) -> None:
    """Note that the statement changes the schema. ``kind``: the action."""
    analysis.kind = kind
    analysis.clause = Clause.CHECK  # what is computed from the columns of a relation that is there
    analysis.effects.append(Effect(EffectKind.DDL))


def creation_schema(analysis: Analysis, named: str, position: int = -1) -> str:
    """The schema in which something is made: as written, or the first of the search_path
    (RangeVarGetCreationNamespace).
    """
    schema = named or next((s for s in analysis.context.search_path if s != "pg_catalog"), "")
    if schema.startswith("pg_temp"):
        analysis.unsupported(_NOT_TEMPORARY, _INSTEAD, position)
    elif schema in SYSTEM or schema.startswith("pg_"):
        analysis.unknown(
            "SP1102", f"cannot create objects in schema {schema}", "Use another schema.", position
        )
    elif schema not in analysis.catalog.schemas:
        analysis.missing("SP1111", f'schema "{schema}" does not exist', position=position)
    return schema


def new_relation(analysis: Analysis, node: Node) -> tuple[str, str]:
    """The schema and name of a relation that is being made; noted under the statement's kind."""
    analysis.check("RangeVar", node, RANGE_VAR)
    position = node.get("location", -1)
    if node.get("catalogname", analysis.catalog.database) != analysis.catalog.database:
        analysis.unknown("SP1102", "cross-database references are not supported", position=position)
    temporary = node.get("relpersistence", "p") == "t"
    schema, name = (
        node.get("schemaname", "") or (TEMPORARY if temporary else ""),
        node.get("relname", ""),
    )
    if schema == TEMPORARY and analysis.kind in _MAY_BE_TEMPORARY:
        new_temporary(analysis, name, position)
    else:
        schema = creation_schema(analysis, schema, position)
    if temporary and not schema.startswith(TEMPORARY):  # which PostgreSQL refuses
        analysis.unsupported(_NOT_TEMPORARY, _INSTEAD, position)
    analysis.name(analysis.kind, schema, name)
    return schema, name


def new_temporary(analysis: Analysis, name: str, position: int = -1) -> None:
    """A temporary relation or index of this name is made. Temporary ones are looked up before all
    others, by whatever looks names up as it runs: the text of functions, deferred triggers, and
    what the gateway writes itself. So it must hide nothing.
    """
    if any(schema.startswith(TEMPORARY) for schema in analysis.catalog.default_search_path):
        analysis.unsupported("temporary tables need a search_path without pg_temp", "", position)
    if name in analysis.catalog.unknown_names:
        analysis.unknown(*of_unknown_maker(name), position)
    taken = analysis.names.hidden_by_temporary
    if name in taken or f"_{name}" in taken:
        analysis.unsupported(
            f'temporary relation "{name}" would hide another relation or type of the same name',
            "Choose another name. Functions and triggers would find the temporary relation under"
            " this one.",
            position,
        )


def new_object(analysis: Analysis, names: Sequence[str]) -> tuple[str, str]:
    """As :func:`new_relation`, for what the grammar calls any_name."""
    if not 1 <= len(names) <= 2:
        analysis.unknown("SP1102", f"improper qualified name: {'.'.join(names)}")
    return new_in_schema(analysis, names[0] if len(names) > 1 else "", names[-1] if names else "")


def new_in_schema(analysis: Analysis, schema: str, name: str) -> tuple[str, str]:
    """An object that is no relation is made; noted under the statement's kind."""
    code = _TEMPORARY_CODE.get(analysis.kind) if schema == TEMPORARY else None
    if code is None:
        schema = creation_schema(analysis, schema)
    elif code:
        analysis.unread_code = code
        new_temporary(analysis, name)
    analysis.name(analysis.kind, schema, name)
    return schema, name


def candidate_names(analysis: Analysis, names: Sequence[str]) -> list[tuple[str, str]]:
    """Schema and name of an object that the snapshot does not list: without a schema, it may be in
    any of the search_path.
    """
    if len(names) == 2:
        return [(names[0], names[1])]
    if len(names) != 1:
        analysis.unknown("SP1102", f"improper qualified name: {'.'.join(names)}")
        return []
    return [(schema, names[0]) for schema in analysis.context.search_path if schema not in SYSTEM]


def existing_target(analysis: Analysis, node: Node, action: str = "") -> Relation | None:
    """An existing relation that the statement changes: noted under ``action`` (the statement's
    kind).
    """
    analysis.check("RangeVar", node, RANGE_VAR)
    relation = analysis.named_relation(node)
    if relation is None:
        return None
    if relation.schema in SYSTEM:
        analysis.unknown(
            "SP1102", f"cannot change {relation.qualified}, which belongs to PostgreSQL itself"
        )
    analysis.access(relation.oid, action or analysis.kind)
    analysis.mentioned_columns.update(ColumnId(relation.oid, c.attnum) for c in relation.columns)
    return relation


def scope_of(analysis: Analysis, relation: Relation) -> Scope:
    """The relation's columns as a definition inside it sees them: what is computed from them fails
    or not by raw values.
    """
    return Scope(items=[raw_item(relation_item(analysis, relation))])


def index_table(analysis: Analysis, schema: str, name: str) -> Relation | None:
    """The relation that an index is on, or the relation of that name: ALTER INDEX renames tables as
    well.
    """
    if name in analysis.catalog.unknown_names and (not schema or schema.startswith(TEMPORARY)):
        analysis.unknown(*of_unknown_maker(name))
        return None
    for candidate in (schema,) if schema else analysis.catalog.lookup_path(analysis.names.path):
        oid = analysis.catalog.indexes.get((candidate, name))
        relation = analysis.catalog.relations.get(oid) if oid is not None else None
        relation = relation or analysis.catalog.relation_by_name.get((candidate, name))
        if relation is not None:
            return relation
    return None


# indexes


@on(
    "IndexStmt",
    "idxname relation accessMethod indexParams indexIncludingParams options whereClause unique"
    " concurrent if_not_exists nulls_not_distinct",
)
def _create_index(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_index")
    relation = existing_target(analysis, node["relation"])
    access_method(analysis, node.get("accessMethod", "btree"))
    if relation is None:
        return
    if relation.schema == TEMPORARY and "idxname" in node:
        new_temporary(analysis, node["idxname"], position)
    scope, is_unique = scope_of(analysis, relation), bool(node.get("unique"))
    keys = [index_element(analysis, i["IndexElem"], scope, is_unique) for i in node["indexParams"]]
    more = node.get("indexIncludingParams", [])
    keys += [index_element(analysis, item["IndexElem"], scope, False) for item in more]
    if node.get("accessMethod") != "hash":
        note_entries(analysis, frozenset().union(*(key.sources for key in keys)))
    if "whereClause" in node:
        note_condition_cast(analysis, analysis.expression(node["whereClause"], scope))


def access_method(analysis: Analysis, name: str) -> None:
    """Check that an access method of tables or indexes is one that is understood."""
    extension = _EXTENSION_METHODS.get(name)
    if name not in _METHODS and not (extension and _has_extension(analysis, extension)):
        analysis.unknown(
            "SP1102",
            f'access method "{name}" is not supported',
            f"Use one of {', '.join(sorted(_METHODS))}.",
        )


def index_element(analysis: Analysis, node: Node, scope: Scope, unique: bool) -> Value:
    """One column or expression of an index or constraint. It fails when two rows are equal, where
    it is unique.
    """
    analysis.check("IndexElem", node, _INDEX_ELEMENT)
    operator_class(analysis, strings(node.get("opclass", [])))
    if "expr" in node:
        value = analysis.expression(node["expr"], scope)
    else:
        value = named_column(analysis, node.get("name", ""), scope)
    if unique:
        analysis.influence(value.sources, Clause.UNIQUE)
    return value


def operator_class(analysis: Analysis, names: Sequence[str]) -> None:
    """An operator class computes with every value: it must be PostgreSQL's own, or of an extension
    that is known.
    """
    if not names:
        return
    own = names[-1] in _CLASSES and names[:-1] in ((), ("pg_catalog",))
    if own or any(
        names[-1] in classes and _has_extension(analysis, e) for e, classes in _CLASSES_OF.items()
    ):
        return
    analysis.unknown(
        "SP1102",
        f'operator class "{".".join(names)}" is not supported',
        "Use the type's default class.",
    )


def _has_extension(analysis: Analysis, name: str) -> bool:
    return any(function.extension == name for function in analysis.catalog.functions.values())


@on("ReindexStmt", "kind relation params")
def _reindex(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "reindex")
    if "relation" not in node:
        analysis.unknown(
            "SP1102",
            "REINDEX of a schema or database is not supported",
            "Use REINDEX TABLE or REINDEX INDEX.",
        )
        return
    target = node["relation"]
    analysis.check("RangeVar", target, RANGE_VAR)
    if node.get("kind") == "REINDEX_OBJECT_INDEX":
        relation = index_table(analysis, target.get("schemaname", ""), target.get("relname", ""))
        if relation is None:
            analysis.missing_relation(
                target.get("schemaname", ""), target.get("relname", ""), position
            )
        else:
            analysis.access(relation.oid, "reindex")
    else:
        relation = existing_target(analysis, target)
    for part in with_descendants(analysis.catalog, relation.oid) if relation is not None else ():
        computing(analysis, part)


# DROP

_OBJECTS = {
    "matview": "materialized_view",
    "foreign_server": "server",
    "fdw": "foreign_data_wrapper",
    "opclass": "operator_class",
    "opfamily": "operator_family",
    "statistic_ext": "statistics",
    "tsconfiguration": "text_search_configuration",
    "tsdictionary": "text_search_dictionary",
    "tsparser": "text_search_parser",
    "tstemplate": "text_search_template",
}
_Relations = Sequence[Relation]
_RELATIONS = frozenset({"table", "view", "materialized_view", "sequence", "foreign_table"})
_ON_RELATIONS = frozenset({"trigger", "rule"})
_BY_NAME = frozenset(
    {"statistics", "collation", "function", "procedure", "aggregate", "routine", "type", "domain"}
)


def object_type(text: str) -> str:
    """What rules call an ObjectType: OBJECT_MATVIEW is materialized_view."""
    name = text.removeprefix("OBJECT_").lower()
    return _OBJECTS.get(name, name)


@on("DropStmt", "objects removeType behavior missing_ok concurrent")
def _drop(analysis: Analysis, node: Node, position: int) -> None:
    kind = object_type(node.get("removeType", ""))
    changes_schema(analysis, f"drop_{kind}")
    analysis.cascades = node.get("behavior") == "DROP_CASCADE"
    dropped: list[Relation] = []
    for item in node.get("objects", []):
        names = names_of(item)
        if kind not in _ON_RELATIONS and len(names) == 3 and names[0] == analysis.catalog.database:
            names = names[1:]
        if kind in _RELATIONS:
            dropped += _drop_relation(analysis, kind, names, bool(node.get("missing_ok")))
        elif kind == "index":
            _drop_index(analysis, names)
        elif kind in _ON_RELATIONS:
            on_relation(analysis, names[:-1], bool(node.get("missing_ok")))
        elif kind in _BY_NAME:
            for schema, name in candidate_names(analysis, names):
                analysis.name(analysis.kind, schema, name)
        elif kind == "schema" or (kind == "extension" and string(item) in EXTENSIONS):
            analysis.name(analysis.kind, string(item) if kind == "schema" else "")
        else:
            analysis.name(analysis.kind)
            what = kind.replace("_", " ").upper()
            analysis.unknown(
                "SP1102", f"DROP {what} is not supported through the gateway", ADMINISTRATOR
            )
            return
    if analysis.cascades:
        analysis.drops_first = _drops_first(analysis, kind, node, dropped)


def _drops_first(
    analysis: Analysis, kind: str, node: Node, dropped: list[Relation]
) -> tuple[DependantDrop, ...]:
    """What CASCADE drops besides. ``dropped``: the relations that the statement names."""
    if kind == "schema":
        return of_schemas(analysis, frozenset(string(item) for item in node.get("objects", [])))
    return of_relations(analysis, dropped)


def names_of(item: Node) -> tuple[str, ...]:
    """The name in a List, TypeName or ObjectWithArgs."""
    tag, body = tag_of(item)
    if tag == "List":
        return strings(body.get("items", []))
    return strings(body.get("names" if tag == "TypeName" else "objname", []))


def _drop_relation(
    analysis: Analysis, kind: str, names: tuple[str, ...], missing_ok: bool
) -> _Relations:
    """The relations that are there, partitions included."""
    if not 1 <= len(names) <= 2 or not all(names):
        analysis.unknown("SP1102", f"improper {kind.replace('_', ' ')} name: {'.'.join(names)}")
        return []
    schema = names[0] if len(names) == 2 else ""
    relation = analysis.relation(schema, names[-1])
    if relation is None:
        if not missing_ok:
            analysis.missing_relation(schema, names[-1], -1, kind.replace("_", " "))
        for place in candidate_names(analysis, names) if missing_ok else ():
            analysis.name(analysis.kind, *place)
        return []
    # partitions go with it
    parts = [
        relation,
        *(with_descendants(analysis.catalog, relation.oid) if relation.kind == "p" else ()),
    ]
    for part in parts:
        analysis.access(part.oid, analysis.kind)
    return parts


def _drop_index(analysis: Analysis, names: tuple[str, ...]) -> None:
    """An index belongs to its table: that is what rules match."""
    if not 1 <= len(names) <= 2:
        analysis.unknown("SP1102", f"improper index name: {'.'.join(names)}")
        return
    relation = index_table(analysis, names[0] if len(names) == 2 else "", names[-1])
    if relation is not None:
        analysis.access(relation.oid, analysis.kind)
    for place in candidate_names(analysis, names) if relation is None else ():
        analysis.name(analysis.kind, *place)


def on_relation(
    analysis: Analysis, names: Sequence[str], missing_ok: bool = False
) -> Relation | None:
    """A relation by the names before a column's or trigger's, under the statement's kind."""
    if not 1 <= len(names) <= 2:
        analysis.unknown("SP1102", f"improper relation name: {'.'.join(names)}")
        return None
    schema = names[0] if len(names) == 2 else ""
    relation = analysis.relation(schema, names[-1])
    if relation is not None:
        analysis.access(relation.oid, analysis.kind)
    elif not missing_ok:
        analysis.missing_relation(schema, names[-1], -1)
    for place in candidate_names(analysis, names) if relation is None and missing_ok else ():
        analysis.name(analysis.kind, *place)
    return relation


# VACUUM, ANALYZE


@on("VacuumStmt", "options rels is_vacuumcmd")
def _vacuum(analysis: Analysis, node: Node, position: int) -> None:
    analysis.kind = "vacuum" if node.get("is_vacuumcmd") else "analyze"
    for item in node.get("rels", []):
        relation = analysis.named_relation(item["VacuumRelation"].get("relation", {}))
        if relation is not None:
            analysis.access(relation.oid, analysis.kind)


def not_stored(analysis: Analysis, relation: Relation) -> None:
    """A materialised view holds what its definition gave when it was refreshed: under another
    definition it would be read as something else.
    """
    for stored in analysis.catalog.relations.values():
        if stored.kind == "m" and any(
            x.relation == relation.oid for x in expand(analysis, stored).accesses
        ):
            analysis.unknown(
                "SP1102",
                f"cannot determine what {stored.qualified} holds after {relation.qualified} is"
                " changed",
                f"Drop the materialized view {stored.qualified} first, and create it again"
                " afterwards.",
            )
