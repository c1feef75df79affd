"""CONTRIBUTING.md says which files a new mask, pack or command takes: its blocks are put into a
copy of the sources, and what comes of it is tried there.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider")
_BLOCK = re.compile(r"```\w+\n# ([\w./-]+)(?:, (\w+))?\n(.*?)```", re.DOTALL)


def blocks(recipe: str) -> list[tuple[str, str, str]]:
    """(file, collection or "", text) of each block of a recipe."""
    section = TEXT.split(f"**{recipe}.**", 1)[1].split("\n**", 1)[0]
    return [(match[1], match[2] or "", match[3]) for match in _BLOCK.finditer(section)]


def add_to_collection(source: str, name: str, text: str) -> str:
    """``source`` with entries behind the last one of a tuple or dict at the top of a module."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if value is None or name not in names:
            continue
        lines = source.splitlines(keepends=True)
        last, column = value.end_lineno - 1, value.end_col_offset - 1
        before = "".join(lines[:last]) + lines[last][:column]
        comma = "" if before.rstrip().endswith(",") else ","
        return f"{before.rstrip()}{comma}\n{text}{lines[last][column:]}{''.join(lines[last + 1 :])}"
    raise AssertionError(f"there is no {name}")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for part in ("src", "tests", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.c", "*.egg-info", "node_modules")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    for file in ("pyproject.toml", "CONTRIBUTING.md", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def follow(recipe: str, copy: Path) -> None:
    """Do what the recipe says."""
    steps = blocks(recipe)
    assert 2 <= len(steps) <= 3
    for file, collection, text in steps:
        assert bool(collection) is (copy / file).exists()
        add(copy, file, collection, text)


def add(copy: Path, file: str, collection: str, text: str) -> None:
    """Put the text of a block where it belongs."""
    path = copy / file
    if collection:
        text = add_to_collection(path.read_text(encoding="utf-8"), collection, text)
    path.write_text(text, encoding="utf-8")


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the copy's sources in place of this checkout's."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_mask(copy: Path) -> None:
    follow("A mask", copy)
    ran = run(copy, *PYTEST, "-vv", "tests/masking/test_mask_kinds.py")
    assert ran.returncode == 0, ran.stdout
    assert "[initial-Family.TEXT] PASSED" in ran.stdout


def test_a_mask_without_its_sql_is_found(copy: Path) -> None:
    for block in blocks("A mask")[:2]:
        add(copy, *block)
    ran = run(copy, *PYTEST, "tests/masking/test_mask_kinds.py")
    assert ran.returncode == 1
    assert "test_the_registries_name_the_same_kinds" in ran.stdout


def test_a_pack(copy: Path) -> None:
    follow("A pack", copy)
    script = (
        "from sallyport.policy.file.load import parse_policy\n"
        "policy = parse_policy('version: 1\\npacks: [no-notify]\\n', 'p')\n"
        "print([rule.name for rule in policy.rules])"
    )
    ran = run(copy, "-c", script)
    assert ran.returncode == 0, ran.stderr
    assert "no notifications" in ran.stdout


def test_a_command(copy: Path) -> None:
    follow("A command", copy)
    ran = run(copy, "-m", "sallyport.cli.main", "packs")
    assert ran.returncode == 0, ran.stderr
    assert "pii-default" in ran.stdout.split()
