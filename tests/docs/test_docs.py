"""The documents say what the program does: codes, commands, paths, links, layers and generated
parts.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from sallyport.cli.main import build
from sallyport.config import load_config
from sallyport.core.errors import CODES
from sallyport.policy.file.load import parse_policy

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in DOCUMENTS}
REFUSALS = TEXTS["docs/refusals.md"]
ARCHITECTURE = TEXTS["docs/architecture.md"]
#: Codes of notices, which are no refusals.
NOTICES = {"SP2001", "SP2002"}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_diagrams", ROOT / "scripts" / "generate_diagrams.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_explained(code: str) -> None:
    entry = CODES[code]
    row = f"| [{code}](#{code.lower()}) | {entry.sqlstate} | {entry.title} |"
    assert row in REFUSALS, f"docs/refusals.md: the table lacks {row!r}"
    section = re.search(rf"^### {code}\n(.*?)(?=^##|\Z)", REFUSALS, re.M | re.S)
    assert section, f"docs/refusals.md has no section '### {code}'"
    assert f"[{code}] " in section[1], f"docs/refusals.md: {code} has no example of its message"
    assert "**Way out:**" in section[1], f"docs/refusals.md: {code} has no way out"


def test_no_code_is_invented() -> None:
    for name, text in TEXTS.items():
        unknown = set(re.findall(r"\bSP\d{4}\b", text)) - CODES.keys() - NOTICES
        assert not unknown, f"{name} names codes that do not exist: {sorted(unknown)}"


@pytest.mark.parametrize("code", sorted(NOTICES))
def test_every_notice_is_explained(code: str) -> None:
    section = re.search(rf"^### {code}\n(.*?)(?=^##|\Z)", REFUSALS, re.M | re.S)
    assert section, f"docs/refusals.md has no section '### {code}'"
    assert f"[{code}] " in section[1], f"docs/refusals.md: {code} has no example of its message"


# -- commands --------------------------------------------------------------------------------------


def commands() -> dict[tuple[str, ...], Any]:
    leaves: dict[tuple[str, ...], Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        below = getattr(command, "commands", None)
        if below is None or (command.invoke_without_command and words):
            leaves[words] = command
        if below is None:
            return
        for name, subcommand in below.items():
            walk(subcommand, (*words, name))

    walk(get_command(build()), ())
    return leaves


COMMANDS = commands()


def test_every_command_is_documented() -> None:
    everything = "\n".join(TEXTS.values())
    for words in COMMANDS:
        name = " ".join(("sallyport", *words))
        assert name in everything, f"no document mentions the command {name!r}"


def shown_commands() -> Iterator[tuple[str, str]]:
    """(document, what stands behind ``sallyport``) for every command line in code blocks and code
    spans.
    """
    for name, text in TEXTS.items():
        if name == "CHANGELOG.md":
            continue
        blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.M | re.S)
        lines = [
            line
            for kind, block in blocks
            if kind not in ("yaml", "sql")
            for line in block.splitlines()
        ]
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S))
        for line in [*lines, *spans]:
            # A command begins a line, follows a prompt, or stands in $(...).
            for match in re.finditer(r"(?:^\s*(?:\$ )?|\$\()sallyport ([^)#|`]+)", line):
                yield name, match[1].strip()


SHOWN = sorted(set(shown_commands()))


@pytest.mark.parametrize(("document", "line"), SHOWN)
def test_shown_commands_exist(document: str, line: str) -> None:
    words = tuple(word for word in shlex.split(line.replace("...", "")) if word)
    entry = next((COMMANDS[words[:n]] for n in (2, 1) if words[:n] in COMMANDS), None)
    group = any(path[: len(words)] == words for path in COMMANDS)
    assert entry or group or words[0] in ("--help", "--version"), (
        f"{document}: no command for {line!r}"
    )
    if entry is None:
        return
    options = {
        option for parameter in entry.params for option in getattr(parameter, "opts", [])
    } | {"--help"}
    if "--" in words:
        words = words[: words.index("--")]  # what follows is another program's
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{document}: {line!r}: no option {word}"


def test_command_lines_are_found() -> None:
    assert ("README.md", "policy check --config sallyport.yaml") in SHOWN
    assert len(SHOWN) > 15


# -- links and paths -------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    titles = re.findall(
        r"^#+ +(.*)$", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S), re.M
    )
    plain = (
        re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", t)).strip().lower()
        for t in titles
    )
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (document.parent / path).resolve() if path else document
        assert aim.exists(), f"{document.name}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors(aim.read_text()), f"{document.name}: {target}: no such heading"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_modules_that_are_named_exist(name: str) -> None:
    source = ROOT / "src" / "sallyport"
    for path in re.findall(
        r"`(?:src/sallyport/)?((?:[a-z_]+/)*[a-z_]+\.(?:py|tsv|pxd))`", TEXTS[name]
    ):
        assert any((root / path).exists() for root in (source, source.parent, ROOT)), (
            f"{name}: there is no {path}"
        )


def test_functions_that_the_journey_names_exist() -> None:
    """``module.py`` followed by function or method names: each is defined somewhere in the
    package.
    """
    everything = "\n".join(path.read_text() for path in (ROOT / "src" / "sallyport").rglob("*.py"))
    hand_written = re.sub(r"<!-- generated.*?<!-- end -->", "", ARCHITECTURE, flags=re.S)
    for span in re.findall(r"`([A-Za-z_.]+)`", hand_written):
        *_, last = span.split(".")
        if last in ("py", "tsv", "toml") or "/" in span:
            continue
        defined = rf"(?:def |class |^\s*){re.escape(last)}\b"
        assert re.search(defined, everything, re.M) or last in everything, (
            f"nothing is called {span}"
        )


# -- generated parts and the layers ----------------------------------------------------------------


def test_generated_diagrams_are_up_to_date() -> None:
    generate = generator()
    for part in ("client states", "server moves", "replies"):
        made = generate.PARTS[part]()
        assert f"<!-- generated: {part} -->\n{made}\n<!-- end -->" in ARCHITECTURE, (
            f"docs/architecture.md, part {part!r}, is old: run scripts/generate_diagrams.py"
        )


def test_the_code_map_has_every_module() -> None:
    """Which modules there are; what it says of each may be older than the docstring."""
    listed = set(re.findall(r"^- `([a-z_/]+\.py)`: \S", ARCHITECTURE, re.M))
    present = set(generator().modules())
    assert present - listed == set(), (
        "not in docs/architecture.md: run scripts/generate_diagrams.py"
    )
    assert listed - present == set(), (
        "gone, but in docs/architecture.md: run scripts/generate_diagrams.py"
    )


def test_the_layers_are_those_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    shown = "\n".join(layer.replace("sallyport.", "") for layer in layers)
    assert f"```text\n{shown}\n```" in ARCHITECTURE, "docs/architecture.md shows other layers"


def test_every_decision_is_listed() -> None:
    listed = set(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", TEXTS["docs/adr/README.md"]))
    assert listed == {path.name for path in (ROOT / "docs" / "adr").glob("0*.md")}


# -- the README's own files ------------------------------------------------------------------------


def test_the_files_of_the_readme_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", TEXTS["README.md"], re.M | re.S)
    config, policy, _ = ("\n".join(line[3:] for line in block.splitlines()) for block in blocks)
    assert config.startswith("# sallyport.yaml") and policy.startswith("# policy.yaml")
    (tmp_path / "sallyport.yaml").write_text(config)
    parse_policy(policy, "policy.yaml")
    assert load_config(tmp_path / "sallyport.yaml").targets.keys() == {"shop"}
