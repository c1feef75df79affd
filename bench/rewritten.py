"""What masks at the scan cost: a statement that the gateway rewrites, against the same text with
the masks written by hand.

Both go through the same gateway: the first as a subject with a mask on e-mail, the second, which
holds the mask's expression in a subselect, as a subject without masks.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.gateway import Gateway

from bench import workloads
from bench.contenders import Contender
from sallyport.masking.sqlmasks import mask_expression
from sallyport.policy.decision import MaskSpec
from sallyport.sql.catalog.snapshot import Type

BY_HAND = "by hand"
_TEXT = 25
_TYPES: Mapping[int, Type] = {_TEXT: Type(_TEXT, "pg_catalog", "text", "b", "S")}
_PEOPLE = "people"
_POINT = (
    "\\set who random(1, :rows)\nSELECT id, name, email FROM {people} WHERE id = :who AND email"
    " LIKE 'p%';\n"
)
_ALL = "SELECT id, name, email || '' AS email FROM {people}"


def ways(gateway: Gateway) -> list[Contender]:
    """The two ways, by hand first."""
    return [
        Contender(BY_HAND, _plain(gateway.dsn(gateway.token("paul-privacy"))), gateway.rss),
        Contender("Sallyport", _plain(gateway.dsn()), gateway.rss),
    ]


def _plain(dsn: str) -> str:
    """Without TLS, which the wheel's pgbench cannot do."""
    return f"{dsn.partition('?')[0]}?sslmode=disable"


def point(way: Contender, mode: str, seconds: float, rows: int) -> float:
    """Transactions per second of point SELECTs, 8 clients. RuntimeError when one fails."""
    return workloads.pgbench(
        way, _POINT.format(people=_source(way)), mode, 8, seconds, rows
    ).per_second


def scan(way: Contender, rows: int) -> float:
    """Rows per second of a SELECT of all rows, computed with the mask's value."""
    return rows / workloads.fetch_all(way, rows, _ALL.format(people=_source(way))).seconds


def _source(way: Contender) -> str:
    if way.name != BY_HAND:
        return _PEOPLE
    masked = mask_expression(MaskSpec("email"), "t.email", _TEXT, _TYPES)
    return f"(SELECT t.id, t.name, {masked} AS email FROM {_PEOPLE} AS t) AS {_PEOPLE}"
