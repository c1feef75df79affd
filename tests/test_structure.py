"""scripts/check_structure.py finds what it says it finds, and its ratchet lets nothing grow."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "check_structure.py"
_spec = importlib.util.spec_from_file_location("check_structure", SCRIPT)
check_structure = importlib.util.module_from_spec(_spec)
sys.modules["check_structure"] = check_structure
_spec.loader.exec_module(check_structure)


def _rules(tmp_path: Path, text: str, names: frozenset[str] = frozenset()) -> list[str]:
    path = tmp_path / "module.py"
    path.write_text(text, encoding="utf-8")
    return sorted(rule for rule, _, _ in check_structure.faults(path, names, None))


def test_a_file_without_faults(tmp_path: Path) -> None:
    assert (
        _rules(
            tmp_path,
            '"""Numbers."""\n\n\ndef double(number):\n    """Twice."""\n    return 2 * number\n',
        )
        == []
    )


def test_each_rule_finds_its_fault(tmp_path: Path) -> None:
    assert _rules(tmp_path, '"""M."""\nvalue = "' + "x" * 100 + '"\n') == ["line"]
    assert _rules(tmp_path, '"""M."""\nfor one in range(3):\n    print(one)\n') == ["binding"]
    assert _rules(tmp_path, '"""M."""\n\n\ndef public():\n    return 1\n') == ["docstring"]
    assert _rules(tmp_path, '"""See :mod:`sallyport.absent`."""\n') == ["reference"]
    assert _rules(tmp_path, '"""See :mod:`sallyport.app`."""\n', frozenset({"sallyport.app"})) == []
    assert _rules(tmp_path, '"""M."""\n' + "\n" * 501).count("file") == 2


def test_large_functions_need_a_reason(tmp_path: Path) -> None:
    body = "    x = 1\n" * 70
    assert _rules(tmp_path, f'"""M."""\n\n\ndef _large():\n{body}') == ["function"]
    assert _rules(tmp_path, f'"""M."""\n\n\ndef _large():  # long: one table\n{body}') == []
    branches = "    if x:\n        pass\n" * 16
    assert _rules(tmp_path, f'"""M."""\n\n\ndef _branchy(x):\n{branches}') == ["function"]


def test_complexity_counts_operands_and_not_inner_functions() -> None:
    function = ast.parse(
        "def f(a, b, c):\n"
        "    if a and b and c:\n"
        "        return [x for x in a if x]\n"
        "    def inner():\n"
        "        if a: pass\n"
    ).body[0]
    assert check_structure.complexity(function) == 5


def test_circles_are_found_wherever_the_import_stands() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert check_structure.cycles(graph) == [["a", "b", "c"]]
    assert check_structure.cycles({"a": {"b"}, "b": set()}) == []


def test_only_growth_is_reported() -> None:
    tolerated = {"a.py": {"line": 2}}
    assert check_structure.growth({"a.py": {"line": 2}}, tolerated) == []
    assert check_structure.growth({"a.py": {"line": 1}}, tolerated) == []
    assert check_structure.growth({"a.py": {"line": 3}}, tolerated) == [("a.py", "line", 3, 2)]
    assert check_structure.growth({"b.py": {"file": 1}}, tolerated) == [("b.py", "file", 1, 0)]
