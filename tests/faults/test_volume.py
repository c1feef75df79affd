"""Many statements: memory stays flat, retention bounds the disk, and what is left is sound.

``VOLUME_STATEMENTS=10000000`` is the long form.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
from bench.volume import Volume

from sallyport.operations.statementsearch import StatementIndexer, read_query
from sallyport.store.statementsearch import StatementSearch

STATEMENTS = int(os.environ.get("VOLUME_STATEMENTS", "12800"))
PARTS = 8
#: Bytes of recordings that may be kept: about an eighth of them.
KEPT = STATEMENTS * 5
pytestmark = pytest.mark.timeout(600 + STATEMENTS // 500)


def test_memory_and_disk_are_bounded(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    search = StatementSearch(tmp_path, writable=True, maximum=STATEMENTS // 4)
    indexer = StatementIndexer(volume.sessions, search, alone=True)
    memory, sizes, deleted = [], [], 0
    for _ in range(PARTS):
        volume.record(STATEMENTS // PARTS)
        indexer.fill()
        search.trim()
        deleted += volume.delete_oldest(KEPT)
        memory.append(psutil.Process().memory_info().rss)
        sizes.append(volume.size())
    print(f"memory {memory}, recordings {sizes}, {deleted} deleted")
    assert max(sizes) <= KEPT and deleted > 0
    assert max(memory[2:]) - memory[1] < 16 << 20
    assert search.state().statements <= STATEMENTS // 4
    results = list(volume.sessions.verify())
    assert [problem for result in results for problem in result.problems] == []
    reader = StatementSearch(tmp_path)
    began = time.thread_time()
    assert len(reader.search(read_query("verdict:deny masked:email"))) == 50
    assert time.thread_time() - began < 0.2
    volume.close()
