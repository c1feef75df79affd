"""Keys of recordings change and go while gateways run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from sallyport.audit.keys import new_key_text
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for


def said(gateway: Gateway, *words: str, code: int = 0) -> str:
    done = gateway.run(*words)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def run_session(gateway: Gateway, number: int) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute(f"SELECT {number} FROM products LIMIT 1")


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    return list(json.loads(said(gateway, "sessions", "list", "--json")))


def all_ended(gateway: Gateway, count: int) -> bool:
    rows = listed(gateway)
    return len(rows) == count and all(row["status"] == "ended" for row in rows)


def write_key(path: Path) -> dict[str, str]:
    path.write_text(new_key_text())
    path.chmod(0o600)
    return {"file": str(path)}


def use(gateway: Gateway, encryption: dict[str, Any]) -> None:
    gateway.extra = {**gateway.extra, "recording": {"encryption": encryption}}


def test_a_key_is_replaced_while_sessions_are_live(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    old = {"file": str(gateway.home / "var" / "recording.key")}
    run_session(gateway, 1)
    wait_for(lambda: all_ended(gateway, 1))
    new = write_key(gateway.home / "new.key")
    use(gateway, {"key": new, "previous": [old]})
    gateway.restart()
    with psycopg.connect(gateway.dsn(), autocommit=True) as live:
        live.execute("SELECT 2 FROM products LIMIT 1")
        wait_for(lambda: len(listed(gateway)) == 2)
        assert "1 keys were wrapped" in said(gateway, "audit", "rotate-key")
        live.execute("SELECT 3 FROM products LIMIT 1")
    wait_for(lambda: all_ended(gateway, 2))
    use(gateway, {"key": new})
    gateway.restart()
    Path(old["file"]).unlink()
    assert "No recording needs another key" in said(gateway, "audit", "rotate-key")
    for row in listed(gateway):
        assert "FROM products" in said(gateway, "sessions", "replay", row["id"], "--instant")
    assert "0 with problems" in said(gateway, "audit", "verify")
    assert "recordings need a key" not in gateway.output()


def test_a_session_is_shredded_beside_a_running_gateway(
    make_gateway: Callable[..., Gateway],
) -> None:
    gateway = make_gateway()
    run_session(gateway, 4713)
    wait_for(lambda: all_ended(gateway, 1))
    (row,) = listed(gateway)
    with psycopg.connect(gateway.dsn(), autocommit=True) as live:
        live.execute("SELECT 5 FROM products LIMIT 1")
        shred = ("audit", "shred", "--reason", "request 42", "--yes")
        wait_for(lambda: len(listed(gateway)) == 2)
        text = said(gateway, *shred, "--subject", row["subject"], code=1)
        assert "1 recording shredded" in text and "is live" in text
        live.execute("SELECT 6 FROM products LIMIT 1")
    wait_for(lambda: all_ended(gateway, 2))
    assert "0 with problems" in said(gateway, "audit", "verify")  # the command's own record as well
    gateway.restart()
    assert "request 42" in said(gateway, "sessions", "replay", row["id"], "--instant", code=2)
    verified = said(gateway, "audit", "verify")
    assert f"{row['id']}  SHREDDED" in verified
    assert "0 with problems" in verified
    for file in (gateway.home / "var").rglob("*"):
        assert not file.is_file() or b"4713" not in file.read_bytes(), file


def test_a_killed_gateway_needs_its_key(make_gateway: Callable[..., Gateway]) -> None:
    """What it left cannot be completed under another key: it says so and does not start."""
    gateway = make_gateway()
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SELECT 7 FROM products LIMIT 1")
        wait_for(lambda: len(listed(gateway)) == 1)
        program = gateway._running()
        program.kill()
        gateway._program = None
    use(gateway, {"key": write_key(gateway.home / "new.key")})
    gateway.write()
    text = said(gateway, "serve", code=2)
    assert "what an earlier run left behind cannot be completed" in text
    assert "recording.encryption" in text
    use(gateway, {})
    gateway.start()
    (row,) = listed(gateway)
    assert row["status"] == "interrupted"
    assert "0 with problems" in said(gateway, "audit", "verify")
