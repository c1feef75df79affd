"""Transcripts of a session, in the manner of mitmproxy's playbook.

``client >> m`` the client sends; ``server << m`` this, and nothing else, went to the server;
``server >> m`` the server sends; ``client << m`` this, and nothing else, went to the client.
:func:`play` runs a transcript whole, byte by byte and in random pieces, and fails with the two
lists of decoded messages side by side. Expected messages are bytes, or a :class:`Like` that
describes one.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sallyport.core.errors import Refusal
from sallyport.core.subject import Subject
from sallyport.judge import Judge
from sallyport.policy.file.load import parse_policy
from sallyport.session.commands import CloseSession, Command
from sallyport.session.machine import Session, SessionLimits
from sallyport.session.ports import JudgedStatement
from sallyport.session.server.writer import FAILING_SQL
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.wire import backend, frontend
from sallyport.wire.backend import Field
from sallyport.wire.frames import data_row
from tests.session.decode import messages, row, show

CANARY = "canary-7f3a"

POLICY = """\
version: 1
rules:
  - {name: all, allow: [all], relations: ["public.*"]}
masks:
  - {columns: ["public.customers.email"], with: redact, filter: equality}
  - {columns: ["public.customers.ssn"], with: redact}
  - {columns: ["public.customers.notes"], with: redact, filter: allow}
search_paths: ["public", "pg_catalog, public"]
"""

AGENT = Subject("agent", "https://idp.test", frozenset({"agents"}))


class Recording:
    """A recorder that keeps what it is told, in memory."""

    def __init__(self) -> None:
        self.failed = False
        self.journal_failed = False
        self.handover_late = False
        self.backlog = 0
        self.statements: list[dict[str, Any]] = []
        self.replies: list[tuple[int, bytes]] = []
        self.copied: list[tuple[int, bytes]] = []
        self.completed: list[tuple[int, str, int, str]] = []
        self.notes: list[tuple[str, str]] = []
        self.ended: list[str] = []

    def statement(self, judged: JudgedStatement) -> None:
        own = {
            name: getattr(judged, name) for name in judged.__struct_fields__ if name != "verdict"
        }
        self.statements.append({**own, **asdict(judged.verdict)})

    def reply(self, number: int, data: bytes) -> None:
        self.replies.append((number, bytes(data)))

    def copy_in(self, number: int, data: bytes) -> None:
        self.copied.append((number, bytes(data)))

    def complete(self, number: int, tag: str, rows: int, sqlstate: str, seconds: float) -> None:
        self.completed.append((number, tag, rows, sqlstate))

    def answered(self, number: int, data: bytes, tag: str, rows: int, seconds: float) -> None:
        self.reply(number, data)
        self.complete(number, tag, rows, "", seconds)

    def note(self, kind: str, text: str) -> None:
        self.notes.append((kind, text))

    def end(self, reason: str) -> None:
        self.ended.append(reason)


@dataclass(frozen=True)
class Like:
    """An expected message that is described, not given: its type byte and a test of its text."""

    kind: str
    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def matches(self, message: bytes) -> bool:
        text = message.decode("utf-8", "replace")
        return (
            message[:1] == self.kind.encode()
            and all(word in text for word in self.words)
            and not any(word in text for word in self.without)
        )

    def __repr__(self) -> str:
        return f"<{self.kind} with {', '.join(self.words)}>"


Expected = bytes | Like


@dataclass(frozen=True)
class Step:
    side: str
    sends: bool
    items: tuple[Any, ...]

    def __rshift__(self, more: Any) -> Step:
        return Step(self.side, self.sends, (*self.items, *_flat(more)))

    __lshift__ = __rshift__


@dataclass(frozen=True)
class Side:
    name: str

    def __rshift__(self, items: Any) -> Step:
        return Step(self.name, True, _flat(items))

    def __lshift__(self, items: Any) -> Step:
        return Step(self.name, False, _flat(items))


def _flat(items: Any) -> tuple[Any, ...]:
    return tuple(items) if isinstance(items, (tuple, list)) else (items,)


client = Side("client")
server = Side("server")
NOTHING: tuple[Expected, ...] = ()

#: What takes the place of a refused statement on its way to the server, and the server's answer to
#: it.
FAILS = frontend.query(FAILING_SQL)
FAILED = backend.error_response(
    "ERROR", "42703", 'column "refused by sallyport" does not exist', position=8
)


def refused(code: str, sqlstate: str = "42501", severity: str = "ERROR") -> Like:
    return Like("E", (f"[{code}]", f"C{sqlstate}\0", f"V{severity}\0"))


def server_error(sqlstate: str, text: str = "no", **more: Any) -> bytes:
    return backend.error_response("ERROR", sqlstate, text, **more)


def told(*columns: str) -> Like:
    """The notice that a statement computed with the masks of these columns."""
    return Like("N", ("SNOTICE\0", "C00000\0", "[SP2001]", *columns), (CANARY,))


def scrubbed(sqlstate: str) -> Like:
    return Like("E", (f"C{sqlstate}\0", "withheld"), (CANARY,))


IDLE = backend.ready_for_query(b"I")
IN_BLOCK = backend.ready_for_query(b"T")
FAILED_BLOCK = backend.ready_for_query(b"E")


def done(tag: str) -> bytes:
    return backend.command_complete(tag)


def rows(*cells: str | bytes | None) -> bytes:
    """One DataRow."""
    return data_row([c.encode() if isinstance(c, str) else c for c in cells])


class Stage:
    """Catalog and policy that transcripts are played on. ``world.session()`` starts one."""

    def __init__(self, catalog: CatalogSnapshot, policy: str = POLICY) -> None:
        self.catalog = catalog
        self.judge = Judge(
            "shop", parse_policy(policy, "policy.yaml"), catalog, {}, max_statement_bytes=1 << 20
        )

    def change_policy(self, text: str) -> None:
        self.judge.update(policy=parse_policy(text, "policy.yaml"))

    def sent(self, sql: str) -> str:
        """What goes to the server for ``sql``, which is not ``sql`` itself: the masks are in it.
        ValueError when it goes as it came.
        """
        text = sql.encode()
        sent = self.judge.subject_judge(AGENT, ("public",)).judge(text).sent(text)
        if sent == text:
            raise ValueError(f"{sql!r} goes as it came")
        return sent.decode()

    def describe(self, *columns: str, formats: int = 0) -> bytes:
        """RowDescription: ``customers.email`` of that table, ``name:25`` computed, of that type."""
        return backend.row_description([self.field(c, formats) for c in columns])

    def field(self, column: str, format: int = 0) -> Field:
        if ":" in column:
            name, _, oid = column.partition(":")
            return Field(name, 0, 0, int(oid), -1, -1, format)
        relation, _, name = column.partition(".")
        described = self.catalog.relation_by_name[("public", relation)]
        table_column = next(c for c in described.columns if c.name == name)
        return Field(
            name, described.oid, table_column.attnum, table_column.type_oid, -1, -1, format
        )


@dataclass
class Run:
    """One playing of a transcript."""

    session: Session
    stage: Stage
    recording: Recording
    to_server: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)
    asked: list[Command] = field(default_factory=list)

    def drain(self) -> None:
        self.to_server += self.session.to_server.take()
        self.to_client += self.session.to_client
        self.session.to_client.clear()
        self.asked += self.session.commands
        self.session.commands.clear()

    @property
    def closed(self) -> bool:
        return any(isinstance(c, CloseSession) for c in self.asked)


Cut = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for i in range(len(data)):
        yield data[i : i + 1]


def pieces(seed: int) -> Cut:
    source = random.Random(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(data):
            size = source.choice([1, 2, 3, 5, 7, 13, 40, 200])
            yield data[position : position + size]
            position += size

    return cut


CUTS: dict[str, Cut] = {
    "whole": whole,
    "bytes": bytewise,
    "pieces 1": pieces(1),
    "pieces 2": pieces(2),
}


def asks(kind: type[Command]) -> Callable[[Run], None]:
    """The session asked for this, and nothing else, since the last time."""

    def check(run: Run) -> None:
        kinds = [type(c) for c in run.asked]
        run.asked.clear()
        assert kinds == [kind], f"asked for {kinds}, not {kind.__name__}"

    return check


def closes(run: Run) -> None:
    assert run.closed, "the session is still open"


def does(action: Callable[[Run], Any]) -> Callable[[Run], None]:
    return lambda run: action(run)


def play(
    make: Callable[[], Stage] | Stage,
    *steps: Step | Callable[[Run], None],
    limits: SessionLimits | None = None,
    cuts: Sequence[str] = tuple(CUTS),
    path: tuple[str, ...] = ("public",),
) -> Run:
    """Run the transcript once per cut; gives the last run. A Stage that a step changes must be made
    anew: pass a function.
    """
    for name in cuts:
        stage = make if isinstance(make, Stage) else make()
        recording = Recording()
        run = Run(
            Session(AGENT, stage.judge, recording, path, limits or SessionLimits()),
            stage,
            recording,
        )
        closing = False
        for number, step in enumerate(steps, 1):
            where = f"step {number}, {name}"
            if not isinstance(step, Step):
                closing = closing or step is closes
                step(run)
            elif step.sends:
                _send(run, step, CUTS[name])
            else:
                _expect(run, step, where)
            run.drain()
        _expect(run, client << NOTHING, f"at the end, {name}")
        _expect(run, server << NOTHING, f"at the end, {name}")
        assert closing or not run.closed, f"the session closed: {run.asked}"
    return run


def from_client(session: Session, data: bytes) -> None:
    """As the owner of a session does: the short way first."""
    request = session.try_fast_request(data)
    if request is not None:
        session.to_server.pending += request
    else:
        session.receive_from_client(data)


def from_server(session: Session, data: bytes) -> None:
    """As the owner of a session does: the short way first."""
    response = session.try_fast_response(data)
    if response is not None:
        session.to_client += response
    else:
        session.receive_from_server(data)


def _send(run: Run, step: Step, cut: Cut) -> None:
    receive = from_client if step.side == "client" else from_server
    for piece in cut(b"".join(step.items)):
        receive(run.session, piece)
        run.drain()


def _expect(run: Run, step: Step, where: str) -> None:
    buffer = run.to_client if step.side == "client" else run.to_server
    got = messages(bytes(buffer))
    buffer.clear()
    from_client = step.side == "server"
    expected: list[Any] = []
    for item in step.items:
        expected += messages(item) if isinstance(item, bytes) else [item]
    same = len(got) == len(expected) and all(
        have == want if isinstance(want, bytes) else want.matches(have)
        for have, want in zip(got, expected, strict=True)
    )
    if same:
        return
    have_lines = [show(m, from_client=from_client) for m in got]
    want_lines = [
        show(w, from_client=from_client) if isinstance(w, bytes) else repr(w) for w in expected
    ]
    diff = "\n".join(difflib.ndiff(want_lines, have_lines))
    raise AssertionError(f"{where}: {step.side} << (- expected, + got)\n{diff}\nasked: {run.asked}")


__all__ = ["Refusal", "row"]
