"""Loads the demo shop (shop.sql) into a running :class:`~sallyport.demo.postgres.Cluster`.

Takes about a second. The database is called ``shop``; the gateway's role is ``sallyport_agent``, which may
log in and is nothing special otherwise.
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


@cache
def schema() -> str:
    """The text of shop.sql."""
    return resources.files("sallyport.demo").joinpath("shop.sql").read_text(encoding="utf-8")


def fingerprint() -> str:
    """Changes whenever the shop changes; tells whether data made earlier is still good."""
    return hashlib.sha256(schema().encode()).hexdigest()[:16]


def load(cluster: Cluster, client: Install, agent_password: str) -> None:
    """Create the role, the database and its rows. PostgresError when a statement fails.

    client: an install that has psql. agent_password: for the role; letters, digits, ``-`` and ``_``.
    """
    if not re.fullmatch(r"[\w-]{8,}", agent_password, re.ASCII):
        raise PostgresError("The agent role's password must be 8 or more letters, digits, - or _.")
    role = (
        f"CREATE ROLE {AGENT_ROLE} LOGIN PASSWORD '{agent_password}';\n"
        f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';\n"
    )
    for database, script in (("postgres", role), (DATABASE, schema())):
        done = psql(
            client,
            port=cluster.port,
            user=SUPERUSER,
            password=cluster.password,
            database=database,
            script=script,
            arguments=("--quiet", "--output=/dev/null"),
        )
        if done.returncode != 0:
            raise PostgresError(
                f"The demo shop could not be loaded: psql {ending(done.returncode)}. "
                f"PostgreSQL's log is {cluster.log}. psql said:\n{last_words(done.stderr)}"
            )
