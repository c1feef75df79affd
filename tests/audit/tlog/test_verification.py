"""Whatever is done to log, recordings and index, verification names it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sallyport.audit.archive import find_recordings
from sallyport.audit.recorder import Recorder
from sallyport.audit.tlog.entries import encode_entry
from sallyport.audit.tlog.hashing import TreeEdge, leaf_hash
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.notes import Checkpoint, SigningKey, VerifyKey
from sallyport.audit.tlog.pending import PendingFile
from sallyport.audit.tlog.reading import LogReader
from sallyport.audit.tlog.tiles import pack_entries, tile_path, unpack_entries
from sallyport.audit.tlog.verification import verify_log
from sallyport.operations.sessions import Anchor, Sessions
from sallyport.store.database import open_readonly
from sallyport.store.sessions import SqlSessionIndex
from tests.audit.helpers import Forger
from tests.audit.tlog.records import head, make_log, problems, record, running, verdicts
from tests.support.sampling import examples

#: Two full tiles, a partial one, and a level above.
ENTRIES = 700


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SigningKey]:
    data = tmp_path_factory.mktemp("log")
    return data, make_log(data, ENTRIES, checkpoint_every=97)


@pytest.fixture
def copy(built: tuple[Path, SigningKey], tmp_path: Path) -> Path:
    shutil.copytree(built[0], tmp_path / "data")
    return tmp_path / "data" / "recordings" / "log"


@pytest.fixture
def key(built: tuple[Path, SigningKey]) -> VerifyKey:
    return built[1].public


def said(log: Path, key: VerifyKey | None, *kept: str) -> list[str]:
    state = verify_log(log, key, [("witness", note) for note in kept])
    return [str(problem) for problem in state.result.problems]


def change_entries(log: Path, bundle: int, change: Callable[[list[bytes]], object]) -> None:
    paths = [log / tile_path(None, bundle), *(log / tile_path(None, bundle, 1)).parent.glob("*")]
    for path in filter(Path.exists, paths):
        entries = unpack_entries(path.read_bytes())
        change(entries)
        path.write_bytes(pack_entries(entries))


def test_a_sound_log(copy: Path, key: VerifyKey) -> None:
    state = verify_log(copy, key)
    assert state.result.ok and state.result.events == ENTRIES
    assert len(state.sessions) == ENTRIES - 1
    assert not said(copy, None)
    kept = (copy / "checkpoint").read_text()
    assert not said(copy, key, kept)


def swap(entries: list[bytes]) -> None:
    entries[3], entries[7] = entries[7], entries[3]


@pytest.mark.parametrize("bundle", [0, 1, 2])
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda e: e.__setitem__(5, e[5].replace(b"ended", b"endex")), "edit: entry {5}"),
        (lambda e: e.__delitem__(5), "deletion: entry {5} was"),
        (lambda e: e.__delitem__(slice(5, 9)), "deletion: entry {5} to {8}"),
        (lambda e: e.insert(5, encode_entry(head(999_999))), "insertion: 1 entries"),
        (swap, "reordering: entry {3}"),
    ],
)
def test_what_is_done_to_entries(
    copy: Path, key: VerifyKey, bundle: int, change: Callable[..., None], kind: str
) -> None:
    change_entries(copy, bundle, change)
    expected = kind
    for number in (3, 5, 8):
        expected = expected.replace(f"{{{number}}}", str(bundle * 256 + number))
    assert any(expected in text for text in said(copy, key)), said(copy, key)


@pytest.mark.parametrize(
    "tile",
    [tile_path(0, 0), tile_path(0, 2, 188), tile_path(1, 0, 2)],
    ids=str,
)
def test_what_is_done_to_tiles(copy: Path, key: VerifyKey, tile: str) -> None:
    data = bytearray((copy / tile).read_bytes())
    data[40] ^= 1
    (copy / tile).write_bytes(data)
    assert any(text.startswith("edit") for text in said(copy, key)), said(copy, key)
    (copy / tile).unlink()
    assert any(text.startswith("unreadable") for text in said(copy, key)), said(copy, key)


def test_a_tree_made_anew_without_the_key(copy: Path, key: VerifyKey) -> None:
    """Entries and tiles fit, and the checkpoint does not."""
    shutil.rmtree(copy)
    forged = SigningKey.generate(key.name)
    data = copy.parent.parent
    (data / "audit.key").write_text(forged.secret_text())
    copy.mkdir()
    (copy / "vkey").write_text(f"{forged.public}\n")
    (copy / "checkpoint").write_text(str(Checkpoint.sign(forged, 0, TreeEdge().root())))
    make_log(data, ENTRIES)
    assert not said(copy, None), "consistent in itself"
    assert any(text.startswith("wrong key") for text in said(copy, key))


def test_a_checkpoint_put_back(copy: Path, built: tuple[Path, SigningKey]) -> None:
    full = LogReader(copy)
    earlier = Checkpoint.sign(built[1], 650, full.tiles.root(650))
    (copy / "checkpoint").write_text(str(earlier))
    assert any(text.startswith("rolled back") for text in said(copy, built[1].public))


def test_a_directory_put_back(copy: Path, built: tuple[Path, SigningKey]) -> None:
    kept = (copy / "checkpoint").read_text()
    shutil.rmtree(copy.parent)
    data = copy.parent.parent
    (data / "audit.key").unlink()
    make_log(data, 1)
    (data / "audit.key").write_text(built[1].secret_text())
    # The same key, and an earlier state.
    shutil.rmtree(copy)
    shutil.copytree(built[0] / "recordings" / "log", copy)
    tiles = LogReader(copy).tiles
    (copy / "checkpoint").write_text(str(Checkpoint.sign(built[1], 512, tiles.root(512))))
    shutil.rmtree(copy / "tile" / "entries" / "002.p")
    assert not said(copy, built[1].public), "nothing shows without a witness"
    texts = said(copy, built[1].public, kept)
    assert any("rolled back: witness has a checkpoint of 700" in text for text in texts), texts


@pytest.mark.parametrize("size", [1, 255, 256, 300, 699, 700])
def test_a_fork(copy: Path, built: tuple[Path, SigningKey], size: int) -> None:
    """The key signed another tree of that size; the witness saw it."""
    sound = Checkpoint.sign(built[1], size, LogReader(copy).tiles.root(size))
    assert not said(copy, built[1].public, str(sound))
    edge = TreeEdge()
    for number in range(size):
        edge.append(leaf_hash(f"another {number}".encode()))
    fork = Checkpoint.sign(built[1], size, edge.root())
    texts = said(copy, built[1].public, str(sound), str(fork))
    told = f"fork: witness has a checkpoint of another log of {size} entries, by the same key"
    assert texts == [told]


def test_checkpoints_of_others(copy: Path, key: VerifyKey) -> None:
    stranger = Checkpoint.sign(SigningKey.generate("another/log"), 3, bytes(32))
    assert any(text.startswith("wrong key") for text in said(copy, key, str(stranger)))
    assert any(text.startswith("unreadable") for text in said(copy, key, "nonsense"))


def test_entries_that_wait(copy: Path, key: VerifyKey) -> None:
    pending = PendingFile(copy, sync=False)
    pending.replace(ENTRIES, [encode_entry(head(1_000_000))])
    pending.close()
    state = verify_log(copy, key)
    assert state.result.ok and state.result.events == ENTRIES + 1
    assert any("under no checkpoint" in note for note in state.result.notes)
    pending.replace(ENTRIES + 1, [encode_entry(head(1_000_000))])
    pending.close()
    assert any(text.startswith("deletion") for text in said(copy, key))


@settings(max_examples=examples(120))
@given(st.integers(0, 2**32))
def test_no_byte_can_be_changed(
    built: tuple[Path, SigningKey], tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """A byte changed, taken out or put in, or a file cut: in any file of the log that counts."""
    chance = random.Random(seed)
    log = tmp_path_factory.mktemp("mutated") / "log"
    shutil.copytree(built[0] / "recordings" / "log", log)
    counting = [
        "checkpoint", "tile/000", tile_path(0, 0), tile_path(0, 1), tile_path(0, 2, 188),
        tile_path(1, 0, 2), tile_path(None, 0), tile_path(None, 1), tile_path(None, 2, 188),
    ]  # fmt: skip
    path = log / chance.choice([name for name in counting if (log / name).is_file()])
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data))
    match chance.randrange(4):
        case 0:
            data[place] ^= 1 << chance.randrange(8)
        case 1:
            del data[place]
        case 2:
            data.insert(place, chance.randrange(256))
        case _:
            del data[place:]
    if bytes(data) == path.read_bytes():
        return
    path.write_bytes(data)
    assert said(log, built[1].public), f"{path} at {place}"
    shutil.rmtree(log.parent)


@pytest.mark.parametrize("name", ["checkpoint", "vkey", "pending", tile_path(None, 0)])
def test_a_pipe_in_a_file_s_place(copy: Path, name: str) -> None:
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    assert any(text.startswith("unreadable") for text in said(copy, None))


# -- recordings and index ----------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    with running(data) as recorder:
        for number in range(4):
            record(recorder, f"ses_{number}")
    return data


@pytest.fixture
def data(recorded: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(recorded, tmp_path / "data")
    assert not problems(verdicts(tmp_path / "data"))
    yield tmp_path / "data"


def path_of(data: Path, session: str) -> Path:
    return find_recordings(data / "recordings")[session]


def execute(data: Path, sql: str) -> None:
    with sqlite3.connect(data / "sallyport.db") as connection:
        connection.execute(sql)
    connection.close()


def rewritten(data: Path, session: str, directory: Path) -> str:
    """Another recording of the same name, sound in itself, and its last hash."""
    recorder = Recorder(directory, interval=0.005)
    recorder.start()
    record(recorder, session, 2)
    recorder.close()
    [path] = (directory / "recordings").glob("????/??/??/*")
    path_of(data, session).write_bytes(path.read_bytes())
    with open(path, "rb") as file:
        return file.read()[-32:].hex()


def test_a_session_replaced_with_its_row(data: Path, tmp_path: Path) -> None:
    last_hash = rewritten(data, "ses_1", tmp_path / "forged")
    assert any("rewritten" in text for text in problems(verdicts(data)))
    execute(data, f"UPDATE sessions SET last_hash = '{last_hash}' WHERE id = 'ses_1'")
    texts = [text for text in problems(verdicts(data)) if text.startswith("ses_1")]
    assert any("rewritten: the block in the log" in text for text in texts), texts
    assert any("index differs: its newest block" in text for text in texts), texts


def test_a_session_cut_with_its_row(data: Path) -> None:
    forger = Forger(path_of(data, "ses_2"))
    forger.chunks = forger.chunks[:-1]
    forger.write()
    last = forger.blocks[-2].hash.hex()
    execute(
        data,
        f"UPDATE sessions SET last_hash = '{last}', status = 'interrupted' WHERE id = 'ses_2'",
    )
    texts = problems(verdicts(data))
    assert any("ses_2: truncated tail: the block in the log" in text for text in texts), texts


def test_a_session_taken_out_everywhere(data: Path) -> None:
    path_of(data, "ses_0").unlink()
    execute(data, "DELETE FROM sessions WHERE id = 'ses_0'")
    texts = problems(verdicts(data))
    assert any("ses_0: deletion: the log has this session" in text for text in texts), texts


def test_a_session_put_in_everywhere(data: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.mkdir()
    with running(strange) as recorder:
        record(recorder, "ses_new")
    source = path_of(strange, "ses_new")
    target = data / "recordings" / source.relative_to(strange / "recordings")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    texts = problems(verdicts(data))
    assert any("ses_new: insertion: the log has no head" in text for text in texts), texts
    with sqlite3.connect(data / "sallyport.db") as connection:
        connection.execute(f"ATTACH '{strange / 'sallyport.db'}' AS strange")
        connection.execute("INSERT INTO sessions SELECT * FROM strange.sessions")
    connection.close()
    texts = problems(verdicts(data))
    assert any("ses_new: insertion: the log has no head" in text for text in texts), texts


def test_an_index_without_a_session(data: Path) -> None:
    execute(data, "DELETE FROM sessions WHERE id = 'ses_3'")
    texts = problems(verdicts(data))
    assert any("ses_3: index differs: the log has this session" in text for text in texts), texts


def test_two_sessions_exchanged(data: Path) -> None:
    first, second = path_of(data, "ses_0"), path_of(data, "ses_1")
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    texts = problems(verdicts(data))
    assert sum("rewritten" in text for text in texts) >= 2, texts


def test_a_log_of_other_recordings(data: Path, tmp_path: Path) -> None:
    """Log and key of another gateway: sound, and not about these recordings."""
    strange = tmp_path / "strange"
    strange.mkdir()
    with running(strange) as recorder:
        record(recorder, "ses_other")
    shutil.rmtree(data / "recordings" / "log")
    shutil.copytree(strange / "recordings" / "log", data / "recordings" / "log")
    texts = problems(verdicts(data))
    assert sum("insertion: the log has no head" in text for text in texts) == 4, texts
    assert any("ses_other: deletion" in text for text in texts), texts


def test_without_a_log(data: Path) -> None:
    shutil.rmtree(data / "recordings" / "log")
    assert not problems(verdicts(data)), "an earlier version kept none"
    texts = problems(verdicts(data, Anchor(expected=True)))
    assert any("log: unreadable" in text for text in texts), texts


def test_sessions_from_before_the_log(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        record(recorder, "ses_0")
    shutil.rmtree(tmp_path / "recordings" / "log")
    (tmp_path / "audit.key").unlink()
    with running(tmp_path) as recorder:
        record(recorder, "ses_1")
    assert not problems(verdicts(tmp_path))
    reader = LogReader(tmp_path / "recordings" / "log")
    late = {entry.session: entry.late for _, entry in reader.backwards() if hasattr(entry, "late")}
    assert late == {"ses_0": True, "ses_1": False}
    # Once is enough.
    with running(tmp_path):
        pass
    assert LogReader(tmp_path / "recordings" / "log").checkpoint.size == 3


def test_a_log_that_was_away(tmp_path: Path) -> None:
    """Sessions of a time when the log could not be continued are added, as late."""
    with running(tmp_path) as recorder:
        record(recorder, "ses_0")
    log, away = tmp_path / "recordings" / "log", tmp_path / "away"
    log.rename(away)
    stopped = TransparencyLog(log, tmp_path)
    stopped.open()
    assert "missing" in stopped.problem or "No such file" in stopped.problem
    stopped.append(head(1))
    assert stopped.dropped == 1 and not stopped.make_checkpoint()
    away.rename(log)
    with running(tmp_path) as recorder:
        record(recorder, "ses_1")
    assert not problems(verdicts(tmp_path))


def test_one_session_alone(data: Path) -> None:
    engine = open_readonly(data)
    sessions = Sessions(data / "recordings", SqlSessionIndex(engine))
    assert [(r.session, r.ok) for r in sessions.verify("ses_1")] == [("ses_1", True)]
    path = data / "recordings" / "log" / "checkpoint"
    path.write_text(path.read_text().replace("\n5\n", "\n4\n"))
    results = {result.session: result for result in sessions.verify("ses_1")}
    assert not results["log"].ok, "its log is not sound, and that is told"
    engine.dispose()


def test_a_row_that_says_live_hides_nothing(data: Path, tmp_path: Path) -> None:
    last_hash = rewritten(data, "ses_1", tmp_path / "forged")
    execute(
        data,
        f"UPDATE sessions SET last_hash = '{last_hash}', status = 'live' WHERE id = 'ses_1'",
    )
    texts = [text for text in problems(verdicts(data)) if text.startswith("ses_1")]
    assert any("rewritten: the block in the log" in text for text in texts), texts
