"""``sallyport pgpass`` with psql and psycopg, which read the file as they always do."""

from __future__ import annotations

import signal
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest

from sallyport.cli.passfile import Entry
from sallyport.core.errors import SallyportError
from tests.server.test_connect import credentials, environment, run
from tests.server.test_renewal import token
from tests.support.forked import SALLYPORT
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for

OTHERS = "# mine\nold.example.com:5432:*:me:a\\:b\\\\c\n"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_psql_and_psycopg_find_the_token(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text(OTHERS)
    file.chmod(0o644)  # libpq would ignore it
    at = ["--gateway", f"127.0.0.1:{gateway.port}", *credentials(gateway)]
    for _ in range(2):
        done = run(["pgpass", "shop", str(file), *at], environment(tmp_path))
        assert done.returncode == 0 and "eyJ" not in done.stdout + done.stderr, done.stderr
    first, *rest = file.read_text().splitlines()
    assert first.startswith(f"127.0.0.1:{gateway.port}:shop:*:eyJ")
    assert "\n".join(rest) + "\n" == OTHERS and mode_of(file) == 0o600
    env = environment(tmp_path, PGPASSFILE=str(file))
    psql = ["psql", "-h", "127.0.0.1", "-p", str(gateway.port), "-U", "me", "-wAtc", "SELECT 7"]
    answered = subprocess.run([*psql, "shop"], env=env, capture_output=True, text=True, check=False)
    assert answered.stdout == "7\n", answered.stderr
    with psycopg.connect(
        host="127.0.0.1", port=gateway.port, user="me", dbname="shop", passfile=str(file)
    ) as db:
        assert db.execute("SELECT 8").fetchone() == (8,)


def test_it_is_kept_fresh_and_removed_at_the_end(gateway: Gateway, tmp_path: Path) -> None:
    file, source = tmp_path / "new.pgpass", tmp_path / "token"
    source.write_text(token(gateway, 4))
    words = ["pgpass", "*", "--keep", "--token-file", str(source)]
    at = ["--gateway", f"127.0.0.1:{gateway.port}"]
    env = environment(tmp_path, PGPASSFILE=str(file))
    program = subprocess.Popen([SALLYPORT, *words, *at], env=env, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: file.exists() and source.read_text() in file.read_text())
        fresh = token(gateway, 600, jti="another")
        source.write_text(fresh)
        wait_for(lambda: fresh in file.read_text())
        assert len(file.read_text().splitlines()) == 1 and mode_of(file) == 0o600
        with psycopg.connect(
            host="127.0.0.1", port=gateway.port, user="me", dbname="shop", passfile=str(file)
        ) as db:
            assert db.execute("SELECT 9").fetchone() == (9,)
        Entry(file, ("other", "5432", "*", "*")).put("x")
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
        assert file.read_text() == "other:5432:*:*:x\n"
    finally:
        program.kill()
        program.communicate()


def test_what_is_wrong_is_said(gateway: Gateway, tmp_path: Path) -> None:
    source = tmp_path / "token"
    source.write_text("not-a-jwt")
    words = ["--token-file", str(source)]
    done = run(["pgpass", "shop", "/no/such/place", *words], environment(tmp_path))
    assert done.returncode == 2 and "No such file" in done.stderr
    done = run(
        ["pgpass", "shop", str(tmp_path / "f"), "--token-file", "/none"], environment(tmp_path)
    )
    assert done.returncode == 2 and not (tmp_path / "f").exists()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    done = run(["pgpass", "shop", str(link), *words], environment(tmp_path))
    assert done.returncode == 0 and link.is_symlink() and mode_of(tmp_path / "real") == 0o600


@pytest.mark.parametrize("name", ["a:b", "a\\b", "::1", "*x"])
def test_names_are_escaped(tmp_path: Path, name: str) -> None:
    entry = Entry(tmp_path / "f", (name, "1", name, "*"))
    entry.put("t:o\\k")
    entry.put("t:o\\k")
    escaped = name.replace("\\", "\\\\").replace(":", "\\:")
    assert (tmp_path / "f").read_text() == f"{escaped}:1:{escaped}:*:t\\:o\\\\k\n"
    entry.remove()
    assert (tmp_path / "f").read_text() == ""
    with pytest.raises(SallyportError):
        Entry(tmp_path / "f", ("h\nh", "1", "*", "*")).put("x")
