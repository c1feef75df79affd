"""Masked text may not leave the server as it is where sending it can fail
(:mod:`sallyport.masking.conversions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from sallyport.judge.masked_relations import MaskedRelations
from sallyport.masking.conversions import may_fail_to_be_sent
from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.facts import OutputColumn, StatementFacts
from sallyport.sql.rewrite.ranges import cannot_rewrite


def check_sent(relations: MaskedRelations, facts: StatementFacts, replaced: frozenset[int]) -> None:
    """Raises RefusedError where a masked value would be sent and could not. ``replaced``: OIDs of
    the relations that subselects stand for.
    """
    if facts.kind == "explain":
        return
    inner = facts.inner.columns if facts.inner is not None else None
    outputs = chain(facts.columns or (), inner or ())
    for column in chain.from_iterable(_sent_raw(relations, c, replaced) for c in outputs):
        hint = "Leave the column out of what the statement returns."
        if facts.kind == "copy_out":
            hint = "Use COPY (SELECT ...) TO STDOUT."
        name, encoding = relations.catalog.column_name(column), relations.catalog.encoding
        raise cannot_rewrite(
            f"The server would convert {name} from {encoding} to UTF8 before it is masked, which"
            " fails for some values.",
            hint,
        )


def _sent_raw(
    relations: MaskedRelations, output: OutputColumn, replaced: frozenset[int]
) -> Iterator[ColumnId]:
    """Masked columns that an output shows, where no mask stands at the scan and sending can fail.
    Of a view that policy trusts errors may tell.
    """
    catalog = relations.catalog
    sources = output.sources if output.origin is None else output.sources | {output.origin}
    oids = {source.relation for source in sources}
    if not (output.raw or oids.isdisjoint(replaced)):
        return
    if any(
        oid in catalog.relations and relations.policy.trusts_view(catalog.relations[oid])
        for oid in oids
    ):
        return
    for source in sources & relations.applied.keys():
        column = catalog.column(source)
        if column is None or may_fail_to_be_sent(catalog, column.type_oid):
            yield source
