"""The parts of the gateway do not import each other in circles, not even for types."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sallyport

SOURCE = Path(sallyport.__file__).parent


def imports(package: str) -> dict[str, set[str]]:
    """Module of ``sallyport.<package>`` -> those of the same package that it imports, wherever the
    import stands.
    """
    modules = {path.stem: path for path in (SOURCE / package).glob("*.py")}
    prefix = f"sallyport.{package}"
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                if node.module == prefix:
                    graph[name] |= {alias.name for alias in node.names} & modules.keys()
                elif node.module.startswith(prefix + "."):
                    graph[name].add(node.module.removeprefix(prefix + "."))
    return graph


@pytest.mark.parametrize("package", ["session", "server"])
def test_no_module_imports_itself_through_others(package: str) -> None:
    try:
        TopologicalSorter(imports(package)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
