"""Of every column of a target: is it masked, clear, or clear though it looks personal.

Tables, partitioned and foreign tables and materialized views are listed. Partitions are not, since
their parent's masks are theirs; views are not, since what they show is computed from their tables
as those are masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from sallyport.policy.bound_mask import BoundMask
from sallyport.policy.file.load import REVIEWED_TAG
from sallyport.policy.file.patterns import is_system_schema
from sallyport.policy.personal import personal_columns
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Relation

_LISTED_KINDS = frozenset("rpfm")


class Coverage(Enum):
    """LOOKS_PERSONAL: clear, and its name says that it may hold personal data or a secret."""

    MASKED = "masked"
    CLEAR = "clear"
    LOOKS_PERSONAL = "clear and looks personal"


@dataclass(frozen=True, slots=True)
class ColumnCoverage:
    """``column``: ``schema.relation.column``. ``tags``: of the policy. ``looks_like``: the tag of
    ``pii-default`` that its name hints at. ``masks``: of a masked one, each with for whom and
    except for whom.
    """

    column: str
    type: str
    state: Coverage
    tags: tuple[str, ...] = ()
    looks_like: str = ""
    masks: tuple[str, ...] = ()


def coverage(
    catalog: CatalogSnapshot,
    masks: Iterable[BoundMask],
    column_tags: Mapping[ColumnId, tuple[str, ...]],
) -> list[ColumnCoverage]:
    """One for each column, by schema and relation, in the relation's own order. ``masks``: those of
    the target.
    """
    shown: dict[ColumnId, list[str]] = {}
    for bound in masks:
        for id_ in bound.columns:
            shown.setdefault(id_, []).append(_words(bound))
    relations = sorted(_listed(catalog), key=lambda relation: (relation.schema, relation.name))
    personal = personal_columns(catalog, relations)
    out = []
    for relation in relations:
        for column in relation.columns:
            id_ = ColumnId(relation.oid, column.attnum)
            tags, looks_like = column_tags.get(id_, ()), personal.get(id_, "")
            state = Coverage.MASKED if id_ in shown else Coverage.CLEAR
            if state is Coverage.CLEAR and looks_like and REVIEWED_TAG not in tags:
                state = Coverage.LOOKS_PERSONAL
            type_ = _type_name(catalog, column.type_oid)
            masked = tuple(dict.fromkeys(shown.get(id_, ())))
            name = catalog.column_name(id_)
            out.append(ColumnCoverage(name, type_, state, tags, looks_like, masked))
    return out


def _type_name(catalog: CatalogSnapshot, oid: int) -> str:
    type_ = catalog.types.get(oid)
    if type_ is None:
        return ""
    return f"{_type_name(catalog, type_.element)}[]" if type_.element else type_.name


def _listed(catalog: CatalogSnapshot) -> Iterator[Relation]:
    for relation in catalog.relations.values():
        if relation.kind not in _LISTED_KINDS or is_system_schema(relation.schema):
            continue
        if not any(
            catalog.relations[oid].kind == "p"
            for oid in relation.parents
            if oid in catalog.relations
        ):
            yield relation


def _words(bound: BoundMask) -> str:
    mask = bound.mask
    whom = f" for {mask.subjects.words()}" if mask.subjects.words() != "everybody" else ""
    return mask.spec.kind + whom + (f", except for {mask.exempt.words()}" if mask.exempt else "")


def column_data(column: ColumnCoverage) -> dict[str, Any]:
    """As JSON values: for the command and REST."""
    return asdict(column) | {"state": column.state.value}
