"""Loads the demo shop (shop.sql) into a running :class:`~sallyport.demo.postgres.Cluster`.

Takes about a second. The database is called ``shop``; the gateway's role is ``sallyport_agent``,
which may log in and is nothing special otherwise.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources

from sallyport.demo.endings import ending, last_words
from sallyport.demo.postgres import SUPERUSER, Cluster, Install, PostgresError, psql

DATABASE = "shop"
AGENT_ROLE = "sallyport_agent"
ADMIN_ROLE = "sallyport_admin"
#: A second or two, where nothing else runs.
_LOAD_SECONDS = 300.0
#: May make roles, and pass on what agents may ever need; owner of nothing, no superuser.
_ADMINISTRATOR = f"""
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ADMIN_ROLE}') THEN
    CREATE ROLE {ADMIN_ROLE} LOGIN CREATEROLE;
  END IF;
END $$;
ALTER ROLE {ADMIN_ROLE} PASSWORD '{{password}}';
GRANT USAGE ON SCHEMA public TO {ADMIN_ROLE} WITH GRANT OPTION;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ADMIN_ROLE}
  WITH GRANT OPTION;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {ADMIN_ROLE} WITH GRANT OPTION;
"""


@cache
def schema() -> str:
    """The text of shop.sql."""
    return resources.files("sallyport.demo").joinpath("shop.sql").read_text(encoding="utf-8")


def fingerprint() -> str:
    """Changes whenever the shop changes; tells whether data made earlier is still good."""
    return hashlib.sha256(schema().encode()).hexdigest()[:16]


def load(cluster: Cluster, client: Install, agent_password: str) -> None:
    """Create the role, the database and its rows. PostgresError when a statement fails.

    client: an install that has psql. agent_password: for the role; letters, digits, ``-`` and
    ``_``.
    """
    _check_password(agent_password)
    role = (
        f"CREATE ROLE {AGENT_ROLE} LOGIN PASSWORD '{agent_password}';\n"
        f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';\n"
    )
    for database, script in (("postgres", role), (DATABASE, schema())):
        _run(cluster, client, database, script)


def add_administrator(cluster: Cluster, client: Install, password: str) -> None:
    """The role that makes the roles of sessions; as it is now, and with this password, where it is
    there already. PostgresError as above.
    """
    _check_password(password)
    _run(cluster, client, DATABASE, _ADMINISTRATOR.format(password=password))


def _check_password(password: str) -> None:
    if not re.fullmatch(r"[\w-]{8,}", password, re.ASCII):
        raise PostgresError("A role's password must be 8 or more letters, digits, - or _.")


def _run(cluster: Cluster, client: Install, database: str, script: str) -> None:
    done = psql(
        client,
        port=cluster.port,
        user=SUPERUSER,
        password=cluster.password,
        database=database,
        script=script,
        arguments=("--quiet", "--output=/dev/null"),
        seconds=_LOAD_SECONDS,
    )
    if done.returncode != 0:
        raise PostgresError(
            f"The demo shop could not be loaded: psql {ending(done.returncode)}. "
            f"PostgreSQL's log is {cluster.log}. psql said:\n{last_words(done.stderr)}"
        )
