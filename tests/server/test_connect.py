"""``sallyport connect``, ``sallyport proxy`` and token files, with real programs against a real gateway."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.server.conftest import wait_for
from tests.support.gateway import AGENT, Gateway

SALLYPORT = str(Path(sys.executable).with_name("sallyport"))


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "SALLYPORT"))}
    return kept | {"XDG_STATE_HOME": str(home), "SALLYPORT_CLIENT_SECRET": "demo"} | more


def credentials(gateway: Gateway) -> list[str]:
    return ["--issuer", gateway.issuer.url, "--client-id", AGENT]


def run(words: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SALLYPORT, *words], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_psql_and_any_program_with_client_credentials(gateway: Gateway, tmp_path: Path) -> None:
    at = ["--gateway", f"127.0.0.1:{gateway.port}", *credentials(gateway), "--user", "a-label"]
    done = run(
        ["connect", "shop", *at, "--", "psql", "-Atc", "SELECT 'it ' || 'works'"], environment(tmp_path)
    )
    assert (done.returncode, done.stdout) == (0, "it works\n"), done.stderr
    done = run(
        ["connect", "shop", *at, "--", "sh", "-c", "echo $PGUSER $PGDATABASE; exit 7"], environment(tmp_path)
    )
    assert (done.returncode, done.stdout) == (7, "a-label shop\n")
    done = run(["connect", "shop", *at, "--", "no-such-program"], environment(tmp_path))
    assert (done.returncode, "not installed" in done.stderr) == (2, True)


def test_token_files_are_read_each_time(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(gateway.token() + "\n")
    env = environment(tmp_path, SALLYPORT_TOKEN_FILE=str(file))
    first = run(["token"], env).stdout.strip()
    file.write_text(gateway.token())
    header = json.loads(run(["token", "--header"], env).stdout)
    assert header == {"Authorization": f"Bearer {file.read_text()}"} and first not in header.values()
    assert json.loads(run(["token", "--json"], env).stdout)["expires_at"] > 1_700_000_000
    for bad in ("", "two\nlines"):
        file.write_text(bad)
        done = run(["token"], env)
        assert (done.returncode, done.stdout, "has no token" in done.stderr) == (2, "", True)
    file.unlink()
    assert "cannot be read" in run(["token"], env).stderr


@contextmanager
def proxying(gateway: Gateway, home: Path, *words: str) -> Iterator[str]:
    """``sallyport proxy``; gives the connection string that it prints."""
    at = ["--target", "shop", "--gateway", f"127.0.0.1:{gateway.port}", *words]
    with (home / "said").open("w") as said:
        program = subprocess.Popen([SALLYPORT, "proxy", *at], env=environment(home), stderr=said)
    try:
        wait_for(lambda: "postgresql://" in (home / "said").read_text())
        yield (home / "said").read_text().strip()
    finally:
        program.terminate()
        program.wait(20)


def test_a_port_whose_password_never_changes(gateway: Gateway, tmp_path: Path) -> None:
    words = [*credentials(gateway), "--listen", f"127.0.0.1:{free_port()}"]
    with proxying(gateway, tmp_path, *words) as dsn:
        for _ in range(2):  # each with a token of its own
            with psycopg.connect(dsn, autocommit=True) as connection:
                assert connection.execute("SELECT count(*) FROM products").fetchone() is not None
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1"):
                    connection.execute("DROP TABLE products")
        wrong = re.sub(r":[^:@]+@", ":wrong-password-wrong@", dsn)
        with pytest.raises(psycopg.OperationalError, match=r"SP1601.*password"):
            psycopg.connect(wrong)
        with (  # cancel requests pass
            psycopg.connect(dsn, autocommit=True) as connection,
            pytest.raises(psycopg.errors.QueryCanceled),
        ):
            threading.Timer(0.5, connection.cancel).start()
            connection.execute("SELECT count(*) FROM generate_series(1, 100000000000)")
    (file,) = tmp_path.rglob("proxy-shop.password")
    assert file.stat().st_mode & 0o777 == 0o600
    with proxying(gateway, tmp_path, *words) as again:
        assert again == dsn


def test_a_socket_and_a_token_file(gateway: Gateway, tmp_path: Path) -> None:
    file, directory = tmp_path / "token", tmp_path / "socket"
    file.write_text("not a token")
    with proxying(gateway, tmp_path, "--token-file", str(file), "--socket", str(directory)) as dsn:
        with pytest.raises(psycopg.OperationalError, match="SP1601"):
            psycopg.connect(dsn)
        file.write_text(gateway.token())
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    directory.chmod(0o755)
    done = run(
        ["proxy", "--target", "shop", "--token-file", str(file), "--socket", str(directory)],
        environment(tmp_path),
    )
    assert (done.returncode, "open to others" in done.stderr) == (2, True)


def test_the_port_is_for_this_machine_only(tmp_path: Path) -> None:
    done = run(["proxy", "--target", "shop", "--listen", "0.0.0.0:0"], environment(tmp_path))
    assert (done.returncode, "loopback only" in done.stderr) == (2, True)
