"""The running log: many threads, disks that fail, gateways that die between any two writes."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from sallyport.audit.ports import ENDED, INTERRUPTED, LIVE, SessionRow
from sallyport.audit.tlog.entries import Head
from sallyport.audit.tlog.heads import LoggedIndex
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.notes import Checkpoint
from sallyport.audit.tlog.proofs import Proof, prove_session
from sallyport.audit.tlog.reading import LogReader, read_vkey
from sallyport.audit.tlog.tiles import TileWriter
from sallyport.audit.tlog.verification import verify_log
from sallyport.core.clock import ManualClock
from sallyport.core.errors import ConfigError, SallyportError
from tests.audit.helpers import ListIndex
from tests.audit.tlog.records import ListWitness, head
from tests.support.waiting import wait_for


def opened(data: Path, **options: object) -> TransparencyLog:
    log = TransparencyLog(data / "recordings" / "log", data, **options)
    log.open()
    return log


def sound(data: Path) -> int:
    """How many entries a log has that verification finds nothing wrong with."""
    state = verify_log(data / "recordings" / "log")
    assert state.result.ok, state.result.problems
    return state.result.events


def row(session: str, status: str = LIVE, last_hash: str = "aa" * 32) -> SessionRow:
    return SessionRow(
        session,
        "s",
        "",
        (),
        "",
        "",
        "shop",
        "",
        "",
        1.0,
        last_hash=last_hash,
        status=status,
    )


def test_files_and_key_are_private(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.make_checkpoint()
    log.close()
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600
    for path in (tmp_path / "recordings").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert "PRIVATE" not in "".join(
        path.read_text("latin-1") for path in log.directory.rglob("*") if path.is_file()
    )
    (tmp_path / "audit.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        opened(tmp_path)


def test_many_sessions_end_at_once(tmp_path: Path) -> None:
    witness = ListWitness()
    log = opened(tmp_path, seconds=0.005, witnesses=[witness])
    log.start()

    def end_sessions(first: int) -> None:
        for number in range(first, first + 500):
            log.append(head(number))

    threads = [threading.Thread(target=end_sessions, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sound(tmp_path) == 4001
    sessions = {e.session for _, e in LogReader(log.directory).backwards() if isinstance(e, Head)}
    assert len(sessions) == 4000
    assert len(witness.got) > 1
    sizes = [checkpoint.size for checkpoint in witness.got]
    assert sizes == sorted(set(sizes)) and sizes[-1] == 4001
    # Every checkpoint is of the same log.
    tiles = LogReader(log.directory).tiles
    assert all(tiles.root(checkpoint.size) == checkpoint.root for checkpoint in witness.got)


class _DiedError(BaseException):
    pass


@pytest.mark.parametrize("entries", [1, 255, 256, 300])
def test_dying_between_any_two_writes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entries: int,
) -> None:
    """Entries, tiles, checkpoint: whichever was written last, the log goes on and is one log."""
    write, step = TileWriter.write, 0
    signed: dict[int, bytes] = {}
    while True:
        data = tmp_path / str(step)
        data.mkdir()
        log = opened(data)
        for number in range(entries):
            log.append(head(number))
        left = step

        def write_or_die(self: TileWriter, name: str, content: bytes) -> None:
            nonlocal left
            if not left:
                raise _DiedError
            left -= 1
            write(self, name, content)

        with monkeypatch.context() as patch:
            patch.setattr(TileWriter, "write", write_or_die)
            try:
                log.make_checkpoint()
                died = False
            except _DiedError:
                died = True
        again = opened(data)
        assert not again.problem, again.problem
        assert again.size + again.waiting == entries + 1
        again.append(head(entries))
        again.make_checkpoint()
        again.close()
        assert sound(data) == entries + 2
        checkpoint = Checkpoint.parse((again.directory / "checkpoint").read_text())
        signed.setdefault(step, checkpoint.root)
        step += 1
        if not died:
            break
    assert step >= 4


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(tmp_path)

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TileWriter, "write", fail)
        patch.setattr("sallyport.audit.tlog.pending.os.write", fail)
        log.append(head(1))
        log.append(head(2))
        assert not log.make_checkpoint() and log.failures == 1
    assert log.waiting == 3
    log.append(head(3))
    assert log.make_checkpoint()
    log.append(head(4))  # the pending file is written again
    log.close()
    assert sound(tmp_path) == 5
    assert len(LogReader(log.directory).pending) == 1


def test_a_torn_pending_file(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(head(1), head(2))
    log.close()
    path = log.directory / "pending"
    for cut in range(1, 200, 7):
        copy = tmp_path / f"copy{cut}"
        shutil.copytree(tmp_path / "recordings", copy / "recordings")
        shutil.copy(tmp_path / "audit.key", copy / "audit.key")
        (copy / "recordings" / "log" / "pending").write_bytes(path.read_bytes()[:-cut])
        again = opened(copy)
        assert not again.problem and again.waiting == 2
        again.append(head(9))
        again.make_checkpoint()
        again.close()
        assert sound(copy) == 3


def test_memory_is_flat(tmp_path: Path) -> None:
    log = opened(tmp_path)
    tracemalloc.start()
    sizes = []
    for number in range(8000):
        log.append(head(number))
        if number % 500 == 499:
            log.make_checkpoint()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    log.close()
    assert max(sizes[4:]) < max(sizes[:4]) + 200_000, sizes
    # What is full now leaves no partial tiles behind.
    partial = [path for path in log.directory.rglob("*.p")]
    assert len(partial) <= 3, partial


def test_an_entry_is_cheap(tmp_path: Path) -> None:
    log = opened(tmp_path)
    began = time.perf_counter()
    for number in range(2000):
        log.append(head(number))
    seconds = time.perf_counter() - began
    log.close()
    assert seconds / 2000 < 0.002, "milliseconds, under any load of the machine"


def test_heads_of_sessions_that_run(tmp_path: Path) -> None:
    clock = ManualClock()
    log = opened(tmp_path, clock=clock)
    index = LoggedIndex(ListIndex(), log, head_seconds=600)

    def logged() -> list[tuple[str, str]]:
        log.before_checkpoint()
        log.make_checkpoint()
        entries = [e for _, e in LogReader(log.directory).backwards() if isinstance(e, Head)]
        return [(entry.session, entry.status) for entry in reversed(entries)]

    index.save_all([row("ses_a"), row("act_b")])
    index.save(row("ses_nothing", last_hash=""))
    assert logged() == [("act_b", LIVE)], "what people do, at once; a session that began, not yet"
    assert logged() == [("act_b", LIVE)], "nothing new"
    clock.advance(601)
    index.save_all([row("ses_a", last_hash="bb" * 32)])
    assert logged()[1:] == [("ses_a", LIVE)]
    clock.advance(300)
    index.save_all([row("ses_a", last_hash="cc" * 32)])
    assert len(logged()) == 2, "not every minute"
    index.save_all([row("ses_a", ENDED, "dd" * 32), row("act_b", INTERRUPTED)])
    assert logged()[2:] == [("ses_a", ENDED), ("act_b", INTERRUPTED)]
    clock.advance(601)
    assert len(logged()) == 4
    log.close()


def test_a_session_is_in_the_log_before_the_index_hears(tmp_path: Path) -> None:
    log = opened(tmp_path)

    class Watching(ListIndex):
        def save_all(self, rows: object) -> None:
            self.pending = len(LogReader(log.directory).pending)

    watching = Watching()
    LoggedIndex(watching, log).save_all([row("ses_a", ENDED)])
    assert watching.pending == 2
    log.close()


def test_proofs(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(300):
        log.append(head(number))
    with pytest.raises(SallyportError, match="no checkpoint yet"):
        prove_session(log.directory, "ses_7")
    log.make_checkpoint()
    with pytest.raises(SallyportError, match="no entry of ses_x"):
        prove_session(log.directory, "ses_x")
    key = read_vkey(log.directory)
    for number in (0, 7, 254, 255, 299):
        text = str(prove_session(log.directory, f"ses_{number}"))
        entry = Proof.parse(text).check(key)
        assert isinstance(entry, Head) and entry.session == f"ses_{number}"
        lines = text.splitlines()
        for line in range(len(lines)):
            changed = [*lines[:line], lines[line][::-1], *lines[line + 1 :]]
            if changed == lines:
                continue
            with pytest.raises(SallyportError):
                Proof.parse("\n".join(changed) + "\n").check(key)
    log.close()


def test_a_witness_that_is_away(tmp_path: Path) -> None:
    class Away(ListWitness):
        away = True

        def send(self, checkpoint: Checkpoint, tree: object) -> None:
            if self.away:
                raise OSError(111, "Connection refused")
            self.got.append(checkpoint)

    witness, steady = Away("away"), ListWitness()
    log = opened(tmp_path, seconds=0.01, witnesses=[witness, steady])
    log.start()
    log.append(head(1))
    wait_for(lambda: log.witnesses[0].failing and steady.got)
    assert log.witnesses[0].failures and not log.witnesses[1].failures
    witness.away = False
    wait_for(lambda: witness.got)
    assert not log.witnesses[0].failing
    log.close()
    assert witness.got[-1].size == 2


def test_a_key_without_its_log_and_a_log_without_its_key(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.make_checkpoint()
    log.close()
    os.rename(log.directory, tmp_path / "kept")
    assert opened(tmp_path).problem
    assert not log.directory.exists() or not (log.directory / "checkpoint").exists()
    os.rename(tmp_path / "kept", log.directory)
    os.rename(tmp_path / "audit.key", tmp_path / "kept.key")
    assert "audit.key is missing" in opened(tmp_path).problem
    os.rename(tmp_path / "kept.key", tmp_path / "audit.key")
    assert not opened(tmp_path).problem
