"""The whole house for a browser: PostgreSQL, a real identity provider with passwords, ``sallyport
serve`` with its console, psql.

Nothing here stands in for anything. Names of people are what they log in with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg

from sallyport.demo.postgres import free_port
from tests.support import requests
from tests.support.browser import Watched
from tests.support.gateway import Gateway
from tests.support.people import PASSWORD, PeopleProvider
from tests.support.postgres import Server, start_server
from tests.support.psql import Psql
from tests.support.waiting import wait_for

DANA, DORA, VERA, ADAM, OLGA, PAUL = "dana", "dora", "vera", "adam", "olga", "paul"
PEOPLE = {
    DANA: {"groups": ["dba"], "email": "dana@example.com", "name": "Dana"},
    DORA: {"groups": ["dba"], "email": "dora@example.com", "name": "Dora"},
    VERA: {"groups": ["staff"], "email": "vera@example.com", "name": "Vera"},
    ADAM: {"groups": ["audit"], "email": "adam@example.com", "name": "Adam"},
    OLGA: {"groups": ["ops"], "email": "olga@example.com", "name": "Olga"},
    PAUL: {"groups": ["privacy"], "email": "paul@example.com", "name": "Paul"},
}
#: A reviewer whose claims are markup.
MALLORY = "mallory"
PEOPLE[MALLORY] = {
    "groups": ["dba", "audit", "ops", "<script>alert('group')</script>"],
    "email": "\"><script>alert('mail')</script>@example.com",
    "name": "<img src=x onerror=alert('name')>",
}
ROLES = {"viewer": ["staff"], "reviewer": ["dba"], "auditor": ["audit"], "operator": ["ops"]}
AGENT, DANAS_TERMINAL = "claude", "dana-cli"
#: A client whose very id, and every claim it may choose, is markup.
EVIL_AGENT = "\"'><img src=x onerror=alert('client')>"
EVIL_CLAIM = "<script>alert('claim')</script>{{7*7}}"
CLIENTS = {
    AGENT: {"groups": ["agents"]},
    DANAS_TERMINAL: {"groups": ["dba"], "email": "dana@example.com"},
    EVIL_AGENT: {"groups": ["agents", EVIL_CLAIM], "email": f"{EVIL_CLAIM}@example.com"},
}
#: Markup; a terminal's title, colours and bell; C1; bidi, zero-width and a line separator.
EVIL = (
    "<script>alert('data')</script>\"'><img src=x onerror=alert('data')>"
    "\x1b]0;owned\x07\x1b[31;47;5mred\x01\x9b2J\u202egpj.exe\u2066\u200b\u2028\x08\r"
)
EVIL_TABLE = "<b>t</b>\u202e\"'"

POLICY = """\
version: 1
packs: [no-ddl]
tags:
  pii.email: ["public.people.email"]
rules:
  - name: agents read
    subjects: {groups: [agents]}
    allow: [read]
    relations: ["public.*"]
  - name: changes wait for a DBA
    subjects: {groups: [agents]}
    hold: [update, delete]
    relations: ["public.*"]
    reviewers: {groups: [dba]}
    expires: 20m
masks:
  - {tags: [pii.email], with: email}
"""


@dataclass
class Real:
    """``url``: the console's. ``states``: what a browser keeps of each sign-in, so that people sign
    in once.
    """

    server: Server
    provider: PeopleProvider
    gateway: Gateway
    url: str
    states: dict[str, Any] = field(default_factory=dict)

    def psql(self, client: str = AGENT, **options: Any) -> Psql:
        """psql through the gateway, with a fresh token of the real provider."""
        return Psql(self.gateway.port, self.gateway.token(client), **options)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Past the gateway, as superuser."""
        with psycopg.connect(self.server.superuser_dsn, autocommit=True) as db:
            cursor = db.execute(statement, values or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def note(self, id_: int) -> str:
        return str(self.sql("SELECT note FROM tickets WHERE id = %s", id_)[0][0])

    def last_session(self) -> str:
        """The id of the session that began last, from the gateway's log."""
        return str(re.findall(r"session started .*session=(ses_\w+)", self.gateway.output())[-1])

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.gateway.environment}


@contextmanager
def real_house(**more: Any) -> Iterator[Real]:
    """Everything, torn down in order. ``more``: of the gateway's configuration."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = start_server()
    try:
        _tables(server)
        with PeopleProvider(f"{url}/sign-in/callback", PEOPLE, CLIENTS) as provider:
            console = {
                "listen": f"127.0.0.1:{port}",
                "client_id": "sallyport-console",
                "roles": ROLES,
            }
            gateway = Gateway(
                provider,  # type: ignore[arg-type]
                {"shop": server},
                policy=POLICY,
                extra={"console": console, "limits": {"held_reminder_seconds": 1}, **more},
            ).start()
            try:
                wait_for(lambda: _listens(url))
                yield Real(server, provider, gateway, url)
            finally:
                gateway.stop()
            assert "Traceback" not in gateway.output()
    finally:
        server.stop()


def _tables(server: Server) -> None:
    quoted = '"' + EVIL_TABLE.replace('"', '""') + '"'
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute(
            "CREATE TABLE tickets (id int PRIMARY KEY, note text);"
            "INSERT INTO tickets SELECT n, 'open' FROM generate_series(1, 200) n;"
            "CREATE TABLE people (id int PRIMARY KEY, name text, email text);"
            "INSERT INTO people SELECT n, 'Ada', 'ada' || n || '@secret.example' FROM"
            " generate_series(1, 3) n;"
            f"CREATE TABLE {quoted} (id int PRIMARY KEY, note text);"  # type: ignore[arg-type]
            f"INSERT INTO {quoted} SELECT n, 'open' FROM generate_series(1, 5) n;"
            "CREATE TABLE evil (id int PRIMARY KEY, value text)"
        )
        db.execute("INSERT INTO evil VALUES (1, %s)", [EVIL])
        db.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO sallyport_agent")


def _listens(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=60).status_code == 200
    except httpx2.TransportError:
        return False


def sign_in(page: Any, real: Real, person: str) -> None:
    """By hand: the console, the provider's form, and back."""
    page.goto("/")
    page.get_by_role("link", name="Sign in").click()
    page.wait_for_url(f"{real.provider.url}/interaction/*")
    page.get_by_label("Name").fill(person)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{real.url}/")


class People:
    """Windows of people who are signed in, for one test. ``watched.problems`` says what went wrong
    in them.
    """

    def __init__(self, chromium: Any, real: Real) -> None:
        self.real, self.watched = real, Watched(chromium, real.url)

    def __call__(self, person: str, **options: Any) -> Any:
        if person not in self.real.states:
            first = self.watched.page()
            sign_in(first, self.real, person)
            self.real.states[person] = first.context.storage_state()
            first.context.close()
        return self.watched.page(storage_state=self.real.states[person], **options)
