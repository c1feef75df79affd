"""pgbench: simple, extended and prepared mode with several clients at once; every transaction
succeeds.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.psql import client_program

_SELECT = "\\set who random(1, 2000)\nSELECT id, name, email FROM customers WHERE id = :who;\n"
_WRITE = """\\set which random(1, 120)
BEGIN;
UPDATE products SET stock = stock + 1 WHERE id = :which;
UPDATE products SET stock = stock - 1 WHERE id = :which;
COMMIT;
"""


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("script", [_SELECT, _WRITE], ids=["select", "write"])
def test_pgbench(plain_door: Gateway, tmp_path: Path, mode: str, script: str) -> None:
    file = tmp_path / "script.sql"
    file.write_text(script)
    command = [
        client_program("pgbench"), "--no-vacuum", f"--protocol={mode}", "--client=4",
        "--transactions=50", f"--file={file}", "--max-tries=1", plain_door.dsn(),
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"number of transactions actually processed: 200/200", done.stdout)
    assert re.search(r"number of failed transactions: 0 ", done.stdout)
