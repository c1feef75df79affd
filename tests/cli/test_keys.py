"""``audit rotate-key`` and ``audit shred``, on the files and the store of a gateway."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from sallyport.audit.keyfiles import KeyFile, Shredding, key_path, read_key_file
from sallyport.audit.keys import LocalKey, local_key, new_key_text
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.cli.sessions import register
from sallyport.core.subject import Subject
from sallyport.store.database import FILE, open_database
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer
from tests.audit.helpers import judged

CANARY = "select 'CANARY-4713' from orders"
SESSIONS = {"ses_alpha1": "agent-7", "ses_beta2": "agent-7", "ses_gamma3": "other"}


class Kept:
    """A data directory with three sessions, the last of them live when asked for."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.key = data / "recording.key"
        self.key.write_text(new_key_text())
        self.key.chmod(0o600)
        self.paths: dict[str, Path] = {}

    @property
    def kek(self) -> LocalKey:
        return local_key(self.key.read_text(), "test")

    def record(self, *, encrypted: bool = True, live: str = "") -> None:
        engine = open_database(self.data)
        writer = Writer(engine, interval=0.01)
        writer.start()
        index = SqlSessionIndex(engine, writer)
        recorder = Recorder(self.data, index, interval=0.002, kek=self.kek if encrypted else None)
        recorder.start()
        for id_, subject in SESSIONS.items():
            who = Subject(subject, "", frozenset())
            session = recorder.open_session(id_, who, "shop", "", "psql")
            self._fill(session)
            if id_ != live:
                session.end("terminated")
            self.paths[id_] = session.output.path
        recorder.close()
        writer.close()
        if live:
            with engine.begin() as connection:
                text = f"UPDATE sessions SET status = 'live', reason = '' WHERE id = '{live}'"
                connection.exec_driver_sql(text)
        engine.dispose()

    def _fill(self, session: SessionRecording) -> None:
        session.statement(judged(1, CANARY, outcome="allow", relations=("public.orders",)))
        session.answered(1, b"x" * 100, "SELECT 1", 1, 0.1)

    def run(self, *args: str, code: int = 0, answer: str = "") -> str:
        app = typer.Typer()
        register(app)
        result = CliRunner().invoke(app, [*args, "--data", str(self.data)], input=answer)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return str(result.output)

    def verdicts(self, code: int = 0) -> dict[str, tuple[bool, bool]]:
        lines = map(json.loads, self.run("audit", "verify", "--json", code=code).splitlines())
        return {line["session"]: (line["ok"], line["shredded"]) for line in lines}


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    kept = Kept(tmp_path)
    kept.record()
    return kept


def test_shredding_a_session(kept: Kept) -> None:
    assert "orders" in kept.run("sessions", "replay", "ses_alpha1", "--instant")
    before = kept.paths["ses_alpha1"].read_bytes()
    said = kept.run("audit", "shred", "ses_alpha", "--reason", "request 42", answer="y\n")
    assert "1 recording shredded, 1 statement deleted from the index" in said
    assert kept.paths["ses_alpha1"].read_bytes() == before
    for command in (("sessions", "replay"), ("sessions", "show")):
        assert "shredded at" in kept.run(*command, "ses_alpha1", code=2)
    assert "ses_alpha1  SHREDDED" in kept.run("audit", "verify", "ses_alpha1")
    verdicts = kept.verdicts()
    assert verdicts["ses_alpha1"] == (True, True)
    assert [verdicts[id_] for id_ in ("ses_beta2", "ses_gamma3")] == [(True, False)] * 2
    (action,) = json.loads(f"[{kept.run('audit', 'actions', '--json')}]")
    assert (action["action"], action["object"], action["reason"]) == (
        "recordings.shred",
        "ses_alpha1",
        "request 42",
    )
    listed = json.loads(kept.run("sessions", "list", "--json"))
    (row,) = [row for row in listed if row["id"] == "ses_alpha1"]
    assert "request 42" in row["reason"]


def test_nothing_of_the_statements_is_left(kept: Kept) -> None:
    for id_ in SESSIONS:
        kept.run("audit", "shred", id_, "--reason", "request 42", "--yes")
    for file in kept.data.rglob("*"):
        assert not file.is_file() or b"CANARY-4713" not in file.read_bytes(), file
    assert kept.run("sessions", "list", "--text", "CANARY").strip() == "No sessions."
    assert kept.run("audit", "export").count("CANARY") == 0
    page = kept.data / "report.html"
    words = ("audit", "report", "--from", "2020-01-01", "--json", "--html", str(page))
    made = json.loads(kept.run(*words))
    integrity = made["integrity"]
    assert (integrity["shredded"], integrity["failed"], made["unread"]) == (3, 0, [])
    assert "3 of them shredded" in page.read_text()


def test_shredding_a_subject(kept: Kept) -> None:
    said = kept.run("audit", "shred", "--subject", "agent-7", "--reason", "gone", "--yes")
    assert "2 recordings shredded" in said
    assert sorted(id_ for id_, (_, shredded) in kept.verdicts().items() if shredded) == [
        "ses_alpha1",
        "ses_beta2",
    ]
    again = kept.run("audit", "shred", "--subject", "agent-7", "--reason", "gone", "--yes")
    assert "0 recordings shredded" in again
    assert "2 were shredded before" in again
    assert "no session of the subject" in kept.run(
        "audit", "shred", "--subject", "agent", "--reason", "x", code=2
    )


def test_what_is_not_shredded(kept: Kept) -> None:
    assert "--reason" in kept.run("audit", "shred", "ses_alpha1", "--yes", code=2)
    assert "say which" in kept.run("audit", "shred", "--reason", "x", "--yes", code=2)
    said = kept.run("audit", "shred", "ses_alpha1", "--reason", "x", answer="n\n", code=2)
    assert "nothing was shredded" in said
    kept.run("audit", "shred", "ses_gamma3", "--reason", "x", "--yes")
    (actions,) = kept.data.rglob("act_*.sprec")
    said = kept.run("audit", "shred", actions.stem, "--reason", "x", "--yes", code=2)
    assert "record of what people did" in said
    assert kept.verdicts()["ses_alpha1"] == (True, False)


def test_live_and_unencrypted_sessions_are_not_shredded(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.record(encrypted=False, live="ses_beta2")
    assert "is live" in kept.run("audit", "shred", "ses_beta2", "--reason", "x", "--yes", code=2)
    said = kept.run("audit", "shred", "ses_alpha1", "--reason", "x", "--yes", code=2)
    assert "is not encrypted" in said
    assert not list(kept.data.rglob("act_*"))


def full(fd: int, parts: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_shredding_that_cannot_be_recorded_is_not_done(kept: Kept) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sallyport.audit.appender.os.writev", full)
        said = kept.run("audit", "shred", "ses_alpha1", "--reason", "x", "--yes", code=2)
    assert "cannot be recorded" in said
    assert kept.verdicts()["ses_alpha1"] == (True, False)


def test_a_forged_shredding_is_found(kept: Kept) -> None:
    """Somebody deletes a key and writes that it was shredded."""
    forged = KeyFile(1, "ses_alpha1", shredded=Shredding(0.0, "dana", "x"))
    key_path(kept.paths["ses_alpha1"]).write_bytes(msgspec.json.encode(forged))
    assert kept.verdicts(code=1)["ses_alpha1"] == (False, True)
    kept.run("audit", "shred", "ses_beta2", "--reason", "x", "--yes")
    (actions,) = kept.data.rglob("act_*.sprec")
    forged = KeyFile(1, "ses_alpha1", shredded=Shredding(0.0, "dana", "x", actions.stem))
    key_path(kept.paths["ses_alpha1"]).write_bytes(msgspec.json.encode(forged))
    verdicts = kept.verdicts(code=1)
    assert verdicts["ses_alpha1"] == (False, True)
    assert verdicts["ses_beta2"] == (True, True)


def test_a_new_key_file(kept: Kept) -> None:
    before, old = {id_: path.read_bytes() for id_, path in kept.paths.items()}, kept.kek
    said = kept.run("audit", "rotate-key", "--new")
    assert "3 keys were wrapped" in said
    assert kept.kek.identifier != old.identifier
    assert kept.key.stat().st_mode & 0o777 == 0o600
    for id_, path in kept.paths.items():
        assert path.read_bytes() == before[id_]
        assert read_key_file(key_path(path)).kek == kept.kek.identifier
    assert "orders" in kept.run("sessions", "replay", "ses_alpha1", "--instant")
    (older,) = kept.data.glob("recording.key.*")
    assert local_key(older.read_text(), "test").identifier == old.identifier
    assert "0 keys were wrapped" in kept.run("audit", "rotate-key")


def test_a_torn_key_of_a_session_that_never_began(kept: Kept) -> None:
    kept.paths["ses_alpha1"].with_name("ses_torn.key").write_bytes(b'{"ver')
    assert "3 keys were wrapped" in kept.run("audit", "rotate-key", "--new")


def test_an_interrupted_rotation_goes_on(kept: Kept) -> None:
    damaged = key_path(kept.paths["ses_beta2"])
    content = damaged.read_bytes()
    damaged.write_bytes(b"{")
    said = kept.run("audit", "rotate-key", "--new", code=1)
    assert "ses_beta2" in said
    assert (kept.data / "recording.key.next").exists()
    damaged.write_bytes(content)
    kept.run("audit", "rotate-key", "--new")
    assert not (kept.data / "recording.key.next").exists()
    assert all(ok for ok, _ in kept.verdicts().values())
    for id_ in SESSIONS:
        assert "orders" in kept.run("sessions", "replay", id_, "--instant")


def test_the_key_is_lost(kept: Kept) -> None:
    kept.key.unlink()
    said = kept.run("sessions", "replay", "ses_alpha1", "--instant", code=2)
    assert "not listed" in said
    assert all(ok for ok, _ in kept.verdicts().values())
    assert "no key to wrap by" in kept.run("audit", "rotate-key", code=2)


def test_the_index_is_lost(kept: Kept) -> None:
    kept.run("audit", "shred", "ses_alpha1", "--reason", "x", "--yes")
    for file in kept.data.glob(f"{FILE}*"):
        file.unlink()
    said = kept.run("audit", "reindex")
    assert "3 rebuilt" in said  # two sessions and the record of the action
    assert "shredded, so that no row can be made of it: ses_alpha1" in said
    assert kept.verdicts()["ses_alpha1"] == (True, True)
    for file in kept.data.glob(f"{FILE}*"):
        file.unlink()
    kept.key.rename(kept.data / "elsewhere")
    assert kept.run("audit", "reindex").count("not listed") == 3


def test_what_only_the_archive_has_is_shredded(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.record()
    path = kept.paths["ses_alpha1"]
    path.unlink()  # the archiver deletes local copies, never their keys
    cache = tmp_path / "archive-cache"
    cache.mkdir()
    for name in ("ses_alpha1.sprec", "ses_alpha1.key"):
        (cache / name).write_bytes(b"a copy")
    kept.run("audit", "shred", "ses_alpha1", "--reason", "request 42", "--yes")
    assert read_key_file(key_path(path)).shredded is not None
    assert list(cache.iterdir()) == []


def test_a_recording_that_was_only_begun_is_no_damage(tmp_path: Path) -> None:
    """The gateway was killed before its first write, and before the index heard of it."""
    kept = Kept(tmp_path)
    kept.record()
    begun = kept.paths["ses_alpha1"].with_name("ses_begun9.sprec")
    begun.write_bytes(b"")
    assert kept.verdicts()["ses_begun9"] == (True, False)
    kept.paths["ses_beta2"].write_bytes(b"")  # of this one the index knows what it held
    assert kept.verdicts(code=1)["ses_beta2"] == (False, False)
