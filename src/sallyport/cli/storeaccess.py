"""The gateway's store, as commands beside it open it: the file in its data directory, or the shared
one that its configuration names.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sallyport.config import Config
    from sallyport.store.postgres import StoreAddress
    from sallyport.store.statementindex import StatementIndexPort

_T = TypeVar("_T")
_DEFAULT_CONFIG = Path("sallyport.yaml")


def named_settings(config: Path | None, data: Path | None) -> Config | None:
    """The configuration that a command reads; None where ``data``, a data directory, is named in
    its place, or there is none. Raises ConfigError.
    """
    if data is not None or (config is None and not _DEFAULT_CONFIG.exists()):
        return None
    from sallyport.config import load_config

    return load_config(config or _DEFAULT_CONFIG)


def shared_store(config: Path | None, data: Path | None) -> StoreAddress | None:
    """Where the shared store is; None where there is none. ``data``: a data directory, which names
    none. Raises ConfigError.
    """
    settings = named_settings(config, data)
    return None if settings is None else shared_store_of(settings)


def shared_store_of(settings: Config) -> StoreAddress | None:
    """As :func:`shared_store`, of a configuration that was read."""
    from sallyport.config.storage import SharedStore

    if not isinstance(settings.store, SharedStore):
        return None
    from sallyport.app.gateway_store import store_address
    from sallyport.app.target_logins import TargetLogins

    return result_of(store_address(settings.store, TargetLogins(settings).secret))


def shared_key(settings: Config) -> bytes:
    """``store.key`` of a configuration that names a shared store. Raises ConfigError."""
    from sallyport.app.gateway_store import sealing_key
    from sallyport.app.target_logins import TargetLogins
    from sallyport.config.storage import SharedStore

    if not isinstance(settings.store, SharedStore):
        raise SallyportError("the configuration names no shared store: add 'store'")
    secret = result_of(TargetLogins(settings).secret(settings.store.key, "store.key"))
    return sealing_key(secret.reveal())


def result_of(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """What it gives. It runs in a thread of its own: whoever calls a command may have a loop in
    this one.
    """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def readonly_engine(config: Path | None, data: Path | None, directory: Path) -> Engine:
    """``directory``: the data directory. Only a shared store can be written through it. Raises
    StoreError, ConfigError.
    """
    address = shared_store(config, data)
    if address is not None:
        from sallyport.store.postgres import open_postgres_readonly

        return open_postgres_readonly(address)
    from sallyport.store.database import open_readonly

    return open_readonly(directory)


@dataclass(frozen=True, slots=True)
class OwnStore:
    """The store of the gateway that a data directory belongs to, for commands that change it.
    ``gateway``: its name in a shared store; "" in a file of its own.
    """

    engine: Engine
    directory: Path
    gateway: str

    def statement_search(self) -> StatementIndexPort:
        """What this gateway has in the index of statements; it is made where there is none. Raises
        SearchError.
        """
        if self.gateway:
            from sallyport.store.sharedsearch import SharedStatementSearch

            return SharedStatementSearch(self.engine, self.gateway)
        from sallyport.store.statementsearch import StatementSearch

        return StatementSearch(self.directory, writable=True)

    def search_to_forget(self) -> StatementIndexPort | None:
        """The index of statements, to delete from; None where there is none. Raises SearchError."""
        from sallyport.store.sharedsearch import SharedStatementSearch
        from sallyport.store.statementsearch import FILE, StatementSearch

        if self.gateway:
            return SharedStatementSearch(self.engine)
        if not (self.directory / FILE).is_file():
            return None
        return StatementSearch(self.directory, writable=True)


def own_store(config: Path | None, data: Path | None, directory: Path) -> OwnStore:
    """``directory``: the data directory. The caller disposes of the engine. Raises StoreError,
    ConfigError, and SallyportError when there is no database.
    """
    from sallyport.store.database import FILE, open_database

    address = shared_store(config, data)
    if address is not None:
        from sallyport.app.gateway_store import gateway_name
        from sallyport.store.postgres import open_postgres_readonly

        return OwnStore(open_postgres_readonly(address), directory, gateway_name(directory))
    if not (directory / FILE).is_file():
        raise SallyportError(f"{directory / FILE} is missing. Run 'sallyport audit reindex' first")
    return OwnStore(open_database(directory), directory, "")
