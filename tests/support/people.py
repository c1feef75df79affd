"""A real OpenID provider where people log in with a password, and agents fetch tokens: npm's
oidc-provider (people.mjs).

:class:`PeopleProvider` stands where the gateway's fixtures take an issuer: it has ``url``,
``audience`` and ``token``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sallyport.core.secret import Secret
from tests.support import requests
from tests.support.npm import npm_install
from tests.support.places import ROOT

PASSWORD = "correct horse"
_PACKAGE = ROOT / "tests" / "identity" / "idp"


@dataclass
class PeopleProvider:
    """redirect: the console's callback. people: claims by name (the password is :data:`PASSWORD`).
    clients: claims by client id.
    """

    redirect: str
    people: Mapping[str, Mapping[str, Any]]
    clients: Mapping[str, Mapping[str, Any]]
    audience: str = "sallyport"
    url: str = ""

    def __enter__(self) -> Self:
        place = npm_install(_PACKAGE)
        self._script = place / f"people-{os.getpid()}.mjs"
        # Node resolves packages beside it
        shutil.copy(Path(__file__).with_name("people.mjs"), self._script)
        people = {
            name: {"password": PASSWORD, "claims": claims} for name, claims in self.people.items()
        }
        options = json.dumps({"redirect": self.redirect, "people": people, "clients": self.clients})
        self._process = subprocess.Popen(
            ["node", str(self._script), options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the provider did not start; try: node {self._script} '{options}'"
        self.url = json.loads(line)["issuer"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._script.unlink(missing_ok=True)

    def token(self, client: str) -> Secret:
        """An access token of one of ``clients``, by client_credentials."""
        form = {
            "grant_type": "client_credentials",
            "client_id": client,
            "client_secret": "a-secret",
        }
        answer = requests.post(f"{self.url}/token", data=form)
        assert answer.status_code == 200, answer.text
        return Secret(answer.json()["access_token"])
