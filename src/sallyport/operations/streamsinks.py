"""Where audit events are streamed to: syslog, Splunk, Elasticsearch, a file, standard output.

A :class:`Sink` takes a batch and returns once the other side has it, with what it refused for good.
:class:`SinkError` means that it may not have it: the same batch is sent again later, over a new
connection. So an event may arrive twice, always with the same id.

- Syslog: RFC 5424, octet counting (RFC 6587 section 3.4.1), over TCP or TLS (RFC 5425).
  The protocol has no answers. A batch counts as taken when the receiver's TCP has acknowledged it
  (SIOCOUTQ, tcp(7)); what a receiver lost that died with it in its buffers is why
  ``repeats_last`` has the batch before sent again after a failure.
- HTTP: answered by 2xx. Splunk's HTTP Event Collector; Elasticsearch's and OpenSearch's ``_bulk``
  with ``create`` and the event's id, so that an event that comes twice is stored once.
- A file is flushed to the disk. It is opened again when it was moved away.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

import httpx2

from sallyport.core.clock import rfc3339
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.core.tls import harden
from sallyport.operations.auditcef import cef_line, severity
from sallyport.operations.auditlog import AuditEvent, json_line
from sallyport.operations.auditocsf import ocsf_line
from sallyport.operations.auditotlp import otlp_line

#: Makes the line of an event, by the name of the format.
FORMATS: Final[dict[str, Callable[[AuditEvent], str]]] = {
    "jsonl": json_line,
    "cef": cef_line,
    "ocsf": ocsf_line,
    "otlp": otlp_line,
}
#: Seconds for a connection, an answer, an acknowledgement.
TIMEOUT: Final = 10.0
#: Answers by which a receiver refuses this very content, whenever it comes.
REFUSES_CONTENT: Final = frozenset({400, 413, 422})
#: RFC 5424 section 6.2.1: facility 13 (log audit); severities notice, warning and informational.
_FACILITY: Final = 13
_NOTICE, _WARNING, _INFORMATIONAL = 5, 4, 6
#: Of CEF's severities: from here on it is a warning.
_SEVERE: Final = 7


class SinkError(SallyportError):
    """The receiver may not have the batch; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``id``: the event's. ``time``: Unix seconds. ``line``: in the stream's format."""

    id: str
    time: float
    kind: str
    severity: int
    line: str


def entry_of(event: AuditEvent, format_: str) -> Entry:
    """``format_``: of :data:`FORMATS`."""
    return Entry(event.id, event.time, event.kind, severity(event), FORMATS[format_](event))


class Sink(Protocol):
    """``repeats_last``: after a failure the batch before is sent again, too."""

    repeats_last: bool

    def send(self, batch: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """Blocks until the receiver has it. Gives what it refuses for good. SinkError."""
        ...

    def close(self) -> None:
        """Let the connection go; :meth:`send` makes another."""
        ...


class FileSink:
    """Lines at the end of a file that others may move away."""

    repeats_last = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def send(self, batch: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """As :meth:`Sink.send`."""
        try:
            file = self._open()
            file.write(b"".join(f"{entry.line}\n".encode() for entry in batch))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from None
        return []

    def _open(self) -> IO[bytes]:
        if self._file is not None and not self._is_moved(self._file):
            return self._file
        self.close()
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = file = os.fdopen(fd, "r+b", buffering=0)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            file.write(b"\n")  # a line that broke off: it comes again, whole
        return file

    def _is_moved(self, file: IO[bytes]) -> bool:
        try:
            here = os.stat(self._path)
        except FileNotFoundError:
            return True
        ours = os.fstat(file.fileno())
        return (here.st_ino, here.st_dev) != (ours.st_ino, ours.st_dev)

    def close(self) -> None:
        """As :meth:`Sink.close`."""
        if self._file is not None:
            self._file.close()
            self._file = None


class StdoutSink:
    """Lines on the gateway's standard output; its log is on standard error."""

    repeats_last = False

    def send(self, batch: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """As :meth:`Sink.send`."""
        data = b"".join(f"{entry.line}\n".encode() for entry in batch)
        try:
            while data:
                data = data[os.write(sys.stdout.fileno(), data) :]
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot write to standard output: {error}") from None
        return []

    def close(self) -> None:
        """Nothing is to be let go."""


class SyslogSink:
    """``tls`` None: plain TCP."""

    repeats_last = True

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._socket: socket.socket | None = None
        self._name = socket.gethostname().encode("ascii", "replace").decode()[:255] or "-"

    def send(self, batch: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """As :meth:`Sink.send`."""
        try:
            connection = self._connected()
            connection.sendall(b"".join(map(self._frame, batch)))
            self._await_acknowledgement(connection)
        except (OSError, ValueError) as error:
            self.close()
            place = f"{self._host}:{self._port}"
            raise SinkError(f"syslog at {place}: {error or type(error).__name__}") from None
        return []

    def _connected(self) -> socket.socket:
        if self._socket is None:
            plain = socket.create_connection((self._host, self._port), TIMEOUT)
            try:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if self._tls is None:
                    self._socket = plain
                else:
                    self._socket = self._tls.wrap_socket(plain, server_hostname=self._host)
            except BaseException:
                plain.close()
                raise
        elif _has_ended(self._socket):
            raise ConnectionResetError("the receiver closed the connection")
        return self._socket

    def _frame(self, entry: Entry) -> bytes:
        """RFC 5424 section 6, behind its length."""
        level = _WARNING if entry.severity >= _SEVERE else _NOTICE
        level = _INFORMATIONAL if entry.severity <= 1 else level
        head = f"<{_FACILITY * 8 + level}>1 {rfc3339(entry.time) or '-'} {self._name} sallyport"
        message = f"{head} {os.getpid()} {entry.kind} - {entry.line}".encode()
        return b"%d %b" % (len(message), message)

    @staticmethod
    def _await_acknowledgement(connection: socket.socket) -> None:
        """Until the receiver's TCP has everything. Raises OSError."""
        deadline = time.monotonic() + TIMEOUT
        while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
            if time.monotonic() > deadline:
                raise TimeoutError("the receiver does not acknowledge what was sent")
            time.sleep(0.002)
        if _has_ended(connection):
            raise ConnectionResetError("the receiver closed the connection")

    def close(self) -> None:
        """As :meth:`Sink.close`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _has_ended(connection: socket.socket) -> bool:
    """Whether the receiver closed it; what it says otherwise means nothing."""
    connection.setblocking(False)
    try:
        return connection.recv(4096) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(TIMEOUT)


class HttpSink:
    """What both collectors have in common. ``headers``: of every request."""

    repeats_last = False

    def __init__(self, url: str, headers: dict[str, str], context: ssl.SSLContext) -> None:
        self._url, self._headers, self._context = url, headers, context
        self._client: httpx2.Client | None = None

    def send(self, batch: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """As :meth:`Sink.send`."""
        if not batch:
            return []
        answer = self._post(batch)
        if answer.status_code in REFUSES_CONTENT:
            if len(batch) == 1:
                return [(batch[0], f"HTTP {answer.status_code}: {answer.text[:300]}")]
            middle = len(batch) // 2
            return self.send(batch[:middle]) + self.send(batch[middle:])
        if not answer.is_success:
            raise SinkError(f"{self._url} answered {answer.status_code}: {answer.text[:300]}")
        return self._refused(batch, answer)

    def _post(self, batch: Sequence[Entry]) -> httpx2.Response:
        if self._client is None:
            self._client = httpx2.Client(
                verify=self._context, trust_env=False, timeout=TIMEOUT, follow_redirects=False
            )
        try:
            return self._client.post(self._url, content=self._body(batch), headers=self._headers)
        except (httpx2.HTTPError, OSError) as error:
            self.close()
            raise SinkError(f"{self._url}: {str(error) or type(error).__name__}") from None

    def _body(self, batch: Sequence[Entry]) -> bytes:
        raise NotImplementedError

    def _refused(self, batch: Sequence[Entry], answer: httpx2.Response) -> list[tuple[Entry, str]]:
        return []

    def close(self) -> None:
        """As :meth:`Sink.close`."""
        if self._client is not None:
            self._client.close()
            self._client = None


class SplunkSink(HttpSink):
    """Splunk's HTTP Event Collector, ``/services/collector/event``."""

    def __init__(self, url: str, token: Secret, context: ssl.SSLContext) -> None:
        headers = {"Authorization": f"Splunk {token.reveal()}", "Content-Type": "application/json"}
        super().__init__(url, headers, context)
        self._host = socket.gethostname()

    def _body(self, batch: Sequence[Entry]) -> bytes:
        return b"\n".join(map(self._event, batch))

    def _event(self, entry: Entry) -> bytes:
        data = {"time": round(entry.time, 3), "host": self._host, "source": "sallyport"}
        event = _json_of(entry)
        return json.dumps({**data, "sourcetype": "sallyport:audit", "event": event}).encode()


class ElasticSink(HttpSink):
    """``_bulk`` of Elasticsearch and OpenSearch. ``index``: or a data stream."""

    def __init__(self, url: str, index: str, token: Secret | None, context: ssl.SSLContext) -> None:
        headers = {"Content-Type": "application/x-ndjson"}
        if token is not None:
            headers["Authorization"] = f"ApiKey {token.reveal()}"
        super().__init__(url, headers, context)
        self._index = index

    def _body(self, batch: Sequence[Entry]) -> bytes:
        lines = []
        for entry in batch:
            data = _json_of(entry)
            document = data if isinstance(data, dict) else {"message": data}
            document["@timestamp"] = rfc3339(entry.time)
            action = {"create": {"_index": self._index, "_id": entry.id}}
            lines += [json.dumps(action), json.dumps(document)]
        return ("\n".join(lines) + "\n").encode()

    def _refused(self, batch: Sequence[Entry], answer: httpx2.Response) -> list[tuple[Entry, str]]:
        try:
            body = answer.json()
            results = [next(iter(item.values())) for item in body["items"]]
            statuses = [int(result["status"]) for result in results]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise SinkError(f"{self._url} did not answer as _bulk does") from None
        if len(statuses) != len(batch):
            raise SinkError(f"{self._url} answered for {len(statuses)} of {len(batch)} events")
        refused = []
        for entry, status, result in zip(batch, statuses, results, strict=True):
            if status == 429 or status >= 500 or status in (401, 403, 404):
                # What came through comes again, and is answered by 409.
                raise SinkError(f"{self._url}: {status} for {entry.id}: {_reason(result)}")
            if not 200 <= status < 300 and status != 409:
                refused.append((entry, f"{status}: {_reason(result)}"))
        return refused


def _reason(result: Any) -> str:
    return str(result.get("error", ""))[:300]


def _json_of(entry: Entry) -> Any:
    """The event as JSON values; CEF as text."""
    return json.loads(entry.line) if entry.line.startswith("{") else entry.line


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Verifies the receiver; ``certificate`` and ``key`` are what it may ask of us. Raises OSError
    (ssl.SSLError is one) for files that cannot be used.
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return harden(context)
