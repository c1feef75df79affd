"""A small model of PostgreSQL's side of the protocol, for fuzzing: a few statements, one table with
canaries.

It follows src/backend/tcop/postgres.c where that matters to a gateway: what is skipped after an
error, what COPY swallows, which names live how long, whose rows a portal of EXECUTE or FETCH keeps.
Real servers are tests/drivers' and tests/attacks' business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sallyport.core.errors import ProtocolError
from sallyport.wire import backend, frontend
from tests.session.decode import messages
from tests.session.playbook import CANARY, Stage, done, rows, server_error

#: Text -> (columns for Stage.describe, cells of each row). What reads customers is full of
#: canaries.
QUERIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "SELECT id, name FROM products": (("products.id", "products.name"), ("1", "Lamp")),
    "SELECT upper(name) FROM products": (("upper:25",), ("LAMP",)),
    "SELECT ssn FROM customers": (("customers.ssn",), (CANARY,)),
    "SELECT upper(notes) FROM customers": (("upper:25",), (CANARY.upper() + CANARY,)),
    "SELECT upper(ssn) FROM customers": (("upper:25",), (CANARY.upper() + CANARY,)),
    "SELECT id, email FROM customers": (("customers.id", "customers.email"), ("7", CANARY)),
}
COMMANDS = {
    "UPDATE products SET stock = 1 WHERE id = 1": "UPDATE 1",
    "BEGIN": "BEGIN",
    "COMMIT": "COMMIT",
    "ROLLBACK": "ROLLBACK",
}
SET_PATH = "SET search_path = public"
FAILING = "INSERT INTO customers (name, email, city) VALUES ('a', 'b', 'c')"
COPY_IN = "COPY products (sku, name, price) FROM STDIN"
COPY_OUT = "COPY customers (id, ssn) TO STDOUT"
COPY_QUERY = "COPY (SELECT id, upper(ssn) FROM customers) TO STDOUT"
_COMPUTED = "SELECT upper(ssn) FROM customers"
_HELD = "DECLARE c CURSOR WITH HOLD FOR "
_MANY = 3
_PROBES = ("SELECT pg_catalog.current_setting('search_path')", "SHOW search_path")


class Failure(Exception):
    def __init__(self, sqlstate: str, text: str = "no") -> None:
        self.message = server_error(sqlstate, f"{text} {CANARY if sqlstate == '23505' else ''}")


@dataclass
class Result:
    """Rows that are still to come, and the tag at the end."""

    described: bytes | None
    left: list[bytes]
    tag: str


@dataclass
class Open:
    """A portal. ``result``: made when it is bound, or when it first runs (EXECUTE, FETCH,
    commands).
    """

    text: str
    described: bytes | None
    result: Result | None = None
    held: bool = False
    finished: bool = False


@dataclass
class ModelServer:
    stage: Stage
    status: bytes = b"I"
    statements: dict[bytes, str] = field(default_factory=dict)
    portals: dict[bytes, Open] = field(default_factory=dict)
    skipping: bool = False
    closed: bool = False
    queries: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(
        default_factory=QUERIES.copy
    )
    copies: dict[str, str] = field(default_factory=dict)
    _input: bytes = b""
    # what is left of the script behind COPY, or [] in extended query
    _copying: list[str] | None = None
    _extended: bool = False

    def __post_init__(self) -> None:
        """What goes to the server with masks in it, and what it answers to that."""
        sent = self.stage.sent
        self.copies = {COPY_OUT: CANARY, COPY_QUERY: CANARY, sent(COPY_QUERY): "[REDACTED]"}
        self.queries[sent(_COMPUTED)] = QUERIES[_COMPUTED][0], ("[REDACTED]",)
        # rows of a held cursor are stored, so nothing that reads masked columns is plain there
        for text, columns, cells in (
            ("SELECT ssn FROM customers", ("ssn:25",), ("[redacted]",)),
            ("SELECT id, email FROM customers", ("id:23", "email:25"), ("7", "[redacted]")),
        ):
            self.queries[sent(_HELD + text).removeprefix(_HELD)] = columns, cells

    def receive(self, data: bytes) -> bytes:
        """Bytes from the client (or gateway); gives what it answers."""
        complete = messages(self._input + data)
        self._input = b""
        out = b""
        for message in complete:
            if len(message) < 5 or len(message) < 1 + int.from_bytes(message[1:5], "big"):
                self._input = message
                break
            if not self.closed:
                out += self._message(message[0], message[5:])
        return out

    # -- one message -------------------------------------------------------------------------------

    def _message(self, kind: int, body: bytes) -> bytes:
        if kind == frontend.TERMINATE:
            self.closed = True
            return b""
        if self._copying is not None:
            return self._in_copy(kind)
        if self.skipping and kind != frontend.SYNC:
            return b""
        try:
            if kind == frontend.QUERY:
                self._extended = False
                self.statements.pop(b"", None)
                return self._script(
                    [s.strip() for s in body[:-1].decode().split(";") if s.strip()] or [""]
                )
            if kind == frontend.SYNC:
                self.skipping = False
                return self._ready()
            return self._one(kind, body)
        except Failure as failure:
            return self._failed(failure, simple=False)
        except ProtocolError:
            self.closed = True
            return backend.error_response("FATAL", "08P01", "malformed")

    def _one(self, kind: int, body: bytes) -> bytes:
        self._extended = True
        if kind == frontend.PARSE:
            return self._parse(frontend.parse_parse(body))
        if kind == frontend.BIND:
            return self._bind(frontend.parse_bind(body))
        if kind == frontend.DESCRIBE:
            return self._describe(frontend.parse_describe(body))
        if kind == frontend.EXECUTE:
            message = frontend.parse_execute(body)
            return self._execute(self._portal(message.portal), message.max_rows)
        if kind == frontend.CLOSE:
            target = frontend.parse_close(body)
            names: dict = self.statements if target.kind == b"S" else self.portals
            names.pop(target.name[:63], None)
            return backend.close_complete()
        return b""  # Flush, and COPY's messages outside COPY

    def _parse(self, message: frontend.Parse) -> bytes:
        text, name = message.sql.decode(), message.name[:63]
        if not name:
            self.statements.pop(b"", None)
        self._alive(text)
        self._check(text)
        if name and name in self.statements:
            raise Failure("42P05", "exists")
        self.statements[name] = text
        return backend.parse_complete()

    def _bind(self, message: frontend.Bind) -> bytes:
        text = self.statements.get(message.statement[:63])
        if text is None:
            raise Failure("26000")
        self._alive(text)
        name = message.portal[:63]
        if name and name in self.portals:
            raise Failure("42P03", "exists")
        described = self._description(text)
        result = self._rows_of(text) if text in self.queries else None
        self.portals[name] = Open(text, described, result)
        return backend.bind_complete()

    def _describe(self, message: frontend.Describe) -> bytes:
        if message.kind == b"P":
            described = self._portal(message.name).described
            return described or backend.no_data()
        text = self.statements.get(message.name[:63])
        if text is None:
            raise Failure("26000")
        self._alive(text)
        return backend.parameter_description(()) + (self._description(text) or backend.no_data())

    def _portal(self, name: bytes) -> Open:
        portal = self.portals.get(name[:63])
        if portal is None:
            raise Failure("34000")
        return portal

    def _execute(self, portal: Open, limit: int) -> bytes:
        self._alive(portal.text)
        if portal.result is None:
            if portal.finished:
                raise Failure("55000")
            portal.finished = True
            if portal.text == COPY_IN:
                self._copying = []
                return _COPY_IN
            out, portal.result = self._run(portal.text)
            if portal.result is None:
                return out
        result = portal.result
        count = limit if limit > 0 else len(result.left)
        sent, result.left = result.left[:count], result.left[count:]
        full = 0 < limit == len(sent)
        return b"".join(sent) + (
            backend.portal_suspended() if full else done(f"{result.tag} {len(sent)}")
        )

    # -- statements --------------------------------------------------------------------------------

    def _script(self, statements: list[str]) -> bytes:
        out = b""
        if any(
            text.startswith("SELEC ") or text == "SELEC" for text in statements
        ):  # the grammar reads all of it first
            return self._failed(Failure("42601"), simple=True)
        while statements:
            text = statements.pop(0)
            try:
                self._alive(text)
                self._check(text)
                if text == COPY_IN:
                    self._copying = statements
                    return out + _COPY_IN
                answer, result = self._run(text)
            except Failure as failure:
                return out + self._failed(failure, simple=True)
            out += answer
            if result is not None:
                out += (
                    (result.described or b"")
                    + b"".join(result.left)
                    + done(f"{result.tag} {len(result.left)}")
                )
        return out + self._ready()

    def _in_copy(self, kind: int) -> bytes:
        left = self._copying or []
        if kind in (frontend.FLUSH, frontend.SYNC, frontend.COPY_DATA):
            return b""
        self._copying = None
        if kind == frontend.COPY_DONE:
            return done("COPY 1") + (
                b"" if self._extended else self._script(left) if left else self._ready()
            )
        code = "57014" if kind == frontend.COPY_FAIL else "08P01"
        return self._failed(Failure(code), simple=not self._extended)

    def _check(self, text: str) -> None:
        allowed_texts = (
            *self.queries,
            *COMMANDS,
            SET_PATH,
            FAILING,
            COPY_IN,
            *self.copies,
            *_PROBES,
            "",
        )
        if text not in allowed_texts and not re.match(
            r"(PREPARE|EXECUTE|DEALLOCATE|DECLARE|FETCH|CLOSE) ", text
        ):
            raise Failure("42703")

    def _description(self, text: str) -> bytes | None:
        if text in self.queries:
            return self.stage.describe(*self.queries[text][0])
        if text.startswith("EXECUTE "):
            inner = self.statements.get(text.split()[1].encode())
            return self._description(inner) if inner in self.queries else None
        if text.startswith("FETCH "):
            cursor = self.portals.get(text.split()[-1].encode())
            return cursor.described if cursor else None
        return None

    def _rows_of(self, text: str) -> Result:
        return Result(self._description(text), [rows(*self.queries[text][1])] * _MANY, "SELECT")

    def _run(self, text: str) -> tuple[bytes, Result | None]:
        """What it says, or the rows it has."""
        if text == "":
            return backend.empty_query(), None
        if text in self.queries:
            return b"", self._rows_of(text)
        if text in _PROBES:
            return b"", Result(
                self.stage.describe("current_setting:25"), [rows("public")], "SELECT"
            )
        if text == FAILING:
            raise Failure("23505")
        if text in self.copies:
            line = backend.message(backend.COPY_DATA, f"1\t{self.copies[text]}\n".encode())
            return backend.message(0x48, b"\0\0\x02\0\0\0\0") + line * 2 + backend.message(
                0x63
            ) + done("COPY 2"), None
        if text == SET_PATH:
            return done("SET"), None
        if text in COMMANDS:
            return self._command(text), None
        return self._named(text)

    def _command(self, text: str) -> bytes:
        if text == "BEGIN":
            self.status = b"T"
        elif text in ("COMMIT", "ROLLBACK"):
            tag = "ROLLBACK" if self.status == b"E" else text
            self.status = b"I"
            self._drop_portals()
            return done(tag)
        return done(COMMANDS[text])

    def _named(self, text: str) -> tuple[bytes, Result | None]:
        verb, name = text.split()[0], text.split()[1].encode()
        if verb == "PREPARE":
            if name in self.statements:
                raise Failure("42P05")
            self.statements[name] = text.partition(" AS ")[2]
        elif verb == "DEALLOCATE":
            if name == b"ALL":
                self.statements.clear()
            elif self.statements.pop(name, None) is None:
                raise Failure("26000")
        elif verb == "CLOSE":
            if self.portals.pop(name, None) is None:
                raise Failure("34000")
        elif verb == "DECLARE":
            held = "WITH HOLD" in text
            if name in self.portals or (self.status == b"I" and not held):
                raise Failure("42P03")
            inner = text.partition(" FOR ")[2]
            self.portals[name] = Open(inner, self._description(inner), self._rows_of(inner), held)
        elif verb == "EXECUTE":
            inner = self.statements.get(name, "")
            if inner not in self.queries:
                raise Failure("26000")
            return b"", self._rows_of(inner)
        else:
            return b"", self._fetch(self._portal(text.split()[-1].encode()), text)
        return done(verb), None

    def _fetch(self, cursor: Open, text: str) -> Result:
        if cursor.result is None:
            raise Failure("34000")
        count = len(cursor.result.left) if " ALL " in text else 1
        taken, cursor.result.left = cursor.result.left[:count], cursor.result.left[count:]
        return Result(cursor.described, taken, "FETCH")

    # -- transactions ------------------------------------------------------------------------------

    def _alive(self, text: str) -> None:
        if self.status == b"E" and text not in ("ROLLBACK", "COMMIT", ""):
            raise Failure("25P02")

    def _ready(self) -> bytes:
        if self.status == b"I":
            self._drop_portals()
        return backend.ready_for_query(self.status)

    def _drop_portals(self) -> None:
        self.portals = {name: portal for name, portal in self.portals.items() if portal.held}

    def _failed(self, failure: Failure, *, simple: bool) -> bytes:
        if self.status == b"T":
            self.status = b"E"
        if simple:
            return failure.message + self._ready()
        self.skipping = True
        return failure.message


_COPY_IN = backend.message(backend.COPY_IN_RESPONSE, b"\0\0\x03" + b"\0\0" * 3)
