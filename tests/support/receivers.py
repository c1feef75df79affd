"""Receivers on loopback: syslog over TCP and TLS, HTTP that can be told to fail, and mail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class SyslogReceiver:
    """RFC 5424 messages with octet counting. ``messages``: what came, whole. ``port`` stays when it
    is stopped and started again.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.messages: list[str] = []
        self.port = 0
        self._tls = tls
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self.start()

    def start(self) -> None:
        self._listener = listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """As if it died: what it had not read is lost."""
        if self._listener is not None:
            # close() alone leaves the port to whoever accepts on it
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # close() alone does not wake who reads
            connection.close()
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        data = b""
        while True:
            try:
                more = connection.recv(65536)
            except OSError:
                return
            if not more:
                return
            data += more
            while b" " in data[:10]:
                size, _, rest = data.partition(b" ")
                if len(rest) < int(size):
                    break
                self.messages.append(rest[: int(size)].decode())
                data = rest[int(size) :]

    def events(self) -> list[dict[str, Any]]:
        """The JSON of every message."""
        return [json.loads(message.split(" - ", 1)[1]) for message in list(self.messages)]


class HttpReceiver:
    """``answer``: of a request's path and body, the status and the text that it gets; what was
    answered by 2xx is in ``taken``.
    """

    def __init__(self, answer: Callable[[str, bytes], tuple[int, str]]) -> None:
        self.answer = answer
        self.taken: list[bytes] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                status, text = receiver.answer(self.path, body)
                if 200 <= status < 300:
                    receiver.taken.append(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def mail_receiver() -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """Enough of RFC 5321 (asyncio). Port, and envelope with text of every mail."""
    mails: list[tuple[str, bytes]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 double ESMTP\r\n")
        envelope = ""
        while line := await reader.readline():
            word = line[:4].upper()
            if word in (b"MAIL", b"RCPT"):
                envelope += line.decode()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                text = b""
                while (part := await reader.readline()) not in (b".\r\n", b""):
                    text += part
                mails.append((envelope, text))
            writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n")
            await writer.drain()
            if word == b"QUIT":
                break
        writer.close()

    ready, loop = threading.Event(), asyncio.new_event_loop()
    ports: list[int] = []

    async def serve() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await server.serve_forever()

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    task = loop.create_task(serve())
    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(5)
        yield ports[0], mails
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(5)
