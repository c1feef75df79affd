"""Random SELECTs, and a few writes, over schema.sql. A seed gives the same statements on every
machine.

Every ORDER BY with a LIMIT, DISTINCT ON or window that could choose is total, so that the answer is
determined.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.differential.grammar import KEYS, PERSON, SORTABLE, TABLES, Scope, Source
from tests.differential.sources import Sources

_AGGREGATED = ("text", "text", "int", "num", "date")


def statements(seed: int, count: int) -> Iterator[str]:
    """``count`` statements."""
    for number in range(count):
        yield Generator(random.Random(f"{seed}/{number}")).statement()


class Generator(Sources):
    """Makes one statement."""

    def statement(self) -> str:
        makers = (
            (self.rows, 26), (self.groups, 18), (self.windows, 9), (self.distinct, 6),
            (self.set_operation, 9),
            (self.whole_rows, 10), (self.stars, 7), (self.locks, 3), (self.with_queries, 7),
            (self.writes, 5),
        )  # fmt: skip
        return self.dice.choices([maker for maker, _ in makers], [weight for _, weight in makers])[
            0
        ]()

    def where(self, scope: Scope, percent: int = 60) -> str:
        return f" WHERE {self.predicate(scope)}" if self.chance(percent) else ""

    def order(self, scope: Scope, lead: str = "") -> str:
        """A total ORDER BY with a LIMIT perhaps; "" where the rows have no key."""
        keys = scope.keys
        if not keys:
            return ""
        leads = [lead] if lead else []
        text = f" ORDER BY {', '.join([*leads, *keys])}"
        if self.chance(40):
            text += self.pick(
                (
                    f" LIMIT {self.dice.randrange(1, 30)}",
                    f" OFFSET {self.dice.randrange(5)} LIMIT 10",
                    " FETCH FIRST 7 ROWS ONLY",
                )
            )
        return text

    def rows(self) -> str:
        source, scope = self.sources()
        outputs = [self.any_value(scope, 2) for _ in range(self.dice.randrange(1, 4))] + scope.keys
        if self.chance(35):
            outputs.append(self.scalar(scope))
        columns = scope.columns(*_all_kinds())
        outputs += self.dice.sample(columns, min(3, len(columns)))
        lead = (
            f"{self.any_value(scope, 1)} {self.pick(('', 'DESC', 'NULLS FIRST'))}"
            if self.chance(60)
            else ""
        )
        if lead.startswith(("'", "1", "date '")):
            lead = ""
        return (
            f"SELECT {', '.join(self.named(outputs))} FROM"
            f" {source}{self.where(scope)}{self.order(scope, lead.strip())}"
        )

    def scalar(self, scope: Scope) -> str:
        item, source = self.table()
        inner = Scope([source])
        aggregate = self.pick(
            (
                f"max({self.value('text', inner, 1)})",
                "count(*)",
                f"count(DISTINCT {self.value('text', inner, 1)})",
            )
        )
        return f"(SELECT {aggregate} FROM {item} WHERE {self.condition(scope, source)})"

    def named(self, outputs: list[str]) -> list[str]:
        """Some get names of their own."""
        return [f"{text} AS o{i}" if self.chance(50) else text for i, text in enumerate(outputs)]

    def aggregate(self, scope: Scope) -> str:
        kind = self.pick(_AGGREGATED)
        value = self.value(kind, scope, 1)
        text = self.value("text", scope, 1)
        number = self.value("int" if kind == "text" else "num", scope, 1)
        forms = [
            "count(*)", f"count({value})", f"count(DISTINCT {value})", f"min({value})",
            f"max({value})", f"sum({number})",
            f"round(avg({number}), 2)", f"string_agg({text}, ',' ORDER BY {text})",
            f"string_agg(DISTINCT {text}, ';')",
            f"array_agg({value} ORDER BY {value})", f"array_agg(DISTINCT {value})",
            f"bool_or({self.value('bool', scope, 1)})",
            f"every({self.value('bool', scope, 1)})", f"json_agg({text} ORDER BY {text})",
            f"mode() WITHIN GROUP (ORDER BY {text})",
            f"percentile_disc(0.5) WITHIN GROUP (ORDER BY {number})", f"jsonb_agg(DISTINCT {text})",
        ]  # fmt: skip
        form = self.pick(forms)
        return f"{form} FILTER (WHERE {self.value('bool', scope, 1)})" if self.chance(20) else form

    def groups(self) -> str:
        source, scope = self.sources()
        aggregates = [self.aggregate(scope) for _ in range(self.dice.randrange(1, 4))]
        style = self.dice.randrange(5)
        if style == 0:
            return f"SELECT {', '.join(self.named(aggregates))} FROM {source}{self.where(scope)}"
        if style == 1:
            return self.by_primary_key(aggregates)
        columns = scope.columns(*SORTABLE)
        keys = self.dice.sample(columns, min(len(columns), self.dice.randrange(1, 3)))
        keys.append(self.value(self.pick(("text", "text", "int", "date")), scope, 2))
        keys = [
            key
            for key in dict.fromkeys(keys)
            if key[0] not in "'0123456789" and not key.startswith("date '")
        ] or columns[:1]
        if not keys:
            return f"SELECT {', '.join(aggregates)} FROM {source}"
        numbers = ", ".join(str(i + 1) for i in range(len(keys)))
        grouping = {
            2: numbers, 3: ", ".join(keys),
            4: self.pick((f"ROLLUP ({', '.join(keys)})", f"CUBE ({', '.join(keys)})",
            f"GROUPING SETS (({', '.join(keys)}), ({keys[0]}), ())")),
        }[style]  # fmt: skip
        extra = [f"grouping({', '.join(keys)})"] if style == 4 else []
        having = (
            f" HAVING count({self.value('text', scope, 1)}) {self.pick(('>', '>=', '<'))}"
            f" {self.dice.randrange(1, 4)}"
            if self.chance(25)
            else ""
        )
        order = (
            f" ORDER BY {numbers}{', ' + str(len(keys) + 1) if extra else ''}"
            if self.chance(60)
            else ""
        )
        outputs = [*keys, *extra, *aggregates]
        return (
            f"SELECT {', '.join(outputs)} FROM {source}{self.where(scope, 40)} GROUP BY"
            f" {grouping}{having}{order}"
        )

    def by_primary_key(self, aggregates: list[str]) -> str:
        """What frameworks write: grouped by the key, the row's columns beside it."""
        name = self.pick(("people", "people", "teams"))
        alias, key = self.alias(), KEYS[name][0]
        item, source = self.table(
            self.pick(("items", "visits", "docs")) if name == "people" else "people"
        )
        join = (
            f"{source.alias}.{_first(source, PERSON if name == 'people' else {}, 'team_id')} ="
            f" {alias}.{key}"
        )
        scope = Scope([Source(alias, TABLES[name], (key,))])
        columns = self.dice.sample(scope.columns(*_all_kinds()), 3)
        if self.chance(15):
            columns.append(
                self.pick(
                    (alias, f"to_jsonb({alias})", f"{alias}.note" if name == "people" else alias)
                )
            )
        values = [
            f"count({source.alias}.{next(iter(source.columns))})",
            f"max({self.value('text', Scope([source]), 1)})",
        ]
        outputs = [f"{alias}.{key}", *columns, self.value("text", scope, 1), *values]
        order = f" ORDER BY {alias}.{key}"
        return (
            f"SELECT {', '.join(outputs)} FROM {name} {alias} LEFT JOIN {item} ON {join} GROUP BY"
            f" {alias}.{key}{order}"
        )

    def windows(self) -> str:
        source, scope = self.sources()
        keys = scope.keys
        text, number = self.value("text", scope, 1), self.value("int", scope, 1)
        partition = f"PARTITION BY {self.value('text', scope, 1)} " if self.chance(50) else ""
        calls = [
            "count(*)",
            "rank()",
            "dense_rank()",
            f"sum({number})",
            f"max({text})",
            f"count({text})",
        ]
        by = text
        if keys:
            by = f"{text}, {', '.join(keys)}"
            calls += [
                "row_number()",
                "ntile(4)",
                f"lag({text})",
                f"lead({text}, 2, 'none')",
                f"first_value({text})",
                f"last_value({text})",
            ]
        frame = self.pick(("", "", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW" if keys else ""))
        outputs = [f"{self.pick(calls)} OVER w" for _ in range(2)] + [
            f"{self.pick(calls)} OVER ({partition}ORDER BY {by})"
        ]
        definition = f"{partition}ORDER BY {by}{frame}"
        return (
            f"SELECT {', '.join([*keys, *outputs])} FROM {source}{self.where(scope, 40)} WINDOW w"
            f" AS ({definition}){self.order(scope)}"
        )

    def distinct(self) -> str:
        source, scope = self.sources()
        if scope.keys and self.chance(50):
            key = self.value("text", scope, 1)
            outputs = [key, *scope.keys, self.any_value(scope, 1)]
            key = "1"
            return (
                f"SELECT DISTINCT ON ({key}) {', '.join(outputs)} FROM {source}{self.where(scope)}"
                f" ORDER BY {key}, {', '.join(scope.keys)}"
            )
        outputs = [self.any_value(scope, 1) for _ in range(2)] + self.dice.sample(
            scope.columns(*SORTABLE), 1
        )
        return (
            f"SELECT DISTINCT {', '.join(outputs)} FROM {source}{self.where(scope)} ORDER BY 1,"
            " 2, 3"
        )

    def set_operation(self) -> str:
        kinds = [
            self.pick(("text", "int", "num", "date")) for _ in range(self.dice.randrange(1, 3))
        ]
        parts = []
        for _ in range(self.dice.randrange(2, 4)):
            source, scope = self.sources(maximum=2)
            outputs = [self.value(kind, scope, 2) for kind in kinds]
            parts.append(
                f"SELECT {', '.join(f'{o} AS o{i}' for i, o in enumerate(outputs))} FROM"
                f" {source}{self.where(scope)}"
            )
        text = parts[0]
        for part in parts[1:]:
            operator = self.pick(
                ("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL", "UNION")
            )
            text = f"{text} {operator} {part}"
        order = ", ".join(str(i + 1) for i in range(len(kinds)))
        return f"{text} ORDER BY {order}{' LIMIT 20' if self.chance(20) else ''}"

    def whole_rows(self) -> str:
        source, scope = self.sources(maximum=2)
        rows = [s for s in scope.sources if s.row]
        row = self.dice.choice(rows).alias if rows else scope.sources[0].alias
        text = self.value("text", scope, 1)
        forms = [
            f"row_to_json({row})", f"to_jsonb({row}) - 'doc'", f"{row}::text", f"count({row})",
            f"{row} IS NULL", f"{row} IS NOT NULL",
            f"jsonb_build_object('a', {text}, 'b', {self.any_value(scope, 1)})",
            f"json_build_array({text}, {row})", f"({row}).*",
            f"to_json({row})->>'email'", f"ROW({text}, {row})::text", f"md5({row}::text)", f"{row}",
            f"format('%s', {row})",
            f"(SELECT count(*) FROM jsonb_each_text(to_jsonb({row})))",
            f"array_to_json(ARRAY[{row}])", f"row({row}.*)::text",
        ]  # fmt: skip
        aggregates = [f"count({row})", f"count(DISTINCT {row}::text)"]
        if scope.keys:
            keys = ", ".join(scope.keys)
            aggregates += [f"json_agg({row} ORDER BY {keys})",
            f"jsonb_agg(to_jsonb({row}) ORDER BY {keys})",
                           (f"json_object_agg({scope.keys[0]}, {text} ORDER BY {keys}) FILTER"
                            f" (WHERE {scope.keys[0]} IS NOT NULL)")]  # fmt: skip
        if self.chance(25):
            return f"SELECT {self.pick(aggregates)} FROM {source}{self.where(scope)}"
        form = self.pick([form for form in forms if not form.startswith("count(")])
        return (
            f"SELECT {', '.join([form, *scope.keys])} FROM"
            f" {source}{self.where(scope)}{self.order(scope)}"
        )

    def stars(self) -> str:
        style = self.dice.randrange(7)
        if style == 0:
            left, right = (
                self.pick(("people", "v_people")),
                self.pick(("teams", "v_team_people", "m_people")),
            )
            return f"SELECT * FROM {left} NATURAL {self.pick(('', 'LEFT ', 'FULL '))}JOIN {right}"
        if style == 1:
            return (
                f"SELECT * FROM people {self.pick(('', 'LEFT ', 'FULL '))}JOIN items USING (email)"
            )
        if style == 2:
            return (
                "SELECT team_id, email, j.* FROM (people JOIN teams USING (team_id)) AS j WHERE"
                f" j.level < {self.dice.randrange(6)}"
            )
        if style == 3:
            return (
                f"SELECT email, count(*) FROM v_people {self.pick(('', 'LEFT '))}JOIN m_people"
                " USING (id, email) GROUP BY email ORDER BY 1"
            )
        if style == 4:
            return self.pick(
                (
                    "TABLE v_people",
                    "TABLE docs",
                    "TABLE visits_2024",
                    "TABLE m_people",
                    "TABLE teams",
                )
            )
        source, scope = self.sources(maximum=2)
        alias = self.dice.choice(scope.sources).alias
        star = self.pick(("*", f"{alias}.*", f"{alias}.*, {self.any_value(scope, 1)}"))
        return f"SELECT {star} FROM {source}{self.where(scope)}{self.order(scope)}"

    def locks(self) -> str:
        item, source = self.table(self.pick(("people", "people", "items", "teams", "docs")))
        scope = Scope([source])
        outputs = [*scope.keys, self.value("text", scope, 1), self.any_value(scope, 1)]
        lock = self.pick(
            (
                "FOR UPDATE",
                "FOR SHARE",
                f"FOR UPDATE OF {source.alias}",
                "FOR NO KEY UPDATE NOWAIT",
                "FOR KEY SHARE SKIP LOCKED",
            )
        )
        return (
            f"SELECT {', '.join(outputs)} FROM {item} WHERE {self.value('bool', scope, 1)} ORDER BY"
            f" {', '.join(scope.keys)} {lock}"
        )

    def with_queries(self) -> str:
        inner, first = self.sources(maximum=2)
        keys = first.keys
        outputs = [
            f"{self.value('text', first, 2)} AS a",
            f"{self.value('int', first, 1)} AS b",
            f"{(keys or ['1'])[0]} AS k",
        ]
        materialized = self.pick(("", "", "MATERIALIZED ", "NOT MATERIALIZED "))
        head = (
            f"WITH w AS {materialized}(SELECT {', '.join(outputs)} FROM {inner}{self.where(first)})"
        )
        style = self.dice.randrange(4)
        if style == 0:
            return f"{head} SELECT a, count(*), sum(b) FROM w GROUP BY a ORDER BY a"
        if style == 1:
            item, source = self.table("people")
            return (
                f"{head} SELECT w.a, w.b, {source.alias}.{source.keys[0]} FROM w JOIN {item} ON"
                f" {source.alias}.{source.keys[0]} = w.b"
            )
        if style == 2:
            return (
                f"{head}, v AS (SELECT a, max(b) AS b FROM w GROUP BY a) SELECT w.a, v.b FROM w"
                " LEFT JOIN v USING (a) WHERE w.b <= v.b"
            )
        return (f"WITH RECURSIVE r (n, e) AS (SELECT id, email FROM people WHERE id ="
                f" {self.dice.randrange(1, 9)} UNION ALL"
                f" SELECT p.id, p.email ||"
                f" {self.value('text', Scope([Source('p', TABLES['people'])]), 1)} FROM r JOIN"
                f" people p ON p.id = r.n + 7)"
                f" SELECT n, left(e, 200) FROM r ORDER BY n")  # fmt: skip

    def writes(self) -> str:
        people = Scope([Source("p", TABLES["people"], ("id",))])
        test, text = self.value("bool", people, 1), self.value("text", people, 1)
        return self.pick((
            (f"UPDATE items SET amount = amount + 1 FROM people p WHERE p.id = items.person_id AND"
             f" {test} RETURNING item_id, amount, {text}"),
            (f"DELETE FROM items USING people p WHERE p.id = items.person_id AND {test} RETURNING"
             f" item_id, p.email, {text}"),
            (f"INSERT INTO journal (entry_id, person_id, amount) SELECT 1000 + p.id, p.id, p.level"
             f" FROM people p WHERE {test} RETURNING *"),
            (f"UPDATE journal SET amount = 0 WHERE person_id IN (SELECT p.id FROM people p WHERE"
             f" {test}) RETURNING entry_id"),
            (f"WITH gone AS (DELETE FROM journal WHERE amount > 20 RETURNING entry_id, person_id)"
             f" SELECT gone.entry_id, {text} FROM gone JOIN people p ON p.id = gone.person_id"),
            (f"UPDATE people SET city = 'Bern' WHERE id < {self.dice.randrange(2, 9)} RETURNING id,"
             f" city, email, birth"),
            (f"DELETE FROM journal j WHERE EXISTS (SELECT 1 FROM people p WHERE p.id = j.person_id"
             f" AND {test})"),
            ("INSERT INTO journal SELECT 2000 + t.team_id, NULL, t.region, 1 FROM teams t WHERE"
             " t.lead_email IS NOT NULL ON CONFLICT DO NOTHING RETURNING entry_id"),
        ))  # fmt: skip


def _all_kinds() -> tuple[str, ...]:
    return (*SORTABLE, "float", "citext", "texts", "jsonb", "inet", "bytea")


def _first(source: Source, columns: dict[str, str], fallback: str) -> str:
    names = [
        name
        for name in source.columns
        if name.rstrip("_") in {*columns.values(), fallback} and name.rstrip("_") != "id"
    ]
    return names[0] if names else next(iter(source.columns))
