#!/usr/bin/env python3
"""Reads a recording of Sallyport with none of its code: docs/recording-format.md says how it is
made.

    python read_recording.py ses_....sprec [recording.key ...] > events.jsonl

Needs zstandard, cryptography and msgpack. Each event is one line of JSON; byte strings are
{"base64": ...}. The hash chain is checked on the way. Without a key that fits, the chain of an
encrypted recording is checked all the same and the blocks are counted. Exit status: 0; 1 when the
recording is not sound or cannot be decrypted; the reason is on standard error.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NAMES = {
    1: "login", 2: "statement", 3: "reply", 4: "copy-in", 5: "complete", 6: "note", 7: "end",
    8: "gap", 9: "answered", 10: "recovered", 32: "action",
}  # fmt: skip
BLOCK = struct.Struct("<4sIIIQII32s")
MASK = 0xFFFFFFFF

# -- BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), unkeyed, 32 bytes of output
# -----------------

IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXES = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8


def compress(value: tuple[int, ...], block: bytes, counter: int, flags: int) -> tuple[int, ...]:
    words = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*value, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for number, (a, b, c, d) in enumerate(MIXES):
            for word, first, second in ((2 * number, 16, 12), (2 * number + 1, 8, 7)):
                v[a] = (v[a] + v[b] + words[word]) & MASK
                v[d] ^= v[a]
                v[d] = (v[d] >> first | v[d] << 32 - first) & MASK
                v[c] = (v[c] + v[d]) & MASK
                v[b] ^= v[c]
                v[b] = (v[b] >> second | v[b] << 32 - second) & MASK
        words = tuple(words[place] for place in ORDER)
    return tuple(v[place] ^ v[place + 8] for place in range(8))


def chunk_value(data: bytes, counter: int, flags: int) -> tuple[int, ...]:
    """Of at most 1024 bytes."""
    value, last = IV, max(0, (len(data) - 1) // 64)
    for number in range(last + 1):
        place = (CHUNK_START if number == 0 else 0) | (CHUNK_END | flags if number == last else 0)
        value = compress(value, data[64 * number : 64 * number + 64], counter, place)
    return value


def tree_value(data: bytes, counter: int, flags: int) -> tuple[int, ...]:
    if len(data) <= 1024:
        return chunk_value(data, counter, flags)
    left = 1024 << ((len(data) - 1) // 1024).bit_length() - 1
    halves = tree_value(data[:left], counter, 0), tree_value(data[left:], counter + left // 1024, 0)
    return compress(IV, struct.pack("<16I", *halves[0], *halves[1]), 0, PARENT | flags)


def blake3(data: bytes) -> bytes:
    return struct.pack("<8I", *tree_value(data, 0, ROOT))


# -- keys ------------------------------------------------------------------------------------------


class UnsoundError(Exception):
    """The recording is not what the gateway wrote, or cannot be read."""


def derived(key: bytes, label: bytes) -> bytes:
    return hmac.digest(key, label, "sha256")


def session_key(
    recording: Path, session: str, commitment: bytes, files: list[Path]
) -> bytes | None:
    """The recording's key from the file beside it; None (and why, on standard error) when there is
    none.
    """
    try:
        stored = json.loads(recording.with_suffix(".key").read_text())
    except FileNotFoundError:
        print("the key beside the recording is missing", file=sys.stderr)
        return None
    if "shredded" in stored:
        print(f"shredded: {stored['shredded']}", file=sys.stderr)
        return None
    if stored["session"] != session:
        raise UnsoundError("the key beside the recording is that of another session")
    sealed = base64.b64decode(stored["key"])
    for file in files:
        kek = base64.b64decode(file.read_text())
        label = derived(kek, b"sallyport recordings: identifier")[:8].hex()
        if stored["kek"] == f"local:{label}":
            cipher = AESGCM(derived(kek, b"sallyport recordings: session keys"))
            key = cipher.decrypt(sealed[2:14], sealed[14:], b"session key")
            if blake3(b"sallyport recording 3 key\0" + key) != commitment:
                raise UnsoundError("the key beside the recording is not the one that it names")
            return key
    print(f"encrypted: give the file with the key {stored['kek']}", file=sys.stderr)
    return None


# -- the file --------------------------------------------------------------------------------------


def events(recording: Path, key_files: list[Path]) -> Iterator[list[Any]]:
    """Every event as the list that it is. Raises UnsoundError."""
    data = recording.read_bytes()
    magic, version, length = struct.unpack_from("<8sHH", data)
    if magic != b"SALLYREC" or version not in (2, 3, 4, 5):
        raise UnsoundError("not a recording of format 2, 3, 4 or 5")
    session, place = data[12 : 12 + length], 12 + length
    key, commitment, label = None, b"", b"sallyport recording %d\0" % version
    if version in (3, 5):
        commitment, place = data[place : place + 32], place + 32
        key = session_key(recording, session.decode(), commitment, key_files)
    previous, place = data[place : place + 32], place + 32
    if previous != blake3(label + session + commitment):
        raise UnsoundError("the header was changed")
    number = first = 0
    while place < len(data):
        head, place = data[place : place + BLOCK.size], place + BLOCK.size
        if len(head) < BLOCK.size:
            raise UnsoundError(f"the file stops inside block {number}")
        mark, flags, sequence, count, first_event, raw, stored, before = BLOCK.unpack(head)
        payload, place = data[place : place + stored], place + stored
        hash_, place = data[place : place + 32], place + 32
        if len(hash_) < 32:
            raise UnsoundError(f"the file stops inside block {number}")
        if mark != b"SPB%d" % version or (sequence, first_event, before) != (
            number,
            first,
            previous,
        ):
            raise UnsoundError(f"block {number} does not continue the one before it")
        content = None
        if version in (2, 4):
            content = unpacked(payload, flags, raw)
            hashed = previous + struct.pack("<IIQI", number, count, first, raw) + content
        else:
            hashed = head + payload
        if blake3(hashed) != hash_:
            raise UnsoundError(f"block {number} was changed")
        if key is not None:
            data_with_it = b"sallyport recording 3\0" + session + b"\0" + head
            packed = AESGCM(key).decrypt(payload[:12], payload[12:], data_with_it)
            content = unpacked(packed, flags, raw)
        if content is not None:
            unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)
            unpacker.feed(content)
            yield from (unpacker.unpack() for _ in range(count))
        number, first, previous = number + 1, first + count, hash_
    if version in (3, 5) and key is None:
        raise UnsoundError(
            f"the chain of {number} blocks and {first} events is sound; content not read"
        )


def unpacked(payload: bytes, flags: int, size: int) -> bytes:
    if not flags & 1:
        return payload
    return zstandard.ZstdDecompressor().decompress(payload, max_output_size=size)


def with_texts(events: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """A statement with a digest in its 18th field gets the text that an earlier one has."""
    texts: dict[bytes, bytes] = {}
    for event in events:
        if event[0] == 2 and len(event) > 17:
            digest, text = event.pop(17), event[16].encode()
            if digest:
                event[16] = texts.get(digest, b"[not in this recording]").decode()
            elif 0 < len(text) <= 65536:
                digest = hashlib.sha256(text).digest()
                texts.pop(digest, None)
                texts[digest] = text
                while len(texts) > 256 or sum(map(len, texts.values())) > 1 << 20:
                    del texts[next(iter(texts))]
        yield event


def as_json(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(type(value))


def main(recording: str, *key_files: str) -> int:
    try:
        found = events(Path(recording), [Path(name) for name in key_files])
        for tag, *fields in with_texts(found):
            print(json.dumps([NAMES.get(tag, tag), *fields], default=as_json))
    except (
        UnsoundError,
        InvalidTag,
        zstandard.ZstdError,
        ValueError,
        struct.error,
        OSError,
    ) as error:
        print(
            f"{recording}: {error or 'it was changed, or the key is another one'}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 1 else __doc__)
