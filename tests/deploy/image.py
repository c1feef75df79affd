"""Run the gateway in the built image and look at a masked SELECT: scripts/image --try calls this.

``buildah run --isolation chroot`` shares this machine's network, so the database and the issuer are
the tests' own.
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


def main(store: Path) -> int:
    """Exit status 0: the SELECT came back masked."""
    directory = scratch_dir("image")
    container = subprocess.run(
        _buildah(store, "from", "localhost/sallyport"), check=True, capture_output=True, text=True
    ).stdout.strip()
    server = start_server()
    try:
        with DevIssuer() as issuer:
            ca, port, console = _configuration(directory, issuer, server)
            run = _buildah(store, "run", "--isolation", "chroot", "--user", str(USER))
            run += ["--env", f"SALLYPORT_HEALTH=https://{console}"]
            run += ["--volume", f"{directory}:/etc/sallyport:ro", container, "--"]
            serve = [
                "/opt/sallyport/bin/sallyport",
                "serve",
                "--config",
                "/etc/sallyport/sallyport.yaml",
            ]
            gateway = subprocess.Popen([*run, *serve], start_new_session=True)
            check = [*run, "/opt/sallyport/bin/python", "/opt/sallyport/healthcheck.py"]
            try:
                wait_for(lambda: subprocess.run(check, capture_output=True).returncode == 0)
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
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
