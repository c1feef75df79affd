"""Random statements that PostgreSQL accepts and the gateway mostly allows: every shape of a query
and of a write, with masked columns where they may be, and now and then (``bait``) where they may
not. What is refused every time proves nothing.
"""

from __future__ import annotations

import random

Column = tuple[str, str, bool]  # name, kind, masked

_P, _M = False, True
#: Relation to its columns. ``id`` is common to most, so that USING and NATURAL join by it.
RELATIONS: dict[str, list[Column]] = {
    "people": [
        ("id", "int", _P), ("name", "text", _P), ("city", "text", _P), ("age", "int", _P),
        ("joined", "date", _P), ("active", "bool", _P), ("ssn", "text", _M),
        ("email", "text", _M), ("phone", "text", _M), ("salary", "int", _M), ("small", "int", _M),
        ("birth", "date", _M), ("flag", "bool", _M),
        ("doc", "json", _M), ("tags", "array", _M), ("balance", "number", _M),
        ("rating", "float", _M), ("token", "other", _M), ("blob", "other", _M),
    ],
    "cards": [("id", "int", _P), ("holder", "text", _P), ("number", "text", _M),
        ("pin", "int", _M)],
    "orders": [("id", "int", _P), ("person_id", "int", _P), ("note", "text", _P),
        ("amount", "int", _P), ("placed", "date", _P)],
    "notes": [("id", "int", _P), ("title", "text", _P), ("body", "text", _P), ("tags", "array", _P),
        ("doc", "json", _P)],
    "v_people": [("id", "int", _P), ("name", "text", _P), ("s", "text", _M), ("pay", "int", _M)],
    "v_nested": [("key", "int", _P), ("shown", "text", _M), ("pay", "int", _M)],
    "v_public": [("id", "int", _P), ("name", "text", _P), ("city", "text", _P)],
    "v_union": [("id", "int", _P), ("t", "text", _M)],
    "v_case": [("id", "int", _P), ("maybe", "text", _M)],
    "mv_people": [("id", "int", _P), ("name", "text", _P), ("code", "text", _M),
        ("double", "int", _M)],
    "gen": [("id", "int", _P), ("ssn", "text", _M), ("last4", "text", _M), ("size", "int", _M)],
    "ledger": [("id", "int", _P), ("note", "text", _P), ("amount", "int", _P),
        ("secret", "int", _M), ("total", "int", _M)],
    "events": [("id", "int", _P), ("day", "date", _P), ("kind", "text", _P),
        ("secret", "text", _M)],
    "grandchild": [("id", "int", _P), ("more", "text", _P), ("pin", "text", _M),
        ("extra", "text", _M)],
}  # fmt: skip
#: What cannot fail, over any column.
_HARMLESS = {
    "text": ("{}", "{}", "upper({})", "{} || 'x'", "coalesce({}, 'none')", "left({}, 3)", "md5({})",
        "length({})", "({} = 'x')", "({} IS NULL)", "concat({}, 1)",
             "nullif({}, 'x')", "greatest({}, 'm')", "reverse({})", "quote_literal({})",
             "({} LIKE 'a%')", "to_jsonb({})", "split_part({}, 'a', 1)", "({})::varchar(3)",
             "starts_with({}, 'a')", "({} < 'm')", "ARRAY[{}, 'x']", "ROW({}, 1)",
             "(ARRAY[{}, 'y'])[1]", "(ROW({}, 1)).f1", "md5({} COLLATE \"C\")"),
    "int": ("{}", "{}", "({} > 5)", "({})::text", "({} IS NULL)", "({})::bigint", "coalesce({}, 0)",
        "to_jsonb({})", "({} BETWEEN 1 AND 5)", "least({}, 3)", "({} = ANY (ARRAY[1, 2]))",
            "({})::float8", "num_nulls({})", "({} IN (1, 2, 3))", "ARRAY[{}]", "({} % 7)",
            "({} / 3)", "sign({})"),
    "date": ("{}", "({})::text", "({} > '2000-01-01')", "coalesce({}, '2000-01-01')",
        "to_jsonb({})", "extract(year FROM {})", "({} IS DISTINCT FROM '2024-03-12')",
        "isfinite({})"),
    "bool": ("{}", "(NOT {})", "({} AND true)", "({} IS TRUE)", "({})::text", "coalesce({}, false)",
        "({} OR NULL)"),
    "json": ("{}", "({} -> 'k')", "({})::text", "jsonb_typeof({})", "({} ->> 'k')", "({} ? 'k')",
        "jsonb_strip_nulls({})"),
    "array": ("{}", "array_to_string({}, ',')", "({})[1]", "({})::text", "cardinality({})",
        "('a' = ANY ({}))", "({} IS NULL)"),
    "number": ("{}", "({})::text", "({} > 5)", "coalesce({}, 0)", "abs({})"),
    "float": ("{}", "({})::text", "({} > 5)", "coalesce({}, 0)", "abs({})"),
    "other": ("{}", "({})::text", "({} IS NULL)"),
}  # fmt: skip
_CONDITIONS = {
    "text": ("{} > 'C'", "{} LIKE '%a%'", "{} IN ('Oslo', 'Ada', 'title 1')", "length({}) > 3",
        "{} IS NOT NULL", "{} <> ''", "{} ~ 'a'"),
    "int": ("{} > 2", "{} BETWEEN 1 AND 30", "{} IN (1, 2, 30)", "{} % 2 = 0", "{} <> 3",
        "{} = ANY ('{{1,2,3,4}}')"),
    "date": ("{} > '2024-03-12'", "{} IS NOT NULL", "extract(month FROM {}) = 3"),
    "bool": ("{}", "NOT {}", "{} IS TRUE"),
    "json": ("{} IS NOT NULL", "{} @> '{{\"a\": [1]}}'"),
    "array": ("{} IS NOT NULL", "{} @> '{{a}}'"),
}  # fmt: skip
_AGGREGATES = {
    "text": ("max({})", "min({})", "count({})", "array_agg({})", "string_agg({}, ',')",
        "json_agg({})", "count(DISTINCT {})", "max({}) FILTER (WHERE {c})",
        "array_agg({} ORDER BY {k})"),
    "int": ("max({})", "min({})", "count({})", "array_agg({})", "jsonb_agg({})", "sum({})",
        "avg({})", "bit_or({})", "count({}) FILTER (WHERE {c})"),
    "date": ("max({})", "min({})", "count({})", "array_agg({})"),
    "bool": ("bool_or({})", "bool_and({})", "count({})", "every({})"),
}  # fmt: skip
_WINDOWS = (
    "max({}) OVER w",
    "count({}) OVER w",
    "first_value({}) OVER w",
    "lag({}) OVER w",
    "lead({}, 1) OVER w",
    "nth_value({}, 2) OVER w",
    "last_value({}) OVER w",
)
_FRAMES = ("", "", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
    " ROWS 2 PRECEDING EXCLUDE CURRENT ROW", " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
    " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")  # fmt: skip


class Shapes:
    """``bait``: how often a masked column is put where it decides about rows."""

    def __init__(self, dice: random.Random, major: int, bait: float = 0.04) -> None:
        self.dice, self.major, self.bait = dice, major, bait
        self.columns: list[Column] = []

    def one(self, *options: str) -> str:
        return self.dice.choice(options)

    def often(self, probability: float) -> bool:
        return self.dice.random() < probability

    # parts

    def columns_of(self, relation: str, alias: str) -> list[Column]:
        return [(f"{alias}.{name}", kind, masked) for name, kind, masked in RELATIONS[relation]]

    def column(self, masked: bool | None = None, kinds: tuple[str, ...] = ()) -> Column:
        fitting = [
            c
            for c in self.columns
            if (masked is None or c[2] == masked) and (not kinds or c[1] in kinds)
        ]
        return self.dice.choice(fitting or [c for c in self.columns if not c[2]])

    def output(self, masked: bool | None = None) -> str:
        name, kind, _ = self.column(masked)
        text = self.dice.choice(_HARMLESS[kind]).format(name)
        if self.often(0.15):
            text = f"CASE WHEN {self.condition()} THEN {text} END"
        return text

    def outputs(self, most: int = 4) -> str:
        return ", ".join(
            f"{self.output()} AS o{n}" for n in range(self.dice.randrange(1, most + 1))
        )

    def condition(self) -> str:
        masked = self.often(self.bait)
        name, kind, _ = self.column(masked, tuple(_CONDITIONS))
        text = self.dice.choice(_CONDITIONS[kind]).format(name)
        if self.often(0.2):
            operand, kind, _ = self.column(False, tuple(_CONDITIONS))
            text = (
                f"({text} {self.one('AND', 'OR')}"
                f" {self.dice.choice(_CONDITIONS[kind]).format(operand)})"
            )
        elif self.often(0.08):
            text = self.one((f"EXISTS (SELECT FROM orders x WHERE x.person_id = {self.key()} AND"
                             f" x.amount > 5)"), f"{self.key()} IN (SELECT x.id FROM notes x)",
                            f"(SELECT count(*) FROM orders x WHERE x.person_id = {self.key()}) > 1",
                            f"({self.key()}, 1) IN (SELECT x.id, 1 FROM orders x)")  # fmt: skip
        return text

    def key(self) -> str:
        return self.column(self.often(self.bait), ("int",))[0]

    def where(self) -> str:
        return f" WHERE {self.condition()}" if self.often(0.6) else ""

    def tail(self) -> str:
        keys = [
            self.column(self.often(self.bait / 2), ("int", "text"))[0]
            for _ in range(self.dice.randrange(1, 3))
        ]
        order = f" ORDER BY {', '.join(keys)}"
        limit = self.one(
            "", "", " LIMIT 3", " OFFSET 1", " FETCH FIRST 2 ROWS WITH TIES", " LIMIT (SELECT 2)"
        )
        return order + limit if self.often(0.7) else ""

    def source(self) -> str:
        """FROM, and what it makes visible."""
        roll = self.dice.random()
        first = self.dice.choice(list(RELATIONS))
        if roll < 0.45:
            self.columns = self.columns_of(first, "a")
            return f"{first} a"
        second = self.dice.choice([r for r in RELATIONS if r not in ("v_nested", first)])
        first = first if first != "v_nested" else "people"
        self.columns = self.columns_of(first, "a") + self.columns_of(second, "b")
        if roll < 0.6:
            return (
                f"{first} a {self.one('JOIN', 'LEFT JOIN', 'FULL JOIN', 'RIGHT JOIN')} {second} b"
                " USING (id)"
            )
        if roll < 0.75:
            return (
                f"{first} a {self.one('JOIN', 'LEFT JOIN')} {second} b ON {self.key()} = b.id AND"
                f" {self.condition()}"
            )
        if roll < 0.8:
            names = ", ".join(
                c[0].partition(".")[2] for c in self.columns_of(second, "b") if not c[2]
            )
            self.columns = [*self.columns_of(first, "a"), ("b.id", "int", _P)]
            return f"{first} a NATURAL JOIN (SELECT {names.split(',')[0]} FROM {second}) b"
        if roll < 0.88:
            return f"{first} a CROSS JOIN LATERAL (SELECT b.* FROM {second} b WHERE b.id = a.id) b"
        if roll < 0.94:
            self.columns = [*self.columns_of(first, "a"), ("g.n", "int", _P)]
            numbers = self.one(
                "generate_series(1, 2) AS g(n)",
                "unnest(ARRAY[1, 2]) AS g(n)",
                "(VALUES (1), (2)) AS g(n)",
                "LATERAL (SELECT a.id + 1) AS g(n)",
                "LATERAL f_plain(a.id, 1) AS g(n)",
            )
            return f"{first} a, {numbers}"
        return f"({first} a JOIN {second} b ON a.id = b.id)"

    # queries

    def select(self) -> str:
        source = self.source()
        roll = self.dice.random()
        where = self.where()
        if roll < 0.5:
            return f"SELECT {self.outputs()} FROM {source}{where}{self.tail()}"
        if roll < 0.68:
            return self._grouped(source, where)
        if roll < 0.85:
            name = self.column(None)[0]
            order = f"ORDER BY {self.key()}" + (
                f", {self.column(False, ('text', 'int'))[0]}" if self.often(0.5) else ""
            )
            part = (
                f"PARTITION BY {self.column(self.often(self.bait), ('text', 'bool', 'int'))[0]} "
                if self.often(0.5)
                else ""
            )
            calls = (
                f"{self.dice.choice(_WINDOWS).format(name)} AS o0,"
                f" {self.one('row_number()', 'rank()', 'ntile(2)', 'sum(1)')} OVER w AS o1"
            )
            return (
                f"SELECT {calls}, {self.output()} AS o2 FROM {source}{where} WINDOW w AS"
                f" ({part}{order}{self.one(*_FRAMES)})"
            )
        if roll < 0.93:
            name = self.column(False, ("text", "int"))[0]
            return (
                f"SELECT {self.one('DISTINCT', f'DISTINCT ON ({name})')} {name} AS o0 FROM"
                f" {source}{where} ORDER BY {name}"
            )
        use = self.one(
            "a::text",
            "row_to_json(a)",
            "(a).id",
            "a IS NULL",
            "ROW(a.*)",
            "json_build_array(a.id)",
            "count(*) OVER ()",
        )
        return f"SELECT a AS o0, {use} AS o1 FROM {source}{where}"

    def _grouped(self, source: str, where: str) -> str:
        keys = [
            self.column(self.often(self.bait / 2), ("text", "int", "bool", "date"))[0]
            for _ in range(self.dice.randrange(1, 3))
        ]
        name, kind, _ = self.column(None, tuple(_AGGREGATES))
        total = (
            self.dice.choice(_AGGREGATES[kind])
            .replace("{c}", self.condition())
            .replace("{k}", self.key())
            .replace("{}", name)
        )
        grouping = self.one(
            "{}", "{}", "ROLLUP ({})", "CUBE ({})", "GROUPING SETS (({}), ())"
        ).format(", ".join(keys))
        having = self.one("", "", " HAVING count(*) > 0", f" HAVING max({self.key()}) > 1")
        return (
            f"SELECT {keys[0]} AS o0, {total} AS o1, count(*) AS o2 FROM {source}{where} GROUP BY"
            f" {grouping}{having}"
        )

    def wrapped(self) -> str:
        query = self.select()
        second = (
            "SELECT"
            f" {self.one('id, name', 'id, ssn', 'id, phone', 'age, upper(ssn)', 'salary, city')}"
            f" FROM people{self.one('', ' WHERE id < 4')}"
        )
        third = f"SELECT {self.one('id, holder', 'id, number', 'pin, holder')} FROM cards"
        return self.one(
            f"SELECT q.* FROM ({query}) q", f"SELECT count(*) FROM ({query}) q",
            f"WITH q AS ({query}) SELECT o0 FROM q", f"WITH q AS MATERIALIZED ({query}) TABLE q",
            f"SELECT EXISTS ({query})", f"SELECT row_to_json(q) FROM ({query}) q",
            f"SELECT (q).o0 FROM ({query}) q", f"SELECT ARRAY(SELECT q.o0::text FROM ({query}) q)",
            f"SELECT q.o0 IS NULL, q::text FROM ({query}) q",
            f"SELECT l.o0 FROM people p, LATERAL ({query}) l WHERE p.id = 1",
            f"{second} UNION ALL {third}",
            f"SELECT x.id FROM ({second} UNION ALL {third}) x(id, v)",
            f"SELECT (SELECT q.o0 FROM ({query}) q LIMIT 1)",
            f"SELECT max(q.o0::text) FROM ({query}) q",
            f"({second}) UNION ALL ({third}) ORDER BY 1 LIMIT 4",
            ("WITH RECURSIVE r(n, v) AS ((SELECT 1, ssn FROM people WHERE id = 1) UNION ALL SELECT"
             " n + 1, r.v FROM r WHERE n < 3) SELECT n, v FROM r"),
        )  # fmt: skip

    def sent(self) -> str:
        """The same by other commands."""
        query = self.select() if self.often(0.7) else self.wrapped()
        relation = self.dice.choice(
            [
                r
                for r in RELATIONS
                if r[:2] not in ("v_", "mv") and r not in ("events", "grandchild")
            ]
        )
        names = ", ".join(
            c[0] for c in self.dice.sample([c for c in RELATIONS[relation] if c[0] != "total"], 2)
        )
        if relation == "gen":
            names = "id, ssn"
        return self.one(
            f"COPY ({query}) TO STDOUT", f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)",
            f"COPY ({query}) TO STDOUT (FORMAT binary)", f"COPY {relation} ({names}) TO STDOUT",
            f"EXPLAIN (COSTS off) {query}",
            (f"BEGIN ;; DECLARE c CURSOR FOR {query} ;; FETCH 2 FROM c ;; MOVE 1 IN c ;; FETCH ALL"
             f" FROM c ;; COMMIT"),
            f"DECLARE c CURSOR WITH HOLD FOR {query} ;; FETCH 3 FROM c ;; CLOSE c",
            f"PREPARE s AS {query} ;; EXECUTE s ;; EXECUTE s ;; DEALLOCATE s",
            ("PREPARE s(int, text) AS SELECT id, ssn, $2 FROM people WHERE id > $1 ORDER BY id ;;"
             " EXECUTE s(3, 'x') ;; DEALLOCATE ALL"),
            f"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY ;; {query} ;; COMMIT",
            f"BEGIN ;; SAVEPOINT a ;; {query} ;; ROLLBACK TO a ;; {query} ;; COMMIT",
        )  # fmt: skip

    def written(self) -> str:
        """Writes: public values anywhere, masked ones to where they stay masked."""
        self.columns = self.columns_of("people", "p")
        public, masked = self.column(False, ("text",))[0], self.column(True, ("text",))[0]
        back = self.one(
            "",
            " RETURNING id",
            " RETURNING *",
            " RETURNING id, upper(holder) AS h, number",
            " RETURNING (SELECT count(*) FROM orders), pin IS NULL",
        )
        if self.major >= 18 and self.often(0.3):
            back = self.one(
                " RETURNING old.number, new.number, new.id",
                " RETURNING WITH (OLD AS o) o.pin, o.holder",
                " RETURNING old, new.holder",
            )
        where = self.condition()
        return self.one(
            (f"INSERT INTO cards (id, holder, number) SELECT 50 + p.id, {public}, {masked} FROM"
             f" people p WHERE {where}{back}"),
            (f"INSERT INTO cards (id, holder, number) VALUES (1, 'x', 'y'), (90, 'v', NULL) ON"
             f" CONFLICT (id) DO UPDATE SET holder = excluded.holder, number ="
             f" excluded.number{back}"),
            f"INSERT INTO cards VALUES (1, 'x', 'y', 2) ON CONFLICT DO NOTHING{back}",
            (f"INSERT INTO notes (title, body) SELECT {public}, {public} || 'x' FROM people p WHERE"
             f" {where} RETURNING title"),
            (f"UPDATE cards SET number = {masked}, holder = {public} FROM people p WHERE p.id ="
             f" cards.id AND {where}"),
             f"UPDATE cards SET number = reverse(number) WHERE id < 4{back}",
            f"UPDATE cards SET (holder, pin) = ('x', 5) WHERE holder > 'B'{back}",
            (f"UPDATE notes SET title = {public} FROM people p WHERE p.id = notes.id AND {where}"
             f" RETURNING notes.title, {masked}"),
            (f"UPDATE orders SET note = {public} FROM people p WHERE p.id = person_id RETURNING"
             f" orders.id, note, big"), f"DELETE FROM cards WHERE id < 3{back}",
            (f"DELETE FROM orders USING people p WHERE p.id = person_id AND {where} RETURNING"
             f" orders.id, {public}, {masked}"),
            "WITH x AS (DELETE FROM cards WHERE id = 2 RETURNING *) SELECT x.id, x.number FROM x",
            ("WITH x AS (UPDATE notes SET title = 'u' WHERE id < 3 RETURNING id) SELECT p.name,"
             " p.ssn FROM people p JOIN x USING (id)"),
            f"MERGE INTO cards c USING people p ON p.id = c.id + 4 WHEN MATCHED AND {where} THEN"
            f" UPDATE SET number = {masked}, holder = {public} WHEN MATCHED THEN DO NOTHING"
            f" WHEN NOT MATCHED THEN INSERT (id, holder, number) VALUES (p.id + 100, {public},"
            f" {masked})",
            ("MERGE INTO notes n USING (VALUES (1, 'm'), (90, 'n')) s(i, t) ON s.i = n.id WHEN"
             " MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, title) VALUES (s.i, s.t)")
            + self.one("", " RETURNING merge_action(), n.title" if self.major >= 17 else ""),
            "INSERT INTO ledger (id, amount) VALUES (70, 5) RETURNING id, total, secret",
            "UPDATE ledger SET note = 'x' WHERE id < 3 RETURNING total, note",
            "INSERT INTO lists (id, label) VALUES (70, 'x') RETURNING *",
            ("UPDATE lists SET label = upper(label), day = NULL WHERE id < 4 RETURNING label,"
             " secret"), "COPY notes (id, title) FROM STDIN <<< 80\\tcopied",
             "UPDATE v_checked SET label = 'x' WHERE id = 1",
        )  # fmt: skip

    def special(self) -> str:
        """What only newer versions have, functions in SQL, documents."""
        masked = self.one("ssn", "email", "phone", "doc ->> 'k'")
        templates = [
            f"SELECT order_total(id), f_plain(id, age), {masked} FROM people",
            "SELECT f_tab.* FROM f_tab(4)", "SELECT (t).b, (t).c FROM f_tab(3) t",
            "SELECT x.b FROM people p, f_tab(p.id) x",
            (f"SELECT e.key, e.value, p.{masked} FROM people p, notes n, jsonb_each(n.doc) e WHERE"
             f" n.id = p.id"), "SELECT jsonb_path_query(doc, '$.a[*]'), tags[1] FROM notes",
            f"SELECT jsonb_build_array(name, {masked}), json_agg({masked}) OVER () FROM people",
            "SELECT row_to_json(q) FROM (SELECT id, home, tags FROM people) q",
            "SELECT (home).street, (p.home).zip, p.home FROM people p",
            "SELECT unnest(tags), generate_series(1, 2) FROM notes",
            (f"SELECT x.a, x.b FROM people p, ROWS FROM (generate_series(1, p.id % 3),"
             f" unnest(ARRAY[p.{self.one('name', 'city')}])) x(a, b)"),
            f"SELECT json_object_agg(name, {masked}) FROM people", "TABLE gen",
            "SELECT p.* FROM people p WHERE p.id = 3",
            "SELECT tableoid::regclass, id, pin FROM parent", "SELECT * FROM v_orders ORDER BY id",
        ]  # fmt: skip
        if self.major >= 16:
            templates += [
                (
                    f"SELECT JSON_OBJECT('k': {masked}, 'n': name), JSON_ARRAY(id, {masked}) FROM"
                    " people"
                ),
                "SELECT JSON_ARRAYAGG(ssn ORDER BY id) FROM people",
                f"SELECT any_value({masked}), city FROM people GROUP BY city",
            ]
        if self.major >= 17:
            templates += [
                (
                    "SELECT jt.x, n.title FROM notes n, JSON_TABLE(n.doc, '$.a[*]' COLUMNS (o FOR"
                    " ORDINALITY, x int PATH '$')) jt"
                ),
                (
                    "SELECT JSON_VALUE(n.doc, '$.a[0]' RETURNING int), p.ssn FROM notes n JOIN"
                    " people p USING (id)"
                ),
                "SELECT JSON_EXISTS(doc, '$.a'), JSON_QUERY(doc, '$.a' WITH WRAPPER) FROM notes",
            ]
        return self.one(*templates)

    def statement(self) -> str:
        roll = self.dice.random()
        if roll < 0.35:
            return self.select()
        if roll < 0.55:
            return self.wrapped()
        if roll < 0.72:
            return self.sent()
        return self.written() if roll < 0.9 else self.special()
