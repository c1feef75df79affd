"""The gateway's login at a target, without I/O: TLS request, StartupMessage, SASL, and what the
server says before its first ReadyForQuery.

Nothing a client sent reaches this but settings on the allow-list. A server that asks for a weaker
authentication than configured is refused: a man in the middle could ask for the password in clear.

Source: protocol section 54.2.1 and 54.3.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from sallyport.core.errors import ProtocolError, SallyportError
from sallyport.core.secret import Secret
from sallyport.wire import backend, frontend, scram
from sallyport.wire.frames import split

_MAX_MESSAGE = 1 << 20


class UpstreamError(SallyportError):
    """The target refused the login or spoke nonsense. ``sqlstate`` is the server's own, or ""."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class NoTlsError(UpstreamError):
    """The target does not speak TLS as configured."""


class Step(Enum):
    """What is awaited of the server."""

    TLS_ANSWER = "TLS answer"
    AUTHENTICATION = "authentication"
    SASL_CONTINUE = "SASL continue"
    SASL_FINAL = "SASL final"
    STARTED = "started"
    READY = "ready"


class Backend(NamedTuple):
    """What the server said of the process that serves the connection, and of its settings."""

    pid: int
    key: bytes
    parameters: dict[str, str]


@dataclass(slots=True)
class UpstreamLogin:
    """user/database/password: of the target. settings: startup parameters. allowed: of
    scram-sha-256, md5, password, trust.

    ``channel_binding``: tls-server-end-point data, set by the owner once TLS is up.
    """

    user: str
    database: str
    password: Secret
    settings: Mapping[str, str]
    allowed: Collection[str]
    tls: bool
    binding: str = "prefer"  # channel binding: prefer, require or disable
    minor: int = 0
    max_iterations: int = 100_000
    key_cache: scram.KeyCache | None = None
    channel_binding: bytes | None = None
    to_server: bytearray = field(default_factory=bytearray)
    parameters: dict[str, str] = field(default_factory=dict)
    pid: int = 0
    key: bytes = b""
    step: Step = Step.AUTHENTICATION
    wants_tls: bool = False
    _input: bytearray = field(default_factory=bytearray)
    _scram: scram.ScramClient | None = None
    _proved: bool = False

    @property
    def ready(self) -> bool:
        """The server said ReadyForQuery."""
        return self.step is Step.READY

    @property
    def backend(self) -> Backend:
        """All that the connection needs of its login, once it is ready."""
        return Backend(self.pid, self.key, self.parameters)

    def take(self) -> bytes:
        """What is to be sent; it counts as sent then."""
        data = bytes(self.to_server)
        self.to_server.clear()
        return data

    def start(self) -> None:
        if self.tls:
            self.step = Step.TLS_ANSWER
            self.to_server += frontend.ssl_request()
        else:
            self._startup()

    def tls_started(self, channel_binding: bytes | None) -> None:
        self.channel_binding = channel_binding
        self.wants_tls = False
        self._startup()

    def _startup(self) -> None:
        self.step = Step.AUTHENTICATION
        parameters = {"user": self.user, "database": self.database, **self.settings}
        self.to_server += frontend.startup_message(parameters, self.minor)

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the server; once READY, gives back what came behind. Raises
        UpstreamError, ProtocolError.
        """
        self._input += data
        if self.step is Step.TLS_ANSWER:
            return self._tls_answer()
        spans, rest = split(self._input, 0, _MAX_MESSAGE, False)
        for kind, start, end, _ in spans:
            if self.step is Step.READY:
                rest = start
                break
            self._message(kind, bytes(self._input[start + 5 : end]))
        if self.step is Step.READY:
            behind = bytes(self._input[rest:])
            self._input.clear()
            return behind
        del self._input[:rest]
        return b""

    def _tls_answer(self) -> bytes:
        if not self._input:
            return b""
        answer = bytes(self._input)
        self._input.clear()
        if answer == b"S":
            self.wants_tls = True
            return b""
        if answer[:1] == b"S":
            raise NoTlsError("the server sent bytes before TLS was negotiated")
        raise NoTlsError(
            "the server does not offer TLS, which the target's configuration asks for; "
            "tls: disable is for a server on the same machine"
        )

    def _message(self, kind: int, body: bytes) -> None:
        if kind == 0x45:
            fields = backend.parse_error_fields(body)
            raise UpstreamError(
                fields.get("M", "the server refused the login"), fields.get("C", "")
            )
        if kind == 0x52:
            self._authentication(*backend.parse_authentication(body))
        elif kind == 0x76:  # NegotiateProtocolVersion: whatever is older than asked is spoken
            self.minor = backend.parse_negotiate_protocol_version(body).minor
        elif self.step is not Step.STARTED:
            raise ProtocolError(f"message type 0x{kind:02x} before the login was accepted")
        elif kind == 0x53:
            status = backend.parse_parameter_status(body)
            # The same of every session of a target: kept once.
            self.parameters[sys.intern(status.name)] = sys.intern(status.value)
        elif kind == 0x4B:
            self.pid, self.key = backend.parse_backend_key_data(body)
        elif kind == 0x5A:
            self.step = Step.READY
        elif kind != 0x4E:
            raise ProtocolError(f"message type 0x{kind:02x} during login")

    def _authentication(self, code: int, data: bytes) -> None:
        if code == 0:
            needs_proof = not {"trust", "password", "md5"} & set(self.allowed)
            if not self._proved and needs_proof:
                raise UpstreamError(
                    "the server asked for no password; add trust to the target's auth if that is"
                    " meant"
                )
            self.step = Step.STARTED
        elif code == 10 and self.step is Step.AUTHENTICATION:
            self._sasl(backend.parse_sasl_mechanisms(data))
        elif code == 11 and self.step is Step.SASL_CONTINUE and self._scram is not None:
            self.to_server += frontend.sasl_response(self._scram.respond(data))
            self.step = Step.SASL_FINAL
        elif code == 12 and self.step is Step.SASL_FINAL and self._scram is not None:
            self._scram.verify(data)
            self._proved = True
            self.step = Step.AUTHENTICATION
        elif code in (3, 5) and self.step is Step.AUTHENTICATION and not self._proved:
            self._weak(code, data)
        else:
            raise UpstreamError(
                f"the server asks for authentication {code}, which is not supported here"
            )

    def _sasl(self, mechanisms: list[str]) -> None:
        self._need("scram-sha-256")
        self._scram = scram.ScramClient(
            password=self.password,
            channel_binding=None if self.binding == "disable" else self.channel_binding,
            require_binding=self.binding == "require",
            server_offers=mechanisms,
            max_iterations=self.max_iterations,
            min_iterations=1 if self.tls else scram.DEFAULT_ITERATIONS,
            cache=self.key_cache or scram.SHARED_KEYS,
        )
        self.to_server += frontend.sasl_initial(self._scram.mechanism, self._scram.first())
        self.step = Step.SASL_CONTINUE

    def _weak(self, code: int, data: bytes) -> None:
        if code == 3:
            self._need("password")
            self.to_server += frontend.password(self.password)
            return
        self._need("md5")
        self.to_server += frontend.password(scram.md5_password(self.user, self.password, data))

    def _need(self, method: str) -> None:
        if method not in self.allowed:
            raise UpstreamError(
                f"the server asks for {method} authentication, which this target's configuration"
                " does not allow"
            )
