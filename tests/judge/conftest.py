"""Verdicts over the database of :mod:`tests.sql.rewrite.database`."""

from tests.sql.conftest import catalog, facts_dsn, identity_masks, rewriting_database

__all__ = ["catalog", "facts_dsn", "identity_masks", "rewriting_database"]
