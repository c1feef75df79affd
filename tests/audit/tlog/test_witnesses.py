"""Witnesses: what they get on the wire, and what they show of a log that was rolled back."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sallyport.app.record import WebhookWitness
from sallyport.approvals.channels.notify import signature
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.notes import Checkpoint, split_notes
from sallyport.audit.tlog.reading import read_vkey
from sallyport.audit.tlog.verification import verify_log
from sallyport.audit.tlog.witnesses import (
    FileWitness,
    ForkError,
    SyslogWitness,
    WitnessError,
    message,
    read_checkpoints,
)
from sallyport.core.secret import Secret
from sallyport.store.archivewitness import ArchiveWitness
from sallyport.store.objects import ObjectArchive
from tests.audit.tlog.records import head
from tests.support.certificates import Authority
from tests.support.objectstore import ObjectStorage


def logged(data: Path, *witnesses: object) -> TransparencyLog:
    log = TransparencyLog(data / "recordings" / "log", data, witnesses=witnesses)
    log.open()
    return log


def grow(log: TransparencyLog, *numbers: int) -> Checkpoint:
    log.append(*(head(number) for number in numbers))
    assert log.make_checkpoint()
    assert log.checkpoint is not None
    return log.checkpoint


@pytest.fixture
def file(tmp_path: Path) -> FileWitness:
    return FileWitness(tmp_path / "elsewhere")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_file_keeps_them_all(data: Path, file: FileWitness) -> None:
    log = logged(data)
    sent = [grow(log, number) for number in range(3)]
    for checkpoint in sent:
        file.send(checkpoint, log)
    kept = list(read_checkpoints(file.path.read_text()))
    assert [note.strip() for note in kept] == [str(checkpoint).strip() for checkpoint in sent]
    assert file.newest(read_vkey(log.directory)) == sent[-1]
    assert verify_log(log.directory, None, [("file", note) for note in kept]).result.ok


def test_a_log_put_back_is_not_continued(data: Path, file: FileWitness) -> None:
    log = logged(data)
    grow(log, 1)
    log.close()
    shutil.copytree(data, data.parent / "backup")
    log = logged(data, file)
    file.send(grow(log, 2, 3), log)
    log.close()
    shutil.rmtree(data)
    shutil.copytree(data.parent / "backup", data)
    again = logged(data, file)
    assert "rolled back" in again.problem and "has seen 4" in again.problem
    again.append(head(4))
    assert not again.make_checkpoint() and again.dropped == 1
    # Without the witness nothing shows.
    assert not logged(data).problem


def test_two_gateways_with_one_key(data: Path, file: FileWitness) -> None:
    """A copy of the data directory goes on beside the original: the witness sees the fork."""
    log = logged(data)
    file.send(grow(log, 1), log)
    log.close()
    twin_data = data.parent / "twin"
    shutil.copytree(data, twin_data)
    first, twin = logged(data), logged(twin_data)
    file.send(grow(first, 2), first)
    with pytest.raises(ForkError, match="another log at size 3"):
        file.send(grow(twin, 22), twin)
    # Both are evidence.
    kept = [("file", note) for note in read_checkpoints(file.path.read_text())]
    for directory in (first.directory, twin.directory):
        texts = [str(problem) for problem in verify_log(directory, None, kept).result.problems]
        assert any(text.startswith("fork") for text in texts), texts
    # Neither goes on by itself once the other one was seen last.
    first.close()
    assert "a fork" in logged(data, file).problem


def test_checkpoints_in_other_files(data: Path, file: FileWitness) -> None:
    log = logged(data)
    sent = [grow(log, number) for number in range(3)]
    lines = [f"2026-11-29T10:00:00Z host sallyport: {message(checkpoint)}" for checkpoint in sent]
    assert list(read_checkpoints("noise\n" + "\n".join(lines))) == [str(c) for c in sent]
    compact = json.dumps({"event": "checkpoint", "checkpoint": str(sent[0])}, separators=(",", ":"))
    assert list(read_checkpoints(compact)) == [str(sent[0])]
    file.path.write_bytes(b"\xff\x00 nonsense")
    assert file.newest(read_vkey(log.directory)) is None


def received(data: bytes) -> Checkpoint:
    head_, _, body = data.decode().partition(" checkpoint - ")
    priority, stamp, host, program, process = head_.split(" ")
    assert priority == "<109>1" and stamp.endswith("Z") and program == "sallyport"
    assert host and process.isdecimal()
    return Checkpoint.parse(json.loads(body)["checkpoint"])


def test_syslog_over_udp(data: Path) -> None:
    log = logged(data)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        witness = SyslogWitness("udp", "127.0.0.1", server.getsockname()[1])
        sent = grow(log, 1)
        witness.send(sent, log)
        assert received(server.recv(65535)) == sent


@contextlib.contextmanager
def collecting(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[bytes]]]:
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with contextlib.suppress(OSError):
                stream = connection
                if context is not None:
                    stream = context.wrap_socket(connection, server_side=True)
                data = b""
                while piece := stream.recv(65535):
                    data += piece
                got.append(data)
                stream.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], got
        thread.join(5)


def test_syslog_over_tcp_and_tls(data: Path, tmp_path: Path) -> None:
    log = logged(data)
    sent = grow(log, 1)
    authority = Authority(tmp_path)
    files = authority.issue("syslog")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    for scheme, tls in (("tcp", None), ("tls", context)):
        with collecting(tls) as (port, got):
            SyslogWitness(scheme, "127.0.0.1", port, str(authority.file)).send(sent, log)
        length, _, data_ = got[0].partition(b" ")
        assert int(length) == len(data_) and received(data_) == sent
    # A server that the authority does not know gets nothing.
    with collecting(context) as (port, got), pytest.raises(ssl.SSLError):
        SyslogWitness("tls", "127.0.0.1", port).send(sent, log)
    assert not got or not got[0]


def test_webhook(data: Path) -> None:
    got: list[tuple[dict[str, str], bytes]] = []
    statuses = [204, 500]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((dict(self.headers), body))
            self.send_response(statuses.pop(0))
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    log, secret = logged(data), Secret("webhook secret")
    sent = grow(log, 1)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        witness = WebhookWitness(f"http://127.0.0.1:{server.server_port}/witness", secret)
        witness.send(sent, log)
        with pytest.raises(WitnessError, match="500"):
            witness.send(sent, log)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    headers, body = got[0]
    assert headers["Sallyport-Signature"] == signature(
        secret,
        int(headers["Sallyport-Timestamp"]),
        body,
    )
    assert Checkpoint.parse(json.loads(body)["checkpoint"]) == sent
    assert "secret" not in witness.name


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    made = ObjectStorage()
    yield made
    made.stop()


@pytest.fixture
def archive(storage: ObjectStorage) -> ArchiveWitness:
    for name in storage.names():
        storage.delete(name)
    return ArchiveWitness(ObjectArchive(storage.place))


def test_an_archive_keeps_each_checkpoint_once(
    data: Path, archive: ArchiveWitness, storage: ObjectStorage
) -> None:
    log = logged(data)
    key = read_vkey(log.directory)
    assert archive.newest(key) is None
    sent = [grow(log, number) for number in range(12)]  # more digits than one
    for checkpoint in sent:
        archive.send(checkpoint, log)
    archive.send(sent[-1], log)  # tried again
    assert archive.newest(key) == sent[-1]
    names = [name for name in storage.names() if "/checkpoints/" in name]
    assert len(names) == len(sent)
    kept = [
        ("archive", note) for name in names for note in split_notes(storage.read(name).decode())
    ]
    assert len(kept) == len(sent) and verify_log(log.directory, None, kept).result.ok


def test_an_archive_tells_a_fork_and_a_rollback(data: Path, archive: ArchiveWitness) -> None:
    log = logged(data)
    archive.send(grow(log, 1), log)
    log.close()
    twin_data = data.parent / "twin"
    shutil.copytree(data, twin_data)
    first, twin = logged(data), logged(twin_data)
    archive.send(grow(first, 2), first)
    for checkpoint in (grow(twin, 22), grow(twin, 23)):
        with pytest.raises(ForkError, match="another log at size 3"):
            archive.send(checkpoint, twin)
    first.close()
    assert "rolled back" in logged(data, archive).problem


def test_an_archive_that_is_away_is_a_failing_witness(
    data: Path, archive: ArchiveWitness, storage: ObjectStorage
) -> None:
    log = logged(data)
    checkpoint = grow(log, 1)
    place = replace(storage.place, url="s3://no-such-bucket/prefix")
    away = ArchiveWitness(ObjectArchive(place))
    with pytest.raises(WitnessError):
        away.send(checkpoint, log)
    log.close()
    again = logged(data, away)
    assert not again.problem and again.witnesses[0].failing
