"""A statement's event, put together from its verdict's part, is what its struct would be."""

from __future__ import annotations

import hashlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sallyport.audit import events as ev
from sallyport.audit.chunks import ChunkWriter, Intake
from sallyport.audit.recording import VerdictEncodings
from sallyport.session.ports import RecordedVerdict

names = st.tuples() | st.tuples(st.text(max_size=40)) | st.tuples(st.text(), st.text())


@given(
    outcome=st.sampled_from(["allow", "deny", "hold"]), rule=st.text(max_size=300),
    code=st.text(max_size=6),
    relations=names, masked=names, columns=names, sent=st.text(max_size=300),
    binds=st.none() | st.lists(st.none() | st.binary(max_size=300)),
    formats=st.lists(st.integers(0, 1), max_size=20),
    types=st.lists(st.integers(0, 1 << 31), max_size=20),
)  # fmt: skip
def test_every_statement(
    outcome: str, rule: str, code: str,
    relations: tuple[str, ...], masked: tuple[str, ...], columns: tuple[str, ...], sent: str,
    binds: list[bytes | None] | None, formats: list[int], types: list[int],
) -> None:  # fmt: skip
    names = (relations, masked, columns)
    verdict = RecordedVerdict(outcome, rule, code, "p1", "e1", "extended", *names, sent)
    encoded = ev.encode_verdict(verdict)
    chunks = ChunkWriter(Intake(lambda: None, 1 << 60))
    rest = ev.encode_statement_tail(encoded, binds, formats, types)
    chunks.append_statement(2.5, 7, "select 1", rest, encoded.refused)
    chunk = chunks.take()
    assert chunk is not None
    statement = ev.Statement(
        2.5, 7, "select 1", outcome, rule, code, "p1", "e1", "extended",
        None if binds is None else tuple(binds), tuple(formats), relations, masked, tuple(types),
        columns, sent,
    )  # fmt: skip
    assert encoded.within(chunks.repeats) is encoded  # the first with this text
    assert chunk.buffer[: chunk.size] == msgspec.msgpack.encode(statement)
    assert chunk.refused == (outcome == "deny")
    again = encoded.within(chunks.repeats)
    chunks.append_statement(
        2.5, 7, "select 1", ev.encode_statement_tail(again, binds, formats, types), again.refused
    )
    chunk = chunks.take()
    assert chunk is not None
    digest = hashlib.sha256(sent.encode()).digest() if sent else b""
    repeated = msgspec.structs.replace(statement, sent="", sent_digest=digest)
    assert chunk.buffer[: chunk.size] == msgspec.msgpack.encode(repeated)


def test_names_that_are_not_unicode_are_escaped() -> None:
    encoded = ev.encode_verdict(RecordedVerdict("allow", "rule \udcff"))
    rest = msgspec.msgpack.decode(b"\x9e" + encoded.rest)
    assert rest[1] == "rule \\udcff"


def test_encodings_are_kept_and_bounded() -> None:
    encodings = VerdictEncodings()
    verdict = RecordedVerdict("allow")
    assert encodings.of(verdict) is encodings.of(verdict)
    for number in range(10_000):
        encodings.of(RecordedVerdict("allow", str(number)))
    assert len(encodings._encoded) <= 4096
    assert encodings.of(verdict) == ev.encode_verdict(verdict)
