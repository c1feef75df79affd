"""Heads of other workers reach the log once, whoever dies in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from sallyport.audit.tlog.entries import Head
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.outbox import LogOutbox, outboxes, read_outboxes
from sallyport.audit.tlog.reading import LogReader


def head(number: int) -> Head:
    return Head(1.0, f"ses_{number}", "ended", f"{number:064x}", 1, 0, 1, 10)


def heads(directory: Path) -> list[str]:
    entries = [entry for _, entry in LogReader(directory).backwards()]
    return sorted(entry.session for entry in entries if isinstance(entry, Head))


@pytest.fixture
def log(tmp_path: Path) -> TransparencyLog:
    made = TransparencyLog(tmp_path / "log", tmp_path)
    made.open()
    made.make_checkpoint()
    return made


def test_the_log_takes_them_and_a_reader_sees_them_before(log: TransparencyLog) -> None:
    outbox = LogOutbox(log.directory, 1)
    assert outbox.append(head(1), head(2))
    assert heads(log.directory) == ["ses_1", "ses_2"]
    log.take_outboxes()
    assert read_outboxes(log.directory) == []
    assert log.make_checkpoint() and log.size == 3
    assert heads(log.directory) == ["ses_1", "ses_2"]
    outbox.append(head(3))
    outbox.close()
    assert not outbox.append(head(4)), "after the end nothing is taken"
    log.take_outboxes()
    log.make_checkpoint()
    assert heads(log.directory) == ["ses_1", "ses_2", "ses_3"]


def test_entries_that_were_taken_before_a_death_are_not_taken_again(
    log: TransparencyLog, tmp_path: Path
) -> None:
    outbox = LogOutbox(log.directory, 1)
    outbox.append(head(1), head(2))
    (path,) = outboxes(log.directory)
    content = path.read_bytes()
    log.take_outboxes()
    path.write_bytes(content)  # it died before it emptied the file
    again = TransparencyLog(log.directory, tmp_path)
    again.open()
    again.take_outboxes()
    again.make_checkpoint()
    assert heads(log.directory) == ["ses_1", "ses_2"]
    assert not path.stat().st_size
