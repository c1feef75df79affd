"""What the console is told, and what it is given to work with. Made by the composition root;
read-only.

Nothing here reads a file or the environment: secrets come resolved, issuers come checked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from starlette.routing import Route

from sallyport.approvals.channels.slack import Slack
from sallyport.approvals.service import Approvals
from sallyport.audit.actions import ActionLog
from sallyport.audit.tlog.cosigning import Cosigner
from sallyport.core.address import Networks, is_loopback
from sallyport.core.clock import Clock, SystemClock
from sallyport.core.sealing import KEY_BYTES, SealedBox
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import Authenticator
from sallyport.identity.locks import Locks
from sallyport.identity.problems import IdentityProblem
from sallyport.identity.replay import UsedMessageStore
from sallyport.identity.session_tokens import SessionTokens
from sallyport.identity.settings import IssuerSettings
from sallyport.identity.single_logout import EndedSession, LogoutRequest, LogoutResponse
from sallyport.operations.access import Access
from sallyport.operations.archiving import Archiver
from sallyport.operations.history import History
from sallyport.operations.policies import Members, PolicyVersions
from sallyport.operations.ports import LiveGateway
from sallyport.operations.sessions import Sessions
from sallyport.operations.streaming import Stream
from sallyport.server.watching import Watching
from sallyport.store.statementindex import StatementIndexPort
from sallyport.web.auth.shared_signins import SharedSignIns


class SamlRequest(Protocol):
    """Where the browser goes: by GET to ``url``, or with a form of ``fields`` by POST when there
    are any.
    """

    @property
    def url(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, str]: ...


class SamlSignIn(Protocol):
    """A SAML identity provider (:mod:`sallyport.identity.saml`, which needs an extra)."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """What its button says."""
        ...

    async def request(self, id_: str) -> SamlRequest:
        """The answer must name ``id_``. Raises SallyportError."""
        ...

    async def verify_response(
        self, response: str, request_id: str = "", *, label: str = ""
    ) -> Subject | IdentityProblem:
        """Uses the assertion. Never raises for a bad response."""
        ...

    def descriptor(self) -> bytes:
        """Our metadata. Raises SallyportError."""
        ...

    @property
    def issuers(self) -> Collection[str]: ...

    @property
    def signs_out(self) -> bool:
        """Whether there is single logout."""
        ...

    def session_of(self, subject: Subject) -> EndedSession:
        """What is over when the subject signs out."""
        ...

    def end(self, ended: EndedSession) -> None:
        """Whoever came with that session is not accepted any more."""
        ...

    async def store_ended(self) -> bool:
        """Whether that is kept where processes find it that were away."""
        ...

    def is_over(self, subject: Subject) -> bool:
        """Whether the session that the subject came with was ended."""
        ...

    async def logout_request(self, subject: Subject, id_: str) -> SamlRequest:
        """The answer must name ``id_``. Raises SallyportError."""
        ...

    async def read_logout(
        self, query: str, form: Sequence[tuple[str, str]] | None
    ) -> LogoutRequest | LogoutResponse:
        """A message that a redirect (``form`` None) or a post brought. Raises SallyportError."""
        ...

    async def logout_response(self, request: LogoutRequest, *, is_done: bool) -> SamlRequest:
        """Raises SallyportError."""
        ...


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """public_url: scheme, host and port as browsers see them, without a path. issuer: whom people
    sign in with; None: with SAML only. client_id "": nobody can sign in. client_secret None: a
    public client. Seconds. forwarding_header: of requests from ``proxies``, who they come from.
    """

    public_url: str
    issuer: IssuerSettings | None
    client_id: str = ""
    client_secret: Secret | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    session_seconds: float = 8 * 3600.0
    idle_seconds: float = 1800.0
    forwarding_header: str = ""
    wire_address: str = "127.0.0.1:6432"  # where agents connect, for people
    proxies: Networks = field(default_factory=lambda: Networks(()))

    @property
    def secure(self) -> bool:
        """Browsers reach the console over TLS: cookies say so."""
        return self.public_url.startswith("https:")

    @property
    def redirect_uri(self) -> str:
        return f"{self.public_url}/sign-in/callback"

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names this console. Others would be a name that somebody else
        controls (DNS rebinding).
        """
        try:
            mine, named = urlsplit(self.public_url), urlsplit(f"//{header}")
            host, _ = named.hostname or "", named.port
        except ValueError:
            return False
        if named.username is not None or named.path:
            return False
        if header.lower() == mine.netloc.lower():
            return True
        return is_loopback(mine.hostname or "") and is_loopback(host)


class Entrance(Protocol):
    """Another entrance that the console's web server carries."""

    @property
    def routes(self) -> Sequence[Route]: ...

    def run(self) -> AbstractAsyncContextManager[None]:
        """Entered while the server runs."""
        ...


@dataclass(frozen=True, slots=True)
class SharedConsole:
    """What consoles have in common. box: seals what goes along with browsers, under the same key at
    all gateways of the store. used: what counts once; None: this process remembers it alone.
    signins: who is signed in; None: to this console alone.
    """

    box: SealedBox = field(
        default_factory=lambda: SealedBox(os.urandom(KEY_BYTES), "sallyport console")
    )
    used: UsedMessageStore | None = None
    signins: SharedSignIns | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """authenticator: of bearer tokens, the same as the wire's. approvals None: there are none in
    this gateway. policies None: earlier ones are not kept.
    members None: it is not known who serves. directories: whose space is watched, by
    name. actions: where what people do is recorded. locks: those that the authenticator knows.
    saml: providers that people may sign in with, by name. session_tokens: those that the
    authenticator knows; None: none are issued. search: opens the index of statements; None: there
    is none. streams: of the record. watching None: unusual behaviour is not watched. archiver: of
    recordings; None: there is none. history: of all gateways of the store. mcp: makes the entrance
    for MCP clients; None: there is none. shared: with the consoles of other gateways.
    """

    settings: ConsoleSettings
    access: Access
    authenticator: Authenticator
    sessions: Sessions
    gateway: LiveGateway
    approvals: Approvals | None = None
    slack: Slack | None = None
    cosigner: Cosigner | None = None
    directories: Mapping[str, Path] = field(default_factory=dict)
    policies: PolicyVersions | None = None
    members: Members | None = None
    clock: Clock = field(default_factory=SystemClock)
    actions: ActionLog = field(kw_only=True)
    history: History = field(kw_only=True)
    locks: Locks = field(kw_only=True)
    saml: Mapping[str, SamlSignIn] = field(default_factory=dict, kw_only=True)
    session_tokens: SessionTokens | None = field(default=None, kw_only=True)
    search: Callable[[], StatementIndexPort] | None = field(default=None, kw_only=True)
    streams: Sequence[Stream] = field(default=(), kw_only=True)
    watching: Watching | None = field(default=None, kw_only=True)
    archiver: Archiver | None = field(default=None, kw_only=True)
    mcp: Callable[[], Entrance] | None = field(default=None, kw_only=True)
    shared: SharedConsole = field(default_factory=SharedConsole, kw_only=True)
