"""How each project's suite is told where the database is, and run. Nothing is fetched or installed:
the checkout, and what its tests need, are there already.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from psycopg import connect

from tests.suites.outcomes import Outcome, from_cargo, from_go, from_junit, from_node_postgres


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect. ``password``: of the role, or a token."""

    port: int
    database: str
    user: str
    password: str
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return (
            f"postgresql://{quote(self.user)}:{quote(self.password)}"
            f"@{self.host}:{self.port}/{quote(self.database)}"
        )

    @property
    def environment(self) -> dict[str, str]:
        """libpq's variables, which most drivers read."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a suite. ``arguments``: of the caller, for the suite's own runner. ``home``: an
    empty directory.
    """

    checkout: Path
    place: Place
    home: Path
    python: str
    arguments: tuple[str, ...]

    def execute(
        self,
        command: list[str],
        more: Mapping[str, str] | None = None,
        within: str | Path = ".",
        seconds: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the checkout, for ``seconds`` at most; its output is kept in ``home``
        too.
        """
        if seconds is not None:
            command = ["timeout", "--kill-after=5", str(seconds), *command]
        ran = subprocess.run(
            command,
            cwd=self.checkout / within,
            env={**os.environ, **self.place.environment, **(more or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        with (self.home / "output.txt").open("a", encoding="utf-8") as file:
            file.write(f"\n$ {' '.join(command)}\n{ran.stdout}")
        return ran


def psycopg(run: Run) -> dict[str, Outcome]:
    """pytest with the checkout's own packages, in pure Python."""
    packages = os.pathsep.join(str(run.checkout / name) for name in ("psycopg", "psycopg_pool"))
    report = run.home / "report.xml"
    command = [run.python, "-m", "pytest", "-q", f"--junitxml={report}"]
    command += ["-o", f"cache_dir={run.home / 'cache'}"]
    command += [f"--test-dsn={run.place.url}", "-m", "not slow", *run.arguments]
    run.execute(command, {"PYTHONPATH": packages, "PSYCOPG_IMPL": "python"})
    return from_junit([report])


def psycopg2(run: Run) -> dict[str, Outcome]:
    """pytest with the psycopg2 that is installed: the checkout need not be built."""
    place = run.place
    report = run.home / "report.xml"
    command = [run.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    where = {"": place.database, "_HOST": place.host, "_PORT": place.port, "_USER": place.user}
    environment = {f"PSYCOPG2_TESTDB{name}": str(value) for name, value in where.items()}
    run.execute([*command, *(run.arguments or ("tests",))], environment)
    return from_junit([report])


def asyncpg(run: Run) -> dict[str, Outcome]:
    """pytest; the checkout is built in place (``python setup.py build_ext --inplace``)."""
    report = run.home / "report.xml"
    command = [run.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    run.execute([*command, "tests", *run.arguments], {"PYTHONPATH": str(run.checkout)})
    return from_junit([report])


def sqlalchemy(run: Run, driver: str = "psycopg") -> dict[str, Outcome]:
    """pytest with the checkout's own package: the dialect's tests and the suite that SQLAlchemy
    has for all dialects, through psycopg 3 or asyncpg. The schemas that they need are made first.
    """
    url = run.place.url
    with connect(url, autocommit=True) as db:
        for schema in ("test_schema", "test_schema_2"):
            db.execute(f"CREATE SCHEMA {schema}")
    report = run.home / "report.xml"
    command = [run.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command += [f"--dburi={url.replace('://', f'+{driver}://')}", "--nomypy", "--maxfail=0"]
    default = ("test/dialect/postgresql", "test/dialect/test_suite.py")
    run.execute([*command, *(run.arguments or default)])
    return from_junit([report])


def node_postgres(run: Run) -> dict[str, Outcome]:
    """Every file of the integration tests, after ``yarn && yarn build`` in the checkout. A test
    that fails does not end its file, as it would in node-postgres's own runner.
    """
    keep_going = str(Path(__file__).with_name("keep_going.cjs"))
    folder = run.checkout / "packages" / "pg"
    outcomes: dict[str, Outcome] = {}
    for path in sorted((folder / "test" / "integration").rglob("*-tests.js")):
        file = str(path.relative_to(folder))
        if run.arguments and not any(word in file for word in run.arguments):
            continue
        ran = run.execute(
            ["node", "--require", keep_going, file], within="packages/pg", seconds=120
        )
        outcomes |= from_node_postgres(file, ran.stdout, ran.returncode)
    return outcomes


def pgjdbc(run: Run) -> dict[str, Outcome]:
    """The driver's tests by Gradle, or by Maven from the source archive that each release publishes
    (``jdbc-src``). The place goes into ``build.local.properties``, which is removed.
    """
    local = run.checkout / "build.local.properties"
    if local.exists():
        raise FileExistsError(f"{local} is there already: move it away, the run writes its own")
    place = run.place
    names = {"PGHOST": place.host, "PGPORT": place.port, "PGDBNAME": place.database}
    local.write_text(
        "".join(f"test.url.{name}={value}\n" for name, value in names.items())
        + f"user={place.user}\npassword={place.password}\n"
    )
    gradle = (run.checkout / "gradlew").exists()
    command = ["./gradlew", ":postgresql:test", "--continue"] if gradle else _MAVEN
    reports = "pgjdbc/build/test-results" if gradle else "target/surefire-reports"
    shutil.rmtree(run.checkout / reports, ignore_errors=True)
    try:
        run.execute([*command, *run.arguments])
    finally:
        local.unlink()
    return from_junit((run.checkout / reports).rglob("TEST-*.xml"))


_MAVEN = ["mvn", "-q", "-B", "surefire:test", "-Dmaven.test.failure.ignore=true"]


def go(run: Run) -> dict[str, Outcome]:
    """``go test`` over all packages, of pgx or lib/pq."""
    ran = run.execute(
        ["go", "test", "-json", "-p", "1", "-timeout", "60m", *(run.arguments or ("./...",))],
        {"PGX_TEST_DATABASE": run.place.url, "PGSSLMODE": "disable"},
    )
    return from_go(ran.stdout)


def tokio_postgres(run: Run) -> dict[str, Outcome]:
    """``cargo test`` of both clients, in a copy: their tests connect to port 5433 as ``postgres``
    without a password, which is written there. The asynchronous one comes first: the other one
    makes a table of the name that the temporary tables of the first have.
    """
    copy = run.home / "checkout"
    shutil.copytree(run.checkout, copy, ignore=shutil.ignore_patterns("target", ".git"))
    place = run.place
    login = f"user={place.user} dbname={place.database} password={place.password}"
    for path in (*copy.glob("tokio-postgres/tests/**/*.rs"), copy / "postgres/src/test.rs"):
        if path.name != "parse.rs":
            text = re.sub(r"\buser=postgres(?= |\")", login, path.read_text(encoding="utf-8"))
            text = text.replace("user=pass_user dbname=postgres password=password", login)
            path.write_text(text.replace("5433", str(place.port)), encoding="utf-8")
    target = {"CARGO_TARGET_DIR": str(run.checkout / "target")}
    outcomes: dict[str, Outcome] = {}
    for package in ("tokio-postgres", "postgres"):
        command = ["cargo", "test", "-p", package, "--no-fail-fast", *run.arguments]
        said = from_cargo(run.execute(command, target, copy).stdout)
        outcomes |= {f"{package}::{name}": outcome for name, outcome in said.items()}
    return outcomes


#: By the name on the command line.
PROJECTS: Mapping[str, Callable[[Run], dict[str, Outcome]]] = {
    "psycopg": psycopg,
    "psycopg2": psycopg2,
    "asyncpg": asyncpg,
    "sqlalchemy": sqlalchemy,
    "sqlalchemy-asyncpg": partial(sqlalchemy, driver="asyncpg"),
    "node-postgres": node_postgres,
    "pgjdbc": pgjdbc,
    "pgx": go,
    "lib-pq": go,
    "tokio-postgres": tokio_postgres,
}

#: What a project wants in its database before the first test, made past the gateway.
PREPARATION: Mapping[str, str] = {
    "pgjdbc": "CREATE EXTENSION hstore",
    "pgx": "CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE DOMAIN uint64 AS numeric(20,0)",
    "psycopg2": "CREATE EXTENSION hstore",
    "tokio-postgres": "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree",
}

DEFAULT_PYTHON = sys.executable
