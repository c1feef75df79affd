"""YAML that remembers its places: every value can say where in the file it stands.

``load_yaml`` parses one document with the YAML 1.2 core types only (``on``, ``no`` and ``18:00``
are strings, not surprises), refuses duplicate keys, foreign tags and oversized files, and keeps the
line of and column of every key. ``Document.convert`` turns a part of it into msgspec structs.
Everything wrong is a :class:`~sallyport.core.errors.ConfigError` whose text reads
``file:line:column: where: what. What to do``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from sallyport.core.errors import ConfigError
from sallyport.core.files import read_trusted
from sallyport.core.typefaults import (
    Fault,
    innermost_fault,
    kind_of,
    kinds_of,
    known_keys,
    literals,
    required_keys,
)

T = TypeVar("T")
YamlPath = tuple[str | int, ...]

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000  # aliases are expanded, so this also stops "billion laughs"
MAX_DEPTH = 40

_PREFIX = "tag:yaml.org,2002:"


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """PyYAML's C loader with the YAML 1.2 core schema instead of YAML 1.1's guesses."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(_PREFIX + _tag, re.compile(_pattern), list(_first))


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file. ``lines`` maps a path such as ``("rules", 0, "allow")`` to its 1-based line,
    ``columns`` to the 1-based column, in characters, where its key begins (its value, inside a
    list).
    """

    filename: str
    data: Any
    lines: Mapping[YamlPath, int]
    columns: Mapping[YamlPath, int] = field(default_factory=dict)

    def line(self, path: YamlPath) -> int:
        """Line of the nearest thing that is in the file (the path itself, or what encloses it)."""
        return self.lines.get(self._nearest(path), 1)

    def place(self, path: YamlPath) -> str:
        """``file:line:column`` of the nearest thing that is in the file."""
        return f"{self.filename}:{self.line(path)}:{self.columns.get(self._nearest(path), 1)}"

    def _nearest(self, path: YamlPath) -> YamlPath:
        while path and path not in self.lines:
            path = path[:-1]
        return path

    def error(self, path: YamlPath, what: str, fix: str = "") -> ConfigError:
        """A ConfigError that points at ``path``. ``fix`` says what to do."""
        where = f"{path_text(path)}: " if path else ""
        return ConfigError(f"{self.place(path)}: {where}{what}" + (f". {fix}" if fix else ""))

    def at(self, path: YamlPath) -> Any:
        """The value at ``path``; KeyError or IndexError when there is none."""
        value = self.data
        for step in path:
            value = value[step]
        return value

    def convert(self, path: YamlPath, type_: type[T]) -> T:
        """The value at ``path`` as ``type_`` (msgspec; unknown fields are errors). Raises
        ConfigError with the line.
        """
        try:
            return msgspec.convert(self.at(path), type_)
        except msgspec.ValidationError:
            raise self._explained(innermost_fault(self.at(path), type_), path) from None

    def _explained(self, fault: Fault, base: YamlPath) -> ConfigError:
        path, value = base + fault.path, fault.value
        keys, choices = known_keys(fault.types), sorted(map(str, literals(fault.types)))
        if isinstance(value, dict) and keys:
            for key in value:
                if key not in keys:
                    fix = f"{suggest(key, keys)}Known keys: {', '.join(keys)}"
                    return self.error((*path, key), "unknown key", fix)
            for key in required_keys(fault.types):
                if key not in value:
                    return self.error(path, f"the key {key!r} is missing", "Add it")
        values = f"Known values: {', '.join(choices)}" if choices else ""
        kinds = kinds_of(fault.types)
        if kinds and kind_of(value) not in kinds:
            fix = values or (f"Known keys: {', '.join(keys)}" if keys else "")
            return self.error(path, _in_words(kinds, kind_of(value)), fix)
        if choices and isinstance(value, str):
            values += _also(kinds)
            return self.error(path, f"{value!r} is not known", suggest(value, choices) + values)
        plain = fault.text.replace("`", "'")
        return self.error(path, plain[:1].lower() + plain[1:])


#: Kinds of values, as people who write YAML say it.
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list ([a, b])",
    "object": "a mapping (key: value)",
    "null": "nothing",
}


def _also(kinds: frozenset[str]) -> str:
    """What may stand there beside the words of a list."""
    return "".join(f", or {_WORDS[kind]}" for kind in sorted(kinds - {"str", "null"}))


def _in_words(expected: frozenset[str], actual: str) -> str:
    """``a list ([a, b]) is expected here, not a text``."""
    expected -= {"null"} | ({"int"} if "float" in expected else frozenset())
    words = [word for kind, word in _WORDS.items() if kind in expected]
    right = " or ".join(words) or _WORDS["null"]
    if actual == "null":
        return f"{right} is expected here, but there is nothing"
    word = _WORDS[actual] if actual == "bool" else _WORDS[actual].partition(" (")[0]
    return f"{right} is expected here, not {word}"


def suggest(name: str, names: Iterable[str]) -> str:
    """``Did you mean 'x'? `` for the nearest known name, or ""."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}? " if near else ""


def path_text(path: YamlPath) -> str:
    """``rules[0].allow`` for ``("rules", 0, "allow")``."""
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else (f".{step}" if out else str(step))
    return out


def read_yaml(path: Path) -> Document:
    """Read and parse a file. ConfigError when it cannot be read, is not UTF-8, too large, or not
    valid YAML.
    """
    try:
        raw = read_trusted(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}. Check the path and its permissions"
        ) from None
    return load_yaml(decode_utf8(raw, str(path)), str(path))


def decode_utf8(raw: bytes, filename: str) -> str:
    """Bytes of a file as text; ConfigError when it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ConfigError(
            f"{filename}:{line}:{column}: not valid UTF-8. Save the file as UTF-8"
        ) from None


def load_yaml(text: str, filename: str) -> Document:
    """Parse one YAML document whose top level is a mapping. Raises ConfigError."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{filename}: larger than {MAX_BYTES} bytes. Split or shorten it")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark is not None else "1:1"
        problem = error.problem or error.context or "cannot be parsed"
        raise ConfigError(
            f"{filename}:{place}: not valid YAML: {problem}. Check indentation and quotes"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{filename}:1:1: not valid YAML: {error}".splitlines()[0]) from None
    finally:
        loader.dispose()
    if node is None:
        raise ConfigError(f"{filename}:1:1: the file is empty. Write at least the required keys")
    builder = _Builder(filename)
    data = builder.build(node, (), frozenset())
    if not isinstance(data, dict):
        raise ConfigError(
            f"{filename}:1:1: a mapping of keys is expected at the top level. Write 'key: value'"
            " lines"
        )
    return Document(filename, data, builder.lines, builder.columns)


class _Builder:
    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.lines: dict[YamlPath, int] = {}
        self.columns: dict[YamlPath, int] = {}
        self.nodes = 0

    def fail(self, node: yaml.Node, what: str) -> ConfigError:
        return ConfigError(
            f"{self.filename}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {what}"
        )

    def build(self, node: yaml.Node, path: YamlPath, above: frozenset[int]) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH or id(node) in above:
            raise self.fail(node, "too large, too deep or referring to itself. Shorten it")
        if path not in self.lines:
            self._remember(path, node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        above = above | {id(node)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _PREFIX + "seq":
            return [self.build(item, (*path, i), above) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == _PREFIX + "map":
            return self._mapping(node, path, above)
        raise self.fail(node, f"the tag {node.tag!r} is not supported. Remove it")

    def _mapping(
        self, node: yaml.MappingNode, path: YamlPath, above: frozenset[int]
    ) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.fail(key_node, "a key must be a plain word. Write 'key: value'")
            key = str(key_node.value)
            if key in out:
                first = self.lines[(*path, key)]
                raise self.fail(
                    key_node, f"the key {key!r} is listed twice (first on line {first}). Remove one"
                )
            self._remember((*path, key), key_node)
            out[key] = self.build(value_node, (*path, key), above)
        return out

    def _remember(self, path: YamlPath, node: yaml.Node) -> None:
        self.lines[path] = node.start_mark.line + 1
        self.columns[path] = node.start_mark.column + 1

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        value, kind = str(node.value), node.tag.removeprefix(_PREFIX)
        if kind == "str":
            return value
        if kind == "null":
            return None
        if kind == "bool":
            return value.lower() == "true"
        try:
            if kind == "int":
                return int(value, 0) if value[:2] in ("0o", "0x") else int(value)
            if kind == "float":
                return float(value)
        except ValueError:
            raise self.fail(node, f"{value!r} is not a number") from None
        raise self.fail(node, f"the tag {node.tag!r} is not supported. Remove it")
