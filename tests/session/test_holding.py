"""Held statements, without people: what waits, what may pass meanwhile, what an answer does, and
every way around that was thought of.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sallyport.core.errors import Refusal, refuse
from sallyport.session.client.input import Blocked
from sallyport.session.commands import AskApproval, JudgeElsewhere
from sallyport.session.held import HeldStatement, Ruling
from sallyport.session.holding import cancel_waiting
from sallyport.session.server.writer import FAILING_SQL
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.wire import backend
from sallyport.wire.frontend import (
    bind,
    close,
    copy_data,
    copy_done,
    describe,
    execute,
    flush,
    parse,
    query,
    sync,
)
from tests.session.playbook import (
    AGENT,
    FAILED,
    FAILED_BLOCK,
    FAILS,
    IDLE,
    IN_BLOCK,
    NOTHING,
    Like,
    Run,
    Stage,
    asks,
    client,
    does,
    done,
    from_server,
    play,
    refused,
    rows,
    server,
    server_error,
)

POLICY = """\
version: 1
rules:
  - {name: all, allow: [all], relations: ["public.*"]}
  - {name: deletes wait, hold: [delete], relations: ["public.orders"], reviewers: {groups: [dba]}}
  - {name: imports wait, hold: [insert], relations: ["public.products"], reviewers: {groups: [dba]}}
search_paths: ["public", "pg_catalog, public"]
"""
FREE = 'version: 1\nrules:\n  - {name: all, allow: [all], relations: ["public.*"]}\n'
CLOSED = FREE + '  - {name: no, deny: [delete], relations: ["public.orders"]}\n'

DELETE = "DELETE FROM orders WHERE id = 5"
WITH_BIND = "DELETE FROM orders WHERE id = $1 RETURNING id"
OTHER = "SELECT id, name FROM products"
NO = refuse("SP1402", "delete was denied by dana: keep them")
MOVED = refuse("SP1404", "the approval is no longer valid: the policy changed")

PARSED, BOUND, SUSPENDED = (
    backend.parse_complete(),
    backend.bind_complete(),
    backend.portal_suspended(),
)
BAD_EXECUTE = Like("E", ("refused",))
NO_SUCH = server_error("34000", 'portal "sallyport refused this" does not exist')


@pytest.fixture
def new_stage(catalog: CatalogSnapshot) -> Callable[[], Stage]:
    return lambda: Stage(catalog, POLICY)


def can_hold(run: Run) -> None:
    run.session.can_hold = True


def rules(
    refusal: Refusal | None, use: Callable[[HeldStatement], Refusal | None] = lambda held: None
):  # type: ignore[no-untyped-def]
    return does(lambda run: run.session.on_ruling(Ruling(refusal, None, use)))


APPROVED, DENIED = rules(None), rules(NO)
WAITS = asks(AskApproval)
HOLDS = does(can_hold)


def held(run: Run) -> HeldStatement:
    """What the session asked about, the latest."""
    return next(c.held for c in reversed(run.asked) if isinstance(c, AskApproval))


# -- simple query ----------------------------------------------------------------------------------


def test_a_held_statement_waits_and_runs_when_approved(new_stage: Callable[[], Stage]) -> None:
    run = play(
        new_stage,
        HOLDS,
        client >> query(DELETE),
        server << NOTHING,
        client << NOTHING,
        WAITS,
        APPROVED,
        server << query(DELETE),
        server >> (done("DELETE 1"), IDLE),
        client << (done("DELETE 1"), IDLE),
    )
    assert [(s["outcome"], s["rule"]) for s in run.recording.statements] == [
        ("allow", "deletes wait")
    ]
    assert run.session.counters.waited == 1


def test_an_approval_is_for_one_time(new_stage: Callable[[], Stage]) -> None:
    once = (client >> query(DELETE), WAITS, APPROVED, server << query(DELETE))
    answer = (server >> (done("DELETE 1"), IDLE), client << (done("DELETE 1"), IDLE))
    play(new_stage, HOLDS, *once, *answer, client >> query(DELETE), server << NOTHING, WAITS)


def test_a_denial_is_the_error_of_this_statement(new_stage: Callable[[], Stage]) -> None:
    run = play(
        new_stage,
        HOLDS,
        client >> query(DELETE),
        WAITS,
        DENIED,
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (Like("E", ("[SP1402]", "keep them", "C42501")), IDLE),
        client >> query(OTHER),
        server << query(OTHER),
        server >> (done("SELECT 0"), IDLE),
        client << (done("SELECT 0"), IDLE),
    )
    assert [(s["outcome"], s["code"]) for s in run.recording.statements] == [
        ("deny", "SP1402"),
        ("allow", ""),
    ]


def test_what_comes_behind_it_waits_and_keeps_its_order(new_stage: Callable[[], Stage]) -> None:
    play(
        new_stage,
        HOLDS,
        client >> (query("SELECT 1"), query(DELETE), query("SELECT 2"), query("SELECT 3")),
        server << query("SELECT 1"),
        WAITS,
        client >> query("SELECT 4"),
        server << NOTHING,
        server >> (done("SELECT 1"), IDLE),
        client << (done("SELECT 1"), IDLE),
        server << NOTHING,
        APPROVED,
        server << (query(DELETE), query("SELECT 2"), query("SELECT 3"), query("SELECT 4")),
        server >> (done("DELETE 1"), IDLE) >> (done("SELECT 1"), IDLE) * 3,
        client << (done("DELETE 1"), IDLE) << (done("SELECT 1"), IDLE) * 3,
    )


def test_two_held_statements_are_asked_about_one_after_the_other(
    new_stage: Callable[[], Stage],
) -> None:
    second = DELETE.replace("5", "6")
    play(
        new_stage,
        HOLDS,
        client >> (query(DELETE), query(second)),
        WAITS,
        APPROVED,
        server << query(DELETE),
        does(lambda run: _same_text(run, second)),
        WAITS,
        DENIED,
        server << FAILS,
        server >> (done("DELETE 1"), IDLE, FAILED, IDLE),
        client << (done("DELETE 1"), IDLE, refused("SP1402"), IDLE),
    )


def _same_text(run: Run, text: str) -> None:
    assert held(run).sql == text


def test_a_notice_comes_between_messages_not_inside_one(new_stage: Callable[[], Stage]) -> None:
    """The answer to an earlier statement is still arriving, in pieces, when the client is told that
    it waits.
    """
    said = does(lambda run: run.session.send_notice("this delete waits"))
    answer = rows("1", "Lamp" * 50)
    play(
        new_stage,
        HOLDS,
        client >> (query("SELECT 1"), query(DELETE)),
        server << query("SELECT 1"),
        WAITS,
        lambda run: from_server(run.session, backend.row_description([run.stage.field("a:25")])),
        client << Like("T"),
        lambda run: from_server(run.session, answer[:60]),
        said,
        lambda run: from_server(run.session, answer[60:]),
        client << (Like("N", ("this delete waits",)), Like("D", ("Lamp",))),
        server >> (done("SELECT 1"), IDLE),
        client << (done("SELECT 1"), IDLE),
    )


@pytest.mark.parametrize(
    "batch",
    [
        f"{DELETE}; SELECT 1",
        f"{DELETE}; {DELETE}",
        f"SELECT 1; {DELETE}",
        f"BEGIN; {DELETE}; COMMIT",
    ],
)
def test_a_batch_with_a_held_statement_is_refused(
    new_stage: Callable[[], Stage], batch: str
) -> None:
    before = batch.partition("DELETE")[0].rstrip()
    play(
        new_stage,
        HOLDS,
        client >> query(batch),
        server
        << (FAILS if not before else Like("Q", (before, "refused by sallyport"), ("DELETE",))),
        *(
            (server >> (FAILED, IDLE),)
            if not before
            else (server >> (done(before.split()[0].rstrip(";")), FAILED, IDLE),)
        ),
        client << ((Like("C"),) if before else ()) << (Like("E", ("[SP1003]", "by itself")), IDLE),
    )


def test_an_empty_statement_beside_it_is_no_batch(new_stage: Callable[[], Stage]) -> None:
    text = f";; {DELETE} ;;"
    play(new_stage, HOLDS, client >> query(text), WAITS, APPROVED, server << query(text),
         server >> (done("DELETE 1"), IDLE), client << (done("DELETE 1"), IDLE))  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        f"EXPLAIN {DELETE}",
        f"EXPLAIN ANALYZE {DELETE}",
        f"PREPARE p AS {DELETE}",
        "COPY (DELETE FROM orders RETURNING id) TO STDOUT",
    ],
)
def test_what_stands_for_a_held_statement_is_refused(
    new_stage: Callable[[], Stage], text: str
) -> None:
    said = Like("E", ("[SP1003]", "Send the statement itself"))
    play(
        new_stage,
        HOLDS,
        client >> query(text),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (said, IDLE),
    )
    play(
        new_stage,
        HOLDS,
        client >> (parse("", text), sync()),
        server << (Like("P", ("refused",)), sync()),
        server >> (FAILED, IDLE),
        client << (said, IDLE),
    )


def test_a_cursor_over_a_held_query_is_refused(catalog: CatalogSnapshot) -> None:
    text = (
        FREE
        + '  - {name: reads wait, hold: [select], relations: ["public.orders"], reviewers: {groups:'
        " [dba]}}\n"
    )
    play(
        Stage(catalog, text),
        HOLDS,
        client >> query("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM orders"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (Like("E", ("[SP1003]", "Send the statement itself")), IDLE),
    )


def test_a_data_modifying_with_is_held_as_a_whole(new_stage: Callable[[], Stage]) -> None:
    text = "WITH gone AS (DELETE FROM orders RETURNING id) SELECT id FROM gone"
    play(new_stage, HOLDS, client >> query(text), server << NOTHING, WAITS)


def test_without_anybody_to_ask_a_hold_refuses(new_stage: Callable[[], Stage]) -> None:
    play(
        new_stage,
        client >> query(DELETE),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1003"), IDLE),
    )


def test_nobody_is_asked_in_a_failed_transaction(new_stage: Callable[[], Stage]) -> None:
    aborted = server_error("25P02", "current transaction is aborted")
    play(
        new_stage,
        HOLDS,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), FAILED_BLOCK),
        client << (done("BEGIN"), FAILED_BLOCK),
        client >> query(DELETE),
        server << FAILS,
        server >> (aborted, FAILED_BLOCK),
        client << (aborted, FAILED_BLOCK),
    )


# -- what the wait keeps locked --------------------------------------------------------------------


def _waits_inside(expected: bool) -> Callable[[Run], None]:
    def check(run: Run) -> None:
        assert held(run).in_transaction is expected
        run.asked.clear()

    return check


def test_a_transaction_is_seen(new_stage: Callable[[], Stage]) -> None:
    play(new_stage, HOLDS, client >> query(DELETE), _waits_inside(False))
    play(
        new_stage,
        HOLDS,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client >> query(DELETE),
        _waits_inside(True),
    )
    # What was only just sent may have begun one.
    play(
        new_stage,
        HOLDS,
        client >> (query("BEGIN"), query(DELETE)),
        server << query("BEGIN"),
        _waits_inside(True),
    )


def test_a_pipeline_before_its_sync_is_a_transaction(new_stage: Callable[[], Stage]) -> None:
    first = (parse("", "UPDATE orders SET total = 1 WHERE id = 1"), bind("", ""), execute(""))
    second = (parse("", DELETE), bind("", ""), execute(""), sync())
    answers = (PARSED, BOUND, done("UPDATE 1"))
    play(
        new_stage,
        HOLDS,
        client >> (*first, flush()),
        server << (*first, flush()),
        server >> answers,
        client << answers,
        client >> second,
        server << second[:2],
        _waits_inside(True),
    )
    play(new_stage, HOLDS, client >> second, server << second[:2], _waits_inside(False))


# -- extended query --------------------------------------------------------------------------------


def test_parse_describe_and_bind_pass_and_execute_waits(new_stage: Callable[[], Stage]) -> None:
    prepared = (parse("s", WITH_BIND), describe(b"S", "s"))
    bound = (bind("p", "s", [b"5"]), describe(b"P", "p"))
    described = new_stage().describe("orders.id")
    parameters = backend.parameter_description((23,))
    play(
        new_stage,
        HOLDS,
        client >> (*prepared, sync()),
        server << (*prepared, sync()),
        server >> (PARSED, parameters, described, IDLE),
        client << (PARSED, parameters, described, IDLE),
        client >> (*bound, execute("p"), sync()),
        server << bound,
        does(lambda run: _bound(run, (b"5",))),
        WAITS,
        server >> (BOUND, described),
        client << (BOUND, described),
        APPROVED,
        server << (execute("p"), sync()),
        server >> (rows("5"), done("DELETE 1"), IDLE),
        client << (rows("5"), done("DELETE 1"), IDLE),
    )


def _bound(run: Run, values: tuple[bytes | None, ...]) -> None:
    assert (held(run).sql, held(run).binds) == (WITH_BIND, values)


def test_each_execute_of_a_prepared_statement_asks(new_stage: Callable[[], Stage]) -> None:
    described = new_stage().describe("orders.id")
    hidden = describe(b"P", "")

    def once(value: bytes, answer: Callable[[Run], None]) -> tuple[object, ...]:
        return (
            client >> (bind("", "s", [value]), execute(""), sync()),
            server << bind("", "s", [value]),
            does(lambda run: _bound(run, (value,))),
            WAITS,
            answer,
        )

    play(
        new_stage,
        HOLDS,
        client >> (parse("s", WITH_BIND), sync()),
        server << (parse("s", WITH_BIND), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
        *once(b"5", APPROVED),
        server << (hidden, execute(""), sync()),
        server >> (BOUND, described, rows("5"), done("DELETE 1"), IDLE),
        client << (BOUND, rows("5"), done("DELETE 1"), IDLE),
        *once(b"6", DENIED),
        server << (BAD_EXECUTE, sync()),
        server >> (BOUND, NO_SUCH, IDLE),
        client << (BOUND, refused("SP1402"), IDLE),
    )  # type: ignore[arg-type]


def test_a_suspended_portal_goes_on_without_asking_again(new_stage: Callable[[], Stage]) -> None:
    """PostgreSQL ran the whole statement at its first Execute; the rest of its rows is no second
    run.
    """
    described = new_stage().describe("orders.id")
    opened = (parse("", WITH_BIND), bind("p", "", [b"5"]), describe(b"P", "p"))
    play(
        new_stage,
        HOLDS,
        client >> (*opened, execute("p", 1), flush()),
        server << opened,
        WAITS,
        APPROVED,
        server << (execute("p", 1), flush()),
        server >> (PARSED, BOUND, described, rows("5"), SUSPENDED),
        client << (PARSED, BOUND, described, rows("5"), SUSPENDED),
        client >> (execute("p", 1), sync()),
        server << (execute("p", 1), sync()),
        server >> (rows("6"), done("DELETE 1"), IDLE),
        client << (rows("6"), done("DELETE 1"), IDLE),
    )


def test_a_new_portal_of_the_same_name_asks_again(new_stage: Callable[[], Stage]) -> None:
    opened = (parse("s", DELETE), bind("p", "s"), execute("p"))
    again = (close(b"P", "p"), bind("p", "s"), execute("p"), sync())
    play(
        new_stage,
        HOLDS,
        client >> opened,
        server << opened[:2],
        WAITS,
        APPROVED,
        server << opened[2:],
        client >> again,
        server << again[:2],
        WAITS,
    )


def test_what_is_left_of_a_portal_is_asked_about_again_under_another_policy(
    new_stage: Callable[[], Stage],
) -> None:
    described = new_stage().describe("orders.id")
    opened = (parse("", WITH_BIND), bind("p", "", [b"5"]), describe(b"P", "p"))
    play(
        new_stage,
        HOLDS,
        client >> (*opened, execute("p", 1), flush()),
        server << opened,
        WAITS,
        APPROVED,
        server << (execute("p", 1), flush()),
        server >> (PARSED, BOUND, described, rows("5"), SUSPENDED),
        client << (PARSED, BOUND, described, rows("5"), SUSPENDED),
        lambda run: run.stage.change_policy(POLICY + "# another version\n" + "packs: [no-ddl]\n"),
        client >> (execute("p", 1), sync()),
        server << NOTHING,
        WAITS,
    )


def test_a_denied_execute_skips_the_pipeline_as_its_own_error_would(
    new_stage: Callable[[], Stage],
) -> None:
    first = (parse("", DELETE), bind("", ""), execute(""))
    behind = (parse("", OTHER), bind("", ""), execute(""), sync())
    play(
        new_stage,
        HOLDS,
        client >> (*first, *behind),
        server << first[:2],
        WAITS,
        DENIED,
        server << (BAD_EXECUTE, sync()),
        server >> (PARSED, BOUND, NO_SUCH, IDLE),
        client << (PARSED, BOUND, refused("SP1402"), IDLE),
    )


def test_sql_execute_does_not_run_what_parse_prepared(new_stage: Callable[[], Stage]) -> None:
    """SQL's EXECUTE and protocol Parse share one namespace."""
    play(
        new_stage,
        HOLDS,
        client >> (parse("s", WITH_BIND), sync()),
        server << (parse("s", WITH_BIND), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
        client >> query("EXECUTE s(5)"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1003"), IDLE),
        client >> (parse("", "EXECUTE s(5)"), bind("", ""), execute(""), sync()),
        server << (parse("", "EXECUTE s(5)"), bind("", ""), BAD_EXECUTE, sync()),
        server >> (PARSED, BOUND, NO_SUCH, IDLE),
        client << (PARSED, BOUND, refused("SP1003"), IDLE),
    )


@pytest.mark.parametrize("how", ["FETCH ALL FROM p", "MOVE ALL IN p"])
def test_sql_fetch_does_not_run_what_bind_opened(new_stage: Callable[[], Stage], how: str) -> None:
    """A bound portal and a cursor share one namespace, and FETCH runs DELETE ... RETURNING."""
    opened = (parse("s", WITH_BIND), bind("p", "s", [b"5"]), flush())
    play(
        new_stage,
        HOLDS,
        client >> query("BEGIN"),
        server << query("BEGIN"),
        server >> (done("BEGIN"), IN_BLOCK),
        client << (done("BEGIN"), IN_BLOCK),
        client >> opened,
        server << opened,
        server >> (PARSED, BOUND),
        client << (PARSED, BOUND),
        client >> sync(),
        server << sync(),
        server >> IN_BLOCK,
        client << IN_BLOCK,
        client >> query(how),
        server << FAILS,
        server >> (FAILED, FAILED_BLOCK),
        client << (refused("SP1003"), FAILED_BLOCK),
    )


# -- what moved ------------------------------------------------------------------------------------


def test_the_approval_is_asked_at_the_last_moment(new_stage: Callable[[], Stage]) -> None:
    """``use`` sees what would run now, and its no is the answer."""
    seen: list[HeldStatement] = []
    play(
        new_stage,
        HOLDS,
        client >> query(DELETE),
        lambda run: seen.append(held(run)),
        WAITS,
        lambda run: run.stage.change_policy(POLICY + "packs: [no-ddl]\n"),
        rules(None, lambda now: MOVED if now != seen[-1] else None),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1404"), IDLE),
    )


def test_a_policy_that_denies_meanwhile_denies(new_stage: Callable[[], Stage]) -> None:
    play(
        new_stage,
        HOLDS,
        client >> query(DELETE),
        WAITS,
        lambda run: run.stage.change_policy(CLOSED),
        APPROVED,
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1002"), IDLE),
    )


@pytest.mark.parametrize("extended", [False, True])
def test_a_no_stands_though_the_policy_allows_it_by_then(
    new_stage: Callable[[], Stage], extended: bool
) -> None:
    """Denied, cancelled or void: the statement does not run because the policy was relaxed in the
    same second.
    """
    sends = (parse("", DELETE), bind("", ""), execute(""), sync()) if extended else (query(DELETE),)
    answer = (PARSED, BOUND, NO_SUCH, IDLE) if extended else (FAILED, IDLE)
    play(
        new_stage,
        HOLDS,
        client >> sends,
        server << sends[:2] if extended else server << NOTHING,
        WAITS,
        lambda run: run.stage.change_policy(FREE),
        DENIED,
        server << ((BAD_EXECUTE, sync()) if extended else FAILS),
        server >> answer,
        client << ((PARSED, BOUND) if extended else ()) << (refused("SP1402"), IDLE),
    )


def test_a_statement_prepared_while_it_was_allowed_waits_once_it_is_held(
    catalog: CatalogSnapshot,
) -> None:
    opened = (bind("", "s", [b"5"]), execute(""), sync())
    for behind in (opened, (query("EXECUTE s(5)"),)):
        steps = (
            (server << opened[0], WAITS)
            if behind is opened
            else (server << FAILS, server >> (FAILED, IDLE), client << (refused("SP1003"), IDLE))
        )
        play(
            lambda: Stage(catalog, FREE),
            HOLDS,
            client >> (parse("s", WITH_BIND), sync()),
            server << (parse("s", WITH_BIND), sync()),
            server >> (PARSED, IDLE),
            client << (PARSED, IDLE),
            lambda run: run.stage.change_policy(POLICY),
            client >> behind,
            *steps,
        )


def test_other_constants_are_another_statement(new_stage: Callable[[], Stage]) -> None:
    """Verdicts are shared by texts that differ in literals only; those of held statements
    are not.
    """
    seen: list[str] = []
    steps: list[object] = [HOLDS]
    for number in range(5):
        steps += [
            client >> query(f"DELETE FROM orders WHERE id = {number}"),
            server << NOTHING,
            lambda run: seen.append(held(run).sql),
            WAITS,
            DENIED,
            server << FAILS,
            server >> (FAILED, IDLE),
            client << (refused("SP1402"), IDLE),
        ]
    play(new_stage, *steps, cuts=("whole",))  # type: ignore[arg-type]
    assert seen == [f"DELETE FROM orders WHERE id = {n}" for n in range(5)]


def test_the_short_way_never_takes_a_held_statement(new_stage: Callable[[], Stage]) -> None:
    """Neither a Query nor a Bind/Execute/Sync bundle, judged before or not."""
    bundle = bind("", "s", [b"5"]) + execute("") + sync()
    stage = new_stage()
    run = play(
        stage,
        HOLDS,
        client >> (parse("s", WITH_BIND), sync()),
        server << (parse("s", WITH_BIND), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
        cuts=("whole",),
    )
    for text in (DELETE, DELETE.replace("5", "7")):
        stage.judge.subject_judge(AGENT, run.session.names.search_path).judge(text.encode())
        assert run.session.try_fast_request(query(text)) is None
    assert run.session.try_fast_request(bundle) is None


def test_while_one_waits_nothing_takes_the_short_way(new_stage: Callable[[], Stage]) -> None:
    run = play(new_stage, HOLDS, client >> query(OTHER), server << query(OTHER), server >> (done("SELECT 0"), IDLE),
               client << (done("SELECT 0"), IDLE), client >> query(DELETE), WAITS)  # fmt: skip
    assert run.session.try_fast_request(query(OTHER)) is None
    assert run.session.blocked is Blocked.APPROVAL


def test_a_long_text_is_judged_elsewhere_and_then_waits(new_stage: Callable[[], Stage]) -> None:
    text = f"DELETE FROM orders WHERE id IN ({', '.join(map(str, range(3000)))})"

    def judged(run: Run) -> None:
        command = run.asked[-1]
        assert isinstance(command, JudgeElsewhere)
        run.asked.clear()
        command.subject_judge.judge(command.sql)
        run.session.resume()

    play(new_stage, HOLDS, client >> query(text), server << NOTHING, judged, WAITS, APPROVED, server << query(text),
         server >> (done("DELETE 1"), IDLE), client << (done("DELETE 1"), IDLE), cuts=("whole",))  # fmt: skip


# -- COPY ------------------------------------------------------------------------------------------


def test_copy_from_waits_before_any_row_is_asked_for(new_stage: Callable[[], Stage]) -> None:
    text = "COPY products (sku, name, price) FROM STDIN"
    begin = backend.message(backend.COPY_IN_RESPONSE, b"\0\0\x03" + b"\0\0" * 3)
    sent = (copy_data(b"a\tb\t1\n"), copy_done())
    play(
        new_stage,
        HOLDS,
        client >> query(text),
        server << NOTHING,
        WAITS,
        APPROVED,
        server << query(text),
        server >> begin,
        client << begin,
        client >> sent,
        server << sent,
        server >> (done("COPY 1"), IDLE),
        client << (done("COPY 1"), IDLE),
    )
    play(
        new_stage,
        HOLDS,
        client >> query(text),
        WAITS,
        DENIED,
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1402"), IDLE),
    )


# -- a statement that is canceled while it waits for the gateway itself ----------------------------

LONG = f"SELECT id FROM orders WHERE id IN ({', '.join(map(str, range(3000)))})"


def canceled_while_judged(run: Run) -> None:
    command = run.asked[-1]
    assert isinstance(command, JudgeElsewhere)
    run.asked.clear()
    assert cancel_waiting(run.session)
    command.subject_judge.judge(command.sql)
    run.session.resume()


def test_a_statement_that_is_judged_elsewhere_can_be_canceled(
    new_stage: Callable[[], Stage],
) -> None:
    play(
        new_stage,
        client >> query(LONG),
        server << NOTHING,
        canceled_while_judged,
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1805", "57014"), IDLE),
        client >> query(OTHER),
        server << query(OTHER),
        server >> (done("SELECT 0"), IDLE),
        client << (done("SELECT 0"), IDLE),
        cuts=("whole",),
    )


def test_a_parse_that_is_judged_elsewhere_can_be_canceled(new_stage: Callable[[], Stage]) -> None:
    """And nothing of its pipeline runs; the next pipeline does."""
    run = play(
        new_stage,
        client >> (parse("", LONG), bind("", ""), execute(""), sync()),
        server << NOTHING,
        canceled_while_judged,
        server << (parse("", FAILING_SQL.decode()), sync()),
        server >> (FAILED, IDLE),
        client << (refused("SP1805", "57014"), IDLE),
        client >> query(OTHER),
        server << query(OTHER),
        server >> (done("SELECT 0"), IDLE),
        client << (done("SELECT 0"), IDLE),
        cuts=("whole",),
    )
    assert [one["code"] for one in run.recording.statements] == ["SP1805", ""]


def test_a_cancel_with_nothing_that_waits_is_for_no_later_statement(
    new_stage: Callable[[], Stage],
) -> None:
    def idle(run: Run) -> None:
        assert not cancel_waiting(run.session)

    play(
        new_stage,
        does(idle),
        client >> query(OTHER),
        server << query(OTHER),
        does(idle),  # it is with the server, which is asked
        server >> (done("SELECT 0"), IDLE),
        client << (done("SELECT 0"), IDLE),
        cuts=("whole",),
    )
