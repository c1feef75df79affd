"""What can be done to encrypted recordings and their keys: verify names it, and never fails."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard

from sallyport.audit import events as ev
from sallyport.audit import verify as v
from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import BLOCK_HEAD, BLOCK_MAGIC, ENCRYPTED, file_header, seal
from sallyport.audit.chain import Chain, genesis, sealed_block_hash
from sallyport.audit.cipher import BlockCipher
from sallyport.audit.keyfiles import KeyFile, key_path, read_key_file
from sallyport.audit.keys import KeyRing, LocalKey
from sallyport.audit.ports import SessionRow
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recorder import Recorder
from sallyport.operations.sessions import Sessions
from tests.audit.helpers import ListIndex, begin, chunk_of
from tests.audit.test_any_bytes import Rows
from tests.audit.test_encryption import KEK, RING, record

Recorded = tuple[Path, SessionRow]
NO_KEY = KeyRing(None)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return record(tmp_path)


def kinds(recorded: Recorded, keys: KeyRing = RING, *, indexed: bool = True) -> set[str]:
    """The kinds of problems that verify names, whatever stands in the files."""
    path, row = recorded
    rows = Rows(row) if indexed else None
    sessions = Sessions(path.parents[3], rows, keys=keys)  # type: ignore[arg-type]
    (result,) = [result for result in sessions.verify() if result.session == row.id]
    assert result.ok == (not result.problems)
    return {problem.kind for problem in result.problems}


def parts(path: Path) -> tuple[bytes, list[bytes]]:
    """The header, and each block."""
    data = path.read_bytes()
    with RecordingReader(path) as reader:
        return data[: reader.first], [data[start:end] for start, end in reader.extents()]


def test_sound(recorded: Recorded) -> None:
    for keys in (RING, NO_KEY):
        assert kinds(recorded, keys) == set()
        assert kinds(recorded, keys, indexed=False) == set()


@pytest.mark.parametrize("keys", [RING, NO_KEY], ids=["key", "no key"])
def test_every_byte_counts(recorded: Recorded, keys: KeyRing) -> None:
    """Also without a key: the chain covers whatever is stored."""
    path, _ = recorded
    content = path.read_bytes()
    choose = random.Random(7)
    for place in {*range(200), *choose.sample(range(len(content)), 300)}:
        changed = bytearray(content)
        changed[place] ^= 1 << choose.randrange(8)
        path.write_bytes(changed)
        assert kinds(recorded, keys), f"byte {place}"
        assert kinds(recorded, keys, indexed=False), f"byte {place}, without the index"


@pytest.mark.parametrize("keys", [RING, NO_KEY], ids=["key", "no key"])
def test_bytes_cut_off_put_in_and_taken_out(recorded: Recorded, keys: KeyRing) -> None:
    path, _ = recorded
    content = path.read_bytes()
    choose = random.Random(8)
    for _ in range(300):
        start = choose.randrange(len(content))
        end = start + choose.choice((1, 4, 100))
        some = choose.randbytes(choose.choice((1, 3, 60)))
        ways = (
            content[:start],
            content[:start] + content[end:],
            content[:start] + some + content[start:],
        )
        for changed in ways:
            path.write_bytes(changed)
            assert kinds(recorded, keys), (start, end)


@pytest.mark.parametrize("keys", [RING, NO_KEY], ids=["key", "no key"])
def test_blocks_removed_repeated_and_moved(recorded: Recorded, keys: KeyRing) -> None:
    path, _ = recorded
    header, blocks = parts(path)
    for number in range(len(blocks)):
        without = [*blocks[:number], *blocks[number + 1 :]]
        path.write_bytes(header + b"".join(without))
        assert kinds(recorded, keys) & {v.DELETION, v.TRUNCATED, v.REPLACED}
        path.write_bytes(header + b"".join([*blocks[:number], blocks[number], *blocks[number:]]))
        assert v.INSERTION in kinds(recorded, keys)
        swapped = blocks[:]
        swapped[number], swapped[number - 1] = swapped[number - 1], swapped[number]
        path.write_bytes(header + b"".join(swapped))
        assert kinds(recorded, keys) & {v.REORDERING, v.EDIT}


def rechained(path: Path, blocks: list[bytes]) -> None:
    """Write the blocks with heads and hashes that fit: what somebody without the key can do."""
    header, _ = parts(path)
    with RecordingReader(path) as reader:
        previous, first = reader.genesis, 0
    out = [header]
    for number, block in enumerate(blocks):
        magic, flags, _, events, _, raw, stored, _ = BLOCK_HEAD.unpack(block[: BLOCK_HEAD.size])
        head = BLOCK_HEAD.pack(magic, flags, number, events, first, raw, stored, previous)
        payload = block[BLOCK_HEAD.size : -32]
        previous, first = sealed_block_hash(head, payload), first + events
        out += [head, payload, previous]
    path.write_bytes(b"".join(out))


def test_a_chain_that_was_made_anew(recorded: Recorded) -> None:
    """The hashes fit, so it takes the key or the index to see it."""
    path, _ = recorded
    _, blocks = parts(path)
    rechained(path, blocks)
    assert kinds(recorded) == set()
    ways = (blocks[1:], blocks[:-2] + blocks[-1:], [blocks[1], blocks[0], *blocks[2:]])
    for changed in ways:
        rechained(path, changed)
        assert v.WRONG_KEY in kinds(recorded, indexed=False)
        assert kinds(recorded, NO_KEY)
        rechained(path, blocks)


def test_blocks_of_another_session(tmp_path: Path, recorded: Recorded) -> None:
    path, _ = recorded
    foreign, _ = record(tmp_path, "s_2")
    (header, blocks), (_, foreign_blocks) = parts(path), parts(foreign)
    path.write_bytes(header + b"".join([blocks[0], foreign_blocks[1], *blocks[2:]]))
    for keys in (RING, NO_KEY):
        assert v.EDIT in kinds(recorded, keys, indexed=False)
    rechained(path, [blocks[0], foreign_blocks[1], *blocks[2:]])
    assert v.WRONG_KEY in kinds(recorded, indexed=False)


def test_a_whole_recording_of_another_session(tmp_path: Path, recorded: Recorded) -> None:
    path, _ = recorded
    foreign, _ = record(tmp_path, "s_2")
    shutil.copy(foreign, path)
    for with_key in (False, True):
        if with_key:
            shutil.copy(key_path(foreign), key_path(path))
        assert v.REPLACED in kinds(recorded)
        assert v.REPLACED in kinds(recorded, NO_KEY)


def test_a_recording_written_by_somebody_without_the_key(recorded: Recorded) -> None:
    """Header, commitment, chain and ciphertext fit one another; the wrapped key does not."""
    path, row = recorded
    cipher = BlockCipher(b"m" * 32, row.id)
    chain = Chain(genesis(row.id, ENCRYPTED, cipher.commitment))
    chunk = chunk_of([(ev.NOTE, 1.0, "forged", "x")])
    block = seal(chain, chunk, zstandard.ZstdCompressor(), cipher)
    header = file_header(row.id, ENCRYPTED, cipher.commitment)
    path.write_bytes(header + b"".join(map(bytes, block.parts)))
    assert v.WRONG_KEY in kinds(recorded, indexed=False)
    assert kinds(recorded, NO_KEY)  # by the index
    # The forger's key, wrapped by a key of his own, which is not listed: the index knows better.
    wrapped = LocalKey(b"m" * 32)
    content = {"version": 1, "session": row.id, "kek": wrapped.identifier}
    content["key"] = base64.b64encode(wrapped.wrap(b"m" * 32)).decode()
    key_path(path).write_text(json.dumps(content))
    assert kinds(recorded)


def edits(path: Path) -> list[Callable[[], object]]:
    """Ways to change the file with the wrapped key."""
    key = key_path(path)
    content = key.read_bytes()
    stored = read_key_file(key)

    def written(**changes: object) -> Callable[[], object]:
        fields = {"version": 1, "session": stored.session, "kek": stored.kek, "key": stored.key}
        return lambda: key.write_bytes(msgspec.json.encode({**fields, **changes}))

    choose = random.Random(9)
    flips = []
    for _ in range(200):
        changed = bytearray(content)
        changed[choose.randrange(len(content) - 1)] ^= 1 << choose.randrange(8)
        flips.append(bytes(changed))
    return [
        lambda: key.unlink(),
        *(lambda text=text: key.write_bytes(text) for text in flips),
        *(
            lambda size=size: (key.unlink(missing_ok=True), key.write_bytes(content[:size]))
            for size in range(0, len(content) - 1, 5)
        ),
        written(session="s_2"),
        written(version=2),
        written(key=LocalKey(b"k" * 32).wrap(b"z" * 32)),
        written(key=LocalKey(b"k" * 32).wrap(b"short")),
        written(key=LocalKey(b"o" * 32).wrap(b"z" * 32)),
        written(key=b""),
        written(shredded={"at": 1e300, "by": "x", "reason": "y"}),
        written(key=b"", shredded={"at": 1.0, "by": "x", "reason": "y", "recording": "../../x"}),
        lambda: key.write_bytes(b"[" * 60_000),
        lambda: key.write_bytes(b"{}" * 100_000),
        lambda: (key.unlink(missing_ok=True), key.mkdir()),
    ]


def test_keys_changed_exchanged_and_deleted(recorded: Recorded) -> None:
    """A changed identifier is a key that is not listed, a note; everything else is a problem."""
    path, row = recorded
    content = key_path(path).read_bytes()
    for edit in edits(path):
        edit()
        result = v.verify(path, row, RING)
        noted = any("not listed" in note for note in result.notes)
        assert kinds(recorded) & {v.WRONG_KEY, v.DELETION} or noted, key_path(path)
        with pytest.raises(RecordingError):
            list(v.read_events(path, keys=RING))
        if key_path(path).is_file():
            key_path(path).write_bytes(content)


def test_a_recording_in_clear_in_its_place(tmp_path: Path, recorded: Recorded) -> None:
    """Whoever has no key can write one that is not encrypted, with a chain that fits."""
    path, row = recorded
    index = ListIndex()
    recorder = Recorder(tmp_path / "forger", index)
    begin(recorder, row.id).end("done")
    recorder.start()
    recorder.close()
    (forged,) = (tmp_path / "forger").rglob("*.sprec")
    shutil.copy(forged, path)
    assert v.REPLACED in kinds(recorded, indexed=False)
    assert v.REPLACED in kinds(recorded, NO_KEY)


def test_old_versions_in_the_header(recorded: Recorded) -> None:
    path, _ = recorded
    content = path.read_bytes()
    for version in (0, 1, 2, 4, 65535):
        path.write_bytes(content[:8] + version.to_bytes(2, "little") + content[10:])
        assert kinds(recorded)
        assert kinds(recorded, indexed=False)
    for magic in (BLOCK_MAGIC[1], BLOCK_MAGIC[2]):
        changed = content.replace(BLOCK_MAGIC[ENCRYPTED], magic)
        path.write_bytes(changed[:8] + b"\2\0" + changed[10:])
        assert kinds(recorded)
        assert kinds(recorded, indexed=False)


def test_the_key_file_tells_no_secret_and_has_no_repr_of_it(recorded: Recorded) -> None:
    stored = read_key_file(key_path(recorded[0]))
    assert repr(stored) == f"KeyFile(s_1, {KEK.identifier})"
    assert isinstance(stored, KeyFile)
