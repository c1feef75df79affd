"""No core dump has a gateway's secrets: prctl(2), PR_SET_DUMPABLE."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Serves, but for the event loop: says what the kernel has for the process, before and then.
SERVING = """\
import asyncio, ctypes, sys
import sallyport.app.serve as app

def say(work=None, **options):
    if work is not None:
        work.close()
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE

sys.modules["uvloop"] = None
app.configure_logging = lambda *arguments: None
asyncio.run = say
say()
app.serve(None, print, reread=None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_a_gateway_that_serves_leaves_no_core_dump() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVING], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["1", "0"], done.stderr
