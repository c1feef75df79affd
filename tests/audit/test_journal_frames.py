"""Frames of the journal, compiled and interpreted: the same bytes from either, read by either."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from sallyport.audit import journal_frames as installed

SOURCE = Path(installed.__file__).parent / "journal_frames.py"
HEADER = b"the segment's header"


def _interpreted() -> ModuleType:
    spec = importlib.util.spec_from_file_location("frames_interpreted", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interpreted = _interpreted()
BOTH = pytest.mark.parametrize("module", [installed, interpreted], ids=["installed", "interpreted"])


@dataclass(eq=False)
class Recording:
    id: str
    login: bytes


def event(text: str) -> bytes:
    return msgspec.msgpack.encode(text)


def body_of(frame: bytes) -> bytes:
    magic, length, checksum = installed.FRAME.unpack_from(frame)
    body = frame[installed.FRAME.size :]
    assert (magic, length, checksum) == (b"SPJ1", len(body), installed.crc32(body))
    return body


def test_the_interpreted_module_is_not_the_compiled_one() -> None:
    assert interpreted.COMPILED is False


@BOTH
def test_a_login_stands_before_the_first_intent_of_a_session(module: Any) -> None:
    first, second = Recording("ses_1", event("login 1")), Recording("ses_2", event("login 2"))
    marks: dict[Any, int] = {}
    module.encode_frame([(first, event("a"), 10)], marks, None)
    frame = module.encode_frame([(second, event("b"), 20), (first, event("c"), 30)], marks, None)
    assert msgspec.msgpack.decode(body_of(frame)) == [
        ["ses_2", "ses_2", "ses_1"],
        ["login 2", "b", "c"],
    ]
    assert marks == {first: 30, second: 20}


def test_both_encrypt_alike() -> None:
    recording = Recording("ses_1", event("login"))
    ways = [
        (module, module.SegmentCipher(b"k" * 32, HEADER)) for module in (installed, interpreted)
    ]
    for number in range(3):
        frames = {
            module.encode_frame([(recording, event("a"), 1)], {}, cipher) for module, cipher in ways
        }
        assert len(frames) == 1
        body = body_of(frames.pop())
        for module, _ in ways:
            reader = module.SegmentCipher(b"k" * 32, HEADER)
            opened = reader.decrypt(body)
            assert opened is not None
            assert opened[0] == number
            assert reader.decrypt(body[:-1] + bytes([body[-1] ^ 1])) is None


@BOTH
def test_a_deleted_file_has_no_name(module: Any, tmp_path: Path) -> None:
    path = tmp_path / "segment"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    assert module.names_of(fd) == 1
    path.unlink()
    assert module.names_of(fd) == 0
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        module.names_of(fd)
