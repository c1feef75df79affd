"""The database role as narrow as the policy: the GRANT/REVOKE script, and what a role can do beyond
it.

:func:`required_privileges` turns a policy's reach into PostgreSQL's privileges, :func:`excess` and
:func:`missing` compare them with what the role has, :mod:`sallyport.operations.grant_script` writes
the script. Pure: nothing is run. The policy stays narrower than any script: PostgreSQL knows
neither masks nor conditions, windows, reviewers or who is asking. Sources: PostgreSQL's
documentation, GRANT and chapter 5.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sallyport.policy.actions import TEMP
from sallyport.policy.bound import BoundPolicy
from sallyport.policy.checks.reach import GrantedAction, Reach, reach_of
from sallyport.policy.decide import BoundRule
from sallyport.policy.decision import Outcome
from sallyport.policy.file.patterns import is_system_schema
from sallyport.policy.model import SubjectMatch, applies_to_target
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Relation
from sallyport.targets.privileges import Privileges

_PRIVILEGES = {
    "select": "SELECT",
    "insert": "INSERT",
    "update": "UPDATE",
    "delete": "DELETE",
    "truncate": "TRUNCATE",
}
_ORDER = (*_PRIVILEGES.values(), "REFERENCES", "TRIGGER", "MAINTAIN")


@dataclass(frozen=True, slots=True)
class RequiredPrivileges:
    """What the role needs for everything that the policy can allow, and no more.

    relations: OID to privilege to permit (tables, views and the like). sequences: OID to privilege
    to reasons. schemas: name to reason. notes: about what a privilege cannot say exactly.
    temporary: temporary tables, which need TEMPORARY on the database.
    """

    catalog: CatalogSnapshot
    reach: Reach
    relations: Mapping[int, Mapping[str, GrantedAction]] = field(default_factory=dict)
    sequences: Mapping[int, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    functions: frozenset[int] = frozenset()
    schemas: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    temporary: bool = False

    @property
    def of_database(self) -> frozenset[str]:
        return frozenset({"CONNECT", "TEMPORARY"} if self.temporary else {"CONNECT"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One privilege that the role has and the policy never needs, or the other way round."""

    privilege: str
    on: str
    why: str = ""


def required_privileges(
    bound: BoundPolicy, live: Privileges, rules: Sequence[BoundRule] | None = None
) -> RequiredPrivileges:
    """The privileges for the policy's reach on its target. ``rules``: those for one subject; then
    for that one alone.
    """
    reach, catalog = reach_of(bound, rules), bound.catalog
    relations: dict[int, Mapping[str, GrantedAction]] = {}
    sequences: dict[int, dict[str, tuple[str, ...]]] = {}
    notes: list[str] = []
    for oid, actions in reach.relations.items():
        relation = catalog.relations[oid]
        if relation.kind == "S":
            sequences.setdefault(oid, {}).update(_of_sequence(actions))
        else:
            relations[oid] = _of_relation(relation, actions, notes)
    for oid, sequence in sorted(live.defaults):
        writes = [reach.relations.get(oid, {}).get(action) for action in ("insert", "update")]
        because = tuple(b for permit in writes if permit for b in permit.because)
        if because and sequence in catalog.relations:
            text = f"default of {catalog.relations[oid].qualified}"
            privileges = sequences.setdefault(sequence, {})
            privileges["USAGE"] = tuple(dict.fromkeys((*privileges.get("USAGE", ()), text)))
    relations = {oid: permits for oid, permits in relations.items() if permits}
    sequences = {oid: permits for oid, permits in sequences.items() if permits}
    notes += _ddl_notes(reach)
    return RequiredPrivileges(
        catalog,
        reach,
        relations,
        sequences,
        reach.functions | reach.followed,
        _schemas(catalog, relations, sequences, reach.functions | reach.followed),
        tuple(notes),
        _temporary(bound),
    )


def _temporary(bound: BoundPolicy) -> bool:
    """Whether some rule lets somebody make temporary tables, and none denies it to everybody."""
    rules = [rule for rule in bound.policy.rules if applies_to_target(rule.targets, bound.target)]
    named = [
        rule
        for rule in rules
        if TEMP in rule.actions and not (rule.relations or rule.columns or rule.tags)
    ]
    denied = any(
        r.effect is Outcome.DENY and r.when is None and r.subjects == SubjectMatch() for r in named
    )
    return not denied and any(rule.gives for rule in named)


def _of_sequence(actions: Mapping[str, GrantedAction]) -> dict[str, tuple[str, ...]]:
    """``update`` is nextval, for which USAGE is enough; UPDATE would let the role set the sequence
    as well.
    """
    names = {"select": "SELECT", "update": "USAGE"}
    return {name: actions[a].because for a, name in names.items() if a in actions}


def _of_relation(
    relation: Relation, actions: Mapping[str, GrantedAction], notes: list[str]
) -> dict[str, GrantedAction]:
    privileges = {name: actions[a] for a, name in _PRIVILEGES.items() if a in actions}
    lock = actions.get("lock")
    if (
        lock is not None
        and "SELECT" in privileges
        and "UPDATE" not in privileges
        and relation.columns
    ):
        # FOR UPDATE and its like need UPDATE on some column; one that cannot be written does no
        # harm
        column = next((c for c in relation.columns if c.generated), relation.columns[0])
        privileges["UPDATE"] = GrantedAction(
            frozenset((column.attnum,)), (*lock.because, "SELECT ... FOR UPDATE needs it")
        )
        if not column.generated:
            notes.append(
                f"{relation.qualified}: locking rows needs UPDATE on one column; {column.name} can"
                " then be changed directly"
            )
    if lock is not None and not privileges.keys() & {"UPDATE", "DELETE", "TRUNCATE"}:
        notes.append(
            f"{relation.qualified}: LOCK TABLE needs UPDATE, DELETE or TRUNCATE, which nothing else"
            " gives"
        )
    if relation.has_triggers and privileges.keys() & {"INSERT", "UPDATE", "DELETE", "TRUNCATE"}:
        notes.append(
            f"{relation.qualified} has triggers: unless their functions are SECURITY DEFINER they"
            " run with the role's own privileges, and what they write to must be granted as well"
        )
    return privileges


def _ddl_notes(reach: Reach) -> Iterator[str]:
    if reach.ddl:
        shown = sorted(reach.ddl)
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        yield (
            f"the policy can allow changes of the schema ({', '.join(shown[:5])}{more}). They need"
            " ownership, or CREATE on a schema, which this script does not give: deny them (packs:"
            " [no-ddl]), or grant them by hand after it"
        )


def _schemas(
    catalog: CatalogSnapshot,
    relations: Mapping[int, Mapping[str, GrantedAction]],
    sequences: Mapping[int, Mapping[str, tuple[str, ...]]],
    functions: frozenset[int],
) -> frozenset[str]:
    """Schemas of everything granted, and of the types of its columns, so that values can be cast to
    them.
    """
    names = {catalog.relations[oid].schema for oid in (*relations, *sequences)}
    names |= {catalog.functions[oid].schema for oid in functions}
    for oid in relations:
        types = (catalog.types.get(column.type_oid) for column in catalog.relations[oid].columns)
        names |= {type_.schema for type_ in types if type_ is not None}
    return frozenset(schema for schema in names if not is_system_schema(schema))


# -- comparing


def excess(want: RequiredPrivileges, live: Privileges) -> list[Difference]:
    """What the role can do that the policy never lets anyone do."""
    catalog, out = (
        want.catalog,
        [Difference("power", f"role {live.role}", power) for power in live.powers],
    )
    out += [
        Difference(privilege, f"database {live.database}")
        for privilege in sorted(live.database_privileges - want.of_database)
    ]
    for schema, privilege in sorted(live.schemas):
        if privilege == "CREATE" or schema not in want.schemas:
            out.append(Difference(privilege, f"schema {schema}"))
    for oid, privilege in sorted(live.relations, key=lambda pair: (pair[0], _ORDER.index(pair[1]))):
        out += _relation_excess(want, catalog.relations.get(oid), privilege)
    for oid, attnum, privilege in sorted(live.columns):
        permit = want.relations.get(oid, {}).get(privilege)
        if permit is None or (permit.columns is not None and attnum not in permit.columns):
            out.append(Difference(privilege, f"column {_column(catalog, oid, attnum)}"))
    for oid, privilege in sorted(live.sequences):
        relation = catalog.relations.get(oid)
        if relation is not None and privilege not in want.sequences.get(oid, {}):
            out.append(Difference(privilege, f"sequence {relation.qualified}"))
    for oid, name in live.routines:
        if oid in live.executable and oid not in want.functions and oid not in live.support:
            out.append(Difference("EXECUTE", f"routine {name}"))
    return out


def _relation_excess(
    want: RequiredPrivileges, relation: Relation | None, privilege: str
) -> Iterator[Difference]:
    if relation is None:
        return
    permit = want.relations.get(relation.oid, {}).get(privilege)
    if permit is None:
        yield Difference(privilege, relation.qualified)
    elif permit.columns is not None:
        beyond = [c.name for c in relation.columns if c.attnum not in permit.columns]
        why = (
            f"the policy never gives {', '.join(beyond)}"
            if beyond
            else "the policy gives only the columns there are now"
        )
        yield Difference(privilege, f"all of {relation.qualified}", why)


def missing(want: RequiredPrivileges, live: Privileges) -> list[Difference]:
    """What the policy can allow and the role cannot do: such statements fail at the database."""
    catalog = want.catalog
    out = [
        Difference(privilege, f"database {live.database}")
        for privilege in sorted(want.of_database - live.database_privileges)
    ]
    out += [
        Difference("USAGE", f"schema {schema}")
        for schema in sorted(want.schemas)
        if (schema, "USAGE") not in live.schemas
    ]
    for oid, privileges in want.relations.items():
        for privilege, permit in privileges.items():
            if (oid, privilege) in live.relations:
                continue
            if permit.columns is None:
                out.append(Difference(privilege, catalog.relations[oid].qualified))
            else:
                lacking = sorted(
                    n for n in permit.columns if (oid, n, privilege) not in live.columns
                )
                out += [
                    Difference(privilege, f"column {_column(catalog, oid, n)}") for n in lacking
                ]
    for oid, sequence in want.sequences.items():
        out += [
            Difference(privilege, f"sequence {catalog.relations[oid].qualified}")
            for privilege in sequence
            if (oid, privilege) not in live.sequences
        ]
    names = dict(live.routines)
    out += [
        Difference("EXECUTE", f"routine {names.get(oid, oid)}")
        for oid in sorted(want.functions - live.executable)
    ]
    return out


def _column(catalog: CatalogSnapshot, oid: int, attnum: int) -> str:
    relation = catalog.relations.get(oid)
    name = (
        next((c.name for c in relation.columns if c.attnum == attnum), str(attnum))
        if relation
        else str(attnum)
    )
    return f"{relation.qualified if relation else oid}.{name}"


def warnings_of(want: RequiredPrivileges, live: Privileges) -> list[str]:
    """What no GRANT or REVOKE of the script narrows, one sentence each."""
    role = live.role
    out = [f"role {role} {power}" for power in live.powers]
    out += [
        f"role {role} owns {what}: an owner can do anything with it and give privileges back to"
        " itself"
        for what in live.owned
    ]
    out += [
        f"role {role} is a member of {group} and has its privileges too: REVOKE {group} FROM the"
        " role"
        for group in live.memberships
    ]
    out += [
        f"role {role} has privileges on {what}, which are left as they are"
        for what in live.other_objects
    ]
    out += [
        f"default privileges give it more with every new object: ALTER DEFAULT PRIVILEGES {d}"
        for d in live.default_privileges
    ]
    out.append(
        "every new function can be run by PUBLIC until somebody says otherwise: ALTER DEFAULT"
        " PRIVILEGES FOR ROLE (whoever creates functions) REVOKE EXECUTE ON ROUTINES FROM PUBLIC"
    )
    out.append(
        "functions and views of pg_catalog stay as PostgreSQL ships them: over a direct connection"
        " the role can sleep, take advisory locks, make large objects and read pg_stats for what it"
        " may read; the gateway refuses these"
    )
    if live.support - want.functions:
        out.append(
            f"{len(live.support - want.functions)} routines of extensions stay as they are:"
            " operators, casts, indexes and types need them"
        )
    definers = [
        f
        for oid in want.functions
        if (f := want.catalog.functions.get(oid)) is not None and f.security_definer
    ]
    out += [
        f"{f.schema}.{f.name} runs with its owner's privileges (SECURITY DEFINER), whatever the"
        " role may do"
        for f in definers
    ]
    return [*out, *want.notes]
