"""Random queries in which names hide names: CTEs, aliases and columns that are called like tables
with masked columns. Where the gateway took a table for something else, the worlds would differ.
"""

from __future__ import annotations

import random

_TABLES = ("small", "keyed", "mm", "pp", "one", "gg")
_EXPRESSIONS = (
    "{}.ssn < 'M'",
    "upper({}.ssn)",
    "{}.ssn",
    "length({}.ssn)",
    "({}).ssn > '5'",
    "max({}.ssn) OVER ()",
)


class Names:
    """Queries of one output column ``ssn``."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def query(self, depth: int = 3) -> str:
        pick = self.dice.choice
        roll = self.dice.random()
        if depth <= 0 or roll < 0.2:
            table = pick(_TABLES)
            return f"SELECT ssn FROM {pick(('', 'public.', 'ONLY '))}{table}"
        if roll < 0.45:
            recursive = pick(("", "RECURSIVE "))
            names = self.dice.sample(_TABLES, self.dice.randrange(1, 3))
            parts = ", ".join(
                f"{name}{pick(('', '(ssn)'))} AS ({self.query(depth - 1)})" for name in names
            )
            return f"WITH {recursive}{parts} {self.query(depth - 1)}"
        if roll < 0.6:
            return (
                f"({self.query(depth - 1)})"
                f" {pick(('UNION', 'UNION ALL', 'EXCEPT ALL', 'INTERSECT'))}"
                f" ({self.query(depth - 1)})"
            )
        return self._select(depth)

    def _select(self, depth: int) -> str:
        pick = self.dice.choice
        sources, aliases = [], self.dice.sample((*_TABLES, "a", "b"), 2)
        for alias in aliases[: self.dice.randrange(1, 3)]:
            inner = self.query(depth - 1)
            source = pick(
                (
                    f"({inner}) {alias}(ssn)",
                    f"({inner}) AS {alias}",
                    f"{pick(_TABLES)} {alias}",
                    f"LATERAL ({inner}) {alias}(ssn)",
                )
            )
            sources.append((source, alias))
        alias = pick(sources)[1]
        where = pick(
            (
                "",
                f" WHERE {alias}.ssn > '5'",
                f" WHERE EXISTS ({self.query(depth - 2)})",
                f" WHERE {alias}.ssn IN ({self.query(depth - 2)})",
            )
        )
        expression = pick(_EXPRESSIONS).format(alias)
        joined = pick((", ", " CROSS JOIN ")).join(source for source, _ in sources)
        return f"SELECT ({expression})::text AS ssn FROM {joined}{where}"


def queries(seed: int, count: int) -> list[str]:
    """Their rows in an order that does not depend on the plan."""
    return [
        f"SELECT ssn, count(*) FROM ({Names(number).query()}) x GROUP BY ssn ORDER BY ssn LIMIT 50"
        for number in range(seed, seed + count)
    ]
