"""``sallyport.yaml``: typed settings, validated once, passed down.

:func:`load_config` gives a frozen :class:`Config` or raises ConfigError, whose text names file, line, what
is wrong and what to do. Paths in the file are relative to the file; here they are absolute. Secrets stay
references (:class:`SecretRef`): nothing here reads one. Every key is described in docs/configuration.md; a
test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from sallyport.core.address import Address, is_loopback, parse_address
from sallyport.core.yamltext import Document, YamlPath, read_yaml

AuthMethod = Literal["scram-sha-256", "md5", "password", "trust"]
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]

ApprovalEvent = Literal["asked", "approved", "denied", "expired", "withdrawn", "voided"]


class SecretRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is: exactly one of an environment variable, a file, or a command whose standard output
    it is.
    """

    env: str | None = None
    file: str | None = None
    command: tuple[str, ...] | None = None


class TlsFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files of the gateway's own certificate chain and key. ``direct``: also accept TLS without an
    SSLRequest (ALPN postgresql).
    """

    certificate: str
    key: str
    direct: bool = True


class ConsoleRoles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Groups whose members have each role in the console and over REST. Nobody has a role that is not given here."""

    viewer: tuple[str, ...] = ()
    reviewer: tuple[str, ...] = ()
    auditor: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()


class Console(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The web console and REST interface. ``issuer`` "": the first of ``identity.oidc``. ``client_id`` "": nobody
    can sign in, only bearer tokens count. ``public_url`` "": made from ``listen``. Seconds.
    """

    listen: str = "127.0.0.1:8642"
    public_url: str = ""
    issuer: str = ""
    client_id: str = ""
    client_secret: SecretRef | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    roles: ConsoleRoles = ConsoleRoles()
    session_seconds: float = 8 * 3600.0
    idle_seconds: float = 1800.0


class OidcIssuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One identity provider. ``clock_skew`` and ``max_token_age`` are seconds (0: no such limit);
    ``agent_claim`` names the acting program.
    """

    issuer: str
    audience: str
    groups_claim: str = "groups"
    agent_claim: str = "azp"
    algorithms: tuple[Algorithm, ...] | None = None
    jwks_url: str = ""
    clock_skew: float = 30.0
    max_token_age: float = 0.0
    ca: str | None = None


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``required_claims``: claim name -> accepted value or list of values; a token without one of them is
    refused.
    """

    oidc: tuple[OidcIssuer, ...] = ()
    required_claims: dict[str, Any] = {}


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One database behind the gateway. ``host`` may be the directory of a Unix socket. ``auth``: methods
    the server may ask for.
    """

    host: str
    database: str
    user: str
    port: int = 5432
    password: SecretRef | None = None
    tls: Literal["verify-full", "require", "disable"] = "verify-full"
    ca: str | None = None
    channel_binding: Literal["prefer", "require", "disable"] = "prefer"
    auth: tuple[AuthMethod, ...] = ("scram-sha-256",)
    connect_seconds: float = 10.0


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the gateway itself (the policy has its own). Seconds and bytes; ``session_seconds`` and
    ``idle_seconds`` 0: no bound.
    """

    login_seconds: float = 30.0
    max_sessions: int = 500
    max_sessions_per_subject: int = 50
    max_message_bytes: int = 64 * 1024 * 1024
    max_row_bytes: int = 16 * 1024 * 1024
    max_statement_bytes: int = 1024 * 1024
    session_seconds: float = 8 * 3600.0
    idle_seconds: float = 3600.0
    held_in_transaction_seconds: float = 60.0
    held_reminder_seconds: float = 60.0


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``events`` None: all."""

    url: str
    secret: SecretRef
    events: tuple[ApprovalEvent, ...] | None = None


class MailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An SMTP server. ``port`` None: 587, or 465 with implicit TLS, or 25 without TLS."""

    host: str
    to: tuple[str, ...]
    sender: str = msgspec.field(name="from")
    port: int | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    user: str = ""
    password: SecretRef | None = None


class SlackPersonSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a Slack user is. ``issuer`` "": the first of ``identity.oidc``."""

    subject: str
    email: str
    groups: tuple[str, ...]
    issuer: str = ""


class SlackSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``people``: by Slack user id. ``team`` "": any workspace the app is installed in."""

    signing_secret: SecretRef
    bot_token: SecretRef
    channel: str
    people: dict[str, SlackPersonSettings] = {}
    team: str = ""
    api: str = "https://slack.com/api"


class ApprovalLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on asking; ``expires_seconds`` caps what rules say."""

    open_per_subject: int = 10
    open_total: int = 1000
    per_minute: int = 60
    per_hour: int = 120
    expires_seconds: float = 7 * 86400.0


class IdentityLinks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is the same person: claims that name them, and lists of names of one person each."""

    claims: tuple[str, ...] = ()
    aliases: tuple[tuple[str, ...], ...] = ()


class ApprovalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How people hear of held statements, and bounds on asking."""

    webhooks: tuple[WebhookSettings, ...] = ()
    mail: MailSettings | None = None
    slack: SlackSettings | None = None
    limits: ApprovalLimits = ApprovalLimits()
    identities: IdentityLinks = IdentityLinks()


class CatalogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``check_seconds``: how often the catalog is compared with the database."""

    check_seconds: float = 5.0


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``directory``: default is ``recordings`` under ``data``."""

    directory: str = ""


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in ``sallyport.yaml``. Paths are absolute once loaded. ``mask_keys``: secrets of ``hash``
    masks, by the name that the policy uses ("default" when it names none).
    """

    identity: Identity
    targets: dict[str, Target]
    policy: str
    listen: str = "127.0.0.1:6432"
    tls: TlsFiles | None = None
    console: Console | None = None
    data: str = "./var"
    mask_keys: dict[str, SecretRef] = {}
    limits: Limits = Limits()
    approvals: ApprovalSettings = ApprovalSettings()
    catalog: CatalogSettings = CatalogSettings()
    recording: Recording = Recording()
    log: Log = Log()

    @property
    def address(self) -> Address:
        """Where agents connect."""
        return parse_address(self.listen)

    @property
    def console_address(self) -> Address | None:
        """Where the console listens; None: it does not."""
        return parse_address(self.console.listen) if self.console else None

    @property
    def policy_path(self) -> Path:
        return Path(self.policy)

    @property
    def data_directory(self) -> Path:
        return Path(self.data)

    @property
    def recording_directory(self) -> Path:
        return Path(self.recording.directory)


#: The sections, by the path of their keys, for the documentation test.
SECTIONS: Mapping[str, Any] = {
    "": Config,
    "tls": TlsFiles,
    "console": Console,
    "console.roles": ConsoleRoles,
    "console.client_secret": SecretRef,
    "identity": Identity,
    "identity.oidc[]": OidcIssuer,
    "targets.<name>": Target,
    "targets.<name>.password": SecretRef,
    "mask_keys.<name>": SecretRef,
    "limits": Limits,
    "approvals": ApprovalSettings,
    "approvals.webhooks[]": WebhookSettings,
    "approvals.webhooks[].secret": SecretRef,
    "approvals.mail": MailSettings,
    "approvals.mail.password": SecretRef,
    "approvals.slack": SlackSettings,
    "approvals.slack.signing_secret": SecretRef,
    "approvals.slack.bot_token": SecretRef,
    "approvals.slack.people.<id>": SlackPersonSettings,
    "approvals.limits": ApprovalLimits,
    "approvals.identities": IdentityLinks,
    "catalog": CatalogSettings,
    "recording": Recording,
    "log": Log,
}


def load_config(path: Path | str) -> Config:
    """Read, check and complete a configuration file. Raises ConfigError."""
    return check_config(read_yaml(Path(path)), Path(path).resolve().parent)


def check_config(document: Document, base: Path) -> Config:
    """A Config from a parsed document; relative paths are taken from ``base``. Raises ConfigError."""
    return _Checker(document, base).config()


class _Checker:
    def __init__(self, document: Document, base: Path) -> None:
        self.document, self.base = document, base

    def config(self) -> Config:
        # Targets first and one by one: inside a mapping msgspec does not say which entry is wrong.
        targets = self._targets()
        for name in self._mapping("mask_keys"):
            self._mask_key(name)
        config = self.document.convert((), Config)
        self._listen(config)
        self._identity(config.identity)
        self._numbers(config)
        if not config.policy:
            raise self.document.error(
                ("policy",), "the path is empty", "Write, for example, 'policy: policy.yaml'"
            )
        data = self._absolute(config.data)
        directory = config.recording.directory
        replaced: Config = msgspec.structs.replace(
            config,
            targets={name: self._target(name, target) for name, target in targets.items()},
            tls=self._tls(config.tls),
            identity=msgspec.structs.replace(
                config.identity, oidc=tuple(self._issuer(i) for i in config.identity.oidc)
            ),
            policy=self._absolute(config.policy),
            console=self._console(config),
            mask_keys={name: self._mask_key(name) for name in config.mask_keys},
            data=data,
            approvals=self._approvals(config),
            recording=msgspec.structs.replace(
                config.recording,
                directory=self._absolute(directory) if directory else str(Path(data) / "recordings"),
            ),
        )
        return replaced

    def _absolute(self, path: str) -> str:
        return str((self.base / Path(path).expanduser()).resolve())

    def _listen(self, config: Config) -> None:
        addresses: list[tuple[YamlPath, str]] = [(("listen",), config.listen)]
        if config.console is not None:
            addresses.append((("console", "listen"), config.console.listen))
        for path, text in addresses:
            try:
                address = parse_address(text)
            except ValueError as error:
                raise self.document.error(path, str(error), "Write host:port, like 127.0.0.1:6432") from None
            if config.tls is None and not address.is_loopback:
                what = f"{text} is not a loopback address and there is no TLS: tokens would travel in clear"
                fix = "Add 'tls: {certificate: ..., key: ...}', or listen on 127.0.0.1"
                raise self.document.error(path, what, fix)

    def _tls(self, tls: TlsFiles | None) -> TlsFiles | None:
        if tls is None:
            return None
        for key in ("certificate", "key"):
            self._readable(("tls", key), getattr(tls, key))
        return TlsFiles(self._absolute(tls.certificate), self._absolute(tls.key), tls.direct)

    def _console(self, config: Config) -> Console | None:
        console = config.console
        if console is None:
            return None
        issuers = [one.issuer for one in config.identity.oidc]
        if console.issuer and console.issuer not in issuers:
            fix = "Write one of them exactly, or remove the key: then it is the first"
            raise self.document.error(("console", "issuer"), "this issuer is not one of identity.oidc", fix)
        if console.public_url:
            self._public_url(console.public_url)
        if console.client_id and "openid" not in console.scopes:
            raise self.document.error(
                ("console", "scopes"), "without the scope openid there is no sign-in", "Add openid"
            )
        if console.client_id and console.client_id in [one.audience for one in config.identity.oidc]:
            fix = "Give the console a client of its own at the issuer"
            what = "this is the audience of an issuer: sign-in tokens of the console would open the gateway"
            raise self.document.error(("console", "client_id"), what, fix)
        if console.client_secret is not None and not console.client_id:
            raise self.document.error(
                ("console", "client_secret"), "a secret without a client", "Add 'client_id'"
            )
        for key in ("session_seconds", "idle_seconds"):
            if getattr(console, key) <= 0:
                raise self.document.error(("console", key), "must be more than 0", "Write seconds")
        secret = console.client_secret
        return msgspec.structs.replace(
            console,
            issuer=console.issuer or issuers[0],
            public_url=console.public_url.rstrip("/"),
            client_secret=self._one_of(("console", "client_secret"), secret) if secret else None,
        )

    def _public_url(self, url: str) -> None:
        self._url(("console", "public_url"), url)
        parts = urlsplit(url)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            fix = "Write only scheme, host and port, like https://sallyport.example.com"
            raise self.document.error(("console", "public_url"), "the console has a host of its own", fix)

    def _readable(self, path: YamlPath, name: str) -> None:
        if not Path(self._absolute(name)).is_file():
            raise self.document.error(
                path,
                f"there is no file {self._absolute(name)}",
                "Check the path; it is relative to this file",
            )

    def _identity(self, identity: Identity) -> None:
        if not identity.oidc:
            fix = "Add an entry with issuer and audience"
            raise self.document.error(("identity", "oidc"), "without an issuer nobody can log in", fix)
        seen: set[str] = set()
        for i, issuer in enumerate(identity.oidc):
            path: YamlPath = ("identity", "oidc", i)
            self._url((*path, "issuer"), issuer.issuer)
            if issuer.jwks_url:
                self._url((*path, "jwks_url"), issuer.jwks_url)
            if issuer.issuer in seen:
                raise self.document.error((*path, "issuer"), "this issuer is there twice", "Remove one")
            seen.add(issuer.issuer)
            for key in ("audience", "groups_claim", "agent_claim"):
                if not getattr(issuer, key):
                    raise self.document.error(
                        (*path, key), "the value is empty", "Write the value your tokens carry"
                    )
            if issuer.algorithms is not None and not issuer.algorithms:
                raise self.document.error(
                    (*path, "algorithms"), "the list is empty", "Name some, or remove the key"
                )
            if not 0 <= issuer.clock_skew <= 300:
                raise self.document.error((*path, "clock_skew"), "must be 0 to 300 seconds", "30 is usual")
            if issuer.max_token_age < 0:
                raise self.document.error(
                    (*path, "max_token_age"), "must not be negative", "Write seconds, or 0 for no limit"
                )
            if issuer.ca:
                self._readable((*path, "ca"), issuer.ca)
        for name, value in identity.required_claims.items():
            values = value if isinstance(value, list) else [value]
            if not values or any(not isinstance(v, (str, int, float, bool)) for v in values):
                fix = "Write a text, number, true or false, or a list of them"
                raise self.document.error(
                    ("identity", "required_claims", name), "the value must be plain", fix
                )

    def _url(self, path: YamlPath, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.username is not None or parts.scheme not in ("https", "http"):
            raise self.document.error(path, f"{url!r} is not a usable URL", "Write https://host/...")
        if parts.scheme == "http" and not is_loopback(host):
            raise self.document.error(
                path, f"{url!r} is not https, so its keys could be forged on the way", "Write https://"
            )

    def _issuer(self, issuer: OidcIssuer) -> OidcIssuer:
        replaced: OidcIssuer = msgspec.structs.replace(
            issuer, ca=self._absolute(issuer.ca) if issuer.ca else None
        )
        return replaced

    def _mapping(self, key: str) -> dict[str, Any]:
        value = self.document.data.get(key)
        return value if isinstance(value, dict) else {}

    def _targets(self) -> dict[str, Target]:
        given = self.document.data.get("targets")
        if not isinstance(given, dict) or not given:
            fix = "Add 'targets:' with a name, and host, database and user under it"
            raise self.document.error(("targets",), "at least one target is needed", fix)
        out = {}
        for name in given:
            if (
                not name
                or len(name.encode()) > 63
                or any(ord(c) < 33 for c in name)
                or "*" in name
                or "?" in name
            ):
                raise self.document.error(
                    ("targets", name),
                    f"{name!r} is not usable as a database name",
                    "Use letters, digits, - and _",
                )
            out[name] = self.document.convert(("targets", name), Target)
        return out

    def _target(self, name: str, target: Target) -> Target:
        path: YamlPath = ("targets", name)
        for key in ("host", "database", "user"):
            if not getattr(target, key):
                raise self.document.error(
                    (*path, key), "the value is empty", "Write it, or remove the target"
                )
        if not 0 < target.port < 65536:
            raise self.document.error(
                (*path, "port"), f"{target.port} is not a port", "Write 1 to 65535; 5432 is usual"
            )
        if not target.auth:
            raise self.document.error(
                (*path, "auth"), "the list is empty", "Name at least one, for example [scram-sha-256]"
            )
        if target.connect_seconds <= 0:
            raise self.document.error((*path, "connect_seconds"), "must be more than 0", "10 is usual")
        password = self._one_of((*path, "password"), target.password) if target.password else None
        self._target_tls(path, target)
        replaced: Target = msgspec.structs.replace(
            target,
            password=password,
            ca=self._absolute(target.ca) if target.ca else None,
        )
        return replaced

    def _target_tls(self, path: YamlPath, target: Target) -> None:
        if target.ca:
            self._readable((*path, "ca"), target.ca)
            if target.tls != "verify-full":
                fix = "Write 'tls: verify-full', or remove 'ca'"
                raise self.document.error((*path, "ca"), f"the CA is not used with 'tls: {target.tls}'", fix)
        local = target.host.startswith("/") or is_loopback(target.host)
        if target.host.startswith("/") and target.tls != "disable":
            raise self.document.error((*path, "tls"), "a Unix socket has no TLS", "Write 'tls: disable'")
        if target.tls == "disable":
            if target.channel_binding == "require":
                raise self.document.error(
                    (*path, "channel_binding"), "channel binding needs TLS", "Write 'tls: verify-full'"
                )
            if "password" in target.auth and not local:
                fix = "Write 'tls: verify-full', or remove 'password' from 'auth'"
                raise self.document.error(
                    (*path, "auth"), "the password would cross the network in clear", fix
                )

    def _one_of(self, path: YamlPath, ref: SecretRef) -> SecretRef:
        given = [key for key in ("env", "file", "command") if getattr(ref, key)]
        if len(given) != 1:
            fix = "Write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"
            raise self.document.error(path, "exactly one of env, file and command is needed", fix)
        return SecretRef(ref.env, self._absolute(ref.file) if ref.file else None, ref.command)

    def _mask_key(self, name: str) -> SecretRef:
        path: YamlPath = ("mask_keys", name)
        return self._one_of(path, self.document.convert(path, SecretRef))

    def _approvals(self, config: Config) -> ApprovalSettings:
        given, path = config.approvals, ("approvals",)
        for key in given.limits.__struct_fields__:
            if getattr(given.limits, key) <= 0:
                raise self.document.error((*path, "limits", key), "must be more than 0", "Write a number")
        self._aliases(given.identities)
        webhooks = []
        for i, hook in enumerate(given.webhooks):
            self._url((*path, "webhooks", i, "url"), hook.url)
            secret = self._one_of((*path, "webhooks", i, "secret"), hook.secret)
            webhooks.append(msgspec.structs.replace(hook, secret=secret))
        replaced: ApprovalSettings = msgspec.structs.replace(
            given, webhooks=tuple(webhooks), mail=self._mail(given.mail), slack=self._slack(config)
        )
        return replaced

    def _aliases(self, given: IdentityLinks) -> None:
        seen: set[str] = set()
        for i, names in enumerate(given.aliases):
            path: YamlPath = ("approvals", "identities", "aliases", i)
            if len(names) < 2 or not all(name.strip() for name in names):
                raise self.document.error(
                    path, "two names or more are needed", "Write all names of one person"
                )
            if again := seen & set(names):
                fix = "Write all names of one person in one list"
                raise self.document.error(path, f"{min(again)!r} stands in two lists", fix)
            seen |= set(names)

    def _mail(self, mail: MailSettings | None) -> MailSettings | None:
        if mail is None:
            return None
        path: YamlPath = ("approvals", "mail")
        if not mail.host or not mail.sender or not mail.to or not all(mail.to):
            fix = "Write the server, who sends and at least one address that receives"
            raise self.document.error(path, "host, from and to must not be empty", fix)
        if any(ord(c) < 32 for c in "".join((mail.sender, *mail.to))):
            raise self.document.error(path, "an address has a control character", "Remove it")
        port = mail.port or {"starttls": 587, "implicit": 465, "none": 25}[mail.tls]
        if not 0 < port < 65536:
            raise self.document.error((*path, "port"), f"{port} is not a port", "Write 1 to 65535")
        if bool(mail.user) != (mail.password is not None):
            raise self.document.error(path, "user and password belong together", "Write both, or neither")
        if mail.user and mail.tls == "none":
            fix = "Write 'tls: starttls' or 'tls: implicit'"
            raise self.document.error((*path, "tls"), "a password does not go out without TLS", fix)
        password = self._one_of((*path, "password"), mail.password) if mail.password else None
        replaced: MailSettings = msgspec.structs.replace(mail, port=port, password=password)
        return replaced

    def _slack(self, config: Config) -> SlackSettings | None:
        slack = config.approvals.slack
        if slack is None:
            return None
        path: YamlPath = ("approvals", "slack")
        if config.console is None:
            fix = "Add 'console:'; Slack sends clicks to <console.public_url>/slack/interactions"
            raise self.document.error(path, "Slack needs the console", fix)
        if not slack.channel:
            raise self.document.error((*path, "channel"), "the value is empty", "Write a channel's id")
        self._url((*path, "api"), slack.api)
        people = {user: self._slack_person(config, user, one) for user, one in slack.people.items()}
        replaced: SlackSettings = msgspec.structs.replace(
            slack,
            signing_secret=self._one_of((*path, "signing_secret"), slack.signing_secret),
            bot_token=self._one_of((*path, "bot_token"), slack.bot_token),
            people=people,
        )
        return replaced

    def _slack_person(self, config: Config, user: str, person: SlackPersonSettings) -> SlackPersonSettings:
        path: YamlPath = ("approvals", "slack", "people", user)
        if not person.subject or "@" not in person.email:
            fix = "They keep people from approving their own statements"
            raise self.document.error(path, "subject and an e-mail address are needed", fix)
        issuers = [one.issuer for one in config.identity.oidc]
        if person.issuer and person.issuer not in issuers:
            fix = "Write one of them exactly, or remove the key: then it is the first"
            raise self.document.error((*path, "issuer"), "this issuer is not one of identity.oidc", fix)
        replaced: SlackPersonSettings = msgspec.structs.replace(person, issuer=person.issuer or issuers[0])
        return replaced

    def _numbers(self, config: Config) -> None:
        for section in ("limits", "catalog"):
            values = getattr(config, section)
            for key in values.__struct_fields__:
                may_be_zero = key in ("session_seconds", "idle_seconds")
                value = getattr(values, key)
                if value < 0 or (value == 0 and not may_be_zero):
                    fix = "Write a positive number" + (", or 0 for no bound" if may_be_zero else "")
                    raise self.document.error((section, key), f"{value} is not usable", fix)
        if config.limits.max_message_bytes > 2**30 - 1:
            raise self.document.error(
                ("limits", "max_message_bytes"), "PostgreSQL's own bound is 1 GB", "Write at most 1073741823"
            )
