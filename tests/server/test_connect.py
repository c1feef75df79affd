"""``sallyport connect``, ``sallyport proxy`` and token files, with real programs against a real
gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from sallyport.cli.localproxy import Door, LocalProxy
from sallyport.core.secret import Secret
from sallyport.demo.postgres import free_port
from sallyport.identity.oidc.client import Grant
from tests.support.certificates import Authority
from tests.support.forked import SALLYPORT
from tests.support.forked import run as run_command
from tests.support.gateway import AGENT, Gateway
from tests.support.waiting import wait_for


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "SALLYPORT"))
    }
    return kept | {"XDG_STATE_HOME": str(home), "SALLYPORT_CLIENT_SECRET": "demo"} | more


def credentials(gateway: Gateway) -> list[str]:
    return ["--issuer", gateway.issuer.url, "--client-id", AGENT]


def run(words: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run_command([SALLYPORT, *words], env, {})


def test_psql_and_any_program_with_client_credentials(gateway: Gateway, tmp_path: Path) -> None:
    at = ["--gateway", f"127.0.0.1:{gateway.port}", *credentials(gateway), "--user", "a-label"]
    done = run(
        ["connect", "shop", *at, "--", "psql", "-Atc", "SELECT 'it ' || 'works'"],
        environment(tmp_path),
    )
    assert (done.returncode, done.stdout) == (0, "it works\n"), done.stderr
    done = run(
        ["connect", "shop", *at, "--", "sh", "-c", "echo $PGUSER $PGDATABASE; exit 7"],
        environment(tmp_path),
    )
    assert (done.returncode, done.stdout) == (7, "a-label shop\n")
    done = run(["connect", "shop", *at, "--", "no-such-program"], environment(tmp_path))
    assert (done.returncode, "not installed" in done.stderr) == (2, True)


def test_the_token_goes_nowhere_else(gateway: Gateway, tmp_path: Path) -> None:
    """Not to the server that the environment names, and not in clear where a CA was named."""
    at = ["--gateway", f"127.0.0.1:{gateway.port}", *credentials(gateway)]
    (tmp_path / "services").write_text("[own]\nhost=127.0.0.1\nport=1\n")
    env = environment(tmp_path, PGSERVICE="own", PGSERVICEFILE=str(tmp_path / "services"))
    env["PGHOSTADDR"] = "127.77.0.1"
    asks = ["--", "psql", "-Atc", "SELECT 'it ' || 'works'"]
    done = run(["connect", "shop", *at, *asks], env)
    assert (done.returncode, done.stdout) == (0, "it works\n"), done.stderr
    ca = Authority(tmp_path).file
    for mode in ({}, {"PGSSLMODE": "disable"}):
        env = environment(tmp_path, **mode)
        done = run(["connect", "shop", *at, "--ca", str(ca), *asks], env)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "does not support SSL" in done.stderr


def test_a_proxy_says_what_keeps_it_from_the_gateway(gateway: Gateway, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    words = [*credentials(gateway), "--target", "shop", "--listen", f"127.0.0.1:{free_port()}"]
    done = run(["proxy", *words, "--ca", str(broken)], environment(tmp_path))
    assert done.returncode == 2 and "name a readable PEM file" in done.stderr
    away = ["--gateway", "nowhere.invalid:6432", *words[-2:], *credentials(gateway)]
    with (
        proxying(gateway, tmp_path, *away) as dsn,
        pytest.raises(psycopg.OperationalError, match=r"SP1604.*cannot be reached") as caught,
    ):
        psycopg.connect(dsn)
    assert "gaierror" not in str(caught.value)


def test_token_files_are_read_each_time(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(gateway.token() + "\n")
    env = environment(tmp_path, SALLYPORT_TOKEN_FILE=str(file))
    first = run(["token"], env).stdout.strip()
    file.write_text(gateway.token())
    header = json.loads(run(["token", "--header"], env).stdout)
    assert (
        header == {"Authorization": f"Bearer {file.read_text()}"} and first not in header.values()
    )
    assert json.loads(run(["token", "--json"], env).stdout)["expires_at"] > "2026-01-01T00:00:00Z"
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


def test_the_socket_stands_in_a_directory_of_ones_own(tmp_path: Path) -> None:
    """Whoever owns the directory could connect, or put a socket of theirs in the place of ours."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory of somebody else's")
    directory = tmp_path / "theirs"
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)
    done = run(
        ["proxy", "--target", "shop", "--socket", str(directory)],
        environment(tmp_path, SALLYPORT_TOKEN_FILE="/x"),
    )
    assert (done.returncode, "somebody else" in done.stderr) == (2, True), done.stderr


def test_nothing_that_was_put_before_tls_is_read(
    make_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    """Somebody between proxy and gateway adds an answer to the gateway's S (CVE-2021-23222)."""
    gateway = make_gateway(tls=True)
    forged = b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I"  # AuthenticationOk, ReadyForQuery

    async def login(injected: bytes) -> bytes:
        async def meddle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, forth = await asyncio.open_connection("127.0.0.1", gateway.port)

            async def pump(
                source: asyncio.StreamReader,
                sink: asyncio.StreamWriter,
                more: bytes,
            ) -> None:
                while data := await source.read(65536):
                    sink.write(data + more)
                    more = b""
                sink.close()

            await asyncio.gather(
                pump(reader, forth, b""), pump(back, writer, injected), return_exceptions=True
            )

        async def fetch() -> Grant:
            return Grant(Secret(gateway.token()), time.time() + 60)

        server = await asyncio.start_server(meddle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert gateway.ca is not None
        local = LocalProxy(Door("127.0.0.1", port, "shop", str(gateway.ca)), fetch, None)
        ours = await asyncio.start_server(local._serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*ours.sockets[0].getsockname()[:2])
        body = struct.pack("!i", 196608) + b"user\0me\0database\0shop\0\0"
        writer.write(struct.pack("!i", len(body) + 4) + body)
        said = await asyncio.wait_for(reader.read(9), 20)
        writer.close()
        ours.close()
        server.close()
        return said

    assert asyncio.run(login(b"")) == forged[:9], "an honest gateway lets in"
    assert asyncio.run(login(forged))[:1] in (b"E", b""), "forged"


def test_the_port_is_for_this_machine_only(tmp_path: Path) -> None:
    done = run(["proxy", "--target", "shop", "--listen", "0.0.0.0:0"], environment(tmp_path))
    assert (done.returncode, "use a loopback address" in done.stderr) == (2, True)
