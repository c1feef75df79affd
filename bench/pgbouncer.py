"""PgBouncer in session mode, to compare with. Debian's, taken from its package without installing
it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.places import CACHE, scratch_dir
from tests.support.postgres import Server
from tests.support.processes import Program

from sallyport.demo.account import account
from sallyport.demo.postgres import free_port

_CONFIG = """\
[databases]
shop = host={server.host} port={server.port} dbname={server.database}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = session
max_client_conn = 3000
default_pool_size = 2000
ignore_startup_parameters = extra_float_digits
server_idle_timeout = 5
log_connections = 0
log_disconnections = 0
client_tls_sslmode = allow
client_tls_cert_file = {tls.certificate}
client_tls_key_file = {tls.key}
"""


class UnavailableError(Exception):
    """PgBouncer cannot be had here; the text says what to install."""


@dataclass(frozen=True)
class Binary:
    """``libraries``: a directory for LD_LIBRARY_PATH, or empty."""

    program: str
    libraries: str = ""


def find() -> Binary:
    """PgBouncer on PATH, or unpacked from Debian's package. Raises UnavailableError."""
    path = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if path:
        return Binary(path)
    home = CACHE / "pgbouncer"
    program = home / "usr/sbin/pgbouncer"
    if not program.exists():
        _unpack(home)
    libraries = next(home.glob("usr/lib/*-linux-gnu"), home)
    return Binary(str(program), str(libraries))


def _unpack(home: Path) -> None:
    """Fetch the package and the libraries that are its own, by name, and unpack them: no service is
    started.
    """
    what = "PgBouncer is needed for the comparison (Debian: apt-get install pgbouncer)."
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise UnavailableError(what)
    home.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0 and not _candidate("pgbouncer"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)
    depends = subprocess.run(
        ["apt-cache", "depends", "pgbouncer"], capture_output=True, text=True, check=False
    )
    own = re.findall(r"Depends: (libevent\S+|libc-?ares\S+)", depends.stdout)
    fetched = subprocess.run(
        ["apt-get", "download", "-qq", "pgbouncer", *own],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode != 0:
        raise UnavailableError(f"{what} {fetched.stderr.strip()}")
    for package in home.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(home)], check=True)
        package.unlink()


def _candidate(package: str) -> bool:
    policy = subprocess.run(
        ["apt-cache", "policy", package], capture_output=True, text=True, check=False
    )
    return "Candidate:" in policy.stdout and "Candidate: (none)" not in policy.stdout


def start(server: Server) -> tuple[Program, int]:
    """A running PgBouncer before ``server``, and its port."""
    binary = find()
    home = scratch_dir("pgbouncer")
    who, port = account(), free_port()
    users = home / "users.txt"
    users.write_text(f'"{server.user}" "{server.password}"\n')
    config = home / "pgbouncer.ini"
    tls = Authority(home, "PgBouncer benchmark CA").issue("pgbouncer")
    config.write_text(_CONFIG.format(server=server, port=port, users=users, tls=tls))
    for file in (users, config, tls.certificate, tls.key):
        file.chmod(0o600)
        who.own(file)
    command = [binary.program, *(["--user", who.name] if who.switch else []), str(config)]
    env = {"LD_LIBRARY_PATH": binary.libraries} if binary.libraries else {}
    program = Program(command, home / "pgbouncer.log", env)
    program.wait_listening(port)
    return program, port
