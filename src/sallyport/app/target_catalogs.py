"""What the command line reads of a target."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from sallyport.app.target_logins import TargetLogins
from sallyport.config import Config
from sallyport.config.model import TargetSettings
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.server.query import QueryClient
from sallyport.server.upstream import UnreachableError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.targets.catalog_loader import load_catalog
from sallyport.targets.privileges import Privileges, load_privileges


@contextlib.contextmanager
def _told_to_operators(target: TargetSettings) -> Iterator[None]:
    """Give the exact reason why a target cannot be reached, which agents do not get, and what to
    do.
    """
    try:
        yield
    except UnreachableError as error:
        raise SallyportError(_unreachable(target, error)) from None


def _unreachable(target: TargetSettings, error: UnreachableError) -> str:
    if error.kind == "credential":
        return (
            f"the gateway has no password for it. {error.reason}. Set it where sallyport is started"
        )
    if error.kind in ("connection", "timeout"):
        place = f"{target.host}:{target.port}"
        return (
            f"no database answers at {place}: {error.reason}. Is it running, and are host and port"
            " right?"
        )
    if error.kind == "tls":
        return f"TLS with the database could not be established: {error.reason}"
    return (
        f'the database refused the login as "{target.user}": {error.reason}. '
        "Check the target's user, password and database"
    )


async def load_target_catalog_async(config: Config, target: str) -> CatalogSnapshot:
    """Read a target's catalog over the gateway's own connection. Raises ConfigError, SallyportError
    whose text is for operators.
    """
    if target not in config.targets:
        names = ", ".join(sorted(config.targets)) or "none"
        raise ConfigError(f"there is no target {target!r} in the configuration; there is: {names}")
    logins = TargetLogins(config)
    client = QueryClient(logins.dialer(target), 60.0)
    try:
        with _told_to_operators(config.targets[target]):
            return (await load_catalog(client.query)).snapshot
    finally:
        await client.close()
        await logins.close()


def load_target_catalog(config: Config, target: str) -> CatalogSnapshot:
    """:func:`load_target_catalog_async` for callers without an event loop."""
    return asyncio.run(load_target_catalog_async(config, target))


def load_target_privileges(
    config: Config,
    target: str,
    role: str = "",
) -> tuple[CatalogSnapshot, Privileges]:
    """A target's catalog and what a role may do there ("": the gateway's own), for callers without
    an event loop.

    Raises ConfigError, PrivilegeError, and as :func:`load_target_catalog_async`.
    """

    async def load() -> tuple[CatalogSnapshot, Privileges]:
        logins = TargetLogins(config)
        client = QueryClient(logins.dialer(target), 60.0)
        try:
            with _told_to_operators(config.targets[target]):
                return (await load_catalog(client.query)).snapshot, await load_privileges(
                    client.query, role
                )
        finally:
            await client.close()
            await logins.close()

    return asyncio.run(load())
