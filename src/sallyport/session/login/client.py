"""The client's side of a login, without I/O: TLS negotiation, exactly one StartupMessage, the
token.

``receive(data)`` fills ``to_client`` and appends to ``requests`` what the owner must do. Nothing
that arrived before TLS is ever read as if it had come through it (CVE-2021-23214), and what a peer
sends before it is authenticated is bounded.

Source: protocol section 54.2.1, 54.2.11 (SSL), 54.2.12 (GSSAPI); PostgreSQL's
src/backend/tcop/backend_startup.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sallyport.core.errors import ProtocolError, Refusal, RefusedError, refuse
from sallyport.core.secret import Secret, without_tokens
from sallyport.wire import backend, frontend, oauthbearer, startup


class Phase(Enum):
    """What is awaited of the client."""

    FIRST = "first packet"
    TLS = "TLS handshake"
    PASSWORD = "password"  # noqa: S105 - the name of a state
    SASL = "OAUTHBEARER"
    SASL_FAILED = "OAUTHBEARER failed"
    WORKING = "authenticating"
    DONE = "done"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class StartTls:
    """Wrap everything from here on; ``received``: TLS bytes that are there already (direct TLS)."""

    direct: bool
    received: bytes


@dataclass(frozen=True, slots=True)
class CancelBackend:
    """The client asks that a session's statement be cancelled."""

    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Everything a login needs. ``settings``: startup parameters that name settings, by name in
    lower case, as asked for: nobody has judged them.
    """

    token: Secret
    label: str
    target: str
    settings: dict[str, str]
    minor: int


@dataclass(frozen=True, slots=True)
class AwaitSignIn:
    """Somebody without a token, who is to sign in at the issuer's page. AuthenticationOk was said
    already: libpq takes a NoticeResponse only after it (src/interfaces/libpq/fe-connect.c,
    CONNECTION_AUTH_OK). The fields are those of :class:`Authenticate`.
    """

    label: str
    target: str
    settings: dict[str, str]
    minor: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The login was refused: once, however the client takes it."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Close:
    """The connection ends. ``reason``: for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class OAuthOffer:
    """Who connects with the user name ``user`` is asked for SASL OAUTHBEARER in place of a
    password, and told to get tokens where ``discovery_url`` says, for ``scope``.
    """

    user: str
    discovery_url: str
    scope: str


Request = StartTls | CancelBackend | Authenticate | AwaitSignIn | Refused | Close

_MAX_PASSWORD = 65_535


class ClientLogin:
    """``tls``: a certificate is configured. ``loopback``: the peer is on this machine, so no TLS is
    needed. ``oauth``: None: nobody is asked for OAUTHBEARER. ``sign_in_user``: the user name that
    signs in at the issuer's page; "": nobody does.
    """

    def __init__(
        self,
        *,
        tls: bool,
        loopback: bool,
        oauth: OAuthOffer | None = None,
        sign_in_user: str = "",
    ) -> None:
        self.to_client = bytearray()
        self.requests: list[Request] = []
        self.phase = Phase.FIRST
        self.encrypted = False
        self.label = ""
        self._tls = tls
        self._loopback = loopback
        self._oauth, self._sign_in_user = oauth, sign_in_user
        self._said_ok = False  # AuthenticationOk
        self._in_sasl = False  # an OAUTHBEARER exchange is open
        self._refusal: Refusal | None = None  # said once the client has acknowledged that it failed
        self._is_discovery = False  # no token was sent, to learn where to get one
        self._input = bytearray()
        self._gss_asked = self._ssl_asked = False
        self._message: startup.StartupMessage | None = None
        self._minor = 0
        self._parameters: startup.Parameters | None = None

    @property
    def target(self) -> str:
        """What the client asks for; "" before it has."""
        return self._parameters.database if self._parameters is not None else ""

    def receive(self, data: bytes) -> None:
        """Take bytes from the client. Raises nothing: what is wrong becomes an error message and a
        Close.
        """
        if self.phase in (Phase.CLOSED, Phase.DONE):
            return
        self._input += data
        try:
            self._advance()
        except ProtocolError as error:
            self.refuse(refuse("SP1501", f"protocol violation: {error}"))
        except RefusedError as error:
            self.refuse(error.refusal)

    def tls_started(self) -> None:
        """The TLS layer is in place; the next bytes come through it."""
        self.encrypted = True
        self.phase = Phase.FIRST

    def notify(self, text: str, detail: str, hint: str) -> None:
        """A NOTICE for somebody who signs in."""
        if self._said_ok and self.phase is Phase.WORKING:
            self.to_client += backend.notice_response(
                "NOTICE", "00000", text, detail=detail, hint=hint
            )

    def take_rest(self) -> bytes:
        """Bytes that the client pipelined behind its password: they belong to the session.
        AuthenticationOk is in ``to_client``.
        """
        if not self._said_ok:
            self.to_client += backend.authentication_ok()
        self.phase = Phase.DONE
        rest = bytes(self._input)
        self._input.clear()
        return rest

    def refuse(self, refusal: Refusal) -> None:
        """Say no, as FATAL, and close."""
        if self.phase is Phase.CLOSED:
            return
        if self._refusal is None and not self._is_discovery:
            self.requests.append(Refused(refusal))
        if self._in_sasl and self._oauth is not None and refusal.code.id == "SP1601":
            self._in_sasl, self._refusal, self.phase = False, refusal, Phase.SASL_FAILED
            document = oauthbearer.failure(self._oauth.discovery_url, self._oauth.scope)
            self.to_client += backend.authentication_sasl_continue(document)
            return
        self.phase = Phase.CLOSED
        self.to_client += backend.refusal_error(refusal, "FATAL")
        self.requests.append(Close(refusal.text))

    def _advance(self) -> None:
        while self.phase is Phase.FIRST and self._input:
            if not self._first():
                return
        if self.phase is Phase.PASSWORD:
            self._password()
        elif self.phase is Phase.SASL:
            self._sasl()
        elif self.phase is Phase.SASL_FAILED:
            self._sasl_failed()
        elif self.phase is Phase.WORKING and len(self._input) > _MAX_PASSWORD:
            raise ProtocolError("too much was sent before the login was answered")

    def _ends(self) -> bool:
        """Terminate in place of a login: as PostgreSQL, nothing is said to it."""
        if not self._input.startswith(frontend.terminate()):
            return False
        self.phase = Phase.CLOSED
        self.requests.append(Close("the client ended the connection before its login"))
        return True

    def _first(self) -> bool:
        """One untyped packet. False when more bytes are needed."""
        if self._ends() or frontend.terminate().startswith(self._input):
            return False
        if startup.is_direct_tls(self._input[0]) and not self.encrypted and not self._ssl_asked:
            if not self._tls:
                raise ProtocolError(
                    "TLS was started, but this gateway has no certificate configured"
                )
            self._start_tls(direct=True)
            return True
        packet, used = startup.parse_first(self._input)
        if packet is None:
            return False
        del self._input[:used]
        if isinstance(packet, startup.SSLRequest):
            self._ssl_request()
        elif isinstance(packet, startup.GSSENCRequest):
            if self._gss_asked or self.encrypted:
                raise ProtocolError("GSSENCRequest is not expected here")
            self._gss_asked = True
            self.to_client += b"N"
        elif isinstance(packet, startup.CancelRequest):
            self.phase = Phase.CLOSED
            self.requests += [CancelBackend(packet.pid, packet.key), Close("cancel request")]
        else:
            self._startup(packet)
        return True

    def _ssl_request(self) -> None:
        if self._ssl_asked or self.encrypted:
            raise ProtocolError("SSLRequest is not expected here")
        self._ssl_asked = True
        if not self._tls:
            self.to_client += b"N"
            return
        if self._input:
            raise ProtocolError("bytes arrived behind SSLRequest before TLS was negotiated")
        self.to_client += b"S"
        self._start_tls(direct=False)

    def _start_tls(self, *, direct: bool) -> None:
        received = bytes(self._input)
        self._input.clear()
        self.phase = Phase.TLS
        self.requests.append(StartTls(direct, received))

    def _startup(self, message: startup.StartupMessage) -> None:
        negotiation = startup.negotiate(message.major, message.minor, message.parameters)
        self._minor = negotiation.minor_used
        if not self.encrypted and not self._loopback:
            raise RefusedError(
                refuse(
                    "SP1602",
                    "a token is not accepted over an unencrypted connection",
                    "The client does not use TLS and is not on the gateway's own machine.",
                    "Connect with sslmode=verify-full, or at least sslmode=require.",
                )
            )
        parameters = startup.read_parameters(message.parameters)
        if isinstance(parameters, Refusal):
            raise RefusedError(parameters)
        parameters = self._parameters = _without_tokens(parameters)
        self.label = parameters.user
        if negotiation.reply is not None:
            self.to_client += negotiation.reply
        if self._sign_in_user and self._sign_in_user == parameters.user:
            self.to_client += backend.authentication_ok()
            self._said_ok, self.phase = True, Phase.WORKING
            self.requests.append(
                AwaitSignIn(self.label, parameters.database, parameters.settings, self._minor)
            )
            return
        if self._oauth is not None and self._oauth.user == parameters.user:
            self.to_client += backend.authentication_sasl([oauthbearer.MECHANISM])
            self.phase = Phase.SASL
            self._sasl()
            return
        self.to_client += backend.authentication_cleartext()
        self.phase = Phase.PASSWORD
        self._password()

    def _answer(self, expected: str) -> bytes | None:
        """The body of the client's next message, which has the type of a password; None when more
        bytes are needed, or the client ended the connection.
        """
        if len(self._input) < 5 or self._ends():
            return None
        length = int.from_bytes(self._input[1:5], "big")
        if self._input[0] != frontend.PASSWORD or not 4 <= length <= _MAX_PASSWORD:
            raise ProtocolError(f"a {expected} was expected")
        if len(self._input) < 1 + length:
            return None
        body = bytes(self._input[5 : 1 + length])
        del self._input[: 1 + length]
        return body

    def _sasl(self) -> None:
        body = self._answer("SASLInitialResponse")
        if body is None:
            return
        message = frontend.parse_sasl_initial(body)
        if message.mechanism != oauthbearer.MECHANISM:
            raise ProtocolError("the client chose a SASL mechanism that was not offered")
        token = oauthbearer.parse_initial(message.data)
        self._in_sasl, self._is_discovery = True, token is None
        if token is None:
            raise RefusedError(
                refuse(
                    "SP1601",
                    "no token was sent",
                    hint="Get a token from the issuer in the discovery document.",
                )
            )
        self._authenticate(token)

    def _sasl_failed(self) -> None:
        body = self._answer("SASLResponse")
        if body is None:
            return
        if body != oauthbearer.SEPARATOR or self._refusal is None:
            raise ProtocolError("OAUTHBEARER: a failure is acknowledged with one separator")
        self.refuse(self._refusal)

    def _password(self) -> None:
        body = self._answer("PasswordMessage")
        if body is None:
            return
        password = frontend.parse_password(body).password
        if not password:
            raise RefusedError(
                refuse(
                    "SP1601",
                    "no token was sent",
                    hint="Send the identity token as the password (PGPASSWORD).",
                )
            )
        self._authenticate(password)

    def _authenticate(self, token: Secret) -> None:
        asked = self._parameters
        if asked is None:
            raise ProtocolError("a password before a StartupMessage")
        self.phase = Phase.WORKING
        self.requests.append(
            Authenticate(token, self.label, asked.database, asked.settings, self._minor)
        )


def _without_tokens(asked: startup.Parameters) -> startup.Parameters:
    """Who mistakes the field sends the token as a name. Of these two it would come into logs and
    recordings here, and at the database; the user name stays here, and is shown without it.
    """
    settings = dict(asked.settings)
    if "application_name" in settings:
        settings["application_name"] = without_tokens(settings["application_name"])
    return asked._replace(database=without_tokens(asked.database), settings=settings)
