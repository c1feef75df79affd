"""What a running gateway restores when its shared store is back."""

from __future__ import annotations

from pathlib import Path

from sallyport.audit.keys import NO_KEYS
from sallyport.audit.recorder import Recorder
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.outbox import LogOutbox
from sallyport.operations.recordingstart import restore_lost
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from tests.audit.tlog.records import problems, record, verdicts
from tests.support.waiting import wait_for


def test_what_is_restored_is_in_the_log_though_the_worker_dies_then(tmp_path: Path) -> None:
    """The recorder has not told the index of a session that is over, and never will."""
    log = TransparencyLog(tmp_path / "recordings" / "log", tmp_path)
    log.open()
    log.make_checkpoint()
    recorder = Recorder(tmp_path, interval=0.005, gateway="gateway-1-run")
    recorder.start()
    engine = open_database(tmp_path)
    try:
        record(recorder, "s_over")
        wait_for(lambda: not recorder.is_open("s_over"))
        outbox = LogOutbox(log.directory, 1)
        restore_lost(tmp_path / "recordings", SqlSessionIndex(engine), outbox, NO_KEYS, recorder)
        results = verdicts(tmp_path)
        assert results.keys() >= {"s_over"}
        assert problems(results) == []
    finally:
        recorder.close()
        log.close()
        engine.dispose()
