"""npm packages for tests: PostgreSQL servers, an identity provider, Node drivers. Installed by
name, once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.places import CACHE, locked

_DONE = ".installed"


def npm_install(package_dir: Path) -> Path:
    """Install what ``package_dir/package.json`` (and package-lock.json, if any) asks for; returns
    the directory that has ``node_modules``. Cached by the content of both files, so a second call
    costs nothing.
    """
    files = [package_dir / name for name in ("package.json", "package-lock.json")]
    content = {file.name: file.read_bytes() for file in files if file.exists()}
    mark = hashlib.sha256(b"\0".join(content.values())).hexdigest()[:16]
    return _installed(f"{package_dir.name}-{mark}", content)


def npm_packages(name: str, packages: Mapping[str, str]) -> Path:
    """Install packages given as {name: version}; returns the directory that has
    ``node_modules``.
    """
    manifest = json.dumps(
        {"private": True, "dependencies": dict(packages)}, sort_keys=True
    ).encode()
    return _installed(
        f"{name}-{hashlib.sha256(manifest).hexdigest()[:16]}", {"package.json": manifest}
    )


def _installed(key: str, files: Mapping[str, bytes]) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("This test needs Node.js: apt-get install nodejs npm")
    place = CACHE / "npm" / key
    with locked(CACHE / "npm" / f"{key}.lock"):
        if (place / _DONE).exists():
            return place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for name, content in files.items():
            (place / name).write_bytes(content)
        verb = "ci" if "package-lock.json" in files else "install"
        command = [npm, verb, "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        done = subprocess.run(
            command, cwd=place, env=os.environ, capture_output=True, text=True, timeout=300
        )
        if done.returncode != 0:
            pytest.fail(f"npm {verb} failed for {key}:\n{done.stderr[-2000:]}")
        (place / _DONE).touch()
    return place
