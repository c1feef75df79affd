"""YAML that remembers its places: every value can say where in the file it stands.

``load_yaml`` parses one document with the YAML 1.2 core types only (``on``, ``no`` and ``18:00``
are strings, not surprises), refuses duplicate keys, foreign tags and oversized files, and keeps the
line of and column of every key. ``Document.convert`` turns a part of it into msgspec structs.
Everything wrong is a :class:`~sallyport.core.errors.ConfigError` whose text reads
``file:line:column: where: what. What to do``.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from sallyport.core.errors import ConfigError
from sallyport.core.files import read_trusted

T = TypeVar("T")
YamlPath = tuple[str | int, ...]

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000  # aliases are expanded, so this also stops "billion laughs"
MAX_DEPTH = 40

_PREFIX = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader if not hasattr(yaml, "CSafeLoader") else yaml.CSafeLoader):  # type: ignore[misc]
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
        except msgspec.ValidationError as error:
            raise self._explained(str(error), path, type_) from None

    def _explained(self, text: str, base: YamlPath, type_: Any) -> ConfigError:
        what, _, where = text.partition(" - at `")
        below = _msgspec_path(where.rstrip("`"), self.at(base), what)
        path = base + below
        unknown = re.match(r"Object contains unknown field `(.*)`$", what)
        if unknown:
            choices_listed = _fields_at(type_, below)
            name = unknown.group(1)
            return self.error(
                (*path, name),
                "unknown key",
                f"{suggest(name, choices_listed)}Known keys: {', '.join(choices_listed)}",
            )
        missing = re.match(r"Object missing required field `(.*)`$", what)
        if missing:
            return self.error(path, f"the key {missing.group(1)!r} is missing", "Add it")
        choices_listed = [str(value) for value in _literals_at(type_, below)]
        choices = f"Known values: {', '.join(choices_listed)}" if choices_listed else ""
        wrong = re.match(r"Invalid enum value '(.*)'$", what)
        if wrong:
            return self.error(
                path,
                f"{wrong.group(1)!r} is not known",
                suggest(wrong.group(1), choices_listed) + choices,
            )
        mismatch = _MISMATCH.match(what)
        if mismatch:
            keys = _fields_at(type_, below)
            fix = choices or (f"Known keys: {', '.join(keys)}" if keys else "")
            return self.error(path, _in_words(*mismatch.groups()), fix)
        plain = what.replace("`", "'")
        return self.error(path, plain[:1].lower() + plain[1:])


_MISMATCH = re.compile(r"Expected `([^`]*)`, got `([^`]*)`$")
#: msgspec's names of types (JSON's, mostly), as people who write YAML say it.
_WORDS = {
    "object": "a mapping (key: value)",
    "array": "a list ([a, b])",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


def _in_words(expected: str, got: str) -> str:
    """``a list ([a, b]) is expected here, not a text`` for msgspec's ``array | null`` and
    ``str``.
    """
    kinds = [kind for kind in expected.split(" | ") if kind != "null"] or ["null"]
    words = " or ".join(_WORDS.get(kind, kind) for kind in kinds)
    if got == "null":
        return f"{words} is expected here, but there is nothing"
    actual = "true or false" if got == "bool" else _WORDS.get(got, got).partition(" (")[0]
    return f"{words} is expected here, not {actual}"


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


def _msgspec_path(text: str, data: Any, what: str) -> YamlPath:
    """The path in a msgspec error (``$.rules[0].allow``) about ``data``. Where it says ``[...]``,
    some entry of a mapping, it is the first one whose value is of the type that was found; it stops
    there when there is none.
    """
    steps: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+|\.\.\.)\]", text):
        steps.append(name or (index if index == "..." else int(index)))
    mismatch = _MISMATCH.match(what)
    return _resolved(steps, data, mismatch.group(2) if mismatch else "") or tuple(
        itertools.takewhile(lambda step: step != "...", steps)
    )


_KINDS: Mapping[type, str] = {
    str: "str", int: "int", float: "float", bool: "bool", dict: "object", list: "array", type(None): "null"
}  # fmt: skip


def _resolved(steps: list[str | int], data: Any, kind: str) -> YamlPath | None:
    """``steps`` with every ``...`` replaced, where they lead to a value of that kind."""
    if not steps:
        return () if not kind or _KINDS.get(type(data)) == kind else None
    first, *rest = steps
    if first == "...":
        if not kind or not isinstance(data, dict):
            return None
        for key, value in data.items():
            below = _resolved(rest, value, kind)
            if below is not None:
                return (key, *below)
        return None
    try:
        resolved = _resolved(rest, data[first], kind)
    except (KeyError, IndexError, TypeError):
        return None
    return None if resolved is None else (first, *resolved)


def _fields_at(type_: Any, path: YamlPath) -> list[str]:
    """Names of the keys known at ``path`` inside ``type_``."""
    nodes = [msgspec.inspect.type_info(type_)]
    for step in path:
        nodes = [below for node in nodes for below in _below(node, step)]
    return sorted(
        {f.encode_name for node in nodes for struct in _structs(node) for f in struct.fields}
    )


def _literals_at(type_: Any, path: YamlPath) -> list[Any]:
    """The words that may stand at ``path`` inside ``type_``."""
    nodes = [msgspec.inspect.type_info(type_)]
    for step in path:
        nodes = [below for node in nodes for below in _below(node, step)]
    flat = [
        n
        for node in nodes
        for n in (node.types if isinstance(node, msgspec.inspect.UnionType) else (node,))
    ]
    return [value for n in flat if isinstance(n, msgspec.inspect.LiteralType) for value in n.values]


def _structs(node: Any) -> list[msgspec.inspect.StructType]:
    if isinstance(node, msgspec.inspect.UnionType):
        return [s for t in node.types for s in _structs(t)]
    return [node] if isinstance(node, msgspec.inspect.StructType) else []


def _below(node: Any, step: str | int) -> list[Any]:
    if isinstance(node, msgspec.inspect.UnionType):
        return [below for t in node.types for below in _below(t, step)]
    if isinstance(node, msgspec.inspect.StructType):
        return [f.type for f in node.fields if f.encode_name == step]
    if isinstance(node, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)):
        return [node.item_type] if isinstance(step, int) else []
    if isinstance(node, msgspec.inspect.DictType):
        return [node.value_type]
    return []
