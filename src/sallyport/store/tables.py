"""The tables, as SQLAlchemy Core. Every change here comes with a migration in ``migrations/versions``; a
test compares.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: One row per session; :class:`sallyport.audit.ports.SessionRow` says what the columns mean. Times are Unix
#: seconds.
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
    Index("ix_sessions_started", "started"),
    Index("ix_sessions_status", "status"),
)
