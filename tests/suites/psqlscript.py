"""The statements of a script for psql, as far as PostgreSQL's regression files go.

Read are ``;`` outside of quotes, comments, parentheses and bodies of BEGIN ATOMIC; ``\\set``,
``\\getenv`` and variables; ``\\g...`` as an end; ``\\;`` as ``;`` inside one message; ``\\c``; and
the data of COPY FROM STDIN. COPY from a file of the checkout becomes COPY FROM STDIN with its
data. Other backslash commands are left out, as is a statement with a variable that nobody set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TOKEN = re.compile(
    r"""
    (?P<quoted>  [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
               | (?P<dollar>\$(?:[A-Za-z_\x80-\uffff]\w*)?\$).*?(?P=dollar) | --[^\n]* )
  | (?P<comment> /\*)
  | (?P<open> [(\[]) | (?P<close> [)\]])
  | (?P<atomic> \bBEGIN\s+ATOMIC\b) | (?P<case> \bCASE\b) | (?P<end> \bEND\b)
  | (?P<joined> \\;)
  | (?P<sent> ; | \\g[a-z]*[^\n]*(?=\n) | \\(?:crosstabview|bind|parse|watch)[^\n]*(?=\n))
  | (?P<word> \w+ ) | (?P<rest> .)
    """,
    re.X | re.S | re.I,
)
_VARIABLE = re.compile(r"(?<![:\w]):(?:'(\w+)'|\"(\w+)\"|([A-Za-z_]\w*))(?!\w)")
_COPY_FILE = re.compile(r"^(\s*copy\s.+?\s)from\s+'([^']+)'", re.I | re.S)
_COPY_STDIN = re.compile(r"\bcopy\b.+\bfrom\s+stdin\b", re.I | re.S)
_ORDER = re.compile(r"\border\s+by\b", re.I)


@dataclass(frozen=True, slots=True)
class Statement:
    """One message. ``line``: of its first line in the file, from 1. ``data``: for COPY FROM STDIN.
    ``reconnects``: not a statement but ``\\c``.
    """

    line: int
    text: str
    data: bytes = b""
    reconnects: bool = False

    @property
    def is_ordered(self) -> bool:
        """Whether the order of its rows means something."""
        return bool(_ORDER.search(self.text)) or "explain" in self.text.lower()


def statements(tests: Path, name: str) -> Iterator[Statement]:
    """Of ``sql/NAME.sql`` under ``tests``."""
    text = (tests / "sql" / f"{name}.sql").read_text(encoding="utf-8", errors="replace")
    variables = {"abs_srcdir": str(tests), "abs_builddir": str(tests)}
    yield from _Script(text.replace("\r\n", "\n") + "\n", variables).statements()


class _Script:
    def __init__(self, text: str, variables: dict[str, str]) -> None:
        self._text = text
        self._at = 0
        self._variables = variables

    def statements(self) -> Iterator[Statement]:
        while self._skip_blank():
            number = self._number()
            if self._text[self._at] == "\\":
                if self._command(self._line()):
                    yield Statement(number, "", reconnects=True)
                continue
            text = self._next()
            if _VARIABLE.search(text):
                text = _VARIABLE.sub(self._value, text)
            if "\0" in text or not text.strip():
                continue
            yield self._with_data(number, text)

    def _number(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _line(self) -> str:
        line, _, _ = self._text[self._at :].partition("\n")
        self._at += len(line) + 1
        return line

    def _skip_blank(self) -> bool:
        """Go to the next thing that says something; False at the end."""
        blank = re.compile(r"(?:\s+|--[^\n]*)*")
        match = blank.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at < len(self._text)

    def _next(self) -> str:  # long: one scanner, a branch for each kind of token
        start = at = self._at
        depth = 0
        bodies: list[str] = []
        said = ""
        while at < len(self._text):
            token = _TOKEN.match(self._text, at)
            if token is None:
                break
            at = token.end()
            kind = token.lastgroup if token.lastgroup != "dollar" else "quoted"
            if kind == "comment":
                at = self._end_of_comment(at)
            elif kind in ("open", "close"):
                depth += 1 if kind == "open" else -1
            elif kind == "atomic" or (kind == "case" and bodies):
                bodies.append(kind)
            elif kind == "end" and bodies:
                bodies.pop()
            elif kind == "sent" and (token[0] != ";" or not (depth > 0 or bodies)):
                if token[0].startswith("\\"):
                    said += self._text[start : token.start()]
                    start = at
                break
            elif kind == "joined":
                said += self._text[start : token.start()] + ";"
                start = at
        self._at = at
        return said + self._text[start:at]

    def _end_of_comment(self, at: int) -> int:
        depth = 1
        for mark in re.compile(r"/\*|\*/").finditer(self._text, at):
            depth += 1 if mark[0] == "/*" else -1
            if depth == 0:
                return mark.end()
        return len(self._text)

    def _command(self, line: str) -> bool:
        """Do what a backslash command says, if it is one of ours; True for ``\\c``."""
        words = line.split()
        if words[0] == "\\getenv" and len(words) == 3 and words[2] in os.environ:
            self._variables[words[1]] = os.environ[words[2]]
        elif words[0] == "\\set" and len(words) > 2:
            parts = re.findall(r"'((?:[^']|'')*)'|(\S+)", line.split(None, 2)[2])
            value = "".join(
                quoted or _VARIABLE.sub(lambda m: self._variables.get(m[3] or "", "\0"), plain)
                for quoted, plain in parts
            )
            self._variables[words[1]] = value
        return words[0] in ("\\c", "\\connect")

    def _value(self, match: re.Match[str]) -> str:
        literal, identifier, plain = match.groups()
        name = literal or identifier or plain
        if name not in self._variables:
            # A slice such as a[1:n] is no variable of psql's unless somebody set it.
            return match[0] if plain else "\0"
        value = self._variables[name]
        if literal:
            return "'" + value.replace("'", "''") + "'"
        return f'"{value}"' if identifier else value

    def _with_data(self, number: int, text: str) -> Statement:
        file = _COPY_FILE.match(text)
        if file and Path(file[2]).is_file():
            copied = f"{file[1]}FROM STDIN{text[file.end() :]}"
            return Statement(number, copied, Path(file[2]).read_bytes())
        if not _COPY_STDIN.search(text):
            return Statement(number, text)
        self._at = self._text.find("\n", self._at - 1) + 1 or len(self._text)
        end = re.compile(r"^\\\.$", re.M).search(self._text, self._at)
        if end is None:
            return Statement(number, text)
        data = self._text[self._at : end.start()]
        self._at = end.end()
        return Statement(number, text, data.encode())
