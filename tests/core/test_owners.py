"""Owners: alive while their process is, whatever it does."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

from sallyport.core.owners import Owners


def test_an_owner_is_dead_when_its_process_is(tmp_path: Path) -> None:
    own = Owners(tmp_path, "aaaaaaaa-0-111111")
    program = (
        "from pathlib import Path; from sallyport.core.owners import Owners; import sys, time\n"
        "o = Owners(Path(sys.argv[1]), 'aaaaaaaa-1-222222'); print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert not own.is_dead("aaaaaaaa-1-222222") and not own.is_dead(own.owner)
        assert own.runs() == ["111111", "222222"]
        assert own.forget_dead() == []
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert own.is_dead("aaaaaaaa-1-222222") and own.runs() == ["111111"]
    assert own.forget_dead() == ["aaaaaaaa-1-222222"]
    assert own.is_dead("aaaaaaaa-1-222222") and own.is_dead("") and own.is_dead("../gateway.lock")
    own.close()


def test_nobody_is_dead_because_this_process_has_no_descriptor_left(tmp_path: Path) -> None:
    own, neighbor = Owners(tmp_path, "aaaaaaaa-0-111111"), Owners(tmp_path, "aaaaaaaa-1-222222")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        dead = own.is_dead(neighbor.owner)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not dead
    neighbor.close()
    assert own.is_dead(neighbor.owner)
    own.close()
