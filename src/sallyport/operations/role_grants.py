"""The privileges of one subject's database role, made from its part of the policy. Pure: nothing is
run.

Promises: no more than :mod:`sallyport.operations.grants` computes for the rules that are for the
subject (whenever they are in force), and USAGE on the schemas in which its names are looked up, so
that names mean at the target what the gateway takes them to mean. What PUBLIC has already is not
granted again.
"""

from __future__ import annotations

from collections.abc import Iterator

from sallyport.operations.grant_script import privilege_text, quote, quoted_routine, relation_name
from sallyport.operations.grants import RequiredPrivileges, missing, required_privileges
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.file.patterns import is_system_schema
from sallyport.targets.ephemeral import GrantSet, grant_role
from sallyport.targets.privileges import Privileges


def grant_set(policy: SubjectPolicy, live: Privileges) -> GrantSet:
    """``live``: of the gateway's own role, which reads the catalog. Raises ValueError for a policy
    that is not bound.
    """
    bound, standing = policy.for_everybody, policy.standing
    if bound is None:
        raise ValueError("the subject's policy is not bound to a catalog")
    want = required_privileges(bound, live, (*standing.rules, *standing.closed))
    looked_up = _looked_up(policy)
    schemas = (want.schemas - standing.catalog.unusable) | looked_up
    statements = tuple(_statements(want, live, schemas))
    oids = sorted((*want.relations, *want.sequences, *want.functions))
    return GrantSet(
        grant_role(live.database, repr((statements, oids))),
        statements,
        _reads_only(want),
        looked_up,
        lambda had: [
            f"{difference.privilege} on {difference.on}" for difference in missing(want, had)
        ],
    )


def _looked_up(policy: SubjectPolicy) -> frozenset[str]:
    """The schemas that some search_path of a session of the subject's can name, and that are its to
    use.
    """
    catalog = policy.standing.catalog
    paths = (catalog.default_search_path, *policy.search_paths)
    schemas = {schema for path in paths for schema in catalog.usable_path(path)}
    return frozenset(schema for schema in schemas if not is_system_schema(schema))


def _reads_only(want: RequiredPrivileges) -> bool:
    """A function writes nothing unless it is volatile (PostgreSQL's documentation, 36.7)."""
    functions = (want.catalog.functions.get(oid) for oid in want.functions)
    if any(function is None or function.volatile == "v" for function in functions):
        return False
    return all(set(p) == {"SELECT"} for p in (*want.relations.values(), *want.sequences.values()))


def _statements(
    want: RequiredPrivileges, live: Privileges, schemas: frozenset[str]
) -> Iterator[str]:
    """``GRANT ... TO ``, without whom."""
    catalog = want.catalog
    if "CONNECT" not in live.database_public:
        yield f"GRANT CONNECT ON DATABASE {quote(live.database)} TO "
    for schema in sorted(schemas):
        if (schema, "USAGE") not in live.schemas_public:
            yield f"GRANT USAGE ON SCHEMA {quote(schema)} TO "
    for oid, privileges in sorted(want.relations.items()):
        relation = catalog.relations[oid]
        said = ", ".join(
            privilege_text(relation, name, permit) for name, permit in privileges.items()
        )
        yield f"GRANT {said} ON TABLE {relation_name(relation)} TO "
    for oid, names in sorted(want.sequences.items()):
        yield (
            f"GRANT {', '.join(sorted(names))} ON SEQUENCE"
            f" {relation_name(catalog.relations[oid])} TO "
        )
    for oid, name in live.routines:
        if oid in want.functions and oid not in live.routines_public:
            yield f"GRANT EXECUTE ON ROUTINE {quoted_routine(name)} TO "
