"""Legal holds: what is held is neither deleted nor shredded."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from sallyport.audit.archive import find_recordings
from sallyport.audit.holds import FILE, HoldsError
from sallyport.audit.retention import delete_expired
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from tests.audit.tlog.records import problems, record, running, verdicts
from tests.support.forked import SALLYPORT, run


def audit(data: Path, *words: str, code: int = 0) -> str:
    done = run([SALLYPORT, "audit", *words, "--data", str(data)], {})
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def delete(data: Path, before: float, **by_target: float) -> int:
    engine = open_database(data)
    log = TransparencyLog(data / "recordings" / "log", data)
    log.open()
    try:
        index = SqlSessionIndex(engine)
        return delete_expired(data / "recordings", index, log, before, None, by_target)
    finally:
        log.make_checkpoint()
        log.close()
        engine.dispose()


def there(data: Path) -> set[str]:
    return {id_ for id_ in find_recordings(data / "recordings") if id_.startswith("ses_")}


@pytest.mark.timeout(600)
def test_a_hold_outlives_retention_and_shredding(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        record(recorder, "ses_held")
        record(recorder, "ses_free")
    assert "say which" in audit(tmp_path, "hold", "--reason", "case 7", code=2)
    assert "say why" in audit(tmp_path, "hold", "--session", "ses_held", code=2)
    said = audit(tmp_path, "hold", "--session", "ses_held", "--reason", "case 7")
    id_ = said.split()[0]
    (listed,) = json.loads(audit(tmp_path, "holds", "--json"))
    assert (listed["id"], listed["session"], listed["reason"]) == (id_, "ses_held", "case 7")
    assert delete(tmp_path, time.time() + 1) == 1
    assert there(tmp_path) == {"ses_held"}
    refused = audit(tmp_path, "shred", "ses_held", "--reason", "x", "--yes", code=2)
    assert "is held by" in refused and "case 7" in refused
    assert "no hold" in audit(tmp_path, "release", "hold_none", "--reason", "x", code=2)
    audit(tmp_path, "release", id_, "--reason", "closed")
    assert audit(tmp_path, "holds") == "Nothing is held.\n"
    actions = audit(tmp_path, "actions")
    assert "recordings.hold" in actions and "recordings.release" in actions
    assert delete(tmp_path, time.time() + 1) == 1
    assert there(tmp_path) == set()
    assert not problems(verdicts(tmp_path))


def test_a_list_that_cannot_be_read_holds_everything(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        record(recorder, "ses_old")
    for text in ("{", '{"version": 1}', '{"version": 2, "holds": []}', "[]"):
        (tmp_path / "recordings" / FILE).write_text(text)
        with pytest.raises(HoldsError):
            delete(tmp_path, time.time() + 1)
    assert there(tmp_path) == {"ses_old"}


def test_targets_have_days_of_their_own(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        record(recorder, "ses_old")
    engine = open_database(tmp_path)
    (row,) = [row for row in SqlSessionIndex(engine).recent() if row.id == "ses_old"]
    engine.dispose()
    later = time.time() + 1
    assert delete(tmp_path, later, **{row.target: -math.inf}) == 0, "for ever"
    assert delete(tmp_path, -math.inf, another=later) == 0
    assert delete(tmp_path, -math.inf) == 0
    assert delete(tmp_path, -math.inf, **{row.target: later}) == 1
