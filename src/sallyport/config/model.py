"""The shape of ``sallyport.yaml``: one frozen struct per section, and nothing that reads a file or
a secret.

:data:`SECTIONS` lists them by the path of their keys; every key is described in
docs/configuration.md, and a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from sallyport.config.identity import (
    Claims,
    DeviceLogin,
    Directory,
    Expiry,
    Identity,
    OAuthBearer,
    OidcIssuer,
    SamlIdp,
    SessionTokenSettings,
)
from sallyport.config.secrets import (
    AppRole,
    Aws,
    AwsSecret,
    Azure,
    AzureSecret,
    Google,
    GoogleSecret,
    KeyService,
    SecretManagers,
    SecretRef,
    Vault,
    VaultAuth,
    VaultKubernetes,
    VaultSecret,
)
from sallyport.config.storage import Archive, SharedStore
from sallyport.core.address import Address, parse_address
from sallyport.core.worker import MOST, usable_processors

AuthMethod = Literal["scram-sha-256", "md5", "password", "trust"]
WatchAction = Literal["notify", "hold", "end", "lock"]
Detector = Literal[
    "bulk", "probing", "enumeration", "credentials", "paging", "search", "volume", "refusals",
    "differencing", "masked", "drift", "networks", "origin", "new-relation", "new-statement",
    "off-hours", "session-length", "stuck",
]  # fmt: skip
SeverityOrDetector = Literal["low", "medium", "high", Detector]
ApprovalEvent = Literal["asked", "approved", "denied", "expired", "withdrawn", "voided"]


class TlsFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files of the gateway's own certificate chain and key. ``direct``: also accept TLS without
    an SSLRequest (ALPN postgresql).
    """

    certificate: str
    key: str
    direct: bool = True


class ConsoleRoles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Groups whose members have each role in the console and over REST. Nobody has a role that is
    not given here.
    """

    viewer: tuple[str, ...] = ()
    reviewer: tuple[str, ...] = ()
    auditor: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()


class Console(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The web console and REST interface. ``issuer`` "": the first of ``identity.oidc``.
    ``client_id`` "": nobody can sign in, only bearer tokens count. ``public_url`` "": made from
    ``listen``. Seconds. ``forwarding_header``: of requests from ``trusted_proxies``, lists who they
    come from.
    """

    listen: str = "127.0.0.1:8642"
    public_url: str = ""
    issuer: str = ""
    client_id: str = ""
    client_secret: SecretRef | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    roles: ConsoleRoles = ConsoleRoles()
    forwarding_header: str = ""
    trusted_proxies: tuple[str, ...] = ()
    session_seconds: float = 8 * 3600.0
    idle_seconds: float = 1800.0


class Mcp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entrance for MCP clients, ``/mcp`` at the console's address. ``authorization_servers``:
    issuers of ``identity.oidc`` that clients are sent to for tokens; (): all of them. ``scopes``:
    that they should ask for. ``idle_seconds``: until an unused session is ended. ``sessions``: of
    one subject at once.
    """

    authorization_servers: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    idle_seconds: float = 900.0
    sessions: int = 16


class Administrator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role that makes and drops the roles of sessions, and nothing else is done with it."""

    user: str
    password: SecretRef | None = None


class TargetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One database behind the gateway. ``host`` may be the directory of a Unix socket. ``auth``:
    methods the server may ask for. ``credential``: sessions log in as ``user`` (static), or each as
    a role of its own (ephemeral), which ``admin`` makes. ``user`` "": Vault says who.
    """

    host: str
    database: str
    user: str = ""
    port: int = 5432
    password: SecretRef | None = None
    tls: Literal["verify-full", "require", "disable"] = "verify-full"
    ca: str | None = None
    channel_binding: Literal["prefer", "require", "disable"] = "prefer"
    auth: tuple[AuthMethod, ...] = ("scram-sha-256",)
    connect_seconds: float = 10.0
    credential: Literal["static", "ephemeral"] = "static"
    admin: Administrator | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the gateway itself (the policy has its own). Seconds and bytes; ``session_seconds``
    and ``idle_seconds`` 0: no bound.
    """

    login_seconds: float = 30.0
    max_logins: int = 1000
    max_logins_per_address: int = 500
    failed_logins_per_minute: int = 30
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


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How peers that vanish are noticed, on both legs. Whole seconds."""

    keepalive_idle_seconds: int = 30
    keepalive_interval_seconds: int = 10
    keepalive_probes: int = 3
    user_timeout_seconds: int = 60


class RecordingEncryption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Key-encryption keys of recordings, each 32 bytes in base64. ``enabled``: new recordings are
    encrypted. ``key`` None: the file ``recording.key`` under ``data``. A ``file`` that is not there
    is made at the first start. ``previous``: still decrypt what they wrapped. ``kms``: in place of
    ``key``, a manager that keeps it; ``previous_kms``: those before it.
    """

    enabled: bool = True
    key: SecretRef | None = None
    previous: tuple[SecretRef, ...] = ()
    kms: KeyService | None = None
    previous_kms: tuple[KeyService, ...] = ()


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``directory``: default is ``recordings`` under ``data``. ``durability``: what has a statement
    that may change something before the database gets it: the operating system (standard) or the
    disk (strict). ``search_statements``: how many can be searched; 0: none, there is no index of
    statements.
    """

    directory: str = ""
    durability: Literal["standard", "strict"] = "standard"
    search_statements: int = 2_000_000
    encryption: RecordingEncryption = RecordingEncryption()


class StreamTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One receiver of the record. ``address``: host:port of a syslog server. ``url``: of Splunk's
    collector, Elasticsearch, or an OpenTelemetry receiver. ``certificate``, ``key``: PEM, ours.
    ``required``: statements stop when it is more than ``max_lag_seconds`` late. ``begin``: what its
    first start sends. ``sample``: the share of sessions whose allowed statements go to ``otlp``.
    """

    name: str
    to: Literal["syslog", "splunk", "elastic", "otlp", "file", "stdout"]
    format: Literal["jsonl", "cef", "ocsf"] = "jsonl"
    address: str = ""
    url: str = ""
    path: str = ""
    index: str = "sallyport-audit"
    token: SecretRef | None = None
    tls: Literal["verify-full", "disable"] = "verify-full"
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    required: bool = False
    max_lag_seconds: float = 60.0
    begin: Literal["now", "beginning"] = "now"
    sample: float = 1.0


class WatchReviewers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may approve what waits because of a finding: ``quorum`` members of ``groups``."""

    groups: tuple[str, ...] = ()
    quorum: int = 1


class WatchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unusual behaviour. ``learning_days`` and ``learning_statements``: both must have passed
    before an agent is compared with its baseline. ``episode_minutes``: spans of time whose sums are
    compared. ``quiet_minutes``: for so long one thing is not told again. ``actions``: what follows,
    by severity or detector, each in the place of its default. ``off``: detectors not asked.
    """

    enabled: bool = True
    learning_days: float = 7.0
    learning_statements: int = 300
    half_life_days: float = 30.0
    episode_minutes: float = 10.0
    quiet_minutes: float = 60.0
    actions: dict[SeverityOrDetector, tuple[WatchAction, ...]] = {}
    off: tuple[Detector, ...] = ()
    reviewers: WatchReviewers = WatchReviewers()
    lock_minutes: int = 60


class AuditWitness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who gets every checkpoint of the log: exactly one of ``file``, ``archive`` (that of
    recordings), ``syslog`` (udp://, tcp:// or tls://), ``webhook`` (with ``secret``) and
    ``cosigner``: the address of a C2SP witness, whose public key is ``key``. ``ca``: of a syslog
    server with TLS, or of a cosigner.
    """

    file: str = ""
    archive: bool = False
    syslog: str = ""
    webhook: str = ""
    cosigner: str = ""
    key: str = ""
    secret: SecretRef | None = None
    ca: str | None = None


class Audit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``stream``: where the record is sent while it grows. The others are of the log of recordings'
    heads; seconds: between its checkpoints, and between two heads of a session that runs.
    ``retention_days``: recordings are deleted so long after the session's end; 0: never.
    ``retention_targets``: other days for single targets. ``retention_bytes``: what recordings may
    take here; the oldest are deleted; 0: no bound.
    ``cosign``: public keys of logs of others whose checkpoints are cosigned.
    """

    stream: tuple[StreamTarget, ...] = ()
    checkpoint_seconds: float = 60.0
    head_seconds: float = 600.0
    retention_days: float = 0.0
    retention_targets: dict[str, float] = {}
    retention_bytes: int = 0
    cosign: tuple[str, ...] = ()
    witnesses: tuple[AuditWitness, ...] = ()


class Shutdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``drain_seconds``: how long running statements and open transactions get once the gateway
    was told to stop. 0: no time.
    """

    drain_seconds: float = 10.0


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in ``sallyport.yaml``. Paths are absolute once loaded. ``mask_keys``: secrets of
    ``hash`` masks, by the policy's name for them ("default" when it names none). ``workers``:
    processes; auto: as many as processors. ``proxy_protocol``: addresses or networks of proxies
    whose connections begin with a PROXY protocol header (version 2).
    """

    identity: Identity
    targets: dict[str, TargetSettings]
    policy: str
    listen: str = "127.0.0.1:6432"
    proxy_protocol: tuple[str, ...] = ()
    workers: int | Literal["auto"] = 1
    tls: TlsFiles | None = None
    console: Console | None = None
    mcp: Mcp | None = None
    data: str = "./var"
    mask_keys: dict[str, SecretRef] = {}
    secrets: SecretManagers = SecretManagers()
    limits: Limits = Limits()
    approvals: ApprovalSettings = ApprovalSettings()
    catalog: CatalogSettings = CatalogSettings()
    network: Network = Network()
    recording: Recording = Recording()
    audit: Audit = Audit()
    watch: WatchSettings = WatchSettings()
    archive: Archive | None = None
    store: Literal["sqlite"] | SharedStore = "sqlite"
    shutdown: Shutdown = Shutdown()
    log: Log = Log()

    @property
    def worker_count(self) -> int:
        """How many processes serve."""
        return min(usable_processors(), MOST) if self.workers == "auto" else self.workers

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
    "mcp": Mcp,
    "identity": Identity,
    "identity.oidc[]": OidcIssuer,
    "identity.oidc[].claims": Claims,
    "identity.oidc[].directory": Directory,
    "identity.saml[]": SamlIdp,
    "identity.expiry": Expiry,
    "identity.oauthbearer": OAuthBearer,
    "identity.device_login": DeviceLogin,
    "identity.session_tokens": SessionTokenSettings,
    "targets.<name>": TargetSettings,
    "targets.<name>.admin": Administrator,
    "<secret>": SecretRef,
    "<secret>.vault": VaultSecret,
    "<secret>.aws": AwsSecret,
    "<secret>.google": GoogleSecret,
    "<secret>.azure": AzureSecret,
    "secrets": SecretManagers,
    "secrets.vault": Vault,
    "secrets.vault.auth": VaultAuth,
    "secrets.vault.auth.approle": AppRole,
    "secrets.vault.auth.kubernetes": VaultKubernetes,
    "secrets.aws": Aws,
    "secrets.google": Google,
    "secrets.azure": Azure,
    "limits": Limits,
    "approvals": ApprovalSettings,
    "approvals.webhooks[]": WebhookSettings,
    "approvals.mail": MailSettings,
    "approvals.slack": SlackSettings,
    "approvals.slack.people.<id>": SlackPersonSettings,
    "approvals.limits": ApprovalLimits,
    "approvals.identities": IdentityLinks,
    "catalog": CatalogSettings,
    "network": Network,
    "recording": Recording,
    "recording.encryption": RecordingEncryption,
    "recording.encryption.kms": KeyService,
    "audit": Audit,
    "audit.stream[]": StreamTarget,
    "audit.witnesses[]": AuditWitness,
    "watch": WatchSettings,
    "watch.reviewers": WatchReviewers,
    "archive": Archive,
    "store": SharedStore,
    "shutdown": Shutdown,
    "log": Log,
}
