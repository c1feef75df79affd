"""Nothing that carries a statement goes to a target without a permit, and only the judge makes
permits.
"""

from __future__ import annotations

import ast
import copy
from pathlib import Path
from typing import Any

import pytest

import sallyport
from sallyport.core.errors import refuse
from sallyport.judge import ParsePermit, RunPermit, permit_approved
from sallyport.session.machine import Session, SessionLimits
from sallyport.session.server.writer import ServerWriter, UnjudgedError, permitted
from sallyport.wire import frontend
from tests.session.decode import messages
from tests.session.playbook import AGENT, Recording, Stage

SOURCE = Path(sallyport.__file__).parent
HOLD = """\
version: 1
rules:
  - {name: all, allow: [all], relations: ["public.*"]}
  - {name: deletes wait, hold: [delete], relations: ["public.orders"], reviewers: {groups: [dba]}}
  - {name: no updates, deny: [update], relations: ["public.orders"]}
"""


@pytest.mark.parametrize("kind", [ParsePermit, RunPermit])
def test_nobody_but_the_judge_makes_a_permit(kind: type[ParsePermit]) -> None:
    with pytest.raises(TypeError, match=r"tests\.session\.test_permits makes a permit"):
        kind(b"SELECT 1")
    with pytest.raises(TypeError, match="kind of permit"):
        type("Own", (kind,), {})


def test_what_the_judge_permits(stage: Stage) -> None:
    view = Stage(stage.catalog, HOLD).judge.subject_judge(AGENT, ("public",))
    allowed, held, denied = (
        view.judge(text)
        for text in (
            b"SELECT 1",
            b"DELETE FROM orders WHERE id = 1",
            b"UPDATE orders SET status = 'x'",
        )
    )
    assert type(allowed.permit) is RunPermit and type(allowed.statements[0].permit) is RunPermit
    assert type(held.permit) is ParsePermit and type(held.statements[0].permit) is ParsePermit
    assert denied.permit is None and denied.statements[0].permit is None
    assert view.judge(b"SELECT 1; DELETE FROM orders WHERE id = 1").permit is None
    assert type(view.judge(b"-- nothing").permit) is RunPermit
    assert view.judge(b"SELEC").permit is None
    approval = permit_approved(held.permit, lambda: None)
    assert type(approval) is RunPermit and approval.sql == held.permit.sql
    refusal = refuse("SP1003", "no")
    assert permit_approved(held.permit, lambda: refusal) is refusal


def test_the_writer_takes_nothing_without_a_permit(stage: Stage) -> None:
    view = Stage(stage.catalog, HOLD).judge.subject_judge(AGENT, ("public",))
    may_run = view.judge(b"SELECT 1").permit
    may_wait: Any = view.judge(b"DELETE FROM orders WHERE id = 1").permit
    assert isinstance(may_run, RunPermit)
    message = frontend.query("DELETE FROM orders")
    nothing: Any = None
    writer = ServerWriter()
    for attempt in (
        lambda: writer.query((), message),
        lambda: writer.query((nothing,), message),
        lambda: writer.query((may_run, may_wait), message),
        lambda: writer.query_until_refused((may_wait,), b"DELETE FROM orders"),
        lambda: writer.execute(may_wait, frontend.execute("")),
        lambda: writer.prepare(nothing, frontend.parse("", "DELETE FROM orders")),
        lambda: permitted(may_wait, message),
        lambda: writer.control(message),
        lambda: writer.control(frontend.parse("", "DELETE FROM orders")),
        lambda: writer.control(frontend.execute("")),
    ):
        with pytest.raises(UnjudgedError):
            attempt()
    assert not writer.pending
    writer.query((copy.copy(may_run),), frontend.query("SELECT 1"))
    writer.prepare(may_wait, frontend.parse("", "DELETE FROM orders WHERE id = 1"))
    writer.control(frontend.sync())
    sent = bytes(writer.take())
    assert [message[:1] for message in messages(sent)] == [b"Q", b"P", b"S"]


def test_a_verdict_that_lost_its_permit_lets_nothing_run(stage: Stage) -> None:
    """Whatever else a verdict says: without the judge's permit the statement is refused."""
    own = Stage(stage.catalog)
    session = Session(AGENT, own.judge, Recording(), ("public",), SessionLimits())
    script = session.names.subject_judge.judge(b"SELECT id FROM products")
    script.permit = script.statements[0].permit = None
    query = frontend.query("SELECT id FROM products")
    assert session.try_fast_request(query) is None
    session.receive_from_client(query)
    assert b"products" not in session.to_server.pending
    session.receive_from_client(
        frontend.parse("", "SELECT id FROM products") + frontend.bind("", "") + frontend.execute("")
    )
    assert b"products" not in session.to_server.take()


def test_only_the_writer_fills_what_is_sent() -> None:
    """Statically: no other module of the session appends to it, and none but the judge's names the
    class of permits to make one.
    """
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Assign, ast.AugAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                written = {ast.unparse(target) for target in targets}
                assert not any(name.endswith("to_server.pending") for name in written), path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "ParsePermit",
                "RunPermit",
            ):
                assert path.parent.name == "judge", path
