"""Whatever goes wrong while a statement is judged, in whichever thread, is a refusal."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from sallyport.core.subject import Subject
from sallyport.judge import Judge, SubjectJudge, literals
from sallyport.judge.literals import HIDDEN
from sallyport.policy.file.load import parse_policy
from sallyport.server.host import SessionHost
from sallyport.session.commands import JudgeElsewhere
from sallyport.session.state import OpenJudgement
from sallyport.sql.analysis import TooMuchWork
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.text.parse import too_deep


@pytest.fixture
def view() -> SubjectJudge:
    catalog = CatalogSnapshot.make(
        server_version=180000,
        epoch="e",
        database="shop",
        role="agent",
        default_search_path=("public",),
        schemas=frozenset({"public", "pg_catalog"}),
        relations=(),
        types=(),
        functions=(),
    )
    policy = parse_policy("version: 1\nrecord: {statements: fingerprints}\n", "policy.yaml")
    judge = Judge("shop", policy, catalog, {}, max_statement_bytes=1 << 20)
    return judge.subject_judge(Subject("agent", "https://idp.test", frozenset()), ("public",))


@pytest.mark.parametrize(
    ("error", "code"),
    [(ValueError("a fault"), "SP1804"), (RecursionError(), "SP1105"), (MemoryError(), "SP1804")],
)
def test_faults_of_judging_are_refusals(
    monkeypatch: pytest.MonkeyPatch, view: SubjectJudge, error: Exception, code: str
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(SubjectJudge, "_judge_template", fails)
    monkeypatch.setattr(SubjectJudge, "_judge_script", fails)
    for judge in (view.judge, view.judge_soon, view.judge_elsewhere):
        verdict = judge(b"select 1")
        assert verdict is not None and verdict.refusal is not None
        assert verdict.refusal.code.id == code


def test_a_text_that_is_too_much_work_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, view: SubjectJudge
) -> None:
    def fails(*_: object) -> None:
        raise TooMuchWork(too_deep().refusal)

    monkeypatch.setattr(SubjectJudge, "_judge_script", fails)
    assert view.judge_soon(b"select /* not plain */ 1") is None
    assert view.judge(b"select /* not plain */ 1").refused == 0


def test_a_judging_thread_that_fails_leaves_a_refusal(view: SubjectJudge) -> None:
    """The session resumes with SP1804 in place of a verdict; see Session.judge_script."""
    stopped = ThreadPoolExecutor(1)
    stopped.shutdown()
    resumed = []
    session = SimpleNamespace(judgement=OpenJudgement(), resume=lambda: resumed.append(True))
    host = SimpleNamespace(
        _session=session,
        _gateway=SimpleNamespace(judging=stopped),
        flush=lambda: resumed.append(True),
    )
    asyncio.run(SessionHost._judge(host, JudgeElsewhere(view, b"select 1")))
    assert resumed == [True, True] and session.judgement.failure.refusal.code.id == "SP1804"


def test_what_is_recorded_of_a_refused_text_is_made_beside(
    monkeypatch: pytest.MonkeyPatch, view: SubjectJudge
) -> None:
    """Not on the event loop, for which the words of a long text are too many."""
    text = b"select " + b"'x' || " * 20_000 + b"'y'"
    assert view.judge_elsewhere(text).refusal is not None
    split: list[bytes] = []
    monkeypatch.setattr(literals, "token_spans", lambda sql: split.append(sql) or [])
    assert view.take_blanked(text) == text.replace(b"'x'", HIDDEN).replace(b"'y'", HIDDEN).decode()
    assert not split
    view.take_blanked(text)
    assert split == [text]
