"""``sallyport pgpass``: a fresh token in libpq's password file, for programs that find their
password there (``PGPASSFILE``, ``~/.pgpass``) and are not started by ``sallyport connect``.

The file's other lines stay as they are. It is replaced as a whole, mode 0600 (libpq ignores one
that others can read), so that a reader sees the old token or the new one; two of these commands for
one file take turns. Source: PostgreSQL's documentation, section 32.16, "The Password File".
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.cli.connect import LOCAL, Gateway, fail, gateway_address
from sallyport.cli.tokenoptions import TokenOptions, takes_token_options
from sallyport.core.errors import SallyportError
from sallyport.core.files import replace_private

if TYPE_CHECKING:
    from sallyport.cli.persontokens import PersonTokens
    from sallyport.cli.tokensource import TokenSource
    from sallyport.identity.oidc.client import Grant

#: Seconds between attempts, and between looks at a source that does not say how long its token
#: lives.
_AGAIN, _UNKNOWN = 30.0, 60.0
_HELP = """Write a fresh token into libpq's password file.

For psql, drivers on libpq, cron jobs and graphical clients that read ~/.pgpass or PGPASSFILE. With
--keep it goes on: the token is replaced before it expires, and removed at the end (Ctrl-C). Give
the gateway's host and port as the clients do.

Example: sallyport pgpass shop --gateway gateway.example.com:6432 --keep

Example, for one program: sallyport pgpass shop ./shop.pgpass
PGPASSFILE=./shop.pgpass psql -h 127.0.0.1 -p 6432 shop
"""


def register(app: typer.Typer) -> None:
    """Add the command to the ``sallyport`` program."""
    app.command("pgpass", help=_HELP)(pgpass)


@takes_token_options
def pgpass(
    target: Annotated[str, typer.Argument(help="The target's name; * for all of the gateway.")],
    file: Annotated[
        Path | None,
        typer.Argument(envvar="PGPASSFILE", help="The password file. [~/.pgpass]"),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay, and replace the token before it expires.")
    ] = False,
    gateway: Gateway = LOCAL,
    user: Annotated[str, typer.Option(help="Only for this user name.")] = "*",
    *,
    options: TokenOptions,
) -> None:
    """See ``_HELP``."""
    # Start-up time: other commands need no HTTP client.
    from sallyport.cli.tokensource import tokens_of

    path = file or Path(os.path.expanduser("~"), ".pgpass")
    try:
        source = tokens_of(options)
        host, port = gateway_address(gateway)
        entry = Entry(path.resolve(), (host, str(port), target, user))
        if keep:
            asyncio.run(_keep(entry, source))
        else:
            entry.put(source.fetch_now().token.reveal())
            typer.echo(f"The token is in {path}.", err=True)
    except SallyportError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or path}: {error.strerror}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a password file. ``names``: host, port, database and user, "*" for any."""

    path: Path
    names: tuple[str, str, str, str]

    def put(self, token: str) -> None:
        """Before the others: libpq takes the first that fits. Raises OSError."""
        self._replace(f"{self._begins}{_escaped(token)}")

    def remove(self) -> None:
        """Raises OSError."""
        self._replace("")

    @property
    def _begins(self) -> str:
        return "".join(f"{name if name == '*' else _escaped(name)}:" for name in self.names)

    def _replace(self, line: str) -> None:
        begins = self._begins.encode()
        with _locked(self.path):
            lines = self.path.read_bytes().splitlines() if self.path.exists() else []
            kept = [text for text in lines if not text.startswith(begins)]
            if line or len(kept) < len(lines):
                first = [line.encode()] if line else []
                replace_private(self.path, b"".join(text + b"\n" for text in first + kept))


def _escaped(text: str) -> str:
    """Raises SallyportError for what would be another line."""
    if not text.isprintable():
        raise SallyportError("a password file cannot hold control characters")
    return text.replace("\\", "\\\\").replace(":", "\\:")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time: each puts back the lines of the others."""
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def _keep(entry: Entry, source: TokenSource | PersonTokens) -> None:
    """Until a signal. Raises SallyportError when there is no first token, and OSError."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    grant = await source.fetch()
    try:
        entry.put(grant.token.reveal())
        typer.echo(f"A token is kept in {entry.path}. Ctrl-C ends that.", err=True)
        wait = _until_renewal(grant)
        while not await _is_set(ended, wait):
            try:
                grant = await source.renew()
                entry.put(grant.token.reveal())
                wait = _until_renewal(grant)
            except (SallyportError, OSError) as error:
                typer.echo(f"the token was not replaced; tried again soon: {error}", err=True)
                wait = _AGAIN
    finally:
        entry.remove()


def _until_renewal(grant: Grant) -> float:
    return grant.until_renewal() if grant.expires_at else _UNKNOWN


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
