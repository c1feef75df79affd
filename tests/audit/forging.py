"""Changes to recordings that somebody with the code and the files could make."""

from __future__ import annotations

from pathlib import Path

import zstandard

from sallyport.audit import events as ev
from sallyport.audit.appender import Appender, Output
from sallyport.audit.blocks import seal
from sallyport.audit.chain import Chain
from sallyport.audit.reader import RecordingReader
from tests.audit.helpers import chunk_of
from tests.support.recordings import keys_of


def append_events(path: Path, events: list[ev.RawEvent]) -> None:
    """Append a block that continues the chain correctly; where the recording is encrypted, with the
    key beside the data.
    """
    with RecordingReader(path, keys_of(path.parents[4])) as reader:
        *_, last = reader.blocks()
    chain = Chain(last.hash, last.sequence + 1, last.first_event + last.events)
    parts = seal(chain, chunk_of(events), zstandard.ZstdCompressor(), reader.cipher).parts
    appender = Appender()
    appender.append(Output(str(path), path.stat().st_size), parts)
    appender.close_all()


def cut_blocks(path: Path, keep: int) -> None:
    """Cut the recording behind its first ``keep`` blocks."""
    with RecordingReader(path) as reader:
        ends = [end for _, end in reader.extents()]
    with path.open("r+b") as file:
        file.truncate(ends[keep - 1])
