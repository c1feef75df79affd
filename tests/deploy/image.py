"""Run the gateway in the built image and look at a masked SELECT: scripts/image --try calls this.

Its root file system is read-only. It shares this machine's network, so the database and the issuer
are the tests' own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import yaml

from sallyport.demo.issuer import DevIssuer
from tests.deploy.test_compose import free_port
from tests.support.certificates import Authority
from tests.support.gateway import SHOP_POLICY
from tests.support.places import scratch_dir
from tests.support.postgres import start_server
from tests.support.waiting import wait_for

#: The user that the image runs as.
USER = 65532
PYTHON = "/opt/sallyport/bin/python"
#: Of the image; nothing of this machine's.
ENVIRONMENT = {
    "PATH": "/opt/sallyport/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


def _buildah(store: Path, *words: str) -> list[str]:
    return [
        "buildah", "--storage-driver", "vfs", "--root", f"{store}/root", "--runroot",
        f"{store}/run", *words,
    ]  # fmt: skip


def _configuration(directory: Path, issuer: DevIssuer, server: Any) -> tuple[Path, int, str]:
    authority = Authority(directory)
    files = authority.issue("localhost")
    port, console = free_port(), f"127.0.0.1:{free_port()}"
    config = {
        "listen": f"127.0.0.1:{port}",
        "tls": {"certificate": f"/etc/sallyport/{files.certificate.name}",
        "key": f"/etc/sallyport/{files.key.name}"},
        "console": {"listen": console},
        "data": "/var/lib/sallyport",
        "identity": {"oidc": [{"issuer": issuer.url, "audience": issuer.audience,
        "groups_claim": "groups"}]},
        "targets": {
            "shop": {
                "host": server.host, "port": server.port, "database": server.database,
                "user": server.user,
                "password": {"file": "/etc/sallyport/password"}, "tls": "disable",
            }
        },
        "policy": "policy.yaml",
    }  # fmt: skip
    (directory / "sallyport.yaml").write_text(yaml.safe_dump(config))
    (directory / "policy.yaml").write_text(SHOP_POLICY)
    (directory / "password").write_text(server.password)
    for path in (directory / "password", files.key):
        path.chmod(0o400)
    for path in (directory, *directory.iterdir()):
        os.chown(path, USER, USER)
    return authority.file, port, console


#: What a container's runtime does of a read-only root, as an engine's ``--read-only --tmpfs /tmp``
#: and Kubernetes' readOnlyRootFilesystem have it: only the data directory and /tmp are written.
_READ_ONLY = """
set -e
root=$1 configuration=$2 data=$3; shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$configuration" "$root/etc/sallyport"
mount -o remount,bind,ro "$root/etc/sallyport"
mount --bind "$data" "$root/var/lib/sallyport"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot --userspec=65532:65532 "$root" "$@"
"""
#: Exit status 0: nothing else can be written.
_LOOK = """
import errno, pathlib
for place in ("/", "/opt/sallyport", "/etc/sallyport", "/usr", "/var", "/home"):
    try:
        pathlib.Path(place, "written").touch()
    except OSError as error:
        print(place, error.strerror)
        if error.errno == errno.EROFS:
            continue
    raise SystemExit(f"{place} is not read-only")
"""


def _inside(store: Path, container: str, configuration: Path, data: Path) -> list[str]:
    """Runs what follows as the image's user in its root file system, which is read-only."""
    mounted = subprocess.run(
        _buildah(store, "mount", container), check=True, capture_output=True, text=True
    )
    root = mounted.stdout.strip()
    script = ["sh", "-c", _READ_ONLY, "sh", root, str(configuration), str(data)]
    return ["unshare", "--mount", "--propagation", "private", *script]


def main(store: Path) -> int:
    """Exit status 0: the SELECT came back masked."""
    directory, data = scratch_dir("image"), scratch_dir("image-data")
    os.chown(data, USER, USER)
    data.chmod(0o700)
    container = subprocess.run(
        _buildah(store, "from", "localhost/sallyport"), check=True, capture_output=True, text=True
    ).stdout.strip()
    server = start_server()
    try:
        with DevIssuer() as issuer:
            ca, port, console = _configuration(directory, issuer, server)
            run = _inside(store, container, directory, data)
            subprocess.run([*run, PYTHON, "-c", _LOOK], check=True)
            serve = ["/opt/sallyport/bin/sallyport", "serve"]
            serve += ["--config", "/etc/sallyport/sallyport.yaml"]
            environment = {**ENVIRONMENT, "SALLYPORT_HEALTH": f"https://{console}"}
            gateway = subprocess.Popen([*run, *serve], env=environment, start_new_session=True)
            check = [*run, PYTHON, "/opt/sallyport/healthcheck.py"]

            def is_healthy() -> bool:
                return subprocess.run(check, env=environment, capture_output=True).returncode == 0

            try:
                wait_for(is_healthy)
                with psycopg.connect(
                    f"host=localhost hostaddr=127.0.0.1 port={port} dbname=shop user=claude"
                    " sslmode=verify-full",
                    password=issuer.token("claude-agent").reveal(),
                    sslrootcert=str(ca),
                ) as db:
                    rows = db.execute(
                        "SELECT name, email FROM customers ORDER BY id LIMIT 3"
                    ).fetchall()
            finally:
                os.killpg(gateway.pid, signal.SIGTERM)
                gateway.wait(30)
        for row in rows:
            print(*row, sep="\t")
        return 0 if rows and all("***" in email for _, email in rows) else 1
    finally:
        server.stop()
        subprocess.run(_buildah(store, "rm", container), capture_output=True)
        for place in (directory, data):
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
