"""The events a recording is made of, and their encoding.

An event is a msgpack array ``[tag, at, ...]``: ``tag`` names the kind, ``at`` is the gateway's monotonic
clock in seconds. A recording's first event is :class:`Login`, which holds the wall clock (``started``) for
the same instant, so the wall time of any event is ``login.started + (event.at - login.at)``.

The recorder appends plain tuples in this very order (a tuple and a struct of the same fields encode to the
same bytes, and a tuple is cheaper to make); readers decode into the structs below. Fields are only ever
added at the end, with defaults; a changed meaning needs a new tag.

Only what :func:`subject_fields` lists of a Subject is recorded: never its other claims, and never a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sallyport.core.subject import Subject

LOGIN: Final = 1
STATEMENT: Final = 2
REPLY: Final = 3
COPY_IN: Final = 4
COMPLETE: Final = 5
NOTE: Final = 6
END: Final = 7
GAP: Final = 8
ANSWERED: Final = 9


class SubjectFields(msgspec.Struct, frozen=True):
    """The recorded part of a Subject. ``expires_at``: Unix seconds."""

    id: str
    issuer: str
    groups: tuple[str, ...]
    agent: str = ""
    label: str = ""
    email: str = ""
    expires_at: float = 0.0


def subject_fields(subject: Subject) -> SubjectFields:
    """What of a subject is recorded. Claims are left out: they may hold anything, secrets included."""
    return SubjectFields(
        id=subject.id,
        issuer=subject.issuer,
        groups=tuple(sorted(subject.groups)),
        agent=subject.agent,
        label=subject.label,
        email=subject.email,
        expires_at=subject.expires_at,
    )


class Login(msgspec.Struct, array_like=True, tag=LOGIN, frozen=True):
    """The session began. ``started``: Unix seconds at ``at``."""

    at: float
    started: float
    session: str
    subject: SubjectFields
    target: str
    client: str
    application: str
    gateway: str = ""


class Statement(msgspec.Struct, array_like=True, tag=STATEMENT, frozen=True):
    """A statement was judged. See :meth:`sallyport.session.ports.SessionRecorder.statement`."""

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


class Reply(msgspec.Struct, array_like=True, tag=REPLY, frozen=True):
    """Backend messages as the client got them, after masking. May begin or stop inside a message."""

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
    at: float
    kind: str
    text: str


class End(msgspec.Struct, array_like=True, tag=END, frozen=True):
    at: float
    reason: str


class Gap(msgspec.Struct, array_like=True, tag=GAP, frozen=True):
    """The recording could not be written for ``seconds``; ``events`` and ``bytes`` were lost here (0:
    nothing was).
    """

    at: float
    seconds: float
    events: int
    bytes: int
    reason: str


class Answered(msgspec.Struct, array_like=True, tag=ANSWERED, frozen=True):
    """A Reply and the Complete right behind it, as one: most statements are answered in one buffer, without an error."""

    at: float
    number: int
    data: bytes
    command: str
    rows: int
    seconds: float


Event = Login | Statement | Reply | CopyIn | Complete | Note | End | Gap | Answered
#: An event as the recorder holds it until it is encoded: ``(tag, at, ...)`` in the order of the struct's
#: fields.
RawEvent = tuple[Any, ...]

_encoder = msgspec.msgpack.Encoder()
_batch_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_event_decoder = msgspec.msgpack.Decoder(Event)


def encode_batch(events: Sequence[RawEvent]) -> bytes:
    """Encode events as one msgpack array.

    Raises TypeError, OverflowError or ValueError for what msgpack cannot hold (a bug of the caller).
    """
    try:
        return _encoder.encode(events)
    except UnicodeEncodeError:
        # Text with lone surrogates (bytes that were not UTF-8): keep it, visibly escaped.
        return _encoder.encode([tuple(map(_clean, event)) for event in events])


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def split_batch(body: bytes) -> list[msgspec.Raw]:
    """The encoded events of a batch, each as a slice of ``body``. Raises msgspec.DecodeError."""
    return _batch_decoder.decode(body)


def spelled_out(event: Event) -> tuple[Event, ...]:
    """The event in terms that readers know: an Answered is a Reply and a Complete."""
    if isinstance(event, Answered):
        reply = Reply(event.at, event.number, event.data)
        return reply, Complete(event.at, event.number, event.command, event.rows, "", event.seconds)
    return (event,)


def decode_event(raw: msgspec.Raw | bytes) -> Event:
    """Raises msgspec.DecodeError (msgspec.ValidationError is one) when it is not an event this version
    knows.
    """
    event: Event = _event_decoder.decode(raw)
    return event
