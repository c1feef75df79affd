"""Node programs as clients: CommonJS scripts that may ``require`` the packages of one directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.npm import npm_install


def run_node(script: Path, package_dir: Path, *arguments: str, seconds: float = 60.0) -> Any:
    """Run a script with ``package_dir``'s packages; returns the JSON that it prints. Fails the test
    on any error.
    """
    node = shutil.which("node")
    if node is None:
        pytest.fail("This test needs Node.js: apt-get install nodejs npm")
    modules = npm_install(package_dir) / "node_modules"
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {
        "NODE_PATH": str(modules)
    }
    done = subprocess.run(
        [node, str(script), *arguments],
        env=env,
        text=True,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{script.name} failed ({done.returncode}):\n{done.stderr}\n{done.stdout}")
    return json.loads(done.stdout)
