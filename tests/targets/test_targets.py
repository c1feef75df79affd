"""Targets as values: strict by default, and without secrets to show."""

from __future__ import annotations

import pytest

from sallyport.targets.credentials import Reference
from sallyport.targets.targets import Target


def test_defaults_are_the_strict_ones() -> None:
    target = Target("shop", "db.internal", "shop", "agent", None)
    assert (target.port, target.tls, target.auth) == (5432, "verify-full", ("scram-sha-256",))


def test_a_target_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "canary")
    target = Target("shop", "db.internal", "shop", "agent", Reference("env", "SHOP_PASSWORD"))
    assert "SHOP_PASSWORD" in repr(target)
    assert "canary" not in repr(target)
    command = Target(
        "shop", "db.internal", "shop", "agent", Reference("command", argv=("vault", "token=canary"))
    )
    assert "canary" not in repr(command)
