"""The gateway's store, as commands beside it open it: the file in its data directory, or the shared
one that its configuration names.
"""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sallyport.config import Config
    from sallyport.store.postgres import StoreAddress

_T = TypeVar("_T")
_DEFAULT_CONFIG = Path("sallyport.yaml")


def shared_store(config: Path | None, data: Path | None) -> StoreAddress | None:
    """Where the shared store is; None where there is none. ``data``: a data directory, which names
    none. Raises ConfigError.
    """
    if data is not None or (config is None and not _DEFAULT_CONFIG.exists()):
        return None
    from sallyport.config import load_config

    return shared_store_of(load_config(config or _DEFAULT_CONFIG))


def shared_store_of(settings: Config) -> StoreAddress | None:
    """As :func:`shared_store`, of a configuration that was read."""
    from sallyport.config.storage import SharedStore

    if not isinstance(settings.store, SharedStore):
        return None
    from sallyport.app.gateway_store import store_address
    from sallyport.app.target_logins import TargetLogins

    return _result(store_address(settings.store, TargetLogins(settings).secret))


def shared_key(settings: Config) -> bytes:
    """``store.key`` of a configuration that names a shared store. Raises ConfigError."""
    from sallyport.app.gateway_store import sealing_key
    from sallyport.app.target_logins import TargetLogins
    from sallyport.config.storage import SharedStore

    if not isinstance(settings.store, SharedStore):
        raise SallyportError("the configuration names no shared store: add 'store'")
    secret = _result(TargetLogins(settings).secret(settings.store.key, "store.key"))
    return sealing_key(secret.reveal())


def _result(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run it in a thread of its own: whoever calls a command may have a loop in this one."""
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


def refuse_shared(config: Path | None, data: Path | None, command: str) -> None:
    """Raises SallyportError where the store is shared, which the command cannot work on yet."""
    if shared_store(config, data) is not None:
        raise SallyportError(
            f"'{command}' works on the store in a data directory, and this configuration names a"
            " shared store"
        )
