"""Somebody who can write every file of a data directory, recording key and index included, and
cannot sign: whatever they do, verification names it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from sallyport.audit.archive import find_recordings, relative_path
from sallyport.audit.blocks import ENCRYPTED, file_header, genesis, seal
from sallyport.audit.chain import Chain
from sallyport.audit.chunks import Chunk
from sallyport.audit.cipher import BlockCipher
from sallyport.audit.events import END
from sallyport.audit.keyfiles import key_path, new_session_key, write_session_key
from sallyport.audit.keys import KeyRing, LocalKey
from sallyport.audit.ports import LIVE
from sallyport.audit.reader import RecordingReader
from sallyport.audit.tlog import verification
from sallyport.audit.tlog.entries import Deleted, Head, encode_entry
from sallyport.audit.tlog.pending import encode_records
from sallyport.audit.tlog.reading import LogReader, read_vkey
from sallyport.config.auditlog import MOST_SECONDS
from sallyport.operations.sessions import Anchor
from tests.audit.tlog.records import problems, record, running, verdicts

KEK = LocalKey(b"k" * 32)
SESSIONS = ("ses_a", "ses_b", "ses_c")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions that have ended, under one checkpoint; of the first two the files are as long as
    each other. An earlier checkpoint lies beside it.
    """
    data = tmp_path_factory.mktemp("data")
    with running(data, kek=KEK) as recorder:
        for session in SESSIONS[:2]:
            record(recorder, session)
    log = data / "recordings" / "log"
    shutil.copytree(data / "recordings", data / "earlier")
    shutil.copy(data / "sallyport.db", data / "earlier.db")
    with running(data, kek=KEK) as recorder:
        record(recorder, SESSIONS[2], 5)
    assert LogReader(log).checkpoint.size == 4
    return data


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "data")
    return tmp_path / "data"


def said(data: Path, *kept: str) -> list[str]:
    """What verification finds, with the public key that somebody kept, and checkpoints."""
    anchor = Anchor(
        read_vkey(data / "recordings" / "log"), [("witness", note) for note in kept], expected=True
    )
    return problems(verdicts(data, anchor, KeyRing(KEK)))


def path_of(data: Path, session: str) -> Path:
    return find_recordings(data / "recordings")[session]


def execute(data: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(data / "sallyport.db") as db:
        db.execute(sql, values)


def test_untouched(data: Path) -> None:
    assert said(data) == []


# -- recordings ------------------------------------------------------------------------------------


def contents(path: Path) -> tuple[list[bytes], BlockCipher]:
    """Every block's events, decrypted."""
    with RecordingReader(path, KeyRing(KEK)) as reader:
        cipher = reader.cipher
        assert cipher is not None
        return [block.raw or b"" for block in reader.blocks()], cipher


def rewrite(path: Path, session: str, bodies: list[bytes]) -> str:
    """A recording of these events that is sound in itself, with a key of its own; its last hash."""
    key, cipher = new_session_key(session)
    key_path(path).unlink(missing_ok=True)
    write_session_key(path, session, key, KEK, sync=False)
    chain = Chain(genesis(session, ENCRYPTED, cipher.commitment))
    parts: list[Any] = [file_header(session, ENCRYPTED, cipher.commitment)]
    for body in bodies:
        count = len(list(_split(body)))
        block = seal(
            chain, Chunk(body, len(body), count, 0, 0, 0), zstandard.ZstdCompressor(), cipher
        )
        parts += block.parts
        chain.advance(block.hash, count)
    path.write_bytes(b"".join(parts))
    return chain.hash.hex()


def _split(body: bytes) -> list[Any]:
    import msgpack

    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(body)
    return list(unpacker)


def swap_files(data: Path) -> None:
    first, second = path_of(data, "ses_a"), path_of(data, "ses_b")
    for a, b in ((first, second), (key_path(first), key_path(second))):
        content = a.read_bytes()
        a.write_bytes(b.read_bytes())
        b.write_bytes(content)


def swap_contents(data: Path) -> None:
    """Each recording gets the other's statements, under its own name; the index follows."""
    paths = [path_of(data, session) for session in SESSIONS[:2]]
    bodies = [contents(path)[0] for path in paths]
    for path, session, body in zip(paths, SESSIONS, reversed(bodies), strict=False):
        execute(data, "UPDATE sessions SET last_hash = ? WHERE id = ?",
                rewrite(path, session, body), session)  # fmt: skip


def swap_keys(data: Path) -> None:
    first, second = (key_path(path_of(data, session)) for session in SESSIONS[:2])
    content = first.read_text().replace("ses_a", "ses_b")
    first.write_text(second.read_text().replace("ses_b", "ses_a"))
    second.write_text(content)


def later_version(data: Path) -> None:
    path = path_of(data, "ses_a")
    content = path.read_bytes()
    path.write_bytes(content[:8] + (9).to_bytes(2, "little") + content[10:])


def earlier_version(data: Path) -> None:
    """In every block as well, and the chain made anew: a format without references."""
    path = path_of(data, "ses_a")
    bodies, cipher = contents(path)
    commitment = cipher.commitment
    chain = Chain(genesis("ses_a", 3, commitment))
    parts: list[Any] = [file_header("ses_a", 3, commitment)]
    for body in bodies:
        chunk = Chunk(body, len(body), len(_split(body)), 0, 0, 0)
        block = seal(chain, chunk, zstandard.ZstdCompressor(), cipher, 3)
        parts += block.parts
        chain.advance(block.hash, chunk.events)
    path.write_bytes(b"".join(parts))
    execute(data, "UPDATE sessions SET last_hash = ? WHERE id = 'ses_a'", chain.hash.hex())


def cut_at_a_block(data: Path) -> None:
    """With the row that fits: interrupted, and as many statements as are left."""
    path = path_of(data, "ses_c")
    with RecordingReader(path, KeyRing(KEK)) as reader:
        extents, blocks = list(reader.extents()), list(reader.blocks())
    os.truncate(path, extents[-2][1])
    execute(
        data,
        "UPDATE sessions SET last_hash = ?, bytes = ?, status = 'interrupted',"
        " reason = 'the gateway stopped' WHERE id = 'ses_c'",
        blocks[-2].hash.hex(), sum(len(block.raw or b"") for block in blocks[:-1]),
    )  # fmt: skip


def cut_live(data: Path) -> None:
    cut_at_a_block(data)
    execute(data, "UPDATE sessions SET status = 'live', ended = NULL WHERE id = 'ses_c'")


def second_file(data: Path) -> None:
    """The same session again, under another day, with other statements."""
    path = path_of(data, "ses_a")
    copy = path.parents[3] / "2020" / "01" / "01" / path.name
    copy.parent.mkdir(parents=True)
    bodies, _ = contents(path)
    rewrite(copy, "ses_a", [bodies[0].replace(b"SELECT 1", b"SELECT 7"), *bodies[1:]])


def second_file_later(data: Path) -> None:
    path = path_of(data, "ses_a")
    copy = path.parents[3] / "2099" / "01" / "01" / path.name
    copy.parent.mkdir(parents=True)
    shutil.copy(path, copy)
    shutil.copy(key_path(path), key_path(copy))


def moved(data: Path) -> None:
    """To another day, with its key; the row names the place."""
    path = path_of(data, "ses_a")
    copy = path.parents[3] / "2020" / "01" / "01" / path.name
    copy.parent.mkdir(parents=True)
    shutil.move(path, copy)
    shutil.move(key_path(path), key_path(copy))
    execute(data, "UPDATE sessions SET file = ? WHERE id = 'ses_a'",
            str(copy.relative_to(data / "recordings")))  # fmt: skip


def shredded(data: Path) -> None:
    key = key_path(path_of(data, "ses_a"))
    mark = {"at": time.time(), "by": "dana", "reason": "x", "recording": ""}
    key.write_text(json.dumps({"version": 1, "session": "ses_a", "shredded": mark}))


def put_in_as_live(data: Path) -> None:
    """A session that never was, years old, which the index calls live: with a sound recording at
    the right place, and a row that is right in everything else.
    """
    bodies, _ = contents(path_of(data, "ses_a"))
    events = [event for body in bodies for event in _split(body)]
    login, began = events[0], events[0][2] - 1000 * 86400
    login[2:4] = began, "ses_z"
    kept = [event for event in events if event[0] != END]
    body = b"".join(map(msgspec.msgpack.encode, kept))
    file = relative_path("ses_z", began)
    forged = data / "recordings" / file
    forged.parent.mkdir(parents=True)
    digest = rewrite(forged, "ses_z", [body])
    columns = "subject, issuer, groups, agent, label, target, client, application, actors, owner"
    execute(
        data,
        f"INSERT INTO sessions (id, {columns}, started, statements, refused, rows, bytes, file,"
        f" last_hash, status, searchable, reason) SELECT 'ses_z', {columns}, ?, statements,"
        " refused, rows, ?, ?, ?, 'live', '', '' FROM sessions WHERE id = 'ses_a'",
        began, len(body), file, digest,
    )  # fmt: skip


def linked(data: Path) -> None:
    path = path_of(data, "ses_a")
    path.rename(data / "elsewhere")
    path.symlink_to(data / "elsewhere")


RECORDINGS: list[tuple[Callable[[Path], None], set[str]]] = [
    (swap_files, {"ses_a: rewritten", "ses_b: rewritten"}),
    (swap_contents, {"ses_a: rewritten", "ses_b: rewritten"}),
    (swap_keys, {"ses_a: wrong key", "ses_b: wrong key"}),
    (later_version, {"ses_a: unreadable"}),
    (earlier_version, {"ses_a: rewritten"}),
    (cut_at_a_block, {"ses_c: truncated tail"}),
    (cut_live, {"ses_c: truncated tail"}),
    (second_file, {"ses_a: insertion"}),
    (second_file_later, {"ses_a: insertion"}),
    (moved, {"ses_a: index differs"}),
    (shredded, {"ses_a: deletion"}),
    (put_in_as_live, {"ses_z: insertion"}),
    (linked, {"ses_a: unreadable"}),
]


def kinds(texts: list[str]) -> set[str]:
    """Whose recording it is, and what was done to it."""
    parts = (re.sub(r"block [0-9]+: ", "", text).split(": ") for text in texts)
    return {f"{session}: {kind}" for session, kind, *_ in parts}


@pytest.mark.parametrize(
    ("attack", "expected"), RECORDINGS, ids=[a.__name__ for a, _ in RECORDINGS]
)
def test_recordings(data: Path, attack: Callable[[Path], None], expected: set[str]) -> None:
    """Nothing else is said but that the index and the log differ, or what follows from the same."""
    attack(data)
    said_kinds = kinds(said(data))
    assert expected <= said_kinds
    sessions = {kind.partition(":")[0] for kind in expected}
    assert {kind.partition(":")[0] for kind in said_kinds} == sessions


def test_what_is_put_in_is_named_for_that_alone(data: Path) -> None:
    put_in_as_live(data)
    (text,) = said(data)
    assert "the log has no head of this recording" in text


# -- the index -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("subject", "eve"), ("issuer", "https://evil.example"), ("groups", '["x"]'), ("agent", "x"),
        ("label", "x"), ("target", "x"), ("client", "x"), ("application", "x"), ("started", 5.0),
        ("ended", 5.0), ("reason", "x"), ("statements", 77), ("refused", 77), ("rows", 77),
        ("bytes", 77), ("file", "2020/01/01/ses_a.sprec"), ("last_hash", "00" * 32),
        ("last_hash", ""), ("status", "live"), ("status", "interrupted"), ("status", "x"),
        ("actors", '["x"]'), ("owner", "x"), ("id", "ses_y"),
    ],
)  # fmt: skip
def test_a_row(data: Path, column: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_INDEX_LAG", 0.0)
    execute(data, f"UPDATE sessions SET {column} = ? WHERE id = 'ses_a'", value)
    assert said(data)


# -- the log ---------------------------------------------------------------------------------------


def older_checkpoint(data: Path) -> None:
    shutil.copy(data / "earlier" / "log" / "checkpoint", data / "recordings" / "log" / "checkpoint")


def older_log(data: Path) -> None:
    shutil.rmtree(data / "recordings" / "log")
    shutil.copytree(data / "earlier" / "log", data / "recordings" / "log")


def newest_session_gone(data: Path) -> None:
    """Its head too, by an older log with a valid signature."""
    older_log(data)
    path = path_of(data, "ses_c")
    path.unlink()
    key_path(path).unlink()
    execute(data, "DELETE FROM sessions WHERE id = 'ses_c'")


def deleted_by_a_pending_entry(data: Path) -> None:
    """The log's own word for "deleted on purpose", which nobody signed."""
    log = data / "recordings" / "log"
    path = path_of(data, "ses_c")
    entry = encode_entry(Deleted(time.time(), "ses_c", "0" * 64, "retention"))
    (log / "pending").write_bytes(encode_records(4, [entry]))
    path.unlink()
    key_path(path).unlink()
    execute(data, "DELETE FROM sessions WHERE id = 'ses_c'")


def no_log(data: Path) -> None:
    log = data / "recordings" / "log"
    vkey = (log / "vkey").read_text()
    shutil.rmtree(log)
    log.mkdir()
    (log / "vkey").write_text(vkey)


LOGS: list[tuple[Callable[[Path], None], set[str]]] = [
    (older_checkpoint, {"log: rolled back", "ses_c: insertion"}),
    (older_log, {"log: rolled back", "ses_c: insertion"}),
    (newest_session_gone, {"log: rolled back"}),
    (deleted_by_a_pending_entry, {"ses_c: deletion"}),
    (no_log, {"log: unreadable"}),
]


@pytest.mark.parametrize(("attack", "expected"), LOGS, ids=[a.__name__ for a, _ in LOGS])
def test_the_log(data: Path, attack: Callable[[Path], None], expected: set[str]) -> None:
    kept = (data / "recordings" / "log" / "checkpoint").read_text()
    attack(data)
    assert kinds(said(data, kept)) == expected
    if attack is not newest_session_gone:  # which is the state of a moment ago
        assert said(data), "without a witness"


@pytest.mark.parametrize(("file", "number"), [("pending", 4), ("pending-2", 0)])
def test_the_next_start_signs_no_deletion_that_was_put_there(
    data: Path, file: str, number: int
) -> None:
    """Nor what it cannot read; what else waits there is taken."""
    deleted_by_a_pending_entry(data)
    log = data / "recordings" / "log"
    (log / "pending").unlink()
    deleted = encode_entry(Deleted(time.time(), "ses_c", "0" * 64, "retention"))
    head = encode_entry(Head(time.time(), "ses_d", LIVE, "1" * 64, 1, 0, 1, 100))
    (log / file).write_bytes(encode_records(number, [deleted, b"no entry", head]))
    with running(data, kek=KEK):
        pass
    assert LogReader(log).checkpoint.size == 5
    assert kinds(said(data)) == {"ses_c: deletion", "ses_d: deletion"}


# -- what nobody did -------------------------------------------------------------------------------


def test_an_index_a_moment_behind_is_noted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was copied before the log, or the gateway was killed in between; and looked at later."""
    execute(data, "UPDATE sessions SET status = 'live', ended = NULL WHERE id = 'ses_c'")
    tomorrow = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    results = verdicts(data, keys=KeyRing(KEK))
    assert problems(results) == []
    (note,) = [note for note in results["ses_c"].notes if "behind the log" in note]
    assert "the log has its end (entry 3)" in note


def test_every_setting_gives_a_running_session_its_head_in_time() -> None:
    longest = sum(MOST_SECONDS.values())
    assert longest + 60 <= verification._LIVE_SLACK
    assert MOST_SECONDS["checkpoint_seconds"] + 60 <= verification._SLACK
