"""Run another project's own tests against PostgreSQL, then through a gateway with an allow-all
policy, and print what passes directly and not through the gateway, by reason.

python -m tests.suites psycopg ~/src/psycopg
python -m tests.suites psycopg ~/src/psycopg -- tests/test_cursor.py
python -m tests.suites node-postgres ~/src/node-postgres --json found.json
python -m tests.suites asyncpg ~/src/asyncpg --python ~/src/asyncpg/.venv/bin/python
python -m tests.suites sqlalchemy ~/src/sqlalchemy --direct found.json -- test/dialect/postgresql

Nothing is fetched: the checkout is yours, built, and its test requirements are installed. What
stands behind -- goes to the suite's own runner. docs/compatibility.md has the results.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg

from sallyport.demo.issuer import DevIssuer
from sallyport.policy.actions import ACTIONS
from tests.suites.outcomes import PASSED, Outcome, Outcomes, counts, differences
from tests.suites.projects import DEFAULT_PYTHON, PREPARATION, PROJECTS, Place, Run
from tests.support.gateway import AGENT, Gateway
from tests.support.places import CACHE
from tests.support.postgres import Server, start_server

DATABASE, ROLE, PASSWORD = "suite", "suite_role", "of-this-run-alone"
_PATHS = (
    '"public", "none", "public, pg_catalog", "test_schema", "test_schema, test_schema_2", '
    '"test_schema_2, test_schema, public", "schema1", "schema1, public", "schema1, schema2", '
    '"public, schema1, schema2", "$user, public, schema2", "schema2", "schema2, public"'
)
#: Everything that can be allowed at all; what policy must name, as the suites use it.
POLICY = f"""\
version: 1
notices: false
functions: [pg_catalog.pg_sleep, pg_catalog.pg_sleep_for, pg_catalog.pg_sleep_until]
search_paths: [{_PATHS}]
rules:
  - {{name: everything, allow: [{", ".join(sorted(ACTIONS))}]}}
"""


def main() -> int:
    """Exit status: 1 when a test passes directly and not through the gateway, 2 for wrong use."""
    options = _options()
    checkout = Path(options.checkout).expanduser().resolve()
    if not checkout.is_dir():
        print(
            f"error: {checkout} is no directory; name a checkout of {options.project}",
            file=sys.stderr,
        )
        return 2
    server = start_server(options.pg)
    try:
        _allow_two_phase_commit(server)
        direct = _direct(options, checkout, server)
        with DevIssuer(lifetime=86_400.0) as issuer:
            through = _run(options, checkout, server, issuer)
    finally:
        server.stop()
    if not direct:
        print("error: no test ran; the output above says why", file=sys.stderr)
        return 2
    different = list(differences(direct, through))
    report(options.project, server, direct, through, options.names)
    if options.json:
        listed = {name: {"reason": there.reason, "text": there.text} for name, there in different}
        Path(options.json).write_text(json.dumps(listed, indent=1), encoding="utf-8")
    return int(bool(different))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.suites",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("project", choices=sorted(PROJECTS))
    parser.add_argument("checkout", help="a directory with the project's sources")
    parser.add_argument("--pg", default="18", help="PostgreSQL (18)")
    parser.add_argument("--python", default=DEFAULT_PYTHON, help="for suites in Python (this one)")
    parser.add_argument(
        "--direct", default="", metavar="FILE", help="keep the direct run's outcomes, and use them"
    )
    parser.add_argument(
        "--json", default="", metavar="FILE", help="write every difference with its text"
    )
    parser.add_argument(
        "--output",
        default=str(CACHE / "suites"),
        metavar="DIRECTORY",
        help="for what runners write",
    )
    parser.add_argument("--names", action="store_true", help="print the tests' names, too")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    options.arguments = words[end + 1 :]
    return options


def _direct(options: argparse.Namespace, checkout: Path, server: Server) -> Outcomes:
    """The run without a gateway; from the file in ``--direct``, where there is one."""
    kept = Path(options.direct) if options.direct else None
    if kept is not None and kept.exists():
        return {name: Outcome(*said) for name, said in json.loads(kept.read_text("utf-8")).items()}
    direct = _run(options, checkout, server, None)
    if kept is not None:
        said = {name: (outcome.state, outcome.text) for name, outcome in direct.items()}
        kept.write_text(json.dumps(said), encoding="utf-8")
    return direct


def _run(
    options: argparse.Namespace, checkout: Path, server: Server, issuer: DevIssuer | None
) -> Outcomes:
    """One run over a fresh database; through a gateway when there is an issuer."""
    fresh_database(server, PREPARATION.get(options.project, ""))
    home = Path(options.output) / f"{options.project}-{'gateway' if issuer else 'direct'}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    project = PROJECTS[options.project]
    arguments = tuple(options.arguments)
    if issuer is None:
        print(f"direct (output: {home / 'output.txt'})", flush=True)
        place = Place(server.port, DATABASE, ROLE, PASSWORD)
        return project(Run(checkout, place, home, options.python, arguments))
    targets = {database: as_role(server, database) for database in (DATABASE, "postgres")}
    gateway = Gateway(issuer, targets, POLICY, extra={"limits": {"max_sessions_per_subject": 150}})
    gateway.start()
    try:
        wait_for_login(gateway)
        print(f"through the gateway (output: {home / 'output.txt'})", flush=True)
        # named as the role: tests make a schema for "$user" of the name that they log in with
        place = Place(gateway.port, DATABASE, ROLE, gateway.token(AGENT))
        return project(Run(checkout, place, home, options.python, arguments))
    finally:
        gateway.stop()


def wait_for_login(gateway: Gateway) -> None:
    """Until somebody gets in: a busy machine's issuer can be late to tell its keys the first time.
    psycopg.OperationalError when nobody does in three minutes.
    """
    for attempt in range(36):
        try:
            psycopg.connect(gateway.dsn(target=DATABASE), connect_timeout=60).close()
            return
        except psycopg.OperationalError:
            if attempt == 35:
                raise
            time.sleep(5)


def as_role(server: Server, database: str) -> Server:
    """The server as the suite's role sees it."""
    return Server(
        server.version, server.cluster, server.ca, database=database, user=ROLE, password=PASSWORD
    )


def _allow_two_phase_commit(server: Server) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute("ALTER SYSTEM SET max_prepared_transactions = 20")
    server.restart()


def fresh_database(server: Server, preparation: str) -> None:
    """A database that belongs to a role without other rights, as a project's own would be."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        db.execute(f"DROP ROLE IF EXISTS {ROLE}")
        db.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        db.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
    with psycopg.connect(as_role(server, DATABASE).agent_dsn, autocommit=True) as db:
        db.execute(preparation)


def report(project: str, server: Server, direct: Outcomes, through: Outcomes, names: bool) -> None:
    """The counts of both runs, and the differences by reason, the most frequent first."""
    for label, outcomes in (("direct", direct), ("Sallyport", through)):
        numbers = ", ".join(
            f"{number:,} {state}" for state, number in counts(outcomes).most_common()
        )
        print(f"{project}, PostgreSQL {server.major}, {label}: {numbers or 'no test ran'}")
    different = list(differences(direct, through))
    passed = counts(direct)[PASSED]
    if passed:
        print(f"of those that pass directly: {100 * (passed - len(different)) / passed:.1f} %")
    for reason, number in Counter(there.reason for _, there in different).most_common():
        print(f"{number:6,}  {reason}")
        for name, there in different if names else ():
            if there.reason == reason:
                print(f"          {name}")


if __name__ == "__main__":
    sys.exit(main())
