"""Hostile data in a real browser and a real terminal: SQL, values, names, labels and claims are
text, whatever they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.browser import Watched, shoot
from tests.support.forked import SALLYPORT, run
from tests.support.psql import Psql, run_psql
from tests.support.terminal import run_in_terminal, what_would_act
from tests.support.waiting import wait_for
from tests.web.real import (
    ADAM,
    DANA,
    DANAS_TERMINAL,
    EVIL,
    EVIL_AGENT,
    EVIL_CLAIM,
    EVIL_TABLE,
    MALLORY,
    VERA,
    People,
    Real,
)

#: Raw in no page and in nothing that a terminal is sent.
RAW = ("\x1b", "\x07", "\x01", "\x08", "\x9b", "\u202e", "\u2066", "\u200b", "\u2028")
ALIAS = "<img src=x onerror=alert('alias')>\u202e\x1b[5m"
#: What a terminal would blink red for; colours of our own are never these.
BLINKS = (b"\x1b[31;47;5", b"\x1b[5m")


class Waiting(NamedTuple):
    """approval, session: their ids."""

    psql: Psql
    approval: str
    session: str


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def waiting(real: Real) -> Iterator[Waiting]:
    """A session in which everything is hostile, whose last statement waits."""
    user = f"{EVIL[:120]}"
    with real.psql(EVIL_AGENT, user=user, application=EVIL) as psql:
        psql.send(f"SELECT value AS {name(ALIAS)}, {literal(EVIL)} AS said FROM evil /* {EVIL} */;")
        psql.send(
            f"SELECT id FROM evil WHERE value = $1 \\bind {literal(EVIL.replace(chr(13), ''))} \\g"
        )
        psql.send(f"SELECT {name(EVIL_TABLE + 'x')} FROM evil; SELECT 'past it' AS past;").wait_for(
            "past it"
        )
        psql.send(
            f"UPDATE {name(EVIL_TABLE)} SET note = {literal(EVIL)} WHERE id = 1 RETURNING note;"
        )
        approval = psql.wait_for(r"waits for approval (apr_\w+)").group(1)
        yield Waiting(psql, str(approval), real.last_session())


def check(page: Any, *, shown: bool = True) -> None:
    """Nothing of the data became markup or invisible; ``shown``: it is there, as escapes."""
    page.wait_for_load_state("load")
    assert (
        page.evaluate("document.querySelectorAll('main script:not([src]), img, [onerror]').length")
        == 0
    )
    everything = page.content()
    assert [char for char in RAW if char in everything] == [], page.url
    if shown:
        text = page.evaluate("document.body.innerText")
        assert "\\u{202e}" in text, f"{page.url}\n{text}"
        assert "\\e]0;owned\\x07" in text or "\\e[31;47;5m" in text or "<b>t</b>" in text, (
            f"{page.url}\n{text}"
        )


def test_the_collector_notices(chromium: Any, real: Real) -> None:
    """The tests here can fail: markup that runs, or that the content policy stops, is a problem."""
    watched = Watched(chromium, real.url)
    page = watched.page()
    page.goto("/sign-in")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=alert(1)>')")
    wait_for(lambda: page.evaluate("1") == 1 and bool(watched.problems))
    assert "Content Security Policy" in watched.problems[0]
    watched.problems.clear()
    page.evaluate("alert(1)")
    assert watched.problems == ["a dialog opened: 1"]
    watched.problems.clear()
    watched.close()


def test_in_every_page(people: People, waiting: Waiting, real: Real) -> None:
    id_, session = waiting.approval, waiting.session
    page = people(MALLORY)
    for path, shown in (
        ("/", False),
        ("/approvals", True),
        (f"/approvals/{id_}", True),
        (f"/approvals/{id_}/status", False),
        (f"/sessions/{session}", True),
        (f"/sessions/{session}/replay", False),
        ("/sessions", False),  # lists cut long names
        ("/sessions?status=live", False),
        ("/targets", False),
        ("/policy", False),
        (f"/sessions?subject={EVIL_CLAIM}", False),
    ):
        page.goto(path)
        check(page, shown=shown)
        shoot(
            page,
            "hostile-" + re.sub(r"\W+", "-", path.split("?")[0].replace(session, "id")),
            full_page=True,
        )
    assert (
        EVIL_CLAIM in page.content()
        or page.get_by_label("Who, label or agent").input_value() == EVIL_CLAIM
    )


def test_in_the_player(people: People, waiting: Waiting, real: Real) -> None:
    page = people(ADAM)
    page.goto(f"/sessions/{waiting.session}/replay")
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("past it").last.wait_for()
    check(page)
    values = page.locator("table.result td")
    assert any("\\u{202e}gpj.exe" in text for text in values.all_inner_texts()), (
        "the agent's own result"
    )
    assert any("\\u{202e}" in text for text in page.locator("table.result th").all_inner_texts())
    assert any("gpj.exe" in text for text in page.locator("p.bind").all_inner_texts())
    shoot(page, "hostile-player", full_page=True)


def test_in_the_live_inbox(people: People, waiting: Waiting, real: Real) -> None:
    """What comes over the stream is put into the page by script: that is another way in."""
    page = people(DANA)
    page.goto("/approvals")
    with real.psql(EVIL_AGENT, user=EVIL[:100]) as psql:
        psql.send(f"DELETE FROM {name(EVIL_TABLE)} WHERE note = {literal(EVIL)} AND id = 4713;")
        page.get_by_text("4713").first.wait_for()
        check(page)


def test_in_what_the_judge_is_asked(people: People) -> None:
    page = people(VERA)
    page.goto("/policy")
    page.get_by_label("Groups").fill(f"agents,{EVIL_CLAIM}")
    page.get_by_text("More about the subject").click()
    page.get_by_label("Claims").fill(
        '{"email": "<script>alert(1)</script>", "x": "\\u202e\\u001b[31m"}'
    )
    page.get_by_role("textbox", name="Statement").fill(
        f"SELECT {literal(EVIL)} AS {name(ALIAS)} FROM evil"
    )
    page.get_by_role("button", name="Explain").click()
    page.wait_for_load_state()
    assert (
        page.evaluate("document.querySelectorAll('main script:not([src]), img, [onerror]').length")
        == 0
    )
    answer = page.locator("section[aria-labelledby=h-answer]")
    assert not re.search("[\x1b\u202e]", answer.inner_text())
    assert "onerror=alert('alias')" in answer.inner_text()


COMMANDS = (
    ("sessions", "list"),
    ("sessions", "show", "SESSION"),
    ("sessions", "show", "SESSION", "--full"),
    ("sessions", "replay", "SESSION", "--instant"),
    ("approvals", "list", "--all"),
    ("approvals", "show", "APPROVAL"),
    (
        "policy",
        "explain",
        "--as",
        "agents",
        f"UPDATE {name(EVIL_TABLE)} SET note = 'alert' WHERE id = 1",
    ),
    (
        "policy",
        "explain",
        "--as",
        "agents",
        f"SELECT value AS {name(ALIAS)}, {literal(EVIL)} FROM evil; SELECT",
    ),
    ("policy", "explain", "--as", "agents", f"SELECT {name(EVIL_TABLE + 'alert')} FROM evil"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: "-".join(words[:2]))
def test_in_a_terminal(words: tuple[str, ...], waiting: Waiting, real: Real) -> None:
    named = {"SESSION": waiting.session, "APPROVAL": waiting.approval}
    command = [SALLYPORT, *(named.get(word, word) for word in words)]
    if words[0] == "approvals":
        env = {"SALLYPORT_TOKEN": real.gateway.token(DANAS_TERMINAL), "SALLYPORT_URL": real.url}
    else:
        command += ["--config", str(real.gateway.config_file)]
        env = real.gateway.environment
    written = run_in_terminal(command, env, columns=160)
    assert what_would_act(written) == []
    assert not any(sequence in written for sequence in BLINKS)
    assert b"\\u{202e}" in written or words == ("sessions", "list"), written.decode()
    assert b"alert" in written or b"<b>t</b>" in written, "it is shown"


def test_in_the_script_that_narrows_the_role(real: Real) -> None:
    """Somebody reads it in a terminal before it runs as superuser, and it means the table that is
    called like that.
    """
    command = [SALLYPORT, "grants", "--target", "shop", "--config", str(real.gateway.config_file)]
    written = run_in_terminal(command, real.gateway.environment, columns=160)
    assert what_would_act(written) == []
    assert not any(sequence in written for sequence in BLINKS)
    quoted = 'U&"<b>t</b>\\+00202e""\'"'
    assert quoted in written.decode()
    script = run(command, real.gateway.environment).stdout
    has = (
        f"SELECT 'updates: ' || has_table_privilege('sallyport_agent', 'public.{quoted}',"
        " 'UPDATE');"
    )
    has = has.replace(f"'public.{quoted}'", f"'public.' || {literal(name(EVIL_TABLE))}")
    done = run_psql(
        real.server.superuser_dsn,
        script.replace("COMMIT;", f"{has} ROLLBACK;"),
        "--set=ON_ERROR_STOP=1",
    )
    assert done.returncode == 0, done.stderr
    assert "updates: t" in done.stdout


def test_in_the_log(waiting: Waiting, real: Real) -> None:
    assert what_would_act(real.gateway.log.read_bytes()) == []


def test_what_would_act_notices() -> None:
    assert what_would_act("\x1b[1mbold\x1b[0m\r\nplain\ttext é 漢".encode()) == []
    for raw in (*RAW, "\r", "\x1b[2J", "\x1b]0;t\x07", "\u200f", "\ufeff"):
        assert what_would_act(f"a{raw}b".encode()), ascii(raw)


def test_and_it_is_decided(people: People, waiting: Waiting, real: Real) -> None:
    """Last: a reviewer with markup for a name approves; the row holds what was sent, byte
    by byte.
    """
    psql, id_, _ = waiting
    page = people(MALLORY)
    page.goto(f"/approvals/{id_}")
    page.get_by_label("Reason").fill("<script>alert('reason')</script>\u202e")
    page.get_by_role("button", name="Approve").click()
    page.locator("q").wait_for()
    check(page)
    psql.wait_for(r"UPDATE 1\n")
    told = psql.wait_for(r"NOTICE: .*approved by .*").group(0)
    assert not any(char in told for char in RAW)
    assert real.sql(f"SELECT note FROM {name(EVIL_TABLE)} WHERE id = 1") == [(EVIL,)]
