"""One hash of everything that was read of a catalog, which is soon made again when parts change."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="sorted")


def json_text(value: Any) -> bytes:
    """JSON in which the order of keys is always the same."""
    return _encoder.encode(value)


class Digests:
    """Hashes of relations, types and functions by (kind, OID), in buckets, so that the hash of all
    is soon made again.
    """

    _BUCKETS = 256

    def __init__(self, before: Digests | None = None) -> None:
        self._buckets: list[dict[tuple[str, int], bytes]] = (
            [{} for _ in range(self._BUCKETS)] if before is None else list(before._buckets)
        )
        self._hashes: list[bytes] = (
            [b""] * self._BUCKETS if before is None else list(before._hashes)
        )
        self._own: set[int] = set()

    def put(self, kind: str, oid: int, content: Any) -> None:
        """``content``: as JSON can hold it; None: it is gone."""
        number = oid % self._BUCKETS
        if number not in self._own:
            self._own.add(number)
            self._buckets[number] = dict(self._buckets[number])
        if content is None:
            self._buckets[number].pop((kind, oid), None)
        else:
            digest = hashlib.blake2b(json_text([kind, content]), digest_size=16).digest()
            self._buckets[number][kind, oid] = digest

    def epoch(self, content: Any) -> str:
        """32 hex digits of everything, ``content`` included."""
        for number in self._own:
            bucket = self._buckets[number]
            self._hashes[number] = hashlib.sha256(
                b"".join([bucket[key] for key in sorted(bucket)])
            ).digest()
        self._own = set()
        return hashlib.sha256(json_text(content) + b"".join(self._hashes)).hexdigest()[:32]
