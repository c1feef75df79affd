"""Part of the composition root: what takes the record on from the recordings."""

from __future__ import annotations

from collections.abc import Callable

from sallyport.config import Config
from sallyport.core.errors import ConfigError
from sallyport.operations.sessions import Sessions
from sallyport.operations.statementsearch import StatementIndexer
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.statementsearch import SearchError, StatementSearch


def start_indexer(config: Config, index: SqlSessionIndex) -> StatementIndexer | None:
    """What keeps the index of statements; None: there is none. Raises ConfigError where this SQLite
    has no FTS5.
    """
    most = config.recording.search_statements
    if not most:
        return None
    try:
        search = StatementSearch(config.data_directory, writable=True, most=most)
    except SearchError as error:
        raise ConfigError(str(error)) from None
    indexer = StatementIndexer(Sessions(config.recording_directory, index), search)
    indexer.start()
    return indexer


def index_opener(config: Config) -> Callable[[], StatementSearch] | None:
    """What opens the index of statements for reading; None: there is none."""
    if not config.recording.search_statements:
        return None
    return lambda: StatementSearch(config.data_directory)
