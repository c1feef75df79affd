"""The index of statements in PostgreSQL: the tables of :mod:`sallyport.store.sharedsearch`.

They are apart from :mod:`sallyport.store.tables` because SQLite has this index in another form and
in a file of its own.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

search_metadata = MetaData()

#: What many statements share, once. ``digest``: of ``text``, in hexadecimal digits.
search_texts = Table(
    "search_texts",
    search_metadata,
    Column("digest", Text, primary_key=True),
    Column("text", Text, nullable=False),
)

#: One row a statement. ``key``: the time in nanoseconds, made unique. ``terms``: hashes of what it
#: may be asked for. ``words``: of the SQL.
search_statements = Table(
    "search_statements",
    search_metadata,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("gateway", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("sql", Text, nullable=False),
    Column("shortened", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("sqlstate", Text, nullable=False),
    Column("rows", Integer),
    Column("seconds", Float),
    Column("fingerprint", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("terms", ARRAY(Text), nullable=False),
    Column("words", TSVECTOR, nullable=False),
    Index("ix_search_statements_session", "session"),
    Index("ix_search_statements_terms", "terms", postgresql_using="gin"),
    Index("ix_search_statements_words", "words", postgresql_using="gin"),
)

#: What each gateway has put into it.
search_progress = Table(
    "search_progress",
    search_metadata,
    Column("gateway", Text, primary_key=True),
    Column("version", SmallInteger, nullable=False),
    Column("cursor", Text, nullable=False),
    Column("complete_until", Float, nullable=False),
    Column("statements", Integer, nullable=False),
    Column("dropped", Integer, nullable=False),
)
