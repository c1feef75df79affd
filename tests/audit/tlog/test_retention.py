"""Old recordings go, and nobody takes them for missing."""

from __future__ import annotations

import time
from pathlib import Path

from sallyport.audit.archive import find_recordings
from sallyport.audit.holds import Hold, write_holds
from sallyport.audit.retention import delete_expired, delete_oldest
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.operations.sessions import Sessions
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from tests.audit.tlog.records import problems, record, running, verdicts


def delete(data: Path, before: float, *, broken: bool = False) -> int:
    engine = open_database(data)
    log = TransparencyLog(data / "recordings" / "log", data)
    log.open()
    if broken:
        log.problem = "rolled back"
    try:
        return delete_expired(data / "recordings", SqlSessionIndex(engine), log, before)
    finally:
        log.make_checkpoint()
        log.close()
        engine.dispose()


def delete_by_size(data: Path, maximum: int, *, broken: bool = False) -> int:
    engine = open_database(data)
    log = TransparencyLog(data / "recordings" / "log", data)
    log.open()
    if broken:
        log.problem = "rolled back"
    try:
        return delete_oldest(data / "recordings", SqlSessionIndex(engine), log, maximum)
    finally:
        log.make_checkpoint()
        log.close()
        engine.dispose()


def test_the_oldest_go_until_the_rest_has_room(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        for name in ("ses_1", "ses_held", "act_1", "ses_2", "ses_3"):
            record(recorder, name)
            time.sleep(0.01)  # they are ordered by when they began
    directory = tmp_path / "recordings"
    sizes = {name: path.stat().st_size for name, path in find_recordings(directory).items()}
    total = sum(sizes.values())
    write_holds(directory, [Hold("hold_1", 1.0, "olga", "a lawsuit", session="ses_held")])
    assert delete_by_size(tmp_path, total) == 0, "there is room"
    assert delete_by_size(tmp_path, total - 1, broken=True) == 0, "what cannot be said is not done"
    assert delete_by_size(tmp_path, total - 1) == 1
    assert set(find_recordings(directory)) == {"ses_held", "act_1", "ses_2", "ses_3"}
    results = verdicts(tmp_path)
    assert not problems(results)
    assert any("retention by size" in note for note in results["ses_1"].notes)
    # What is held and what people did stays, however little room there is.
    assert delete_by_size(tmp_path, 0) == 2
    assert set(find_recordings(directory)) == {"ses_held", "act_1"}
    assert not problems(verdicts(tmp_path))


def test_only_what_is_old_goes(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        record(recorder, "ses_old")
        record(recorder, "act_old")
        time.sleep(0.05)
        border = time.time()
        time.sleep(0.05)
        record(recorder, "ses_new")
    assert delete(tmp_path, border, broken=True) == 0, "what cannot be said is not done"
    assert delete(tmp_path, border) == 1
    assert set(find_recordings(tmp_path / "recordings")) == {"act_old", "ses_new"}
    results = verdicts(tmp_path)
    assert not problems(results)
    assert any("deleted on purpose: retention" in note for note in results["ses_old"].notes)
    engine = open_database(tmp_path)
    sessions = Sessions(tmp_path / "recordings", SqlSessionIndex(engine))
    assert {row.id for row in sessions.recent()} == {"act_old", "ses_new"}
    assert not sessions.with_statement(text="SELECT", kind="session").matches[1:]
    engine.dispose()
    # Deleting one without a word is still named.
    find_recordings(tmp_path / "recordings")["ses_new"].unlink()
    assert any("ses_new: deletion" in text for text in problems(verdicts(tmp_path)))
    with running(tmp_path):
        pass
    assert not delete(tmp_path, border)
