"""Witnesses: who gets each checkpoint, so that a log that is rolled back or forked later is found.

A witness is anything with :meth:`Witness.send`. Each has a thread and a short queue of its own: a
slow or failing one delays nobody, and nothing waits for any. What fails is tried again with growing
pauses, counted in ``failures`` and logged; ``failing`` is True until one got through again. When
the queue is full the oldest checkpoint is left out, since each covers all before it.
"""

from __future__ import annotations

import json
import os
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

import structlog

from sallyport.audit.tlog.notes import (
    Checkpoint,
    NoteError,
    Signature,
    VerifyKey,
    split_notes,
)
from sallyport.audit.tlog.tiles import TileError
from sallyport.core.tls import harden

_QUEUE: Final = 100
#: Seconds before further attempts.
PAUSES: Final = (1.0, 5.0, 30.0)
_TIMEOUT: Final = 10.0
#: Bytes at the end of a file in which the newest checkpoint is looked for.
_TAIL: Final = 1 << 18
#: A checkpoint in a line of syslog or in the body of a webhook.
_IN_JSON: Final = re.compile(r'"checkpoint": ?("(?:[^"\\]|\\.)*")')

_log = structlog.get_logger("sallyport.audit")


class WitnessError(Exception):
    """A witness did not take a checkpoint; the text says why."""


class ForkError(WitnessError):
    """A witness has seen another log of this name."""


class TreeSource(Protocol):
    """What witnesses may ask the log for, about trees that are not larger than its own. Both raise
    TileError, ValueError.
    """

    def root_at(self, size: int) -> bytes: ...

    def consistency(self, old: int, new: int) -> list[bytes]: ...

    def add_cosignature(self, checkpoint: Checkpoint, signature: Signature) -> None:
        """Keep a witness' signature while the checkpoint is the newest. Raises OSError."""
        ...


class Witness(Protocol):
    """``name``: for logs and metrics, without secrets."""

    name: str

    def send(self, checkpoint: Checkpoint, tree: TreeSource) -> None:
        """Blocks. Raises OSError, WitnessError."""
        ...

    def newest(self, key: VerifyKey) -> Checkpoint | None:
        """The largest checkpoint of this key's log that it is known to have seen; None where that
        cannot be told from here. Raises OSError, WitnessError.
        """
        ...


def message(checkpoint: Checkpoint) -> str:
    """One line of JSON, which :func:`read_checkpoints` finds again wherever it is kept."""
    return json.dumps(
        {"origin": checkpoint.origin, "size": checkpoint.size, "checkpoint": str(checkpoint)},
    )


def read_checkpoints(content: str) -> Iterator[str]:
    """The checkpoints in a file: notes behind each other, or lines that contain :func:`message`."""
    lines = [match.group(1) for match in _IN_JSON.finditer(content)]
    if lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue
    else:
        yield from split_notes(content)


def check_continues(before: Checkpoint | None, checkpoint: Checkpoint, tree: TreeSource) -> None:
    """Raises ForkError unless the log of ``checkpoint``, which ``tree`` is of, begins with that of
    the newest one that a witness had (None: it had none), and TileError, ValueError.
    """
    if before is None:
        return
    if before.size > checkpoint.size or tree.root_at(before.size) != before.root:
        raise ForkError(f"has seen another log at size {before.size}: a fork, or a rollback")


class FileWitness:
    """Appends to a file that ought to lie elsewhere: on another host's or a write-once file system,
    or with the append-only attribute. Notes stand behind each other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"file {path}"

    def send(self, checkpoint: Checkpoint, tree: TreeSource) -> None:
        before = self._newest(checkpoint.origin)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            data = f"{checkpoint}\n".encode()
            if os.write(descriptor, data) != len(data):
                raise WitnessError("the disk is full")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        check_continues(before, checkpoint, tree)

    def newest(self, key: VerifyKey) -> Checkpoint | None:
        checkpoint = self._newest(key.name)
        try:
            return Checkpoint.parse(str(checkpoint), key) if checkpoint is not None else None
        except NoteError:
            return None

    def _newest(self, origin: str) -> Checkpoint | None:
        """The largest of this origin in the end of the file; its signature is not checked."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            content = file.read(_TAIL).decode("utf-8", "replace")
        newest = None
        for note in read_checkpoints(content):
            try:
                checkpoint = Checkpoint.parse(note)
            except NoteError:  # the first of them may be cut
                continue
            if checkpoint.origin == origin and (newest is None or checkpoint.size >= newest.size):
                newest = checkpoint
        return newest


class SyslogWitness:
    """RFC 5424 messages: over UDP (RFC 5426), TCP (RFC 6587, octet counting) or TLS (RFC 5425).
    Facility 13, log audit; severity 5, notice. ``ca``: PEM file of an authority of one's own.
    """

    def __init__(self, scheme: str, host: str, port: int, ca: str | None = None) -> None:
        self._scheme, self._host, self._port = scheme, host, port
        self._context = harden(ssl.create_default_context(cafile=ca)) if scheme == "tls" else None
        self.name = f"syslog {scheme}://{host}:{port}"

    def newest(self, key: VerifyKey) -> Checkpoint | None:
        return None

    def send(self, checkpoint: Checkpoint, tree: TreeSource) -> None:
        data = self.datagram(checkpoint, time.time())
        if self._scheme == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind, protocol) as datagrams:
                datagrams.settimeout(_TIMEOUT)
                datagrams.sendto(data, address)
            return
        stream = socket.create_connection((self._host, self._port), _TIMEOUT)
        if self._context is not None:
            stream = self._context.wrap_socket(stream, server_hostname=self._host)
        with closing(stream):
            stream.sendall(f"{len(data)} ".encode() + data)
            stream.shutdown(socket.SHUT_WR)

    @staticmethod
    def datagram(checkpoint: Checkpoint, now: float) -> bytes:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        stamp = f"{seconds}.{int(now % 1 * 1000):03d}Z"
        host = re.sub(r"[^!-~]", "-", socket.gethostname())[:255] or "-"
        head = f"<109>1 {stamp} {host} sallyport {os.getpid()} checkpoint - "
        return head.encode() + message(checkpoint).encode()


class WitnessThread:
    """One witness of a log. ``failures``: attempts that failed, since start. ``size``: of the
    newest checkpoint that it took.
    """

    def __init__(self, witness: Witness, tree: TreeSource) -> None:
        self._witness, self._tree = witness, tree
        self.name = witness.name
        self.failures = 0
        self.failing = False
        self.size = 0
        self._queue: queue.Queue[Checkpoint | None] = queue.Queue(_QUEUE)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sallyport-witness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, checkpoint: Checkpoint) -> None:
        """Never blocks."""
        while True:
            try:
                self._queue.put_nowait(checkpoint)
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    continue

    def newest(self, key: VerifyKey) -> Checkpoint | None:
        """As :meth:`Witness.newest`; a witness that cannot be read counts as failing."""
        try:
            return self._witness.newest(key)
        except (OSError, WitnessError) as error:
            self._fail(_reason(error))
            return None

    def close(self, seconds: float) -> None:
        """What is queued has so long to go out."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            self._stop.set()
        self._thread.join(seconds)
        self._stop.set()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                checkpoint = self._queue.get()
                if checkpoint is None:
                    return
                self._try(checkpoint)
        except BaseException as error:
            # A bug: it must be seen (threading prints the traceback), and /readyz must say so.
            self._fail(f"its thread ended: {type(error).__name__}")
            raise

    def _try(self, checkpoint: Checkpoint) -> None:
        for pause in (0.0, *PAUSES):
            if self._stop.wait(pause) or self._deliver(checkpoint):
                return

    def _deliver(self, checkpoint: Checkpoint) -> bool:
        try:
            self._witness.send(checkpoint, self._tree)
        except ForkError as error:
            self._fail(str(error))
            return True
        except (OSError, WitnessError, TileError, ValueError) as error:
            self._fail(_reason(error))
            return False
        if self.failing:
            _log.warning("a witness takes checkpoints again", witness=self.name)
        self.failing, self.size = False, max(self.size, checkpoint.size)
        return True

    def _fail(self, reason: str) -> None:
        self.failures += 1
        if not self.failing:
            _log.error("a witness did not take a checkpoint", witness=self.name, reason=reason)
        self.failing = True


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__
