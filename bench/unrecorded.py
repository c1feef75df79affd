"""``sallyport`` that throws away what it should record, to measure what that costs. Never for use.

Events are encoded and handed to the recorder's thread, and there are no blocks, files, keys and
intents: nothing is compressed, encrypted, hashed, written, logged in the tree or searched.
"""

from __future__ import annotations

import zstandard

from bench import unjournaled
from sallyport.audit.appender import Appender
from sallyport.audit.journal import Journal
from sallyport.audit.recordingfile import RecordingFile
from sallyport.cli.main import main


def _write_next(
    file: RecordingFile, appender: Appender, compressor: zstandard.ZstdCompressor
) -> int:
    chunk = file.taken.pop(0)
    file.counts.add_chunk(chunk)
    file.written += chunk.size
    return chunk.size


if __name__ == "__main__":
    RecordingFile.write_next = _write_next  # type: ignore[method-assign]
    Journal.append = unjournaled.append  # type: ignore[method-assign]
    main()
