"""What people see of recorded sessions, and what they are told when there is nothing to see."""

from __future__ import annotations

import json
import re
import struct
import time
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from sallyport.audit.actions import ActionLog
from sallyport.audit.ports import SessionRow
from sallyport.audit.recorder import Recorder
from sallyport.cli.sessions import register
from sallyport.cli.sessionview import _bind, session_table
from sallyport.core.clock import ManualClock
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer
from sallyport.wire.backend import notice_response
from tests.audit.helpers import Forger, begin, data_row, judged, message, row_description
from tests.support.waiting import wait_for

NOTICE = "[SP2001] computed with masked values of public.t.\x1b[2Jemail (email)"
HOSTILE = "select id\nfrom t -- \x1b]0;owned\x07\u202egpj"


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sessions: s_alpha1 asked and was refused, s_beta2 did nothing."""
    engine = open_database(tmp_path)
    writer = Writer(engine, interval=0.01)
    writer.start()
    recorder = Recorder(tmp_path, SqlSessionIndex(engine, writer), interval=0.005)
    recorder.start()
    session = begin(recorder, "s_alpha1")
    session.statement(
        judged(1, HOSTILE, outcome="allow", rule="agents read", binds=[b"4\x1b2", None])
    )
    rows = [data_row(struct.pack("!i", number), b"evil\x1b[2Jcell\n") for number in range(60)]
    session.reply(1, row_description(("id", 23, 1), ("na\x1bme", 25, 0)) + b"".join(rows))
    session.reply(1, notice_response("NOTICE", "00000", NOTICE) + message(b"C", b"SELECT 60\0"))
    session.complete(1, "SELECT 60", 60, "", 0.0125)
    wait_for(lambda: session.backlog == 0)
    session.statement(judged(2, "drop table t", outcome="deny", rule="no ddl", code="SP1002"))
    error = b"SERROR\0VERROR\0C42501\0M[SP1002] drop is refused\0Dby rule no ddl\0Hask a DBA\0\0"
    session.reply(2, message(b"E", error))
    session.complete(2, "", 0, "42501", 0.0)
    session.end("terminated")
    time.sleep(0.002)
    begin(recorder, "s_beta2").end("terminated")
    recorder.close()
    writer.close()
    engine.dispose()
    return tmp_path


def run(app: typer.Typer, *args: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    if code != 2:
        assert set(result.stdout) & set("\x1b\x07\u202e\x9b") == set(), (
            "nothing recorded acts on the terminal"
        )
    return result.output


def test_list(app: typer.Typer, data: Path) -> None:
    text = run(app, "sessions", "list", "--data", data)
    assert text.index("s_beta2") < text.index("s_alpha1")
    (line,) = [line for line in text.splitlines() if "s_alpha1" in line]
    assert "agent-7 (bob)" in line
    assert line.split()[-4:] == ["2", "1", "60", "ended"]


def test_list_as_json(app: typer.Typer, data: Path) -> None:
    rows = json.loads(run(app, "sessions", "list", "--json", "--data", data, "--limit", 1))
    assert [row["id"] for row in rows] == ["s_beta2"]
    assert rows[0]["groups"] == ["ci", "claude-postgres"]


def test_show(app: typer.Typer, data: Path) -> None:
    lines = run(app, "sessions", "show", "s_alpha", "--data", data).splitlines()
    (first,) = [line for line in lines if "agents read" in line]
    assert "select id from t -- \\e]0;owned\\x07\\u{202e}gpj" in first
    assert first.split()[:3][-1] == "allowed"
    assert "12.5" in first
    (said,) = [line for line in lines if "[SP2001]" in line]
    assert "public.t.\\e[2Jemail" in said
    (second,) = [line for line in lines if "drop table" in line]
    assert "SP1002 no ddl" in second
    assert "42501" in second


def test_show_as_json(app: typer.Typer, data: Path) -> None:
    session, *statements = map(
        json.loads, run(app, "sessions", "show", "s_alpha1", "--json", "--data", data).splitlines()
    )
    assert session["id"] == "s_alpha1"
    assert [(line["number"], line["outcome"], line["rows"]) for line in statements] == [
        (1, "allow", 60),
        (2, "deny", 0),
    ]
    assert statements[0]["sql"] == HOSTILE
    assert [line["notice"] for line in statements] == [NOTICE, ""]


def test_replay(app: typer.Typer, data: Path) -> None:
    text = run(app, "sessions", "replay", "s_alpha1", "--instant", "--rows", 10, "--data", data)
    assert "claude-code> select id\n" in text
    assert "...> from t -- \\e]0;owned\\x07\\u{202e}gpj\n" in text
    assert "$1 = '4\\\\e2'" in text or "$1 = '4\\e2'" in text
    assert "$2 = NULL" in text
    assert "na\\eme" in text
    assert text.count("evil\\e[2Jcell\\n") == 10
    assert "... and 50 more rows" in text
    assert "SELECT 60" in text
    assert 'refused SP1002 by "no ddl"' in text
    assert (
        "ERROR 42501: [SP1002] drop is refused\n  DETAIL: by rule no ddl\n  HINT: ask a DBA" in text
    )
    assert "session over: terminated" in text


def test_replay_keeps_the_recorded_pace(
    tmp_path: Path, app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock=clock)
    session = begin(recorder, "s_1")
    for kind in ("one", "two"):
        clock.advance(0.2)
        session.note(kind, "")
    recorder.start()
    recorder.close()
    pauses: list[float] = []
    monkeypatch.setattr("sallyport.cli.sessions.time.sleep", pauses.append)

    def replay(*options: str) -> list[float]:
        pauses.clear()
        run(app, "sessions", "replay", "s_1", "--data", tmp_path, *options)
        return [pause for pause in pauses if pause > 0.001]

    assert replay("--instant") == []
    assert replay() == pytest.approx([0.2, 0.2])
    assert replay("--speed", "4") == pytest.approx([0.05, 0.05])
    assert replay("--max-pause", "0.05") == pytest.approx([0.05, 0.05])


def test_replay_as_json(app: typer.Typer, data: Path) -> None:
    steps = [
        json.loads(line)
        for line in run(
            app, "sessions", "replay", "s_alpha1", "--json", "--data", data
        ).splitlines()
    ]
    assert [step["step"] for step in steps][:4] == ["opened", "asked", "columns", "result_row"]
    assert steps[0]["login"]["subject"]["id"] == "agent-7"
    assert steps[1]["statement"]["sql"] == HOSTILE


def test_verify_all_and_one(app: typer.Typer, data: Path) -> None:
    text = run(app, "audit", "verify", "--data", data)
    assert "s_alpha1  OK" in text
    assert "2 recordings, 0 with problems." in text
    assert "1 recording, 0 with problems." in run(app, "audit", "verify", "s_beta", "--data", data)


def test_verify_says_which_recordings_are_of_people(app: typer.Typer, data: Path) -> None:
    engine = open_database(data)
    writer = Writer(engine, interval=0.01)
    writer.start()
    recorder = Recorder(data, SqlSessionIndex(engine, writer), interval=0.005)
    recorder.start()
    ActionLog(recorder).record("sessions.read", None, "127.0.0.1", "rest")
    recorder.close()
    writer.close()
    engine.dispose()
    lines = run(app, "audit", "verify", "--data", data).splitlines()
    assert ["(what people did)" in line for line in lines if "  OK  " in line] == [
        line.startswith("act_") for line in lines if "  OK  " in line
    ]
    assert sum("(what people did)" in line for line in lines) == 1


def test_verify_says_what_was_done_and_where(app: typer.Typer, data: Path) -> None:
    (path,) = (data / "recordings").glob("*/*/*/s_alpha1.sprec")
    forger = Forger(path)
    number = len(forger.blocks) - 1
    events = forger.events(number)
    target = next(place for place, event in enumerate(events) if b"drop table" in event)
    events[target] = events[target].replace(b"drop table", b"seek table")
    forger.replace_events(number, events)
    forger.write()
    text = run(app, "audit", "verify", "--data", data, code=1)
    assert f"block {number}: edit: its content or its header was changed" in text
    assert "2 recordings, 1 with problems." in text
    results = map(
        json.loads, run(app, "audit", "verify", "--json", "--data", data, code=1).splitlines()
    )
    assert [(result["session"], result["ok"]) for result in results] == [
        ("s_alpha1", False),
        ("s_beta2", True),
    ]
    shown = run(app, "sessions", "show", "s_alpha1", "--data", data, code=1)
    assert "the recording stops here" in shown


def test_verify_misses_a_deleted_recording_and_an_unknown_one(app: typer.Typer, data: Path) -> None:
    (path,) = (data / "recordings").glob("*/*/*/s_alpha1.sprec")
    path.unlink()
    second_recorder = Recorder(data)
    begin(second_recorder, "s_smuggled")
    second_recorder.start()
    second_recorder.close()
    text = run(app, "audit", "verify", "--data", data, code=1)
    assert "is missing" in text
    assert "the index does not know this session" in text


def test_recordings_without_a_store_can_be_read(app: typer.Typer, data: Path) -> None:
    for file in data.glob("sallyport.db*"):
        file.unlink()
    assert "s_alpha1" in run(app, "sessions", "list", "--data", data)
    assert "drop table" in run(app, "sessions", "show", "s_alpha1", "--data", data)
    assert "2 recordings, 0 with problems." in run(app, "audit", "verify", "--data", data)


def test_mistakes_are_explained(app: typer.Typer, data: Path, tmp_path: Path) -> None:
    assert "did you mean s_alpha1" in run(
        app, "sessions", "show", "s_alpah1", "--data", data, code=2
    )
    assert "2 sessions begin with 's_'" in run(
        app, "sessions", "replay", "s_", "--data", data, code=2
    )
    assert "sessions list" in run(app, "sessions", "show", "zzzzzzzzzz", "--data", data, code=2)
    none = tmp_path / "none"
    assert f"there is no data directory {none}. Say which" in run(
        app, "sessions", "list", "--data", none, code=2
    )
    none.mkdir()
    said = run(app, "sessions", "list", "--data", none, code=2)
    assert "--config var/demo/sallyport.yaml" in said
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no gateway has kept its data in" in run(
        app, "sessions", "list", "--data", empty, code=2
    )
    assert "none.yaml" in run(app, "sessions", "list", "--config", tmp_path / "none.yaml", code=2)


@pytest.mark.parametrize(
    "command",
    [
        ["sessions", "list"],
        ["sessions", "show"],
        ["sessions", "replay"],
        ["audit", "verify"],
        ["audit", "export"],
        ["audit", "report"],
    ],
)
def test_help_has_an_example(app: typer.Typer, command: list[str]) -> None:
    assert re.search("Examples?:", run(app, *command, "--help"))


def test_an_unknown_status_lists_those_there_are(app: typer.Typer, data: Path) -> None:
    said = run(app, "sessions", "list", "--data", data, "--status", "foo", code=2)
    assert said == "sallyport: there is no status 'foo'. --status takes live, ended, interrupted\n"


def test_the_list_fits_a_hundred_columns() -> None:
    row = SessionRow(
        id="ses_01m7xtb2aa0123456789abcdef", subject="claude-agent", issuer="i", groups=(),
        label="claude",
        agent="claude-code", target="shop", client="c", application="psql", started=1.8e9,
        ended=1.8e9 + 119.9, statements=12345,
        refused=12, rows=1234567, status="interrupted",
    )  # fmt: skip
    out = StringIO()
    Console(file=out, width=100).print(session_table([row], 100))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    (line,) = [line for line in lines if "ses_" in line]
    for field in (
        "ses_01m7xtb2aa0123",
        "2027-01-15 08:00",
        "119.9 s",
        "shop",
        "1234567",
        "interrupted",
    ):
        assert field in line


@pytest.mark.parametrize(
    ("value", "binary", "shown"),
    [
        (None, False, "NULL"),
        ("O'x\\", False, "'O'x\\'"),
        ("\\x0000002a", True, "\\x0000002a (binary, type unknown, 42 if an integer)"),
        ("\\xffff", True, "\\xffff (binary, type unknown, -1 if an integer)"),
        ("\\x616263", True, "\\x616263 (binary, type unknown)"),
        ("\\x616263", False, "'\\x616263'"),
    ],
)
def test_parameters_say_whether_they_are_binary(
    value: str | None, binary: bool, shown: str
) -> None:
    assert _bind(value, binary) == shown


@pytest.mark.parametrize("store", [True, False], ids=["index", "recordings alone"])
@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--text", "DROP table"), ["s_alpha1"]),
        (("--text", "select id from t"), ["s_alpha1"]),
        (("--text", "drop", "--verdict", "allow"), []),
        (("--verdict", "deny"), ["s_alpha1"]),
        (("--relation", "t"), []),
        (("--relation", "public.orders"), ["s_gamma3"]),
        (("--relation", "orders", "--subject", "agent"), []),
        (("--relation", "orders", "--subject", "agent-7", "--limit", "1"), ["s_gamma3"]),
    ],
)
def test_sessions_are_found_by_their_statements(
    app: typer.Typer, data: Path, options: tuple[str, ...], ids: list[str], store: bool
) -> None:
    engine = open_database(data)
    writer = Writer(engine, interval=0.01)
    recorder = Recorder(data, SqlSessionIndex(engine, writer), interval=0.005)
    recorder.start()
    third = begin(recorder, "s_gamma3")
    third.statement(
        judged(1, "update orders set x = 1", outcome="hold", relations=("public.orders",))
    )
    third.end("terminated")
    recorder.close()
    writer.close()
    engine.dispose()
    if not store:
        (data / "sallyport.db").unlink()
    printed = json.loads(run(app, "sessions", "list", "--data", data, "--json", *options))
    assert [session["id"] for session in printed] == ids


def test_an_unknown_verdict_lists_those_there_are(app: typer.Typer, data: Path) -> None:
    assert "allow, hold, deny" in run(
        app, "sessions", "list", "--data", data, "--verdict", "no", code=2
    )


def test_a_damaged_recording_is_named_by_a_search(app: typer.Typer, data: Path) -> None:
    (data / "sallyport.db").unlink()
    (recording,) = data.rglob("s_alpha1*")
    recording.write_bytes(recording.read_bytes()[:-20])
    assert "s_alpha1 is damaged" in run(
        app, "sessions", "list", "--data", data, "--text", "nowhere"
    )
