"""Each detector on small histories: what it tells, and the look-alike that it leaves alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import get_args

import msgspec
import pytest

from sallyport.config.model import Detector
from sallyport.watch.baseline import DAY, Learning, hour_of_week
from sallyport.watch.detectors import DETECTORS
from sallyport.watch.finding import AgentKey, Finding, Severity
from sallyport.watch.intake import Batch, Observation
from sallyport.watch.merging import LessonBatch, merged
from sallyport.watch.shapes import Shape
from sallyport.watch.watcher import MAX_AN_HOUR, Watcher

KEY = AgentKey("https://idp", "claude-ci", "", "claude-ci", "shop")
MONDAY = 1_767_571_200.0 + 9 * 3600.0


def shape(name: str, *relations: str, kind: str = "select", **more: object) -> Shape:
    relations = relations or ("public.orders",)
    label = f"{kind} {', '.join(relations)}"
    return Shape(name, kind, label, relations, **more)  # type: ignore[arg-type]


ORDERS = shape("orders by id")
ITEMS = shape("items", "public.order_items")


@dataclass
class World:
    """One agent, its store, and a clock."""

    now: float = MONDAY
    saved: dict[AgentKey, bytes] = field(default_factory=dict)
    network: str = "10.1.2.0/24"
    program: str = "psql"
    age: float = 60.0
    session: str = "ses_1"

    def __post_init__(self) -> None:
        self.watcher = self.open()

    def open(self) -> Watcher:
        def save(key: AgentKey, batch: LessonBatch, at: float) -> None:
            self.saved[key] = merged(self.saved.get(key), batch)

        return Watcher(Learning(7.0, 100), self.saved.get, save)

    def do(self, *seen: Observation, running: Observation | None = None) -> list[Finding]:
        batch = Batch(self.session, self.network, seen, running, self.program, self.age)
        return self.watcher.observe(KEY, batch, self.now)

    def run(self, seen: Shape, times: int = 1, **more: int) -> list[str]:
        """The same statement with other values, one at a time; the detectors that told."""
        told = []
        for at in range(1, times + 1):
            rows = more.get("rows", 0)
            fields = {"rows": rows, "largest": rows, "first": at, "last": at, **more}
            told += self.do(Observation(seen, 1, **fields))
            self.now += 2.0
        return [finding.detector for finding in told]

    def learn(self, days: int = 21, extra: Iterable[Observation] = ()) -> None:
        """Weekdays at nine: orders by id and items, some at a time."""
        for day in range(days):
            self.now = MONDAY + day * DAY
            if day % 7 < 5:
                self.do(Observation(ORDERS, 8, 8, 640, 1), Observation(ITEMS, 4, 400, 9000, 100))
                self.do(*extra)
        self.now = MONDAY + days * DAY


@pytest.fixture
def world() -> World:
    learned = World()
    learned.learn()
    return learned


def test_usual_work_is_no_finding(world: World) -> None:
    assert world.run(ORDERS, 9, rows=1) == []
    assert world.run(ITEMS, 4, rows=100) == []


def test_nothing_is_told_while_it_is_learned() -> None:
    world = World()
    world.learn(5)
    assert world.run(shape("dump", "public.customers"), rows=50_000) == []


def test_bulk_names_relation_time_and_the_largest_so_far(world: World) -> None:
    world.now += 60
    told = world.do(Observation(ITEMS, 40, 48_000, 1, 1200))
    (finding,) = [f for f in told if f.detector == "bulk"]
    usual = "its largest in five weeks was 400"
    read = "claude-ci read 48,000 rows of public.order_items in 1 minute"
    assert finding.evidence == f"{read}; {usual}"


def test_bulk_is_told_while_the_result_is_passing(world: World) -> None:
    dump = shape("dump", "public.order_items")
    assert world.do(running=Observation(dump, 0, 900, 1, 900)) == []
    (finding,) = world.do(running=Observation(dump, 0, 1500, 1, 1500, first=7, last=7))
    assert (finding.detector, finding.first, finding.last) == ("bulk", 7, 7)


def test_one_result_larger_than_all_before_of_a_statement_that_always_ran() -> None:
    """However small it is beside what the agent reads in an episode, and in a day."""
    world = World()
    world.learn(extra=[Observation(ITEMS, 16, 1600, 9000, 100), Observation(ITEMS, 1, 300, 1, 300)])
    assert world.run(ITEMS, 1, rows=1400) == []
    (finding,) = world.do(Observation(ITEMS, 1, 1600, 1, 1600))
    usual = "its largest result in five weeks was 300"
    read = "claude-ci read 1,600 rows of public.order_items by one statement"
    assert (finding.detector, finding.evidence) == ("bulk", f"{read}; {usual}")


def test_volume_of_a_day(world: World) -> None:
    told = []
    for _ in range(40):
        told += world.run(ITEMS, 4, rows=100)
        world.now += 600
    assert "volume" in told
    assert "bulk" not in told


def test_paging_but_not_the_same_page(world: World) -> None:
    page = shape("page", pages=True)
    assert "paging" in world.run(page, 10, rows=50)
    world.now += 3 * 3600
    assert "paging" not in world.run(shape("first page", pages=True), 30, rows=50, repeats=1)


def test_search_but_not_a_loop_over_ids(world: World) -> None:
    guess = shape("guess", searches=True, masked=("public.orders.total",))
    assert "search" in world.run(guess, 15, rows=1)
    world.now += 3 * 3600
    assert "search" not in world.run(shape("by id"), 40, rows=1)


def test_what_it_always_pages_through_is_no_finding() -> None:
    page = shape("page", pages=True)
    world = World()
    world.learn(extra=[Observation(page, 30, 1500, 1, 50)])
    assert "paging" not in world.run(page, 30, rows=50)


def test_enumeration_by_names_and_by_refusals(world: World) -> None:
    told = []
    for number in range(6):
        told += world.run(shape(f"look {number}", f"public.secret_{number}"))
    assert "enumeration" in told
    world.now += 3 * 3600
    told = []
    for number in range(16):
        seen = Observation(shape(f"try {number}", "public.gone"), 1, code="SP1106", variant=number)
        told += [f.detector for f in world.do(seen)]
    assert "enumeration" in told


def test_probing_needs_different_forms(world: World) -> None:
    told = []
    for number in range(5):
        seen = shape(f"form {number}", "public.salaries")
        told += [f.detector for f in world.do(Observation(seen, 1, code="SP1201", variant=number))]
    assert "probing" in told
    world.now += 3 * 3600
    same = shape("same form", "public.salaries")
    for number in range(20):
        told = [f.detector for f in world.do(Observation(same, 1, code="SP1201", variant=number))]
        assert "probing" not in told


def test_refusals_compare_with_the_usual_share(world: World) -> None:
    refused = shape("refused", "public.orders")
    told = []
    for number in range(8):
        seen = Observation(refused, 1, code="SP1001", variant=number)
        told += [f.detector for f in world.do(seen)]
    assert "refusals" in told
    clumsy = World()
    clumsy.learn(extra=[Observation(refused, 1, code="SP1001", variant=n) for n in range(8)])
    assert "refusals" not in [
        finding.detector
        for number in range(8)
        for finding in clumsy.do(Observation(refused, 1, code="SP1001", variant=number))
    ]


def test_stuck_needs_failures_of_the_same_text(world: World) -> None:
    assert "stuck" in world.run(ORDERS, 13, failed=1, repeats=1)
    world.now += 3 * 3600
    assert "stuck" not in world.run(ORDERS, 13, failed=1)
    assert "stuck" not in world.run(ITEMS, 13, repeats=1)


def test_stuck_on_a_refusal(world: World) -> None:
    told = []
    for _ in range(13):
        seen = Observation(ORDERS, 1, code="SP1201", variant=7)
        told += [f.detector for f in world.do(seen)]
    assert "stuck" in told


def test_credentials_for_the_first_time_only() -> None:
    keys = shape("keys", "public.api_keys", credentials=("public.api_keys.secret",))
    world = World()
    world.learn()
    assert "credentials" in world.run(keys)
    usual = World()
    read = msgspec.structs.replace(keys, columns=("public.api_keys.secret",))
    usual.learn(extra=[Observation(read, 1)])
    assert "credentials" not in usual.run(read)


def test_masked_column_in_ever_new_ways(world: World) -> None:
    told = []
    for number in range(7):
        told += world.run(shape(f"way {number}", masked=("public.customers.ssn",)))
    assert "masked" in told


def test_first_write_is_told_as_such(world: World) -> None:
    write = shape("erase", "public.orders", kind="delete")
    (finding,) = [f for f in world.do(Observation(write, 1)) if f.detector == "new-relation"]
    assert finding.severity.value == "medium"
    assert "delete public.orders" in finding.evidence


def test_new_forms_are_no_finding_for_who_always_sends_new_ones() -> None:
    world = World()
    for day in range(21):
        world.now = MONDAY + day * DAY
        for number in range(6):
            world.do(Observation(shape(f"form {day} {number}"), 1, 5, 1, 5))
    world.now = MONDAY + 21 * DAY
    assert "new-statement" not in world.run(shape("one more"), rows=5)


def test_drift_names_what_moved(world: World) -> None:
    for _ in range(60):
        world.do(Observation(ORDERS, 8, 8, 640, 1), Observation(ITEMS, 4, 400, 1, 100))
        world.now += 700
    carts = shape("carts", "public.carts")
    findings = []
    for _ in range(20):
        findings += world.do(Observation(carts, 1, 1, 1, 1))
    (finding,) = [f for f in findings if f.detector == "drift"]
    assert "select public.carts 0%" in finding.evidence


def test_off_hours_after_two_weeks(world: World) -> None:
    world.now = MONDAY + 22 * DAY + 17 * 3600.0  # two at night
    assert "off-hours" in world.run(ORDERS, 3, rows=1)


def test_networks_at_once(world: World) -> None:
    told = []
    for number in range(3):
        world.network = f"10.{number}.0.0/24"
        told += world.run(ORDERS, rows=1)
    assert "networks" in told


def total(*conditions: str, singling: str = "") -> Shape:
    """avg(amount) of salaries where all conditions hold."""
    return shape(
        f"avg {conditions}",
        "public.salaries",
        aggregates=True,
        conditions=frozenset(conditions),
        singling=frozenset(condition for condition in conditions if condition == singling),
    )


def test_totals_that_differ_by_a_person_but_not_by_a_month(world: World) -> None:
    base, but_one = total("dept"), total("dept", "name <>", singling="name <>")
    assert world.run(base) + world.run(but_one, 4) == ["new-relation"]
    (finding,) = [f for f in world.do(Observation(but_one, 1)) if f.detector == "differencing"]
    assert finding.evidence.startswith("claude-ci took 5 totals of public.salaries over groups")
    world.now += 3 * 3600
    told = world.run(base) + world.run(total("dept", "month"), 40) + world.run(total(), 40)
    assert "differencing" not in told
    world.now += 3 * 3600
    alone = world.run(total("email =", singling="email ="), 40)
    assert "differencing" not in alone, "there is nothing to take it from"
    world.now += 3 * 3600
    same = world.run(base) + world.run(but_one, 40, repeats=1)
    assert "differencing" not in same, "one difference, again and again"


def test_complements_differ_as_well(world: World) -> None:
    told = world.run(total("dept", "name =", singling="name ="), 3)
    told += world.run(total("dept", "name <>", singling="name <>"), 3)
    assert "differencing" in told


def test_usual_totals_of_persons_are_no_finding() -> None:
    world = World()
    but_one = total("dept", "name <>", singling="name <>")
    world.learn(extra=[Observation(total("dept"), 1), Observation(but_one, 20)])
    assert "differencing" not in world.run(total("dept")) + world.run(but_one, 20)


def often() -> World:
    """Sixty episodes, from one network by one program."""
    world = World()
    for _ in range(60):
        world.now += 7 * 3600
        world.do(Observation(ORDERS, 8, 8, 640, 1), Observation(ITEMS, 4, 400, 9000, 100))
    world.now += 700
    return world


def test_another_name_of_the_client_is_the_same_agent() -> None:
    """application_name is what a client says of itself: no baseline hangs on it."""
    world = often()
    world.program = "somebody else"
    told = world.run(ITEMS, 1, rows=48_000)
    assert {"bulk", "origin"} <= set(told)


def test_a_session_that_never_ends(world: World) -> None:
    world.age = 3600.0 * 5
    assert "session-length" in world.run(ORDERS, rows=1)
    usual = World(age=3600.0 * 5)
    usual.learn()
    assert "session-length" not in usual.run(ORDERS, rows=1)


def test_one_thing_is_told_once_an_hour(world: World) -> None:
    assert world.run(ITEMS, 1, rows=48_000).count("bulk") == 1
    assert world.run(ITEMS, 5, rows=48_000).count("bulk") == 0
    world.now += 3700
    assert world.run(ITEMS, 1, rows=48_000).count("bulk") == 1


def test_a_poisoned_baseline_moves_by_steps_that_are_told(world: World) -> None:
    peak = "rows public.order_items"

    def largest() -> float:
        summary = world.watcher.summary(KEY, world.now)
        assert summary is not None
        return summary.baseline.peak(peak, world.now)

    before = largest()
    for _ in range(3):
        assert "bulk" in world.run(ITEMS, 1, rows=1_000_000)
        world.now += 3700
        world.watcher.tick(world.now)
        assert largest() <= 2 * before
        before = largest()


def test_what_is_never_unusual_grows_no_faster_than_twofold_a_week(world: World) -> None:
    """Somebody who reads just less than five times the largest so far, each time."""
    start, before = world.now, 400.0
    for step in range(12):
        world.now = start + step * 3600.0
        told = world.run(ITEMS, 1, rows=int(min(4.9 * before, 50_000)), largest=100)
        world.now += 700.0
        world.watcher.tick(world.now)
        summary = world.watcher.summary(KEY, world.now)
        assert summary is not None
        before = summary.baseline.peak("rows public.order_items", world.now)
        assert before <= 2 * 400.0
        assert not told or set(told) == {"volume"}
    assert "bulk" in world.run(ITEMS, 1, rows=9_000)


def test_expected_from_now_on(world: World) -> None:
    told = world.do(Observation(ITEMS, 1, 48_000, 1, 48_000))
    (finding,) = [f for f in told if f.detector == "bulk"]
    world.watcher.expect(finding, world.now)
    world.now += 3700
    assert "bulk" not in world.run(ITEMS, 1, rows=48_000)
    world.now += 3700
    assert "bulk" in world.run(ITEMS, 1, rows=500_000)


def test_expected_the_next_day_is_no_licence(world: World) -> None:
    """What was measured is the largest so far, whenever somebody says so, of that finding alone."""
    told = world.do(Observation(ITEMS, 1, 48_000, 1, 48_000))
    assert {finding.detector for finding in told} == {"bulk"}
    world.now += DAY
    late = world.run(shape("night", "public.audit"), rows=30_000)
    assert "bulk" in late
    world.watcher.close(world.now)
    world.watcher = world.open()
    world.watcher.expect(told[0], world.now)
    world.now += 3 * 3600
    assert "bulk" not in world.run(ITEMS, 1, rows=48_000)
    world.now += 3 * 3600
    assert "bulk" in world.run(ITEMS, 1, rows=500_000)
    world.now += 3 * 3600
    assert "bulk" in world.run(shape("night", "public.audit"), rows=90_000)


def test_expected_without_a_measure(world: World) -> None:
    def probe() -> list[Finding]:
        forms = [shape(f"form {number}", "public.salaries") for number in range(5)]
        seen = [Observation(form, 1, code="SP1201", variant=1) for form in forms]
        return [finding for finding in world.do(*seen) if finding.detector == "probing"]

    (finding,) = probe()
    world.watcher.expect(finding, world.now)
    world.now += DAY
    assert probe() == []


def test_one_expected_write_says_nothing_of_others(world: World) -> None:
    write = shape("erase", "public.orders", kind="delete")
    (finding,) = [f for f in world.do(Observation(write, 1)) if f.detector == "new-relation"]
    world.watcher.expect(finding, world.now)
    world.now += 60
    assert "new-relation" in world.run(shape("clear", "public.carts", kind="delete"))


def test_reset_learns_from_the_beginning(world: World) -> None:
    world.watcher.reset(KEY, world.now)
    assert world.run(ITEMS, 1, rows=1_000_000) == []
    summary = world.watcher.summary(KEY, world.now)
    assert summary is not None
    assert summary.progress == 0.0


def test_baseline_is_the_same_after_a_restart(world: World) -> None:
    world.watcher.close(world.now)
    world.watcher = world.open()
    assert "bulk" in world.run(ITEMS, 1, rows=48_000)


def test_damaged_baseline_is_learned_anew(world: World) -> None:
    world.saved[KEY] = b"\xc1"
    world.watcher = world.open()
    assert world.run(ITEMS, 1, rows=48_000) == []


def test_findings_about_one_agent_are_bounded(world: World) -> None:
    told = Counter[Severity]()
    for number in range(60):
        seen = shape(f"dump {number}", f"public.table_{number}")
        told.update(f.severity for f in world.do(Observation(seen, 1, 9_000, 1, 9_000)))
    assert max(told.values()) == MAX_AN_HOUR


def test_noise_does_not_hide_what_matters(world: World) -> None:
    for number in range(30):
        world.run(shape(f"noise {number}", "public.orders"), 13, failed=1, repeats=1)
    assert "bulk" in world.run(ITEMS, 1, rows=48_000)


def test_memory_of_an_agent_is_bounded() -> None:
    world = World()
    world.learn(1)
    for number in range(3000):
        relation = f"public.relation_{number}"
        seen = shape(f"form {number}", relation, pages=True, masked=(f"{relation}.secret",))
        seen = msgspec.structs.replace(seen, columns=(f"{relation}.secret",))
        world.do(Observation(seen, 5, 500, 1, 300))
        world.now += 30
    world.watcher.close(world.now)
    assert len(world.saved[KEY]) < 60_000


def test_configuration_names_every_detector() -> None:
    assert set(get_args(Detector)) == set(DETECTORS)


def test_hour_of_week_begins_on_monday() -> None:
    assert hour_of_week(MONDAY) == 9
