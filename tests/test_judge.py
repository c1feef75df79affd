"""The judge as a whole: what waits for it, scripts whose statements repeat, and what a text may
cost (in steps, never in seconds).
"""

from __future__ import annotations

import gc
import random
import sys
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from sallyport.core.errors import Refusal
from sallyport.core.subject import Subject
from sallyport.judge import Judge, ScriptVerdict, SubjectJudge
from sallyport.policy.file.load import parse_policy
from sallyport.sql.analysis import Work
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.text import script
from sallyport.sql.text.parse import parse_counted
from tests.sql import conftest

catalog, facts_dsn = conftest.catalog, conftest.facts_dsn  # fixtures

POLICY = """\
version: 1
rules:
  - {name: reads, allow: [read], relations: ["fx.*"]}
  - {name: writes, allow: [insert, update], relations: ["fx.orders", "fx.moods"]}
masks:
  - {columns: ["fx.users.ssn"], with: redact, filter: equality}
search_paths: ["public", "fx, public"]
"""


def make_view(catalog: CatalogSnapshot) -> SubjectJudge:
    judge = Judge(
        "shop", parse_policy(POLICY, "policy.yaml"), catalog, {}, max_statement_bytes=1 << 20
    )
    return judge.subject_judge(Subject("agent", "https://idp.test", frozenset()), ("fx", "public"))


@pytest.fixture
def view(catalog: CatalogSnapshot) -> SubjectJudge:
    return make_view(catalog)


def refusal(found: ScriptVerdict) -> Refusal | None:
    return (
        found.statements[found.refused].refusal
        if found.statements and found.refused >= 0
        else found.refusal
    )


def told(found: ScriptVerdict) -> list[Any]:
    """Everything about a verdict but how it came about."""
    no = refusal(found)
    end = found.statements[found.refused].facts.start if found.statements and no else len(found.sql)
    return [
        found.refused,
        found.count,
        found.rewritten and found.rewritten.until(end),
        no and (no.code.id, no.message),
        [
            (
                v.sql,
                v.facts.start,
                v.facts.end,
                v.refusal is None,
                v.outcome,
                v.rule,
                v.plan,
                v.scrub,
                v.plain,
                v.effects,
                v.sent,
                v.notice,
                v.masked_columns,
            )
            for v in found.statements
        ],
    ]


SEED = "".join(f"insert into moods (c, n) values ('{n}', 'note ; {n}');\n" for n in range(50))
SCRIPTS = {
    "seed": SEED,
    "in a transaction": f"begin;\n{SEED}commit;",
    "two kinds": "".join(f"update moods set n = 'x{n}' where c = '{n}'; select id from users where id = {n} ;" for n in range(20)),
    "masked": "".join(f"select id, ssn from users where ssn = '{n}'; " for n in range(20)),
    "computed from masks": "".join(f"select upper(ssn), {n} from users where id = {n}; select id from users where id = {n};" for n in range(12)),
    "masks beside what repeats": f"{SEED} select upper(ssn) from users; {SEED} select ssn from users;",
    "masks before what is refused": f"select upper(ssn) from users; {SEED} delete from users; {SEED}",
    "one is refused": f"{SEED} select ssn || 'x' from users; {SEED}",
    "all are refused": "".join(f"delete from users where id = {n};" for n in range(20)),
    "refused for what it says": "".join(f"select id from users where length(ssn) > {n};" for n in range(20)),
    "a syntax error": f"{SEED} selec 1; {SEED}",
    "no such column": f"{SEED} select nosuch from users; {SEED}",
    "the path moves": f"{SEED} set search_path = public; {SEED}",
    "the path moves at the end": f"{SEED} set search_path = public;",
    "a setting": f"{SEED} set datestyle = 'german'; {SEED}",
    "a table is made": f"{SEED} create table x (a int); {SEED}",
    "positions": "".join(f"select id, name from users order by {n % 2 + 1};" for n in range(20)),
    "empty ones": ";;" + SEED.replace("\n", " ; ;; "),
    "comments": "-- a ; b\n" + SEED + "/* ; */" + SEED,
    "dollar quotes": "".join(f"select $${n} ; $$;" for n in range(20)),
    "set_config": "".join(f"select set_config('search_path', 'p{n}', false);" for n in range(20)),
    "prepared": f"prepare a as select 1;{SEED}prepare b as select ssn from users;",
    "begin atomic": "create function f() returns int begin atomic " + "select 1; " * 20 + "end;" + SEED,
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_statements_that_repeat_are_judged_as_each_would_be(
    name: str, view: SubjectJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = SCRIPTS[name].encode()
    found = view.judge(sql)
    assert view.judge(sql) is found
    if name in ("seed", "in a transaction", "two kinds", "one is refused"):
        assert any(shared is not None for shared in view.templates.values())
    monkeypatch.setattr(script, "repeated", lambda sql: [])
    whole = make_view(view.catalog).judge(sql)
    assert told(found) == told(whole)


BY_NUMBER = (
    "select id, name from users order by 2",
    "select name, count(*) from users group by 1",
    "select name, age, count(*) from users group by rollup (1, (name, 2))",
    "select distinct on (1) name, age from users",
    "select id from users where id in (select id from orders order by 1 limit 3)",
    "with w as (select name from users group by (1)) select * from w",
    "select 1 union select 2 order by 1",
    "insert into moods (c, n) select 'a', name from users order by 1",
    "explain select id, name from users order by 2 desc",
)


@pytest.mark.parametrize("sql", BY_NUMBER)
def test_a_number_that_means_a_column_is_no_parameter(sql: str, view: SubjectJudge) -> None:
    assert view.judge(sql.encode()).refused < 0
    assert list(view.templates.values()) == [None]


@pytest.mark.parametrize(
    "sql", ["select id from users order by id + 2", "select array_agg(id order by 1) from users"]
)
def test_a_number_that_means_no_column_is_a_parameter(sql: str, view: SubjectJudge) -> None:
    assert view.judge(sql.encode()) in view.templates.values()


def test_random_scripts_are_judged_as_each_would_be(
    view: SubjectJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    statements = [
        lambda n: f"insert into moods (c, n) values ('{n}', 'n{n}')",
        lambda n: f"select name from users where id = {n}",
        lambda n: f"select id from users where ssn = '{n}'",
        lambda n: f"select id from users order by {n % 3}",
        lambda n: "begin",
        lambda n: "",
        lambda n: f"select {n} /* ; */",
        lambda n: f"update moods set n = '{n}'",
    ]
    rare = [
        "select ssn || 'x' from users",
        "set search_path = public",
        "discard all",
        "selec",
        "drop table orders",
    ]
    texts = []
    for _ in range(60):
        few = rng.sample(statements, 3)
        parts = [rng.choice(few)(n) for n in range(rng.randint(5, 30))]
        if rng.random() < 0.5:
            parts.insert(rng.randrange(len(parts)), rng.choice(rare))
        texts.append(
            (rng.choice([";", " ;\n", "; ; "]).join(parts) + rng.choice(["", ";"])).encode()
        )
    shared = [told(view.judge(text)) for text in texts]
    monkeypatch.setattr(script, "repeated", lambda sql: [])
    other = make_view(view.catalog)
    assert shared == [told(other.judge(text)) for text in texts]


def test_a_seed_file_is_read_once(view: SubjectJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand statements take as many steps as the few that differ."""
    steps: list[int] = []
    spend = Work.spend

    def counted(self: Work, count: int) -> None:
        steps.append(count)
        spend(self, count)

    monkeypatch.setattr(Work, "spend", counted)
    sql = "".join(
        f"insert into moods (c, n) values ('{n}', 'n{n}');" for n in range(9_999)
    ).encode()
    found = view.judge(sql)
    assert (len(found.statements), found.count, found.refused) == (9_999, 9_999, -1)
    assert sum(steps) < 2_000
    too_many = view.judge(sql + b"select 1; select 2;")
    assert too_many.refusal is not None
    assert too_many.refusal.code.id == "SP1105"


def rounds(count: int) -> str:
    """WITH RECURSIVE queries inside each other's recursive term: each is read until nothing is
    added, for each round around it.
    """
    text = "select id, email, name, ssn, age, born from users"
    for number in range(count):
        text = (
            f"with recursive c{number} as (select id, name, ssn, email, age, born from users union"
            f" all select * from ({text}) q union all select born, age, id, name, ssn, email from"
            f" c{number}) select * from c{number}"
        )
    return text


BOMBS = {
    "recursion in recursion": rounds(12),
    "stars of stars": "with c0 as (select * from users), "
    + ", ".join(f"c{n + 1} as (select x.*, y.* from c{n} x, c{n} y)" for n in range(20))
    + " select 1",
    "many joins": "select 1 from users u0 " + " ".join(f"cross join users u{n}" for n in range(1,
    200)),
    "many names in many items": "select " + ", ".join(["u0.id"] * 2000) + " from " + ", ".join(f"users u{n}" for n in range(1500)),
    "whole rows": "select " + ", ".join(["u"] * 7000) + " from users u",
    "chained queries": "with c as (select * from users), "
    + ", ".join(f"c{n} as (select * from c{n - 1 if n else ''})" for n in range(1300))
    + " select 1",
    "a target list": "select " + ",".join(["id"] * 7_900) + " from users",
    "or": "select id from users where " + " or ".join(f"id = {n}" for n in range(3_900)),
    "statements": "select 1;" * 5_000,
    "columns set at once": "update orders set (" + ",".join(["note"] * 100) + ") = row(" + ",".join(["'x'"] * 100) + ")",
}  # fmt: skip


#: The same over a table of 1,500 columns.
WIDE = {
    "natural joins": (
        "select 1 from wide a0 " + " ".join(f"natural join wide a{n}" for n in range(1, 200))
    ),
    "joins": "select 1 from wide a0 " + " ".join(f"cross join wide a{n}" for n in range(1, 200)),
    "columns renamed": "select 1 from " + ", ".join(f"wide w{n} (a, b)" for n in range(1500)),
    "rows compared": "select 1 from wide w where " + " and ".join(["w = w"] * 3000),
    "whole rows as text": (
        "with c as (select w::text as t from wide w) select "
        + ", ".join(["t || t"] * 1500)
        + " from c"
    ),
    "subqueries": "select 1 from " + ", ".join(f"(select * from wide) q{n}" for n in range(1500)),
    "tables": "select 1 from " + ", ".join(f"wide w{n}" for n in range(3900)),
    "unions": " union ".join(["select * from wide"] * 200),
    "order by": "select * from wide order by " + ", ".join(f"c{n % 1500}" for n in range(7000)),
    "windows": (
        "select " + ", ".join(["row_number() over (partition by w)"] * 1000) + " from wide w"
    ),
}


@pytest.fixture
def wide(catalog: CatalogSnapshot) -> SubjectJudge:
    users = catalog.relation_by_name["fx", "users"]
    columns = tuple(replace(users.columns[1], attnum=n + 1, name=f"c{n}") for n in range(1500))
    table = replace(users, oid=999_999, name="wide", columns=columns, row_type=0, constraints=())
    relations = {**catalog.relations, table.oid: table}
    by_name = {**catalog.relation_by_name, ("fx", "wide"): table}
    return make_view(replace(catalog, relations=relations, relation_by_name=by_name, epoch="wide"))


def calls_of(view: SubjectJudge, sql: str) -> tuple[ScriptVerdict, int]:
    """How many Python functions are called to judge it: work that is the same on every machine."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    view.judge(b"select id from users")
    sys.setprofile(counted)
    try:
        found = view.judge(sql.encode())
    finally:
        sys.setprofile(None)
    return found, count


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_costs_more_than_its_length_and_a_little(name: str, view: SubjectJudge) -> None:
    found, calls = calls_of(view, BOMBS[name])
    assert calls < 2_000_000
    if name in ("recursion in recursion", "stars of stars"):
        no = refusal(found)
        assert no is not None
        assert no.code.id == "SP1105"


@pytest.mark.parametrize("name", WIDE)
def test_wide_tables_cost_what_they_are(name: str, wide: SubjectJudge) -> None:
    assert refusal(wide.judge(b"select c1 from wide")) is None
    _, calls = calls_of(wide, WIDE[name])
    assert calls < 2_000_000


@pytest.mark.parametrize("name", BOMBS)
def test_what_takes_long_is_not_judged_at_once(name: str, view: SubjectJudge) -> None:
    assert view.judge_soon(BOMBS[name].encode()) is None
    assert not view.cache
    assert not any(v is not None for v in view.templates.values())


def test_what_is_short_is_judged_at_once(view: SubjectJudge) -> None:
    sql = (
        b"select id, name from users where id = 1 and name in (select label from items where id"
        b" = 3)"
    )
    found = view.judge_soon(sql)
    assert found is not None
    assert found is view.judge(sql)
    assert found.refused < 0
    assert view.judge_soon(b"select nosuch from users") is not None
    long = b"select '" + b"x" * 100_000 + b"'"
    assert view.judge_soon(long) is None
    assert view.judge(long) is view.judge_soon(long)


def test_a_hurried_judge_gives_no_other_verdict(
    view: SubjectJudge, catalog: CatalogSnapshot
) -> None:
    other = make_view(catalog)
    for sql in (
        b"select ssn from users where ssn = '1'",
        b"select ssn || 'x' from users",
        b"selec",
        b"update users set id = 1",
    ):
        soon, late = view.judge_soon(sql), other.judge(sql)
        assert soon is not None
        assert told(msgspec.structs.replace(soon, sql=b"")) == told(
            msgspec.structs.replace(late, sql=b"")
        )


def test_explain_execute_is_bounded_as_well(view: SubjectJudge) -> None:
    """It is judged while the session waits: whatever was prepared, a little and then no more."""
    found = view.explained(
        b"explain execute p", b"select id from users where name = $1", frozenset(), False
    )
    assert not isinstance(found, Refusal)
    assert found.refusal is None
    for name in ("recursion in recursion", "a target list", "or"):
        refused = view.explained(b"explain execute p", BOMBS[name].encode(), frozenset(), True)
        assert isinstance(refused, Refusal)
        assert refused.code.id == "SP1105"


def test_a_catalog_that_was_replaced_is_gone(catalog: CatalogSnapshot) -> None:
    """Without the cycle collector, for which what is loaded is frozen."""

    def kept() -> list[str]:
        catalogs = [o for o in gc.get_objects() if isinstance(o, CatalogSnapshot)]
        return sorted(o.epoch for o in catalogs if o.epoch.startswith("replaced"))

    first = replace(catalog, epoch="first")
    judge = Judge(
        "shop", parse_policy(POLICY, "policy.yaml"), first, {}, max_statement_bytes=1 << 20
    )
    subject = Subject("agent", "https://idp.test", frozenset())
    gc.collect()
    gc.disable()
    try:
        for number in range(5):
            judge.update(catalog=replace(judge.catalog, epoch=f"replaced {number}"))
            view = judge.subject_judge(subject, ("fx", "public"))
            assert view.judge(b"SELECT upper(name) FROM users").refused < 0
            own = judge.beside(replace(judge.catalog, epoch=f"replaced in {number}"))
            assert (
                own.subject_judge(subject, ("fx", "public"))
                .judge(b"SELECT name FROM users")
                .refused
                < 0
            )
            assert view.judge(b"SELECT nosuch(name) FROM users").refused == 0
            own.retire()
        del view, own
        assert kept() == ["replaced 4"]
    finally:
        gc.enable()


def test_time_may_pass_while_a_policy_is_bound(catalog: CatalogSnapshot) -> None:
    """Access windows make sessions look again every second; what is prepared meanwhile is taken all
    the same.
    """
    timed = POLICY.replace(
        "rules:", "rules:\n  - name: timed\n    deny: [delete]\n    when: now.getHours() < 25\n", 1
    )
    now = [0.0]
    first = replace(catalog, epoch="first")
    judge = Judge(
        "shop", parse_policy(timed, "p"), first, {}, max_statement_bytes=1 << 20, now=lambda: now[0]
    )
    subject = Subject("agent", "https://idp.test", frozenset())
    judge.subject_judge(subject, ("public",))
    prepared = judge.prepared(
        policy=parse_policy(timed + "\n", "p"), catalog=replace(catalog, epoch="new")
    )
    now[0] += 5.0
    judge.tick()
    generation = judge.generation
    assert judge.take(prepared)
    assert judge.generation > generation
    assert judge.catalog.epoch == "new"
    with pytest.raises(ValueError, match="meanwhile"):
        judge.take(prepared)


def test_a_transaction_without_a_change_keeps_the_catalog_in_use(catalog: CatalogSnapshot) -> None:
    own = replace(catalog, epoch="own")
    judge = Judge("shop", parse_policy(POLICY, "p"), own, {}, max_statement_bytes=1 << 20)
    judge.beside(judge.catalog).retire()
    kept = object()
    judge.catalog.keep("a key", kept)
    assert judge.catalog.lookups["a key"] is kept


def test_two_threads_may_make_room_in_the_cache_at_once(view: SubjectJudge) -> None:
    class Emptied(dict[bytes, ScriptVerdict]):
        """As another thread leaves it between the look at its keys and their removal."""

        def __iter__(self) -> Any:
            keys = list(super().__iter__())
            self.pop(keys[0])
            return iter(keys)

    view.cache = Emptied({b"%d" % n: ScriptVerdict(b"", ()) for n in range(4096)})
    assert view.judge(b"SELECT 1 -- one more").refused == -1
    assert len(view.cache) < 2100


def test_what_is_known_of_a_parameter_holds_for_all_of_its_list(catalog: CatalogSnapshot) -> None:
    """The tree has the first of them only: the types that a client may declare, and what a
    recording shows, are the same for each.
    """
    policy = parse_policy(POLICY.replace('"fx.orders"', '"fx.prices", "fx.orders"'), "policy.yaml")
    judge = Judge("shop", policy, catalog, {}, max_statement_bytes=1 << 20)
    view = judge.subject_judge(Subject("agent", "https://idp.test", frozenset()), ("fx", "public"))
    rows = ", ".join(f"(${number})" for number in range(1, 41))
    inserted = view.judge(f"INSERT INTO prices (price) VALUES {rows}".encode()).statements[0]
    assert inserted.refusal is None
    for number in range(1, 41):
        as_int = [0] * (number - 1) + [23]
        no = view.check_declared_types(inserted, as_int)
        assert no is not None
        assert f"${number} " in no.message
        assert view.check_declared_types(inserted, [0] * 40) is None
        types = ", ".join(["money_of"] * (number - 1) + ["int"] + ["money_of"] * (40 - number))
        made = view.judge(
            f"PREPARE p ({types}) AS INSERT INTO prices (price) VALUES {rows}".encode()
        )
        assert made.refused == 0

    found = view.judge(
        f"SELECT id FROM users WHERE ssn IN ({rows.replace('(', '').replace(')', '')})".encode()
    )
    literals = found.statements[0].literals
    assert literals is not None
    values, _ = literals.bind([b"123-45-6789"] * 40, (), ())
    assert len(set(values)) == 1
    assert values[0] != b"123-45-6789"


@pytest.mark.parametrize("cast", ["", "::int"])
def test_a_list_of_parameters_costs_what_a_list_of_constants_costs(
    view: SubjectJudge, cast: str
) -> None:
    counts = []
    for item in ("{}", "${}"):
        items = ", ".join(f"{item.format(number)}{cast}" for number in range(1, 30_001))
        sql = f"SELECT count(*) FROM orders WHERE id IN ({items})".encode()
        assert view.judge(sql).refused == -1
        counts.append(parse_counted(sql).tokens)
    assert counts[1] < counts[0] + 200
