"""``SET sallyport.token``: a session goes on under a fresh token, whose text is nowhere; and
attacks on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest

from sallyport.audit.verify import read_events
from sallyport.demo.issuer import DevIssuer
from tests.server.test_expiry import identity
from tests.support.gateway import AGENT, DBA, Gateway
from tests.support.postgres import Server
from tests.support.recordings import keys_of

POLICY = """\
version: 1
rules:
  - {name: all read, allow: [read], relations: ["public.*"]}
  - {name: writers write, subjects: {groups: [writers]}, allow: [update],
     relations: ["public.products"]}
masks:
  - {columns: ["public.customers.email"], with: redact, except: {groups: [privacy]}}
"""
UPDATE = "UPDATE products SET stock = stock WHERE id = 1"


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    gateway = Gateway(issuer, {"shop": postgres}, policy=POLICY, extra=identity(issuer, 60)).start()
    try:
        yield gateway
    finally:
        gateway.stop()  # fails where the log has one of the tokens
        texts = [path.read_bytes() for path in gateway.home.rglob("*") if path.is_file()]
        recordings = list(gateway.home.rglob("*.sprec"))  # whose blocks are compressed
        keys = keys_of(gateway.home / "var")
        texts += [
            repr(event).encode() for path in recordings for event in read_events(path, keys=keys)
        ]
        for token in gateway._tokens:
            where = [text for text in texts if token.encode() in text]
            assert not where, f"a token was kept: {where[0][:300]!r}"


def token(gateway: Gateway, seconds: float = 600, client: str = AGENT, **claims: Any) -> str:
    issuer, now = gateway.issuer, time.time()
    who = issuer.clients[client]
    base = {
        "iss": issuer.url,
        "sub": who.subject,
        "aud": issuer.audience,
        "client_id": client,
        "iat": int(now),
        "exp": now + seconds,
        "groups": list(who.groups),
    }
    text = issuer.sign(base | claims).reveal()
    gateway._tokens.add(text)
    return text


def connect(gateway: Gateway, first: str) -> psycopg.Connection[Any]:
    return psycopg.connect(gateway.dsn(first), autocommit=True)


def renew(connection: psycopg.Connection[Any], text: str) -> None:
    connection.execute(f"SET sallyport.token = '{text}'".encode())


def refused(connection: psycopg.Connection[Any], sql: str) -> str:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(sql.encode())
    assert not connection.closed
    return f"{caught.value} {caught.value.diag.message_detail}"


def test_a_session_outlives_its_first_token(gateway: Gateway) -> None:
    with connect(gateway, token(gateway, 2.5)) as connection:
        ends = time.time() + 4.5
        renew(connection, token(gateway))
        while time.time() < ends:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_renewal_within_the_grace_of_an_open_transaction(gateway: Gateway) -> None:
    with connect(gateway, token(gateway, 1.5)) as connection:
        connection.execute("BEGIN")
        ends = time.time() + 4
        while time.time() < ends:
            connection.execute("SELECT 1")
        renew(connection, token(gateway))
        connection.execute("COMMIT")
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("prepared", [False, True])
def test_groups_are_bound_anew_at_once(gateway: Gateway, prepared: bool) -> None:
    with connect(gateway, token(gateway, groups=["writers"])) as connection:
        connection.prepare_threshold = 0 if prepared else None
        for _ in range(3):
            connection.execute(UPDATE)
        renew(connection, token(gateway, groups=[]))
        assert "SP1001" in refused(connection, UPDATE), "also what was prepared and cached"
        renew(connection, token(gateway, groups=["writers"]))
        connection.execute(UPDATE)


def test_extended_protocol_simple_and_twice(gateway: Gateway) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(gateway.dsn(token(gateway, 60, groups=[])))
        fresh = token(gateway, groups=["writers"])
        statement = await connection.prepare(f"SET sallyport.token = '{fresh}'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(UPDATE)  # it was prepared, not run
        await statement.fetch()
        assert await connection.execute(UPDATE) == "UPDATE 1"
        await connection.execute(f"SET sallyport.token = '{token(gateway, groups=[])}'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(UPDATE)
        await statement.fetch()
        assert await connection.execute(UPDATE) == "UPDATE 1"
        await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "changed_claims",
    [
        {"client": DBA},
        {"sub": "somebody-else"},
        {"client_id": "another-agent"},
        {"act": {"sub": "a-delegate"}},
    ],
)
def test_only_the_same_identity(gateway: Gateway, changed_claims: dict[str, Any]) -> None:
    with connect(gateway, token(gateway)) as connection:
        said = refused(connection, f"SET sallyport.token = '{token(gateway, **changed_claims)}'")
        assert "[SP1611] the token is of another identity" in said
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_token_that_is_not_valid(gateway: Gateway) -> None:
    with connect(gateway, token(gateway)) as connection:
        for bad in (token(gateway, -60), token(gateway)[:-4] + "AAAA", "spt_" + "a" * 32, ""):
            gateway._tokens.discard("")
            assert "[SP1611]" in refused(connection, f"SET sallyport.token = '{bad}'")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_other_masks_need_another_session(gateway: Gateway) -> None:
    """The target's side of a session with masks is settled at its login."""
    with connect(gateway, token(gateway, groups=["privacy"])) as connection:
        said = refused(connection, f"SET sallyport.token = '{token(gateway, groups=[])}'")
        assert "[SP1611]" in said and "other settings" in said


def test_groups_that_the_database_decides_by_need_another_session(
    issuer: DevIssuer, own_postgres: Server
) -> None:
    """The target was told the groups at the login: a session must not keep what a group gave it."""
    with psycopg.connect(own_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(
            "alter table products enable row level security; create policy team on products using "
            "('writers' = any (current_setting('sallyport.groups', true)::text[]))"
        )
    gateway = Gateway(
        issuer, {"shop": own_postgres}, policy=POLICY, extra=identity(issuer, 60)
    ).start()
    try:
        with connect(gateway, token(gateway, groups=["writers"])) as connection:
            count = "SELECT count(*) > 0 FROM products"
            assert connection.execute(count).fetchone() == (True,)
            said = refused(connection, f"SET sallyport.token = '{token(gateway, groups=[])}'")
            assert "[SP1611]" in said and "sallyport.groups" in said
            renew(connection, token(gateway, groups=["writers"]))
            assert connection.execute(count).fetchone() == (True,)
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    "form",
    [
        "SET sallyport.token = '{}'; SELECT 1",
        "SELECT 1; SET sallyport.token = '{}'",
        "SET LOCAL sallyport.token = '{}'",
        "SELECT set_config('sallyport.token', '{}', false)",
        "SELECT set_config('SALLYPORT.Token', '{}', false)",
        "SET sallyport.token = '{}', 'more'",
        "SET sallyport.token = '{}' nonsense",
        "SET sallyport.token = '{}",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET sallyport.token = '{}' AS 'SELECT 1'",
        "ALTER ROLE CURRENT_USER SET sallyport.token = '{}'",
        "EXPLAIN SELECT set_config('sallyport.token', '{}', false)",
    ],
)
def test_what_else_names_it_is_refused_and_not_recorded(gateway: Gateway, form: str) -> None:
    """That the text is nowhere is checked when the gateway has stopped."""
    with connect(gateway, token(gateway)) as connection:
        said = refused(connection, form.format(secret := token(gateway)))
        assert "SP1107" in said or "SP1101" in said
        assert secret[:40] not in said


@pytest.mark.parametrize(
    "form",
    [
        "/* SET sallyport.token = '{}' */ SELECT 1",
        "SELECT 1 -- SallyPort.token={}",
        "SELECT $q$SET sallyport.token = '{}'$q$",
        "DO $$ BEGIN SET sallyport.token = '{}'; END $$",
        "DO $$ BEGIN PERFORM set_config('sallyport.token', '{}', false); END $$",
        "SELECT set_config(E'sallyport.\\x74oken', '{}', false)",
        "SELECT set_config(U&'sall\\0079port.token', '{}', false)",
        "SELECT set_config('sallyport.' || 'token', '{}', false)",
        "SELECT set_config(concat('sallyport', '.token'), '{}', false)",
        "SELECT set_config(' sallyport.token', '{}', false)",
        "/* SET sallyport.token = '{}' */ DROP TABLE products",
        "PREPARE p AS SELECT set_config('sallyport.token', '{}', false)",
        "SET sallyport.tokens = '{}'",
    ],
)
def test_what_hides_its_name_is_refused_as_what_it_is_and_recorded_without_the_token(
    gateway: Gateway, form: str
) -> None:
    with connect(gateway, token(gateway, groups=[])) as connection:
        refused(connection, form.format(token(gateway, groups=["writers"])))
        assert "SP1001" in refused(connection, UPDATE), "nothing was renewed"


@pytest.mark.parametrize(
    "form",
    [
        "SET SESSION sallyport.token TO '{}'",
        'set "SallyPort" . "TOKEN" = \'{}\'',
        "/* hello */ SET sallyport/* x */.token = $t${}$t$;",
        "SET U&\"s\\0061llyport\".token = E'{}'",
    ],
)
def test_every_spelling_of_it(gateway: Gateway, form: str) -> None:
    with connect(gateway, token(gateway, groups=[])) as connection:
        connection.execute(form.format(token(gateway, groups=["writers"])).encode())
        connection.execute(UPDATE)


def test_benign_texts_that_name_both_words(gateway: Gateway) -> None:
    with connect(gateway, token(gateway)) as connection:
        for sql in (
            "SELECT 'sallyport token'",
            "SELECT 'set sallyport.token = 1' AS doc",
            'SELECT 1 AS "sallyport token"',
        ):
            assert connection.execute(sql.encode()).fetchone() is not None


def test_the_failed_transaction_stays_failed(gateway: Gateway) -> None:
    with connect(gateway, token(gateway, groups=[])) as connection:
        connection.execute("BEGIN")
        refused(connection, UPDATE)
        fresh = token(gateway, groups=["writers"])
        assert "current transaction is aborted" in refused(
            connection, f"SET sallyport.token = '{fresh}'"
        )
        connection.execute("ROLLBACK")
        assert "SP1001" in refused(connection, UPDATE), "nothing was renewed"


@pytest.mark.parametrize("name", ["sallyport.token", "SallyPort.TOKEN", " sallyport.token"])
def test_as_bound_values(gateway: Gateway, name: str) -> None:
    """Neither is recorded: a driver that binds what others write into the text."""
    with connect(gateway, token(gateway, groups=[])) as connection:
        secret = token(gateway, groups=["writers"])
        for cast in ("", "::text"):
            sql = f"SELECT set_config(%s{cast}, %s{cast}, false)".encode()
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(sql, (name, secret))
            assert secret[:40] not in str(caught.value)
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT set_config('sallyport.token', %s, false)", (secret,))
        with pytest.raises(psycopg.Error):
            connection.execute("SET sallyport.token = %s", (secret,))
        assert "SP1001" in refused(connection, UPDATE), "nothing was renewed"
