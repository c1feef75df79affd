"""``python -m tests.support.prefetch``: what the tests need, before they run. Downloads it, and
compiles test modules that never were: each process of a run would do so for itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from tests.support.npm import npm_install
from tests.support.places import ROOT
from tests.support.postgres import install

#: npm projects inside the tests.
PROJECTS = ("tests/identity/idp", "tests/drivers/node", "tests/web/axe")
#: Modules without bytecode that are worth a process: it imports all of Sallyport.
_MANY = 50


def pytest_pycollect_makeitem() -> list[pytest.Item]:
    """As a plugin of the processes of :func:`compile_modules`: importing a module compiles it, and
    none of its tests is asked for.
    """
    return []


def uncompiled() -> list[Path]:
    """Test modules of which pytest keeps no bytecode. That of one that was changed since counts."""
    modules = sorted((ROOT / "tests").rglob("test_*.py"))
    kept = {
        place: {file.name.partition(".")[0] for file in place.glob("*-pytest-*.pyc")}
        for place in {Path(cache_from_source(str(module))).parent for module in modules}
    }
    return [
        module
        for module in modules
        if module.stem not in kept[Path(cache_from_source(str(module))).parent]
    ]


def compile_modules(modules: list[Path]) -> list[subprocess.Popen[bytes]]:
    """Begins; a process for each core, at most two. What fails to compile, the run itself says."""
    number = min(os.cpu_count() or 1, 2)
    quiet = ("--collect-only", "-qq", "--continue-on-collection-errors", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *quiet, "-p", "tests.support.prefetch"]
    return [
        subprocess.Popen(
            [*command, *map(str, modules[part::number])],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for part in range(number)
    ]


def main() -> int:
    versions = sys.argv[1:] or ["16"]
    modules = uncompiled()
    compiling = compile_modules(modules) if len(modules) >= _MANY else []
    for version in versions:
        print(f"PostgreSQL {version}", flush=True)
        install(version)
    for project in PROJECTS:
        if (ROOT / project / "package.json").exists():
            print(f"npm packages of {project}", flush=True)
            npm_install(ROOT / project)
    if compiling:
        print(f"Bytecode of {len(modules)} test modules", flush=True)
    for process in compiling:
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
