"""Entries of ``targets:`` as values, and the mistakes in them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sallyport.core.errors import ConfigError
from sallyport.targets.credentials import Reference
from sallyport.targets.targets import Target, TargetLimits, from_settings

SHOP: dict[str, object] = {
    "host": "db.internal",
    "port": 5433,
    "database": "shop",
    "user": "sallyport_agent",
    "password": {"env": "SHOP_PASSWORD"},
    "tls": "verify-full",
    "ca": "ca.crt",
    "auth": ["scram-sha-256", "md5"],
    "limits": {"max_sessions": 20, "connect_timeout": 5},
}


def test_an_entry() -> None:
    expected = Target(
        name="shop",
        host="db.internal",
        database="shop",
        user="sallyport_agent",
        password=Reference("env", "SHOP_PASSWORD"),
        port=5433,
        tls="verify-full",
        ca=Path("/etc/sallyport/ca.crt"),
        auth=("scram-sha-256", "md5"),
        limits=TargetLimits(connect_timeout=5, max_sessions=20),
    )
    assert from_settings("shop", SHOP, Path("/etc/sallyport")) == expected
    assert from_settings("shop", SimpleNamespace(**SHOP), Path("/etc/sallyport")) == expected


def test_defaults_are_the_strict_ones() -> None:
    target = from_settings("shop", {"host": "h", "database": "d", "user": "u"})
    assert (target.port, target.tls, target.auth, target.password) == (
        5432,
        "verify-full",
        ("scram-sha-256",),
        None,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hots": "x"}, "target shop: unknown key hots"),
        ({"host": ""}, "target shop: host must be a non-empty string"),
        ({"database": "a\0b"}, "database must be"),
        ({"user": None}, "user must be"),
        ({"port": 0}, "port must be a number from 1 to 65535"),
        ({"port": "5432"}, "port must be"),
        ({"port": True}, "port must be"),
        ({"tls": "prefer"}, "tls must be one of verify-full, require, disable"),
        ({"auth": ["trust"]}, "auth must list some of scram-sha-256, md5, password"),
        ({"auth": []}, "auth must list"),
        ({"password": "hunter2"}, "target shop: password: secrets do not stand in the configuration"),
        ({"limits": {"rows": 1}}, "target shop: limits: unknown key rows"),
        ({"limits": 5}, "target shop: limits: must be a mapping"),
        ({"limits": {"connect_timeout": 0}}, "limits.connect_timeout must be"),
    ],
)
def test_mistakes(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_settings("shop", SHOP | change)
    assert "hunter2" not in str(caught.value)


def test_a_target_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "canary")
    assert "canary" not in repr(from_settings("shop", SHOP))
