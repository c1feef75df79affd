"""The README's walk-through for a database of one's own, run as it stands: its SQL, its two files,
its questions.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg

from sallyport.demo.issuer import DevIssuer
from tests.support.places import ROOT, scratch_dir
from tests.support.postgres import Server

TEXT = (ROOT / "README.md").read_text()


def block(kind: str, start: str) -> str:
    """The indented code block of that kind which begins so."""
    for text in re.findall(rf"^   ```{kind}\n(.*?)^   ```", TEXT, re.M | re.S):
        lines = "\n".join(line[3:] for line in text.splitlines())
        if lines.startswith(start):
            return f"{lines}\n"
    raise AssertionError(f"README.md has no {kind} block that begins with {start!r}")


def sallyport(directory: Path, password: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sallyport", *words],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "SHOP_PASSWORD": password},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_walk_through_works(own_postgres: Server, issuer: DevIssuer) -> None:
    grants = block("sql", "CREATE ROLE").replace("sallyport_agent", "readme_agent")
    with psycopg.connect(own_postgres.superuser_dsn, autocommit=True) as db:
        db.execute(grants)
    directory = scratch_dir("readme")
    config = block("yaml", "# sallyport.yaml")
    for old, new in (
        ("port: 5432", f"port: {own_postgres.port}"),
        ("user: sallyport_agent", "user: readme_agent"),
        ("https://idp.example.com", issuer.url),
    ):
        assert config.count(old) == 1
        config = config.replace(old, new)
    (directory / "sallyport.yaml").write_text(config)
    (directory / "policy.yaml").write_text(block("yaml", "# policy.yaml"))
    commands = [
        line.partition("    #")[0]
        for line in block("sh", "export SHOP_PASSWORD=choose-one").splitlines()
        if line.startswith("sallyport policy")
    ]
    assert len(commands) == 2
    check, explain = (shlex.split(command)[1:] for command in commands)
    sallyport(directory, "choose-one", *check)
    said = sallyport(directory, "choose-one", *explain)
    assert "redact" in said
    policy = block("yaml", "# policy.yaml")
    assert policy.count("[read-only, ") == 1
    rule = block("yaml", "  - {name: changes wait")
    (directory / "policy.yaml").write_text(policy.replace("[read-only, ", "[") + rule)
    sql = "UPDATE customers SET notes = 'x' WHERE id = 1"
    said = sallyport(directory, "choose-one", *explain[:-1], sql)
    assert said.startswith("HOLD by rule 'changes wait'")
