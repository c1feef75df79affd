"""The events a recording is made of, and their encoding.

An event is a msgpack array ``[tag, at, ...]``: ``tag`` names the kind, ``at`` is the gateway's
monotonic clock in seconds. A recording's first event is :class:`Login`, which holds the wall clock
(``started``) for the same instant, so the wall time of any event is ``login.started + (event.at -
login.at)``.

The recorder encodes plain tuples in this very order (a tuple and a struct of the same fields encode
to the same bytes, and a tuple is cheaper to make), and writes the most frequent events by hand
(:mod:`sallyport.audit.chunks`); readers decode into the structs below. Fields are only ever added
at the end, with defaults; a changed meaning needs a new tag.

Of a Subject, what :func:`subject_fields` lists is recorded, and of a session's the claims that the
policy names: never other claims, and never a token.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from sallyport.core.subject import Subject
from sallyport.session.ports import RecordedVerdict

LOGIN: Final = 1
STATEMENT: Final = 2
REPLY: Final = 3
COPY_IN: Final = 4
COMPLETE: Final = 5
NOTE: Final = 6
END: Final = 7
GAP: Final = 8
ANSWERED: Final = 9
RECOVERED: Final = 10
ACTION: Final = 32

#: Outcomes of an :class:`Action`.
DONE, REFUSED, FAILED = "done", "refused", "failed"


class SubjectFields(msgspec.Struct, frozen=True):
    """The recorded part of a Subject. ``expires_at``: Unix seconds. ``actors``: who acts for it,
    the current one first.
    """

    id: str
    issuer: str
    groups: tuple[str, ...]
    agent: str = ""
    label: str = ""
    email: str = ""
    expires_at: float = 0.0
    actors: tuple[str, ...] = ()


def subject_fields(subject: Subject) -> SubjectFields:
    """What of a subject is recorded. Claims are left out: they may hold anything, secrets
    included.
    """
    return SubjectFields(
        id=subject.id,
        issuer=subject.issuer,
        groups=tuple(sorted(subject.groups)),
        agent=subject.agent,
        label=subject.label,
        email=subject.email,
        expires_at=subject.expires_at,
        actors=subject.actors,
    )


class Login(msgspec.Struct, array_like=True, tag=LOGIN, frozen=True):
    """The session began. ``started``: Unix seconds at ``at``. What follows ``gateway``: see
    :class:`LoginDetails`.
    """

    at: float
    started: float
    session: str
    subject: SubjectFields
    target: str
    client: str
    application: str
    gateway: str = ""
    entrance: str = ""
    role: str = ""
    settings: dict[str, str] = {}
    claims: dict[str, str] = {}


class LoginDetails(NamedTuple):
    """What else a login says. ``entrance``: wire | mcp. ``role``: of the database, as which the
    session runs. ``settings``: that the client asked to start with. ``claims``: those of its token
    that the policy names.
    """

    entrance: str = ""
    role: str = ""
    settings: Mapping[str, str] = {}
    claims: Mapping[str, str] = {}


class Statement(msgspec.Struct, array_like=True, tag=STATEMENT, frozen=True):
    """A statement was judged. See :class:`sallyport.session.ports.JudgedStatement`. ``sent``: the
    text that ran in its place, "" where it ran as it came. ``sent_digest``: of that text, where an
    earlier statement of the recording has it (:mod:`sallyport.audit.senttexts`).
    """

    at: float
    number: int
    sql: str
    outcome: str
    rule: str = ""
    code: str = ""
    policy_version: str = ""
    epoch: str = ""
    protocol: str = "simple"
    binds: tuple[bytes | None, ...] | None = None
    bind_formats: tuple[int, ...] = ()
    relations: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    bind_types: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    sent: str = ""
    sent_digest: bytes = b""


class Reply(msgspec.Struct, array_like=True, tag=REPLY, frozen=True):
    """Backend messages as the client got them, after masking. May begin or stop inside a
    message.
    """

    at: float
    number: int
    data: bytes


class CopyIn(msgspec.Struct, array_like=True, tag=COPY_IN, frozen=True):
    """CopyData that the client sent."""

    at: float
    number: int
    data: bytes


class Complete(msgspec.Struct, array_like=True, tag=COMPLETE, frozen=True):
    """A statement ended. ``sqlstate`` is "" on success; ``seconds`` is how long it took."""

    at: float
    number: int
    command: str
    rows: int
    sqlstate: str
    seconds: float


class Note(msgspec.Struct, array_like=True, tag=NOTE, frozen=True):
    """Something that the gateway says about the session."""

    at: float
    kind: str
    text: str


class End(msgspec.Struct, array_like=True, tag=END, frozen=True):
    """The session is over."""

    at: float
    reason: str


class Gap(msgspec.Struct, array_like=True, tag=GAP, frozen=True):
    """The recording could not be written for ``seconds``; ``events`` and ``bytes`` were lost here
    (0: nothing was).
    """

    at: float
    seconds: float
    events: int
    bytes: int
    reason: str


class Answered(msgspec.Struct, array_like=True, tag=ANSWERED, frozen=True):
    """A Reply and the Complete right behind it, as one: most statements are answered in one buffer,
    without an error.
    """

    at: float
    number: int
    data: bytes
    command: str
    rows: int
    seconds: float


class Recovered(msgspec.Struct, array_like=True, tag=RECOVERED, frozen=True):
    """The Statement before this was added after a crash, from the journal
    (:mod:`sallyport.audit.completion`): it may have run, and its outcome is not known.
    """

    at: float
    number: int


class Action(msgspec.Struct, array_like=True, tag=ACTION, frozen=True):
    """Somebody did something in the console or over REST, or tried to, or was refused at a login.
    See :mod:`sallyport.audit.actions`.

    ``name``: the permission it needs, or ``sign-in``, ``sign-out``, ``login``. ``channel``: wire |
    web | rest | slack | gateway. ``object``: id of what it was done to, "". ``outcome``: done |
    refused (not permitted) | failed. ``reason``: why, when it was not done. ``details``: what was
    asked for.
    """

    at: float
    number: int
    name: str
    subject: SubjectFields
    address: str
    channel: str
    object: str
    outcome: str
    reason: str = ""
    details: dict[str, str] = {}


Event = (
    Login | Statement | Reply | CopyIn | Complete | Note | End | Gap | Answered | Action | Recovered
)
#: An event that is not encoded yet: ``(tag, at, ...)`` in the order of the struct's fields.
RawEvent = tuple[Any, ...]

_encode = msgspec.msgpack.Encoder().encode
_list_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_event_decoder = msgspec.msgpack.Decoder(Event)
#: Bytes of a text that ran in a statement's place, up to which a recording has it once.
LONGEST_SENT: Final = 1 << 16
_STATEMENT_FIELDS: Final = Statement.__struct_fields__
#: Items of an encoded Statement, the tag among them; and those behind ``sql``.
STATEMENT_ITEMS: Final = 1 + len(_STATEMENT_FIELDS)
_TAIL_FIELDS: Final = (
    len(Statement.__struct_fields__) - Statement.__struct_fields__.index("sql") - 1
)
#: The head of a msgpack array whose length is a u32.
_ARRAY = struct.Struct(">BI")


def encode_event(event: RawEvent) -> bytes:
    """Raises TypeError, OverflowError or ValueError for what msgpack cannot hold (a bug of the
    caller).
    """
    try:
        return _encode(event)
    except UnicodeEncodeError:
        # Text with lone surrogates (bytes that were not UTF-8): keep it, visibly escaped.
        return _encode(tuple(map(_clean, event)))


def _clean(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def clean(text: str) -> str:
    """Lone surrogates (bytes that were not UTF-8) visibly escaped: the rest could not be encoded
    with them.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class EncodedVerdict(NamedTuple):
    """The fields of a Statement that its verdict fixes, encoded. ``rest``: all that follow ``sql``,
    of a statement without bind values. Otherwise the bind values, their formats and the types of
    the parameters stand among them: see :func:`encode_statement_tail`.

    ``again``: the same for statements of a recording that has the text ``sent`` already, which
    ``digest`` names and which has ``sent_bytes`` bytes; None where each statement has its own.
    """

    rest: bytes
    before_binds: bytes
    after_formats: bytes
    after_types: bytes
    refused: bool
    digest: bytes = b""
    sent_bytes: int = 0
    again: EncodedVerdict | None = None

    def within(self, repeats: Callable[[bytes, int], bool]) -> EncodedVerdict:
        """For the next statement of a recording. ``repeats``: of its
        :class:`~sallyport.audit.chunks.ChunkWriter`.
        """
        again = self.again
        if again is None or not repeats(self.digest, self.sent_bytes):
            return self
        return again


def encode_verdict(verdict: RecordedVerdict) -> EncodedVerdict:
    """For all statements with this verdict."""
    before = _fields(
        verdict.outcome,
        verdict.rule,
        verdict.code,
        verdict.policy_version,
        verdict.epoch,
        verdict.protocol,
    )
    after = _fields(verdict.relations, verdict.masked)
    sent = clean(verdict.sent).encode()
    digest = digest_of(sent)
    first, again = (
        EncodedVerdict(
            before + _fields(None, ()) + after + _fields(()) + last,
            before,
            after,
            last,
            verdict.outcome == "deny",
        )
        for last in (
            _fields(verdict.columns, verdict.sent, b""),
            _fields(verdict.columns, "", digest),
        )
    )
    if not digest:
        return first
    return first._replace(digest=digest, sent_bytes=len(sent), again=again)


def digest_of(sent: bytes) -> bytes:
    """What names this text in a recording that has it; b"" where it is written each time."""
    return hashlib.sha256(sent).digest() if 0 < len(sent) <= LONGEST_SENT else b""


def encode_statement_tail(
    verdict: EncodedVerdict,
    binds: Sequence[bytes | None] | None,
    bind_formats: Sequence[int],
    bind_types: Sequence[int],
) -> bytes:
    """The fields of a Statement behind ``sql``, encoded: what :meth:`ChunkWriter.append_statement`
    takes.
    """
    if binds is None and not bind_formats and not bind_types:
        return verdict.rest
    values = _fields(binds, bind_formats)
    before, formats, last = verdict.before_binds, verdict.after_formats, verdict.after_types
    return b"".join((before, values, formats, _encode(bind_types), last))


def encode_statement(at: float, number: int, sql: str, tail: bytes) -> bytes:
    """A Statement. ``tail``: of :func:`encode_statement_tail`."""
    head = encode_event((STATEMENT, at, number, sql, *(None,) * _TAIL_FIELDS))
    return head[: len(head) - _TAIL_FIELDS] + tail  # a None is one byte


def _fields(*values: object) -> bytes:
    return encode_event(values)[1:]  # without the array's head, which is one byte for up to 15


def split_events(body: bytes, count: int) -> list[msgspec.Raw]:
    """The ``count`` encoded events that stand back to back in ``body``. Raises
    msgspec.DecodeError.
    """
    if count > len(body):
        raise msgspec.DecodeError(f"{count} events do not fit into {len(body)} bytes")
    try:
        return _list_decoder.decode(_ARRAY.pack(0xDD, count) + body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def spelled_out(event: Event) -> tuple[Event, ...]:
    """The event in terms that readers know: an Answered is a Reply and a Complete."""
    if isinstance(event, Answered):
        reply = Reply(event.at, event.number, event.data)
        return reply, Complete(event.at, event.number, event.command, event.rows, "", event.seconds)
    return (event,)


def decode_event(raw: msgspec.Raw | bytes) -> Event:
    """Raises msgspec.DecodeError (msgspec.ValidationError is one) when it is not an event this
    version knows.
    """
    try:
        event: Event = _event_decoder.decode(raw)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
    return event
