"""FROM clauses and conditions with subqueries for the generated statements."""

from __future__ import annotations

import random

from tests.differential.grammar import KEYS, TABLES, Expressions, Scope, Source

_JOINS = ("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")


class Sources(Expressions):
    """Makes range variables with aliases of their own, and joins them."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self._names = 0

    def alias(self) -> str:
        self._names += 1
        return f"{self.pick(('p', 'q', 't', 'x'))}{self._names}"

    def table(self, name: str = "") -> tuple[str, Source]:
        """A relation with an alias, sometimes its own name; sometimes with a list of column
        names.
        """
        name = name or self.pick(("people",) * 6 + tuple(TABLES))
        only = "ONLY " if name == "docs" and self.chance(40) else ""
        schema = "public." if self.chance(15) else ""
        alias = self.alias()
        columns, keys = dict(TABLES[name]), KEYS[name]
        as_ = self.pick((" AS ", " "))
        if self.chance(10):
            renamed = {
                column: f"{column}_"
                for column in list(columns)[: self.dice.randrange(1, len(columns))]
            }
            columns = {renamed.get(column, column): kind for column, kind in columns.items()}
            keys = tuple(renamed.get(key, key) for key in keys)
            return f"{only}{schema}{name}{as_}{alias} ({', '.join(renamed.values())})", Source(
                alias, columns, keys
            )
        return f"{only}{schema}{name}{as_}{alias}", Source(alias, columns, keys)

    def item(self, outer: Scope, depth: int) -> tuple[str, Source]:
        """A relation, a subquery or a function."""
        if depth > 0 and self.chance(18):
            return self.subquery(depth - 1)
        if self.chance(4):
            alias = self.alias()
            return f"(VALUES (1, 'Oslo'), (2, 'a***@example.org')) AS {alias} (n, w)", Source(
                alias, {"n": "int", "w": "text"}, ("n",)
            )
        return self.table()

    def subquery(self, depth: int) -> tuple[str, Source]:
        """A derived table with some columns of its own."""
        source, scope = self.sources(depth, maximum=1)
        alias = self.alias()
        columns: dict[str, str] = {}
        outputs = []
        for key in scope.keys:
            columns[f"k{len(columns)}"] = "int" if not key.endswith("domain") else "text"
            outputs.append(f"{key} AS k{len(columns) - 1}")
        keys = tuple(columns)
        for _ in range(self.dice.randrange(1, 4)):
            kind = self.pick(("text", "int", "num", "date"))
            columns[f"c{len(columns)}"] = kind
            outputs.append(f"{self.value(kind, scope, 1)} AS c{len(columns) - 1}")
        where = f" WHERE {self.value('bool', scope, 1)}" if self.chance(50) else ""
        return f"(SELECT {', '.join(outputs)} FROM {source}{where}) AS {alias}", Source(
            alias, columns, keys
        )

    def sources(self, depth: int = 1, maximum: int = 3) -> tuple[str, Scope]:
        """A FROM clause and its scope."""
        text, first = self.item(Scope(), depth)
        scope = Scope([first])
        for _ in range(self.dice.choice((0, 0, 1, 1, 2)) if maximum > 1 else 0):
            if len(scope.sources) >= maximum:
                break
            text = self.joined(text, scope, depth)
        return text, scope

    def joined(self, text: str, scope: Scope, depth: int) -> str:
        """One more join; adds to the scope."""
        if self.chance(14):
            return self.lateral(text, scope)
        item, source = self.item(scope, depth)
        condition = self.condition(scope, source)
        join = self.pick(_JOINS)
        scope.sources.append(source)
        if self.chance(8):
            return (
                f"{text}, {item}"
                if not condition
                else (
                    f"{text} CROSS JOIN {item}"
                    if self.chance(30)
                    else f"{text} JOIN {item} ON {condition}"
                )
            )
        if join == "FULL JOIN" and not _mergeable(condition):
            join = "LEFT JOIN"
        return f"{text} {join} {item} ON {condition}"

    def condition(self, scope: Scope, source: Source) -> str:
        """An equality of like columns, sometimes with more."""
        pairs = [
            (f"{left.alias}.{name}", f"{source.alias}.{column}")
            for left in scope.sources
            for name, kind in left.columns.items()
            for column, right in source.columns.items()
            if kind == right and kind in ("int", "text", "date") and _alike(name, column)
        ]
        if not pairs:
            return f"{self.value('bool', Scope([*scope.sources, source]), 1)}"
        left, right = self.dice.choice(pairs)
        extra = f" AND {self.value('bool', Scope([source]), 1)}" if self.chance(25) else ""
        return f"{left} = {right}{extra}"

    def lateral(self, text: str, scope: Scope) -> str:
        item, source = self.table(self.pick(("items", "visits", "docs", "people")))
        alias = self.alias()
        inner = Scope([source])
        join = self.condition(scope, source)
        body = (
            f"SELECT count(*) AS n, max({self.value('text', inner, 1)}) AS m FROM {item} WHERE"
            f" {join}"
        )
        scope.sources.append(Source(alias, {"n": "int", "m": "text"}, ("n", "m"), row=False))
        return f"{text} CROSS JOIN LATERAL ({body}) AS {alias}"

    def predicate(self, scope: Scope, depth: int = 2) -> str:
        """A WHERE condition, sometimes with a subquery."""
        if not self.chance(30):
            return self.value("bool", scope, depth)
        item, source = self.table()
        inner = Scope([source])
        both = self.condition(scope, source)
        text = self.value("text", scope, 1)
        forms = (
            f"EXISTS (SELECT 1 FROM {item} WHERE {both})",
            f"NOT EXISTS (SELECT * FROM {item} WHERE {both} AND {self.value('bool', inner, 1)})",
            f"{text} IN (SELECT {self.value('text', inner, 1)} FROM {item})",
            (
                f"{text} >= ALL (SELECT {self.value('text', inner, 0)} FROM {item} WHERE"
                f" {self.value('bool', inner, 1)})"
            ),
            (
                f"{self.value('int', scope, 1)} = ANY (SELECT {self.value('int', inner, 1)} FROM"
                f" {item})"
            ),
            f"{text} < (SELECT max({self.value('text', inner, 1)}) FROM {item} WHERE {both})",
            f"({text}, 1) IN (SELECT {self.value('text', inner, 0)}, 1 FROM {item})",
            (
                f"{self.value('int', scope, 0)} < (SELECT count({self.any_value(inner, 1)}) FROM"
                f" {item})"
            ),
            f"{text} = ANY (ARRAY(SELECT {self.value('text', inner, 0)} FROM {item}))",
        )
        return self.pick(forms)


def _alike(left: str, right: str) -> bool:
    """Whether two columns are worth joining: the same name, or both ids of people."""
    ids = {"id", "person_id", "owner_id", "k0"}
    names = {left.rstrip("_"), right.rstrip("_")}
    return names <= ids or (len(names) == 1 and names <= {"email", "team_id", "city", "level",
    "name", "domain"}) or names in (
        {"email", "lead_email"}, {"email", "first_email"}, {"domain", "email"}, {"c1", "email"},
    )  # fmt: skip


def _mergeable(condition: str) -> bool:
    """A FULL JOIN needs an equality alone."""
    return (
        " AND " not in condition
        and " = " in condition
        and condition.count(".") == 2
        and "(" not in condition
    )
