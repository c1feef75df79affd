"""Settings that would be unsafe are refused where they are made, with words that help."""

from __future__ import annotations

from typing import Any

import pytest

from sallyport.core.clock import ManualClock
from sallyport.core.errors import ConfigError
from sallyport.identity.authenticate import Authenticator
from sallyport.identity.settings import ALGORITHMS, IssuerSettings


@pytest.mark.parametrize(
    "issuer",
    [
        "https://idp.example.com",
        "https://idp.example.com:8443/realms/x/",
        "http://127.0.0.1:9000",
        "http://localhost:9000",
        "http://[::1]:9000/a",
        "http://127.8.8.8",
    ],
)
def test_issuers_that_may_be_asked(issuer: str) -> None:
    assert IssuerSettings(issuer, "sallyport").algorithms == ALGORITHMS


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"issuer": "http://idp.example.com"}, "https://"),
        ({"issuer": "http://localhost.example.com"}, "https://"),
        ({"issuer": "http://127.0.0.1.example.com"}, "https://"),
        ({"issuer": "http://10.0.0.1"}, "https://"),
        ({"issuer": "idp.example.com"}, "with a host"),
        ({"issuer": ""}, "with a host"),
        ({"issuer": "https://"}, "with a host"),
        ({"issuer": "https://user:pw@idp.example.com"}, "without credentials"),
        ({"issuer": "https://[::1"}, "not a URL"),
        ({"issuer": "https://h:port"}, "not a URL"),
        ({"issuer": "file:///etc/passwd"}, "with a host"),
        ({"issuer": "https://h/?a=b"}, "query"),
        ({"issuer": "https://h/#f"}, "fragment"),
        ({"jwks_url": "http://idp.example.com/jwks"}, "jwks_url"),
        ({"audience": ""}, "audience is missing"),
        ({"token_file": "/t"}, "jwks_url"),
        ({"jwks_file": "/j", "jwks_url": "https://h/j"}, "keep one"),
        ({"algorithms": ()}, "algorithms"),
        ({"algorithms": ("RS256", "HS256")}, "HS256"),
        ({"algorithms": ("none",)}, "none"),
        ({"clock_skew": -1}, "clock_skew"),
        ({"clock_skew": 301}, "clock_skew"),
        ({"clock_skew": float("nan")}, "clock_skew"),
        ({"max_token_age": -1}, "max_token_age"),
        ({"max_token_age": float("nan")}, "max_token_age"),
    ],
)
def test_settings_that_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=r"identity\.oidc issuer") as caught:
        IssuerSettings(**{"issuer": "https://idp.example.com", "audience": "sallyport", **options})
    assert words in str(caught.value)


def test_an_issuer_is_listed_once() -> None:
    issuer = IssuerSettings("https://idp.example.com", "a")
    with pytest.raises(ConfigError, match="twice"):
        Authenticator([issuer, IssuerSettings("https://idp.example.com", "b")], ManualClock())
