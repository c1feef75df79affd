"""Measure what reviewers used to measure by hand, and hold it in a ratchet (CONTRIBUTING.md, "What
is checked").

    scripts/check_structure.py            fail when a file is worse than scripts/structure.json says
    scripts/check_structure.py --update   write structure.json; refused where a figure would grow

Each rule counts faults per file. ``structure.json`` holds the counts that are tolerated today; a
count may only shrink, and a file without an entry has none. A function may exceed the bounds of
size when the line of its ``def`` ends with ``# long: <reason>``.

The rules:

- ``line``: a line of more than 100 characters.
- ``binding``: a value bound to a name that says nothing (:data:`VAGUE_NAMES`).
- ``function``: more than 60 lines, or a cyclomatic complexity above 15.
- ``file``: lines above 500.
- ``docstring``: a public module, class or function without one.
- ``reference``: a role such as ``:mod:`sallyport.x``` that names nothing.
- ``cycle``: files that import each other, imports under TYPE_CHECKING included.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RATCHET = ROOT / "scripts" / "structure.json"
#: Checked by every rule; the others by those of :data:`RULES_FOR_TESTS` only.
SOURCES = ("src/sallyport",)
TESTS = ("tests", "bench", "scripts")
RULES_FOR_TESTS = frozenset({"line", "binding", "function", "file"})

MAXIMUM_LINE = 100
MAXIMUM_FUNCTION = 60
MAXIMUM_COMPLEXITY = 15
MAXIMUM_FILE = 500
VAGUE_NAMES = frozenset(
    [
        "found",
        "one",
        "given",
        "known",
        "wanted",
        "whole",
        "other",
        "others",
        "thing",
        "things",
        "stuff",
        "it",
        "that",
        "this",
        "these",
        "those",
    ]
)
_REFERENCE = re.compile(r":(mod|class|func|meth|data|attr|exc):`[~!]?([\w.]+)`")
_REASON = re.compile(r"#\s*long:\s*\S")
_BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert,
    ast.comprehension,
    ast.match_case,
)  # fmt: skip
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

#: (rule, line, what is wrong)
Fault = tuple[str, int, str]
#: file -> rule -> how many
Counts = dict[str, dict[str, int]]


def complexity(function: ast.AST) -> int:
    """McCabe's number: one, and one more for each branch and each further operand of ``and`` and
    ``or``.

    Functions inside are counted on their own.
    """
    total = 1
    stack = list(ast.iter_child_nodes(function))
    while stack:
        node = stack.pop()
        if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
            continue
        if isinstance(node, _BRANCHES):
            total += 1
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        stack.extend(ast.iter_child_nodes(node))
    return total


def bound_names(tree: ast.AST) -> Iterator[ast.Name | ast.arg]:
    """Every place that binds a name to a value: assignments, loops, ``with``, parameters."""
    for node in ast.walk(tree):
        if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)) or isinstance(
            node, ast.arg
        ):
            yield node


def _identifier(node: ast.Name | ast.arg) -> str:
    return node.id if isinstance(node, ast.Name) else node.arg


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _undocumented(tree: ast.Module) -> Iterator[Fault]:
    """Public modules, classes and functions that say nothing about themselves; methods of private
    classes pass.
    """
    if ast.get_docstring(tree) is None and tree.body:
        yield "docstring", 1, "the module has no docstring"
    for node in tree.body:
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)) or not _is_public(node.name):
            continue
        if ast.get_docstring(node) is None:
            yield "docstring", node.lineno, f"{node.name} has no docstring"


def _sizes(tree: ast.Module, lines: list[str]) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if not isinstance(node, _FUNCTIONS):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        branches = complexity(node)
        header = lines[node.lineno - 1 : node.body[0].lineno]
        if any(_REASON.search(line) for line in header):
            continue
        if length > MAXIMUM_FUNCTION:
            yield "function", node.lineno, f"{node.name} has {length} lines"
        if branches > MAXIMUM_COMPLEXITY:
            yield "function", node.lineno, f"{node.name} has a cyclomatic complexity of {branches}"
    excess = len(lines) - MAXIMUM_FILE
    for _ in range(max(0, excess)):
        yield "file", MAXIMUM_FILE + 1, f"the file has {len(lines)} lines"


def _references(text: str, names: frozenset[str]) -> Iterator[Fault]:
    """Roles whose full dotted name starts with ``sallyport.`` and resolves to nothing in the
    package.
    """
    for number, line in enumerate(text.splitlines(), 1):
        for match in _REFERENCE.finditer(line):
            target = match[2]
            if target.startswith("sallyport.") and target not in names:
                yield "reference", number, f"{target} does not exist"


def faults(path: Path, names: frozenset[str], rules: frozenset[str] | None) -> list[Fault]:
    """What is wrong in one file. ``rules`` None: all."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text, str(path))
    listed: list[Fault] = [
        ("line", number, f"{len(line)} characters")
        for number, line in enumerate(lines, 1)
        if len(line) > MAXIMUM_LINE
    ]
    listed += [
        ("binding", node.lineno, f"{_identifier(node)!r} says nothing")
        for node in bound_names(tree)
        if _identifier(node) in VAGUE_NAMES
    ]
    listed += _sizes(tree, lines)
    listed += _undocumented(tree)
    listed += _references(text, names)
    return [fault for fault in listed if rules is None or fault[0] in rules]


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def defined_names(modules: dict[str, Path]) -> frozenset[str]:
    """Modules, their top-level names and the members of their classes, dotted."""
    names = set(modules)
    for module, path in modules.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name in _names_of(node):
                names.add(f"{module}.{name}")
            if isinstance(node, ast.ClassDef):
                members = {name for child in node.body for name in _names_of(child)}
                members |= {
                    target.attr
                    for child in ast.walk(node)
                    if isinstance(child, ast.Attribute)
                    and isinstance((target := child).ctx, ast.Store)
                }
                names |= {f"{module}.{node.name}.{member}" for member in members}
    return frozenset(names)


def _names_of(node: ast.AST) -> list[str]:
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [
            n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)
        ]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return []


def import_graph(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports, wherever the import stands."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                targets = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
                nearest = [target for target in targets[:-1] if target in modules]
                # `from package import module` does not need what the package's __init__ holds.
                targets = nearest if len(nearest) == len(node.names) else targets
            elif isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            graph[module] |= {
                target for target in targets if target in modules and target != module
            }
    return graph


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan, iterative)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    components: list[list[str]] = []
    for root in sorted(graph):
        if root in index:
            continue
        work = [(root, iter(sorted(graph[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(sorted(graph.get(successor, ())))))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    if len(component) > 1:
                        components.append(sorted(component))
    return components


def measure() -> tuple[Counts, list[tuple[str, Fault]]]:
    """Counts per file and rule, and each fault with its file."""
    modules = {
        _module_name(path): path for root in SOURCES for path in sorted((ROOT / root).rglob("*.py"))
    }
    names = defined_names(modules)
    listed: list[tuple[str, Fault]] = []
    for roots, rules in ((SOURCES, None), (TESTS, RULES_FOR_TESTS)):
        for root in roots:
            for path in sorted((ROOT / root).rglob("*.py")):
                relative = str(path.relative_to(ROOT))
                listed += [(relative, fault) for fault in faults(path, names, rules)]
    for component in cycles(import_graph(modules)):
        for module in component:
            relative = str(modules[module].relative_to(ROOT))
            listed.append((relative, ("cycle", 1, "imports in a circle: " + ", ".join(component))))
    counts: Counts = defaultdict(dict)
    for (relative, rule), number in Counter((file, fault[0]) for file, fault in listed).items():
        counts[relative][rule] = number
    return dict(counts), listed


def growth(counts: Counts, tolerated: Counts) -> list[tuple[str, str, int, int]]:
    """(file, rule, now, tolerated) where there are more than tolerated."""
    return [
        (file, rule, number, tolerated.get(file, {}).get(rule, 0))
        for file, rules in sorted(counts.items())
        for rule, number in sorted(rules.items())
        if number > tolerated.get(file, {}).get(rule, 0)
    ]


def main() -> int:
    """Exit status 0: nothing grew. 1: something did."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write what is tolerated from now on")
    parser.add_argument("--list", metavar="RULE", help="print every fault of this rule and stop")
    arguments = parser.parse_args()
    counts, listed = measure()
    if arguments.list:
        for file, (rule, line, text) in listed:
            if rule == arguments.list:
                print(f"{file}:{line}: {text}")
        return 0
    tolerated: Counts = json.loads(RATCHET.read_text(encoding="utf-8")) if RATCHET.exists() else {}
    grown = growth(counts, tolerated) if RATCHET.exists() else []
    for file, rule, number, allowed in grown:
        print(f"{file}: {rule}: {number}, and {allowed} are tolerated")
        places = [fault for name, fault in listed if name == file and fault[0] == rule]
        for _, line, text in places[:20] if rule != "file" else places[:1]:
            print(f"  {file}:{line}: {text}")
    if grown:
        print(
            "Mend these, or write the reason beside the function: scripts/check_structure.py says"
            " how."
        )
        return 1
    if arguments.update:
        RATCHET.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    totals = Counter[str]()
    for rules in counts.values():
        totals.update(rules)
    print("structure: " + ", ".join(f"{rule} {totals[rule]}" for rule in sorted(totals)))
    smaller = sum(n for rules in tolerated.values() for n in rules.values()) - sum(totals.values())
    if smaller > 0 and not arguments.update:
        print(f"structure: {smaller} fewer than tolerated; run scripts/check_structure.py --update")
    return 0


if __name__ == "__main__":
    sys.exit(main())
