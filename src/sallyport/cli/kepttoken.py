"""The token that ``sallyport login`` keeps for the commands that come after it, in a file that only
its owner can read.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sallyport.core.errors import SallyportError
from sallyport.core.files import replace_private

if TYPE_CHECKING:
    from sallyport.identity.oidc.client import Grant

#: A token that ends within this many seconds is not handed out any more.
_MARGIN: Final = 10.0


def state_directory() -> Path:
    """For what commands keep: ``$XDG_STATE_HOME/sallyport`` or ``~/.local/state/sallyport``."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(
        os.path.expanduser("~"), ".local", "state"
    )
    return Path(base) / "sallyport"


def keep(grant: Grant) -> None:
    """In place of the one that was kept before. Raises SallyportError."""
    path = _path()
    content = {"access_token": grant.token.reveal(), "expires_at": grant.expires_at}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_private(path, json.dumps(content).encode())
    except OSError as error:
        raise SallyportError(f"the token cannot be kept in {path}: {error.strerror}") from None


def kept() -> Grant:
    """The token of the last ``login``. Raises SallyportError when there is none that is good."""
    # Start-up time: most commands need neither.
    from sallyport.core.secret import Secret
    from sallyport.identity.oidc.client import Grant

    path = _path()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        grant = Grant(Secret(str(values["access_token"])), float(values["expires_at"]))
    except FileNotFoundError:
        raise SallyportError(
            "no token here: run `sallyport login` first, or name a client with a secret:"
            " SALLYPORT_ISSUER, SALLYPORT_CLIENT_ID and SALLYPORT_CLIENT_SECRET"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SallyportError(
            f"{path} cannot be read ({type(error).__name__}): run `sallyport login` again"
        ) from None
    if grant.expires_at and grant.expires_at - _MARGIN <= time.time():
        raise SallyportError("the token has expired: run `sallyport login` again")
    return grant


def _path() -> Path:
    return state_directory() / "token.json"
