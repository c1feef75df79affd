"""The tables, as SQLAlchemy Core. Every change here comes with a migration in
``migrations/versions``; a test compares.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: One row per session; :class:`sallyport.audit.ports.SessionRow` says what the columns mean. Times
#: are Unix seconds.
sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("agent", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("application", Text, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("reason", Text, nullable=False),
    Column("statements", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("file", Text, nullable=False),
    Column("last_hash", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("searchable", String(8), nullable=False, server_default=""),
    Column("actors", JSON, nullable=False, server_default="[]"),
    Column("owner", String(64), nullable=False, server_default=""),
    Column("gateway", Text, nullable=False, server_default=""),
    Index("ix_sessions_started", "started"),
    Index("ix_sessions_status", "status"),
    Index("ix_sessions_gateway", "gateway"),
)

#: What the store says of itself, by name.
store_facts = Table(
    "store_facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

#: Processes that serve, by ``<gateway>-<worker>-<run>``; :mod:`sallyport.store.owners`. ``beat``:
#: Unix seconds when it last said that it lives. ``name``: the gateway's, for people. ``policy``:
#: the version in force.
owners = Table(
    "owners",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("gateway", String(16), nullable=False),
    Column("started", Float, nullable=False),
    Column("beat", Float, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("software", Text, nullable=False, server_default=""),
    Column("policy", Text, nullable=False, server_default=""),
    Column("policy_problem", Text, nullable=False, server_default=""),
    Index("ix_owners_beat", "beat"),
)

#: Cells of :mod:`sallyport.core.counts` that gateways add up together: ``key``: digest in hex
#: digits; ``memory``, ``worker``: which process counts, and ``owner``: its incarnation;
#: ``changed``: Unix seconds of the database's clock.
shared_counts = Table(
    "shared_counts",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("memory", String(16), primary_key=True),
    Column("worker", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(64), nullable=False),
    Column("gateway", Text, nullable=False),
    Column("sessions", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("changed", Float, nullable=False),
    Index("ix_shared_counts_changed", "changed"),
)

#: Policies for every gateway of the store that takes them from it
#: (:mod:`sallyport.store.publishedpolicies`), the newest last. ``sealed``: its text.
published_policies = Table(
    "published_policies",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("version", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("published", Float, nullable=False),
    Column("publisher", Text, nullable=False),
)

#: What sessions are found by: :class:`sallyport.audit.ports.StatementText`. ``relations``: in lower
#: case, each between line feeds. A copy of what recordings hold, bounded: see
#: :mod:`sallyport.store.statements`.
statements = Table(
    "statements",
    metadata,
    Column("session", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("outcome", String(8), nullable=False),
    Column("sql", Text, nullable=False),
    Column("relations", Text, nullable=False),
)

#: :class:`sallyport.policy.versions.PolicyVersion`: every policy that was in force, oldest first by
#: ``id``.
policy_versions = Table(
    "policy_versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("loaded", Float, nullable=False),
    Column("source", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("changed", Float),
)

#: :class:`sallyport.approvals.states.Request`. ``binding`` is MessagePack of the Binding, by
#: the names of its fields. ``requester`` is JSON of the Requester. Never a token.
approvals = Table(
    "approvals",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("binding", LargeBinary, nullable=False),
    Column("requester", JSON, nullable=False),
    Column("rule", Text, nullable=False),
    Column("reviewers", JSON, nullable=False),
    Column("quorum", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("touches", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("mode", String(8), nullable=False),
    Column("in_transaction", Boolean, nullable=False),
    Column("preview", JSON(none_as_null=True)),
    Column("void_reason", Text, nullable=False),
    Column("grant_id", String(64), nullable=False),
    Column("further", JSON, nullable=False, server_default="[]"),
    Column("owner", String(64), nullable=False, server_default=""),
    Index("ix_approvals_status", "status"),
    Index("ix_approvals_created", "created"),
    Index("ix_approvals_digest", "digest"),
)

#: One row per person and request, numbered in the order in which they decided.
approval_decisions = Table(
    "approval_decisions",
    metadata,
    Column("approval", String(64), ForeignKey("approvals.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("reviewer", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("channel", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("links", JSON, nullable=False),
    Column("rules", JSON, nullable=False, server_default="[]"),
)

#: :class:`sallyport.approvals.states.Grant`.
approval_grants = Table(
    "approval_grants",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("scope", String(16), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("example", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("reviewers", JSON, nullable=False),
    Column("requester", JSON, nullable=False),
    Column("target", Text, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("search_path", JSON, nullable=False),
    Column("role", Text, nullable=False),
    Column("decision", JSON, nullable=False),
    Column("request", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("revoked_by", Text, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("rules", JSON, nullable=False, server_default="[]"),
    Column("settings", JSON, nullable=False, server_default="[]"),
    Index("ix_approval_grants_expires_at", "expires_at"),
)

#: :class:`sallyport.identity.locks.Lock`.
locks = Table(
    "locks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires_at", Float),
    Column("by", Text, nullable=False),
    Column("by_issuer", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("released_at", Float),
    Column("released_by", Text, nullable=False),
    Index("ix_locks_created", "created"),
)

#: :class:`sallyport.identity.session_tokens.SessionToken`. Never its text. ``subject`` is JSON of
#: the Subject.
session_tokens = Table(
    "session_tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("subject", JSON, nullable=False),
    Column("target", Text, nullable=False),
    Column("networks", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("address", Text, nullable=False),
    Column("revoked_at", Float),
    Column("revoked_by", Text, nullable=False),
    Index("ix_session_tokens_expires_at", "expires_at"),
)

#: :class:`sallyport.watch.baseline.Baseline` as MessagePack. No literal of any statement.
watch_baselines = Table(
    "watch_baselines",
    metadata,
    Column("key", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("updated", Float, nullable=False),
)

#: :class:`sallyport.watch.finding.Finding`.
watch_findings = Table(
    "watch_findings",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("detector", String(32), nullable=False),
    Column("about", Text, nullable=False),
    Column("severity", String(8), nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("session", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("done", JSON, nullable=False),
    Column("acknowledged", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("expected", Boolean, nullable=False),
    Index("ix_watch_findings_at", "at"),
    Index("ix_watch_findings_session", "session"),
)

#: :class:`sallyport.policy.containment.Containment`.
containments = Table(
    "containments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("agents", JSON, nullable=False),
    Column("cause", String(16), nullable=False),
    Column("column", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("session", String(64), nullable=False),
    Column("statement", Integer, nullable=False),
    Column("read_at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("released_at", Float),
    Column("released_by", Text, nullable=False),
    Index("ix_containments_read_at", "read_at"),
)

#: :class:`sallyport.identity.single_logout.EndedSession` by its digest. ``kept``: Unix seconds.
ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("name", String(64), nullable=False),
    Column("indexes", JSON, nullable=False),
    Column("at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("kept", Float, nullable=False),
    Index("ix_ended_sessions_kept", "kept"),
)

#: :class:`sallyport.identity.replay.MessageUse`, by its digest, until it is refused anyway.
used_assertions = Table(
    "used_assertions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("until", Float, nullable=False),
    Index("ix_used_assertions_until", "until"),
)

#: Who is signed in to consoles, by SHA-256 of the cookie; ``body`` is sealed
#: (:mod:`sallyport.web.auth.shared_signins`). ``seen``, ``until``: Unix seconds.
console_sign_ins = Table(
    "console_sign_ins",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("seen", Float, nullable=False),
    Column("until", Float, nullable=False),
    Index("ix_console_sign_ins_until", "until"),
)

#: :class:`sallyport.store.activity.Bucket`, of each process: ``<gateway>-<worker>``, the same after
#: a restart.
activity_buckets = Table(
    "activity_buckets",
    metadata,
    Column("seconds", Integer, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("process", String(32), primary_key=True),
    Column("allowed", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("refusals", JSON, nullable=False),
    Column("masked", JSON, nullable=False),
    Column("logins", JSON, nullable=False),
    Column("latency", JSON, nullable=False),
)
