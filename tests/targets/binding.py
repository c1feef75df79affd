"""Whether a policy means the same by a refreshed catalog as by one that was read whole."""

from __future__ import annotations

from sallyport.core.subject import Subject
from sallyport.policy.bind import bind
from sallyport.policy.file.load import parse_policy
from sallyport.sql.catalog.snapshot import CatalogSnapshot

_POLICY = parse_policy(
    """\
version: 1
tags: {numbers: ["public.*.n"], all: ["*.*.a"]}
rules:
  - {name: one, allow: [read], relations: ["public.base", "public.steps_*", "s?.*"]}
  - {name: two, deny: [read], columns: ["*.*.b", "public.h*.a"], tags: [numbers]}
masks:
  - {tags: [numbers, all], columns: ["public.base.*"], with: redact}
  - {columns: ["*.*.b"], with: hash, filter: equality}
  - {columns: ["public.*.n", "s?.*.*"], with: "null", filter: allow}
""",
    "policy.yaml",
)
_SUBJECT = Subject("somebody", "https://issuer.example", frozenset())


def are_bound_alike(
    before: CatalogSnapshot, after: CatalogSnapshot, reread: CatalogSnapshot
) -> bool:
    """Whether what is made of the difference is what is made of a catalog that was read again: a
    bound policy, and names that are retired.
    """
    bound = bind(_POLICY, before, "shop")
    bound.for_subject(_SUBJECT, 0.0)
    ours, theirs = bind(_POLICY, after, "shop", bound), bind(_POLICY, reread, "shop")
    mine, own = (policy.for_subject(_SUBJECT, 0.0).masks for policy in (ours, theirs))
    assert mine == own
    for derived in ("relations", "ordered_relations", "visible", "applied", "compared_relations"):
        assert getattr(mine, derived) == getattr(own, derived)
    gone = {r.name for r in before.relations.values()} - {r.name for r in reread.relations.values()}
    assert (ours.rules, ours.masks, ours.warnings) == (theirs.rules, theirs.masks, theirs.warnings)
    assert dict(ours.column_tags) == dict(theirs.column_tags)
    assert before.retired == frozenset()
    assert after.following(before).retired == gone
    assert after is before or after.changed_relations(before) >= {
        oid
        for oid in before.relations.keys() | after.relations.keys()
        if before.relations.get(oid) != after.relations.get(oid)
    }
    return True
