"""Write the generated parts of docs/architecture.md: the session's state diagrams and the code map.

Usage: python scripts/generate_diagrams.py [--check]

The diagrams come from the tables in src/sallyport/session/states.py and from the handlers that
these name; the code map from the first sentence of each module's docstring. Each part stands
between ``<!-- generated: NAME -->`` and ``<!-- end -->`` and is replaced as a whole. ``--check``
writes nothing and exits with 1 when the file would change.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sallyport.session import fast, machine
from sallyport.session.server import replies
from sallyport.session.states import ASYNC_TABLE, CLIENT_TABLE, REPLY_TABLE, ClientState, Expect
from sallyport.wire import backend, frontend

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "sallyport"
DOCUMENT = ROOT / "docs" / "architecture.md"

#: Handled apart from the tables (the hot path): rows, in answer to these, and a bundle's whole
#: answer.
ROWS = (Expect.QUERY, Expect.EXECUTE, Expect.PROBE)
WHOLE = {
    Expect.BUNDLE: ("whole answer", fast.response),
    Expect.QUERY: ("whole answer", fast.response),
}


def states_set_by(function: Callable[..., object]) -> tuple[list[str], bool]:
    """The client states that a handler's own code may set (``session.close(...)``: CLOSED), and
    whether it always does.
    """
    body = ast.parse(inspect.getsource(function)).body[0]
    states: dict[str, None] = {}
    for node in ast.walk(body):
        states.update(dict.fromkeys(_sets(node)))
    always = any(_sets(part) for statement in body.body for part in _unconditional(statement))
    return list(states), always


def _sets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Assign) and any(
        ".client_state" in ast.unparse(target) for target in node.targets
    ):
        return re.findall(r"ClientState\.(\w+)", ast.unparse(node.value))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "session.close":
        return ["CLOSED"]
    return []


def _unconditional(statement: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(statement, ast.Assign | ast.Expr):
        yield from ast.walk(statement)


def client_diagram() -> str:
    """A client message moves the session to the state that its handler sets, or leaves it where it
    is; or either.
    """
    lines = ["stateDiagram-v2", "    [*] --> READY: login"]
    for state, row in CLIENT_TABLE.items():
        edges: dict[tuple[str, str], list[str]] = {}
        for kind, name in row.items():
            targets, always = states_set_by(machine._HANDLERS[name])
            for target in dict.fromkeys(targets if always else [state.name, *targets]):
                edges.setdefault((target, "ignored " * (name == "ignored")), []).append(
                    frontend.MESSAGES[ord(kind)].name
                )
        for (target, prefix), names in edges.items():
            lines.append(f"    {state.name} --> {target}: {prefix}{', '.join(names)}")
    lines += [f"    {ClientState.CLOSED.name} --> [*]"]
    return _mermaid(lines)


def server_moves() -> str:
    """Which server messages change the client's state."""
    lines = ["| server message | handler | the session's state may become |", "|---|---|---|"]
    seen = set()
    for row in REPLY_TABLE.values():
        for kind, name in row.items():
            states, _ = states_set_by(replies._NAMES[name])
            if states and (kind, name) not in seen:
                seen.add((kind, name))
                lines.append(
                    f"| {_server_message(kind)} | `{_handler(name)}` | {', '.join(states)} |"
                )
    return "\n".join(lines)


def reply_diagram() -> str:
    """What may arrive in answer to each forwarded message, and which function takes it."""
    lines = ["flowchart LR"]
    for expect, row in REPLY_TABLE.items():
        by_handler: dict[str, list[str]] = {}
        for kind, name in row.items():
            by_handler.setdefault(_handler(name), []).append(_server_message(kind))
        if expect in ROWS:
            by_handler["replies._rows"] = ["DataRow"]
        if expect in WHOLE:
            what, function = WHOLE[expect]
            by_handler[_qualified(function)] = [what]
        for handler, names in by_handler.items():
            lines.append(
                f'    {expect.name}(["{expect.name}"]) -- "{", ".join(names)}" --> {_node(handler)}'
            )
    for kind, name in ASYNC_TABLE.items():
        lines.append(
            f'    ANY(["at any time"]) -- "{_server_message(kind)}" --> {_node(_handler(name))}'
        )
    return _mermaid(lines)


def code_map() -> str:
    """Every module and the first sentence of its docstring."""
    lines: list[str] = []
    for package, modules in _packages():
        lines += [f"**`{package}`**" if package else "**on top**", ""]
        lines += [f"- `{m}`: {_summary(SOURCE / m)}" for m in modules] + [""]
    return "\n".join(lines).rstrip()


def modules() -> list[str]:
    """Paths of all modules below src/sallyport, without empty ``__init__.py`` and migrations."""
    paths = (p for p in sorted(SOURCE.rglob("*.py")) if "migrations" not in p.parts)
    return [str(p.relative_to(SOURCE)) for p in paths if p.name != "__init__.py"]


def _packages() -> Iterator[tuple[str, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for module in modules():
        package = module.rpartition("/")[0]
        grouped.setdefault(f"{package}/" if package else "", []).append(module)
    yield from sorted(grouped.items(), key=lambda item: (item[0] == "", _rank(item[0])))


_ORDER = (
    *(
        "core",
        "wire",
        "sql",
        "policy",
        "masking",
        "session",
        "identity",
        "audit",
        "targets",
        "store",
    ),
    *("server", "operations", "demo", "cli"),
)


def _rank(package: str) -> tuple[int, str]:
    name = package.split("/")[0]
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), package)


def _summary(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = " ".join(text.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[a-z)`])\. (?=[A-Z])", first)[0]
    return (
        re.sub(r":\w+:`~?([^`]*)`", r"`\1`", sentence)
        .replace("``", "`")
        .rstrip(".")
        .replace("<", "&lt;")
    )


def _server_message(kind: str) -> str:
    return backend.MESSAGES[ord(kind)].name


def _handler(name: str) -> str:
    return _qualified(replies._NAMES[name])


def _qualified(function: Callable[..., object]) -> str:
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def _node(handler: str) -> str:
    return f'{handler.replace(".", "_")}["{handler}"]'


def _mermaid(lines: list[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])


PARTS: dict[str, Callable[[], str]] = {
    "client states": client_diagram,
    "server moves": server_moves,
    "replies": reply_diagram,
    "code map": code_map,
}


def fill(text: str) -> str:
    """The document with every generated part made anew. ValueError when a part's marks are
    missing.
    """
    for name, make in PARTS.items():
        mark = re.escape(f"<!-- generated: {name} -->")
        pattern = re.compile(rf"({mark}\n).*?(\n<!-- end -->)", re.S)
        if not pattern.search(text):
            raise ValueError(
                f"{DOCUMENT.name} has no part '<!-- generated: {name} -->' ... '<!-- end -->'"
            )
        part = make()
        text = pattern.sub(lambda match, part=part: match[1] + part + match[2], text)
    return text


def main() -> int:
    before = DOCUMENT.read_text()
    after = fill(before)
    if "--check" in sys.argv:
        return int(before != after)
    DOCUMENT.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
