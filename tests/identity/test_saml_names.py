"""Names and groups in SAML assertions are what the provider wrote, to the character."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sallyport.core.clock import ManualClock
from sallyport.identity.claims import ClaimMapping
from tests.identity.saml_provider import ServiceProvider, saml_idp

SPACES = [" ", "\N{NO-BREAK SPACE}", "\N{EM SPACE}", "\t"]


def test_white_space_makes_nobody_somebody_else(tmp_path: Path) -> None:
    """People of some providers choose their own names: "root " is not "root". What no policy could
    write is refused.
    """
    mapping = ClaimMapping(subject=("login",), agent=(), actor=())
    with saml_idp(tmp_path) as idp:
        sp = ServiceProvider(idp, ManualClock(time.time()), claims=mapping)
        for space in SPACES:
            for name in (f"root{space}", f"{space}root"):
                claims = {"login": name, "groups": [f"{space}dba"]}
                response = idp.response(user={"id": "eve", "claims": claims})
                if space == " ":
                    subject = sp.subject(response)
                    assert (subject.id, subject.groups) == (name, {" dba"})
                else:
                    with pytest.raises(AssertionError):
                        sp.subject(response)
                    assert "login" in sp.refusal(response)
