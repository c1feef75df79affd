"""Who is contained, by what token, and for how long; and what a judge makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sallyport.core.subject import Subject
from sallyport.judge import Containments, Judge, UntrustedRead
from sallyport.judge.containments import STEP
from sallyport.policy.containment import COLUMN, Containment
from sallyport.policy.decision import Outcome
from sallyport.policy.file.load import parse_policy
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from tests.support.postgres import Server
from tests.targets.query import catalog_of

HOUR = 3600.0


@pytest.fixture(scope="module")
def catalog(postgres: Server) -> CatalogSnapshot:
    """Of the shop."""
    return catalog_of(postgres.agent_dsn)


READ = UntrustedRead("public.customers.notes", "shop", "ses_1", 3, HOUR, COLUMN)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class MemoryStore:
    kept: dict[str, Containment] = field(default_factory=dict)

    def keep(self, containment: Containment) -> None:
        self.kept[containment.id] = containment

    def unreleased(self) -> list[Containment]:
        return [kept for kept in self.kept.values() if kept.released_at is None]

    def recent(self, limit: int) -> list[Containment]:
        return list(self.kept.values())[:limit]


def token(client: str = "", *actors: str, id_: str = "sue") -> Subject:
    agent = actors[0] if actors else client
    claims = {"azp": client} if client else {}
    return Subject(
        id_,
        "https://idp.test",
        frozenset({"agents"}),
        agent=agent,
        claims=claims,
        actors=actors,
        client=client,
    )


@pytest.mark.parametrize(
    ("reader", "asked", "is_contained"),
    [
        (token("claude"), token("claude"), True),
        (token("claude"), token("cursor"), False),
        (token("claude"), token("claude", id_="tom"), False),
        (token("claude"), token(""), True),  # which program it is, is not known
        (token(""), token("claude"), True),
        (token("claude", "sub-agent"), token("claude"), True),  # the outer one sees it as well
        (token("claude", "sub-agent"), token("cursor", "sub-agent"), True),
        (token("claude"), token("claude", "sub-agent"), True),
        (token("claude", "sub-agent"), token("cursor", "another"), False),
    ],
)
def test_the_programs_of_a_token(reader: Subject, asked: Subject, is_contained: bool) -> None:
    containments = Containments(Clock())
    containments.note_read(reader, READ)
    assert (containments.of(asked) is not None) is is_contained


def test_one_more_program_is_one_more_containment() -> None:
    """A token of fewer programs does not widen it, one of more does."""
    containments = Containments(Clock())
    assert containments.note_read(token("claude"), READ) is not None
    assert containments.note_read(token("claude"), READ) is None
    assert containments.note_read(token("claude", "sub-agent"), READ) is not None
    assert containments.of(token("cursor", "sub-agent")) is not None
    assert containments.note_read(token(""), READ) is not None
    assert containments.of(token("anything")) is not None


def test_it_lasts_for_its_time_from_the_last_read() -> None:
    clock = Clock()
    containments = Containments(clock)
    first = containments.note_read(token("claude"), READ)
    assert first is not None and first.until == 1000.0 + HOUR + STEP
    clock.now += STEP / 2
    assert containments.note_read(token("claude"), READ) is None
    clock.now += HOUR / 2
    again = containments.note_read(token("claude"), READ)
    assert again is not None and again.id == first.id and again.until == clock.now + HOUR + STEP
    clock.now += HOUR
    assert containments.of(token("claude")) is not None
    clock.now += STEP
    assert containments.of(token("claude")) is None
    assert containments.active() == []


def test_it_is_kept_and_released() -> None:
    clock, store = Clock(), MemoryStore()
    containments = Containments(clock)
    containments.keep_in(store)
    made = containments.note_read(token("claude"), READ)
    assert made is not None
    store.keep(made)
    later = Containments(clock)
    later.keep_in(store)
    assert later.of(token("claude")) == made
    released = later.release(made.id, "olga")
    assert released is not None and released.released_by == "olga"
    assert later.of(token("claude")) is None and later.release(made.id, "olga") is None
    later.restore(released)
    assert later.of(token("claude")) == made


POLICY = """\
version: 1
untrusted: ["public.customers.notes"]
contain: {writes: deny, masks: redact, targets: deny, functions: deny}
functions: ["public.order_total"]
rules:
  - {name: all, allow: [all], relations: ["public.*"]}
  - {name: exports, deny: [copy-out], when: subject.read_untrusted}
masks:
  - {columns: ["public.customers.email"], with: email, except: {groups: [agents]}}
"""


def _judge(catalog: CatalogSnapshot, clock: Clock, target: str = "shop") -> Judge:
    policy = parse_policy(POLICY, "policy.yaml")
    return Judge(target, policy, catalog, {}, max_statement_bytes=1 << 20, now=clock)


def test_the_judge_decides_by_it(catalog: CatalogSnapshot) -> None:
    clock = Clock()
    judge, subject = _judge(catalog, clock), token("claude")

    def code(sql: str) -> str:
        refusal = (
            judge.subject_judge(subject, ("public",)).judge(sql.encode()).statements[0].refusal
        )
        return "" if refusal is None else refusal.code.id

    delete, copy = "DELETE FROM orders WHERE id = 1", "COPY products TO STDOUT"
    statements = (delete, copy, "SELECT order_total(1)")
    assert [code(sql) for sql in statements] == ["", "", ""]
    before = judge.generation
    judge.containments.note_read(subject, READ)
    assert judge.generation > before
    assert [code(sql) for sql in statements] == ["SP1005", "SP1005", "SP1005"]
    assert code("SELECT id FROM orders") == ""
    view = judge.subject_judge(subject, ("public",))
    assert {mask.spec.kind for mask in view.subject_policy.masks.values()} == {"redact"}
    refusal = view.judge(b"TRUNCATE orders").statements[0].refusal
    assert refusal is not None
    place = "statement 3 of session ses_1 on shop"
    for part in ("claude of sue", READ.column, place, "1970-01-01 00:16:40"):
        assert part in refusal.detail
    clock.now += HOUR + STEP
    judge.tick()
    assert [code(sql) for sql in statements] == ["", "", ""]
    assert not judge.subject_judge(subject, ("public",)).subject_policy.masks


def test_another_target_is_closed_but_ends_what_is_open(catalog: CatalogSnapshot) -> None:
    judge, subject = _judge(catalog, Clock(), "ledger"), token("claude")
    judge.containments.note_read(subject, READ)
    view = judge.subject_judge(subject, ("public",))
    refusal = view.judge(b"SELECT id FROM orders").statements[0].refusal
    assert refusal is not None and refusal.code.id == "SP1005"
    assert view.judge(b"COMMIT").statements[0].refusal is None


def test_subjects_share_a_view_until_one_is_contained(catalog: CatalogSnapshot) -> None:
    """A condition on containment alone does not make verdicts a person's own."""
    judge = _judge(catalog, Clock())
    sue, tom = token("claude"), token("claude", id_="tom")
    assert judge.subject_judge(sue, ("public",)) is judge.subject_judge(tom, ("public",))
    judge.containments.note_read(sue, READ)
    assert judge.subject_judge(sue, ("public",)) is not judge.subject_judge(tom, ("public",))
    script = judge.subject_judge(tom, ("public",)).judge(b"DELETE FROM orders WHERE id = 1")
    assert script.statements[0].outcome is Outcome.ALLOW


def test_an_untrusted_column_keeps_its_name(catalog: CatalogSnapshot) -> None:
    view = _judge(catalog, Clock()).subject_judge(token("claude"), ("public",))
    refusal = view.judge(b"ALTER TABLE customers RENAME notes TO remarks").statements[0].refusal
    assert refusal is not None and refusal.code.id == "SP1205"
    assert view.judge(b"ALTER TABLE customers RENAME city TO town").statements[0].refusal is None


def test_what_another_process_changed_is_taken_from_the_store() -> None:
    clock, store = Clock(), MemoryStore()
    own, elsewhere = Containments(clock), Containments(clock)
    for containments in (own, elsewhere):
        containments.keep_in(store)
    made = elsewhere.note_read(token("cli"), READ)
    assert made is not None
    own.take(made)
    own.reload()
    assert own.active() == [made], "it is not stored yet"
    assert own.note_read(token("cli"), READ) == made and own.unstored() == [made]
    store.keep(made)
    own.reload()
    assert own.note_read(token("cli"), READ) is None and own.unstored() == []
    clock.now += STEP * 2
    prolonged = elsewhere.note_read(token("cli"), READ)
    assert prolonged is not None and prolonged.id == made.id
    store.keep(prolonged)
    own.reload()
    assert own.active() == [prolonged]
    released = elsewhere.release(made.id, "olga")
    assert released is not None
    store.keep(released)
    own.reload()
    assert own.active() == []
