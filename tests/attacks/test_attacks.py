"""The attack suite as a test: every attack, protocol sequence and benign statement on one server
version, and some random queries. ``make attacks`` runs more (see __main__.py).
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.judge.containments import Containments
from sallyport.judge.judge import Judge
from sallyport.judge.verdict import Verdict
from sallyport.policy.containment import COLUMN, Containment
from sallyport.policy.decision import Outcome
from sallyport.policy.file.load import parse_policy
from sallyport.wire import frontend
from tests.attacks import cases, generate, oracles
from tests.attacks.agents import HELD, REVIEWER, attacked_policy
from tests.attacks.approving import Approver
from tests.attacks.canaries import Canaries
from tests.attacks.playing import exchange, play, tidy
from tests.attacks.suite import (
    Attacks,
    Bench,
    Benign,
    Finding,
    bench,
    check,
    check_protocol,
)
from tests.attacks.ways import MCP, WAYS
from tests.support import sampling
from tests.support.postgres import WHEEL
from tests.support.sampling import examples, sampled
from tests.targets.query import catalog_of

GROUPS = sorted({case.group for case in cases.read("attacks", 18)})
#: Wrong refusals that are known, and by how many per cent of the benign statements they may fail at
#: most.
TOLERATED = 0.02
_CHANGES = re.compile(r"\b(insert|update|delete|merge|copy)\b", re.IGNORECASE)
#: Hundreds of statements each; and after each change of the schema the gateway reads the catalog.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stage() -> Iterator[Bench]:
    with bench(WHEEL) as running:
        yield running


def part(chosen: Sequence[cases.Case], every: int) -> Sequence[cases.Case]:
    """One of so many neighbours, which are of a kind; all with ``--thorough``."""
    return chosen if sampling.thorough else chosen[::every]


class SampledAttacks(Attacks):
    """Each case in one way, which depends on its text, a tenth of them over MCP, which costs
    most. ``make attacks`` tries all.
    """

    def _ways(self, case: cases.Case) -> tuple[str, ...]:
        return (sampled(case.text, super()._ways(case)),)

    def _ruining_ways(self, case: cases.Case) -> tuple[str, ...]:
        return (sampled(case.text, super()._ruining_ways(case)),)


class SampledBenign(Benign):
    """As :class:`SampledAttacks`."""

    def _ways(self, case: cases.Case, steps: list[cases.Step]) -> tuple[str, ...]:
        return (sampled(case.text, super()._ways(case, steps)),)


def silent(line: str) -> None:
    return None


def told(findings: list[Finding]) -> str:
    return "\n".join(str(finding) for finding in findings if not finding.residual)


@pytest.mark.parametrize("group", GROUPS)
def test_no_attack_leaks(stage: Bench, group: str) -> None:
    every = [case for case in cases.read("attacks", stage.server.major) if case.group == group]
    # Each of these makes the gateway read catalogs, most of them of databases that are made again.
    slow = [case for case in every if "as" in case.options or group == "14-temporary"]
    chosen = [*(case for case in every if case not in slow), *part(slow, 3)]
    attacks = SampledAttacks(stage, (*("simple", "binary", "pipelined") * 3, MCP), 3)
    rows = check(group, chosen, attacks.run, silent)
    assert not rows[group].leaked, told(rows[group].findings)


@pytest.mark.parametrize("agent", ("denier", "copier"))
def test_no_other_kind_of_mask_leaks(stage: Bench, agent: str) -> None:
    """Under ``filter: deny``, and ``write_filter: masked`` with ``copies: masked``."""
    every = cases.read("attacks", stage.server.major)
    chosen = [case for case in every if "as" not in case.options]
    attacks = SampledAttacks(stage, ("simple", "binary"), 3)
    findings = [finding for case in part(chosen, 24) for finding in attacks.run(case, agent)[0]]
    assert not [finding for finding in findings if not finding.residual], told(findings)


@pytest.mark.parametrize("group", ("02-indirection", "03-copy-then-read", "07-inference"))
def test_no_approved_attack_leaks(stage: Bench, group: str) -> None:
    """Nor is the reviewer, who has the same masks, shown what differs from world to world."""
    chosen = [
        case
        for case in cases.read("attacks", stage.server.major)
        if case.group == group and "as" not in case.options and _CHANGES.search(case.text)
    ]
    approver = Approver(stage.console, stage.gateway.token(REVIEWER))
    try:
        attacks = SampledAttacks(stage, ("simple", "binary"), 2)
        attacks.approver = approver
        findings = [finding for case in part(chosen, 9) for finding in attacks.run(case, HELD)[0]]
    finally:
        approver.stop()
    assert not approver.failed
    assert not [finding for finding in findings if not finding.residual], told(findings)


def _judge(stage: Bench, more: str = "", containments: Containments | None = None) -> Judge:
    """Of world 0, by the policy with ``more`` in it."""
    return Judge(
        "attackdb0",
        parse_policy(attacked_policy() + more, "policy.yaml"),
        catalog_of(stage.databases.role_dsn),
        {"attacks": Secret("a key of the hash masks in attacks")},
        max_statement_bytes=1 << 20,
        containments=containments,
    )


def _verdicts(judge: Judge, agent: str, sql: bytes) -> tuple[Verdict, ...]:
    """Not by a template, in which a text is judged in another form."""
    subject = Subject(agent, "https://idp", frozenset({agent}))
    subject_judge = judge.subject_judge(subject, ("public",))
    return subject_judge._judge(sql, subject_judge.context).statements


def test_a_hold_lifts_nothing(stage: Bench) -> None:
    """Of every statement there is: what is refused without hold rules is refused with them, by the
    same code; what runs without them runs, once it is approved, as it would have run.
    """
    judge, ended = _judge(stage), Counter[str]()
    for sql in _texts(stage):
        allowed, waiting = (_verdicts(judge, agent, sql) for agent in ("strict", HELD))
        assert bool(allowed) == bool(waiting), sql
        for before, after in zip(allowed, waiting, strict=False):
            if before.refusal is not None:
                assert after.outcome is Outcome.DENY and after.refusal is not None, sql
                assert after.refusal.code == before.refusal.code, sql
                ended["refused"] += 1
            elif after.refusal is None:
                ended["free"] += 1
            else:
                assert after.refusal.code.id == "SP1003", (sql, after.refusal)
                assert after.held == (after.facts.inner is None), sql
                assert not _differing(before, after), sql
                ended["held"] += 1
    assert all(ended[how] > 50 for how in ("refused", "free", "held")), ended


@pytest.mark.parametrize("agent", ["lenient", "opener", "builder"])
def test_containment_lifts_nothing(stage: Bench, agent: str) -> None:
    """What is refused is refused to whoever is contained, and no column shows more."""
    more = """
untrusted: [public.notes.title]
packs: [contain-untrusted]
contain: {reviewers: {groups: [approver]}}
"""
    containments, now = Containments(), time.time()
    containments.take(
        Containment(
            "con_1", "https://idp", agent, (), COLUMN, "public.notes.title", "attackdb0", "ses_1",
            1, now, now + 3600,
        )
    )  # fmt: skip
    free, contained = _judge(stage, more), _judge(stage, more, containments)
    ended = Counter[Outcome]()
    for sql in _texts(stage)[::2]:
        allowed, after = (_verdicts(judge, agent, sql) for judge in (free, contained))
        assert bool(allowed) == bool(after), sql
        for before, then in zip(allowed, after, strict=False):
            assert before.outcome is not Outcome.DENY or then.outcome is Outcome.DENY, sql
            assert before.outcome is not Outcome.HOLD or then.outcome is not Outcome.ALLOW, sql
            assert {cut.start for cut in then.cuts} >= {cut.start for cut in before.cuts} or (
                then.outcome is Outcome.DENY
            ), sql
            ended[then.outcome] += 1
    assert all(ended[outcome] > 10 for outcome in Outcome), ended


#: What a hold is, beside which the verdict of a held statement is that of a free one.
_OF_HOLDS = {"refusal", "outcome", "rule", "decision", "permit", "held", "plain", "inner"}


def _differing(before: Verdict, after: Verdict) -> list[str]:
    names = set(Verdict.__struct_fields__) - _OF_HOLDS - {"facts", "literals"}
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _texts(stage: Bench) -> Sequence[bytes]:
    """Of steps of all cases, those that are UTF-8; one in four, all with ``--thorough``."""
    every = [case for kind in ("attacks", "benign") for case in cases.read(kind, 18)]
    texts = {step.sql for case in every for step in case.steps(stage.databases.value)}
    ordered = sorted(text for text in texts if text == text.decode("utf-8", "ignore").encode())
    return ordered[:: 1 if sampling.thorough else 4]


def test_no_sequence_of_messages_leaks(stage: Bench) -> None:
    row = check_protocol(stage, silent, garbled=5, worlds=3)
    assert not row.leaked, told(row.findings)


def test_no_random_query_leaks(stage: Bench) -> None:
    chosen = list(generate.queries(1, examples(150), stage.server.major))
    rows = check("generated", chosen, Attacks(stage, ("simple", "binary"), 4).run, silent)
    assert not rows["generated"].leaked, told(rows["generated"].findings)


def test_masks_that_show_something_show_no_more(stage: Bench) -> None:
    """Under partial, email, hash, date and bucket no whole value comes through, nor six characters
    of one.
    """
    chosen = [
        case
        for case in cases.read("attacks", stage.server.major)
        if case.group.startswith(("01", "02"))
    ]
    chosen = [case for case in chosen if "as" not in case.options]
    attacks = Attacks(stage, ("simple", "binary"), 1)
    findings = [finding for case in part(chosen, 2) for finding in attacks.run(case, "lenient")[0]]
    assert not [finding for finding in findings if not finding.residual], told(findings)


def test_benign_statements_work(stage: Bench) -> None:
    rows = check(
        "benign", cases.read("benign", stage.server.major), SampledBenign(stage).run, silent
    )
    findings = [finding for row in rows.values() for finding in row.findings]
    tried = sum(row.tried for row in rows.values())
    assert len(findings) <= tried * TOLERATED, told(findings)
    assert not [finding for finding in findings if finding.what == "answer"], told(findings)


def test_the_oracles_can_fail(stage: Bench) -> None:
    """What would leak without the gateway is seen: the same judging, over answers that came from
    the databases themselves.
    """
    attacks = Attacks(stage, ("simple",), 2)
    clients = [stage.direct(name) for name in attacks.names]
    stage.sessions = lambda names, agent: clients  # type: ignore[method-assign]
    try:
        for text, what in (
            ("SELECT ssn FROM people", "canary"),
            ("SELECT reverse(ssn), md5(email) FROM people", "canary"),
            ("SELECT token FROM people", "canary"),
            ("SELECT id FROM people ORDER BY ssn", "differs"),
            ("SELECT count(*) FROM people WHERE salary > 500000000", "differs"),
            ("INSERT INTO notes (title) SELECT ssn FROM people", "canary"),
            (
                "UPDATE orders SET note = 'x' FROM people p WHERE p.id = person_id AND flag",
                "differs",
            ),
            ("CREATE TABLE made (a int)", "changed"),
        ):
            findings, _ = attacks.run(cases.Case("oracle", 0, text))
            assert [finding.what for finding in findings][:1] == [what], text
    finally:
        del stage.sessions  # type: ignore[method-assign]
        for name in attacks.names:
            stage.databases.direct(name).execute("DROP TABLE IF EXISTS made")
        for client in clients:
            client.close()


def test_what_comes_over_mcp_is_judged(stage: Bench) -> None:
    """The answers of its clients have the values, refusals and ends that oracles look for."""
    clients = stage.sessions_of(MCP, stage.databases.names[:1], "strict")

    def said(sql: str) -> bytes:
        ((answer,), _) = play(clients, [cases.Step(sql.encode())], WAYS[MCP])
        return answer

    shown = stage.databases.value("people", "name", 0)
    answer = said("SELECT name FROM people WHERE id = 1")
    assert shown.encode() in answer and oracles.tags(answer) == ["SELECT 1"]
    assert oracles.refusals(said("SELECT pg_read_file('x')")) == ["SP1103"]
    assert oracles.sqlstates(said("SELECT 1 / (id - id) FROM people")) == ["22012"]
    said("BEGIN")
    assert clients[0].status == "T"
    tidy(clients, [cases.Step(b"BEGIN")])
    assert clients[0].status == "I"


@pytest.mark.parametrize(
    "sql", ["SELECT nextval('counter')", "BEGIN; INSERT INTO notes (title) VALUES ('x'); ROLLBACK"]
)
def test_a_world_that_was_written_to_is_told(stage: Bench, sql: str) -> None:
    databases = stage.databases
    databases.reset(0)
    before = databases.next_transaction()
    assert databases.are_untouched(before, 1)
    databases.direct(databases.names[0]).execute(sql.encode())
    assert not databases.are_untouched(before, 1)
    databases.reset(0)


def test_canaries_are_found_in_disguise() -> None:
    canaries = Canaries()
    canaries.text("k3jx81mvp2qa")
    for disguise in (b"K3JX81MV", b"aq2pvm18", b"6b336a783831", b"..x81mvp.."):
        assert canaries.found(disguise) is not None
    assert canaries.found(b"k3jx8") is None
    assert canaries.found(b"...k3jx81mvp2qa...", said=b"WHERE ssn = 'k3jx81mvp2qa'") is None


def test_enough_is_tried() -> None:
    assert len(cases.read("attacks", 18)) >= 300
    assert len(cases.read("benign", 18)) >= 200
    assert len(GROUPS) >= 9


def test_comparing_with_wrong_guesses_tells_nothing(stage: Bench) -> None:
    """``filter: equality`` lets values be compared with constants. As long as none of them is a
    value, the worlds look alike.
    """
    chosen = [
        case
        for case in cases.read("attacks", stage.server.major)
        if case.group.startswith(("07", "11", "12-shapes", "13"))
    ]
    chosen = [
        case
        for case in chosen
        if "as" not in case.options and "{" not in case.text and "'sad'" not in case.text
    ]
    attacks = Attacks(stage, ("simple",), 3)
    findings = [finding for case in part(chosen, 2) for finding in attacks.run(case, "tester")[0]]
    assert not [finding for finding in findings if not finding.residual], told(findings)


#: Condition, pg_type OIDs that Parse declares, and values: a masked column that is converted for
#: the comparison fails for some values.
DECLARED: tuple[tuple[bytes, tuple[int, ...], tuple[bytes, ...]], ...] = (
    (b"big = $1", (), (b"5",)),
    (b"big = $1", (20,), (b"5",)),
    (b"big = $1", (23,), (b"5",)),
    (b"big = $1", (26,), (b"5",)),  # oid
    (b"big IN ($1, $2)", (26, 20), (b"5", b"6")),
    (b"birth = $1", (1184,), (b"2001-01-01",)),
    (b"birth IN ($1, $2)", (1184, 1082), (b"2001-01-01", b"2001-01-02")),
    (b"balance = $1", (701,), (b"1",)),  # float8
    (b"balance = $1", (700,), (b"1",)),
    (b"balance IN ($1, $2)", (701, 1700), (b"1", b"2")),
    (b"balance = ANY ($1)", (1022,), (b"{1,2}",)),
    (b"balance = ANY ($1)", (1231,), (b"{1,2}",)),
    (b"ssn = $1", (1043,), (b"nobody",)),
    (b"code = $1", (25,), (b"nobody",)),
    (b"token = $1", (2950,), (b"00000000-0000-0000-0000-000000000001",)),
)


@pytest.mark.parametrize("agent", ["strict", "tester"])
def test_a_declared_type_converts_no_masked_column(stage: Bench, agent: str) -> None:
    """As a condition, where ``filter: equality`` compares the value, and as an output column."""
    clients = stage.sessions(stage.databases.names, agent)
    for condition, types, values in DECLARED:
        for text in (
            b"SELECT id FROM people WHERE " + condition,
            b"SELECT " + condition + b" FROM people",
        ):
            run = frontend.parse(b"", text, types) + frontend.bind(b"", b"", list(values))
            run += frontend.describe(b"P", b"") + frontend.execute() + frontend.sync()
            answers = exchange(clients, [[run]] * len(clients), None)
            refused = {code for answer in answers for code in oracles.refusals(answer)}
            assert refused <= ({"SP1206"} if agent == "tester" else set()), text
            assert len({oracles.normalise(answer) for answer in answers}) == 1, (text, types)


def test_changes_beside_the_gateway_are_seen(stage: Bench) -> None:
    """A column that turns out to be another is withheld at once; what has no such mark follows
    within ``catalog.check_seconds``.
    """
    database = stage.databases.builders[0]
    client = stage.connect(database)
    try:
        for text, change in (
            ("SELECT name FROM people",
                ("ALTER TABLE people RENAME ssn TO t; ALTER TABLE people RENAME name TO ssn; ALTER"
                 " TABLE people RENAME t TO name")),
            ("COPY (SELECT name FROM v_public) TO STDOUT",
                ("CREATE OR REPLACE VIEW v_public AS SELECT id, phone::text AS name, city FROM"
                 " people")),
        ):  # fmt: skip
            (kept,), _ = play([client], [cases.Step(text.encode())], WAYS["simple"])
            assert not oracles.refusals(kept), oracles.summary(kept)
            stage.databases.direct(database).execute(change.encode())
            (answer,), _ = play([client], [cases.Step(text.encode())], WAYS["simple"])
            if not text.startswith("COPY"):
                assert oracles.refusals(answer) == ["SP1203"], oracles.summary(answer)
                continue
            until = time.monotonic() + 15
            while stage.databases.canaries.found(answer) and time.monotonic() < until:
                time.sleep(0.2)
                (answer,), _ = play([client], [cases.Step(text.encode())], WAYS["simple"])
            assert not stage.databases.canaries.found(answer)
    finally:
        client.close()
        stage.databases.rebuild()


def test_values_that_may_decide_are_still_not_shown(stage: Bench) -> None:
    """``filter: allow`` lets masked values decide about rows and order: no row, message or write
    shows one.
    """
    groups = ("03", "04", "05", "07", "11")
    chosen = [
        case
        for case in cases.read("attacks", stage.server.major)
        if case.group.startswith(groups) and "as" not in case.options
    ]
    attacks = Attacks(stage, ("simple",), 1)
    findings = [finding for case in part(chosen, 2) for finding in attacks.run(case, "opener")[0]]
    assert not [finding for finding in findings if not finding.residual], told(findings)
