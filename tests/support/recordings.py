"""The keys of a gateway's recordings, for tests that read what it wrote."""

from __future__ import annotations

from pathlib import Path

from sallyport.audit.keys import KeyRing, local_key
from sallyport.operations.recordingkeys import FILE


def keys_of(data: Path) -> KeyRing:
    """Those of a gateway without a word about encryption in its configuration; ``data``: its data
    directory.
    """
    path = data / FILE
    return KeyRing(local_key(path.read_text(), str(path)) if path.exists() else None)
