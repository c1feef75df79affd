"""A database role per session: exactly the subject's privileges, gone with it, no way to more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.core.secret import Secret
from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from sallyport.targets import ephemeral as sql
from sallyport.wire.scram import make_verifier
from tests.conftest import Servers
from tests.server.test_renewal import token
from tests.support.gateway import PRIVACY, SHOP_POLICY, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for

ADMIN, ADMIN_PASSWORD = "shop_admin", "admin-password-of-the-test"
SESSIONS = "SELECT rolname FROM pg_roles WHERE rolname ~ '^sallyport_[0-9a-f]{8}_' ORDER BY 1"
GRANTS = "SELECT rolname FROM pg_roles WHERE rolname ~ '^sallyport_grants_' ORDER BY 1"


def prepare(server: Server) -> None:
    """The administrator's role: CREATEROLE, and what it may pass on; no superuser, owner of
    nothing.
    """
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute(
            f"DROP ROLE IF EXISTS {ADMIN};"
            f"CREATE ROLE {ADMIN} LOGIN CREATEROLE PASSWORD '{ADMIN_PASSWORD}';"
            f"GRANT USAGE ON SCHEMA public TO {ADMIN} WITH GRANT OPTION;"
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ADMIN} WITH GRANT OPTION;"
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ADMIN} WITH GRANT OPTION"
        )


def options(home: Path, **more: Any) -> dict[str, Any]:
    secret = home / "admin-password"
    secret.write_text(ADMIN_PASSWORD)
    secret.chmod(0o600)
    admin = {"user": ADMIN, "password": {"file": str(secret)}}
    return {"credential": "ephemeral", "admin": admin, **more}


@pytest.fixture(scope="module", params=["14", "18"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Server]:
    """CREATEROLE means less since 16: one version from before, and one since."""
    servers.get(request.param)  # skips where it cannot be had
    running = start_server(request.param)
    prepare(running)
    yield running
    running.stop()


Make = Callable[..., Gateway]


@pytest.fixture
def make(issuer: DevIssuer, server: Server, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def start(policy: str = SHOP_POLICY) -> Gateway:
            extra = options(tmp_path)
            gateway = Gateway(issuer, {"shop": server}, policy=policy, target_extra=extra).start()
            stack.callback(gateway.stop)
            return gateway

        yield start


#: Agents may do everything, as far as the gateway is concerned.
OPEN_POLICY = SHOP_POLICY.replace("[no-ddl, no-unbounded-write]", "[no-unbounded-write]").replace(
    "    allow: [write]\n", "    allow: [write, ddl]\n"
)


@pytest.fixture(scope="module")
def open_gateway(
    issuer: DevIssuer, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    extra = options(tmp_path_factory.mktemp("open"))
    gateway = Gateway(issuer, {"shop": server}, policy=OPEN_POLICY, target_extra=extra).start()
    yield gateway
    gateway.stop()


def names(server: Server, query: str) -> list[str]:
    with psycopg.connect(server.superuser_dsn) as db:
        return [row[0] for row in db.execute(query.encode()).fetchall()]


def can(server: Server, role: str, relation: str, privilege: str) -> bool:
    with psycopg.connect(server.superuser_dsn) as db:
        row = db.execute(
            "SELECT has_table_privilege(%s, %s, %s)", (role, relation, privilege)
        ).fetchone()
    return bool(row and row[0])


def test_each_session_has_its_own_role_with_its_subjects_privileges(
    make: Make, server: Server
) -> None:
    gateway = make()
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as agent,
        psycopg.connect(gateway.dsn(gateway.token(PRIVACY)), autocommit=True) as office,
    ):
        mine = (agent.execute("SELECT session_user").fetchone() or ("",))[0]
        theirs = (office.execute("SELECT session_user").fetchone() or ("",))[0]
        assert sorted((mine, theirs)) == names(server, SESSIONS)
        assert len(names(server, GRANTS)) == 2
        assert can(server, mine, "orders", "UPDATE")
        assert not can(server, theirs, "orders", "UPDATE")
        assert can(server, theirs, "customers", "SELECT")
        assert not can(server, mine, "customers", "INSERT")
        assert not can(server, mine, "customers", "TRUNCATE")
        assert agent.execute("UPDATE products SET stock = stock WHERE id = 1").rowcount == 1
        assert agent.execute("SELECT email FROM customers WHERE id = 1").fetchone() == (
            "m***@example.net",
        )
        assert office.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        assert agent.execute("SHOW default_transaction_read_only").fetchone() == ("off",)
        with psycopg.connect(server.superuser_dsn) as db:
            row = db.execute(
                "SELECT rolsuper, rolcreaterole, rolinherit, rolconnlimit, rolvaliduntil < now() +"
                " interval '61 s', (SELECT rolpassword FROM pg_authid a WHERE a.oid = r.oid) LIKE"
                " 'SCRAM-SHA-256$4096:%%', shobj_description(oid, 'pg_authid') FROM pg_roles r"
                " WHERE rolname = %s",
                (mine,),
            ).fetchone()
        assert row is not None
        assert row[:6] == (False, False, True, 1, True, True)
        assert "Sallyport session ses_" in row[6]
    wait_for(lambda: not names(server, SESSIONS))


def test_those_with_the_same_grants_share_a_grant_role(make: Make, server: Server) -> None:
    gateway = make()
    before = set(names(server, GRANTS))
    with psycopg.connect(gateway.dsn()), psycopg.connect(gateway.dsn()):
        assert len(names(server, SESSIONS)) == 2
        assert len(set(names(server, GRANTS)) - before) <= 1


@pytest.mark.parametrize(
    "sql",
    [
        f"SET ROLE {ADMIN}",
        "SET ROLE sallyport_agent",
        f"SET SESSION AUTHORIZATION {ADMIN}",
        "RESET ROLE",
        "RESET SESSION AUTHORIZATION",
        "SELECT set_config('role', 'sallyport_agent', false)",
        "GRANT sallyport_agent TO CURRENT_USER",
        "ALTER ROLE CURRENT_USER CREATEROLE",
        "ALTER ROLE CURRENT_USER PASSWORD 'mine'",
        "CREATE TABLE mine (id int)",
        "CREATE VIEW mine AS SELECT 1",
        "SELECT 1 INTO mine",
    ],
)
def test_the_gateway_lets_no_session_out_of_its_role(
    open_gateway: Gateway, server: Server, sql: str
) -> None:
    with psycopg.connect(open_gateway.dsn(), autocommit=True) as db:
        role = db.execute("SELECT session_user, current_user").fetchone()
        refused = pytest.raises(psycopg.Error, match=r"\[SP1")  # by the gateway itself
        with nullcontext() if sql.startswith("RESET") else refused:
            db.execute(sql.encode())  # a RESET comes back to the session's own role
        assert db.execute("SELECT session_user, current_user").fetchone() == role
        with psycopg.connect(server.superuser_dsn) as admin:
            owned = admin.execute(
                "SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid"
                " WHERE d.deptype = 'o' AND r.rolname ~ '^sallyport_'"
            ).fetchone()
        assert owned == (0,)


def test_the_role_itself_gains_nothing(make: Make, server: Server) -> None:
    """Past the gateway: as if somebody had the session's own credential."""
    with (
        psycopg.connect(make().dsn()) as session,
        psycopg.connect(server.superuser_dsn, autocommit=True) as db,
    ):
        role = (session.execute("SELECT session_user").fetchone() or ("",))[0]
        others = names(server, GRANTS)
        db.execute(f"ALTER ROLE \"{role}\" PASSWORD 'stolen' CONNECTION LIMIT 5".encode())
        stolen = f"host={server.host} port={server.port} dbname=shop user={role} password=stolen"
        with psycopg.connect(stolen, autocommit=True) as thief:
            for sql in (
                f"SET ROLE {ADMIN}",
                "SET ROLE sallyport_agent",
                f"SET SESSION AUTHORIZATION {ADMIN}",
                f"GRANT {ADMIN} TO CURRENT_USER",
                f'GRANT "{others[0]}" TO sallyport_agent',
                "CREATE ROLE more",
                "ALTER ROLE CURRENT_USER CREATEROLE",
                "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
                "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
                "TRUNCATE customers",
                "UPDATE customers SET name = name",
            ):
                with pytest.raises(psycopg.Error) as refused:
                    thief.execute(sql.encode())
                assert refused.value.sqlstate == "42501", sql
            thief.execute("RESET ROLE; RESET SESSION AUTHORIZATION")
            assert thief.execute("SELECT count(*) FROM orders").fetchone() != (0,)


def test_a_role_that_cannot_be_dropped_opens_nothing(make: Make, server: Server) -> None:
    """A function that the policy lists makes something in the session's name, and sets a password
    that the agent knows.
    """
    policy = SHOP_POLICY.replace('"public.order_total"', '"public.order_total", "public.keep"')
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute(
            "CREATE FUNCTION keep() RETURNS oid LANGUAGE plpgsql AS $$ BEGIN"
            " EXECUTE format('ALTER ROLE %I PASSWORD ''known''', current_user);"
            " RETURN lo_create(0); END $$"
        )
        try:
            gateway = make(policy)
            with psycopg.connect(gateway.dsn(), autocommit=True) as session:
                row = session.execute("SELECT session_user, keep()").fetchone()
            assert row is not None
            role, kept = row
            opens = (
                "SELECT rolname FROM pg_roles r WHERE (rolcanlogin OR EXISTS (SELECT FROM"
                f" pg_auth_members m WHERE m.member = r.oid)) AND rolname = '{role}'"
            )
            wait_for(lambda: not names(server, opens))
            assert "cannot be dropped because some objects depend on it" in gateway.output()
            db.execute("SELECT lo_unlink(%s)", (kept,))
            db.execute(f'DROP ROLE "{role}"'.encode())
        finally:
            db.execute("DROP FUNCTION keep()")


def test_an_agent_that_takes_our_advisory_lock_keeps_nobody_out(make: Make, server: Server) -> None:
    gateway = make()
    with psycopg.connect(gateway.dsn(), autocommit=True) as holder:
        (role,) = holder.execute("SELECT session_user").fetchone() or ("",)
        holder.execute(f"SELECT pg_advisory_lock({sql.LOCK})")
        began, token = time.monotonic(), gateway.token()
        with ThreadPoolExecutor(10) as pool:  # of a grant role that is there
            list(pool.map(lambda _: psycopg.connect(gateway.dsn(token)).close(), range(10)))
        assert time.monotonic() - began < 12  # one waits 3 s for the lock, not each
        psycopg.connect(gateway.dsn(gateway.token(PRIVACY))).close()  # of one that must be made
        gateway.write(SHOP_POLICY.replace("allow: [write]", "allow: [insert]"))
        wait_for(lambda: not can(server, role, "orders", "UPDATE"))
        assert can(server, role, "orders", "INSERT")
    assert "somebody keeps the advisory lock" in gateway.output()
    wait_for(lambda: not names(server, SESSIONS))


def test_a_policy_that_shrinks_takes_privileges_from_live_sessions(
    make: Make, server: Server
) -> None:
    gateway = make()
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        role = (db.execute("SELECT session_user").fetchone() or ("",))[0]
        assert can(server, role, "orders", "UPDATE")
        gateway.write(SHOP_POLICY.replace("allow: [write]", "allow: [insert]"))
        wait_for(lambda: not can(server, role, "orders", "UPDATE"))
        assert can(server, role, "orders", "INSERT")
        assert can(server, role, "orders", "SELECT")
        gateway.write(SHOP_POLICY.replace("groups: [claude-postgres]", "groups: [nobody]"))
        wait_for(lambda: not can(server, role, "orders", "SELECT"))


def test_a_new_table_reaches_live_sessions(make: Make, server: Server) -> None:
    with (
        psycopg.connect(make().dsn(), autocommit=True) as session,
        psycopg.connect(server.superuser_dsn, autocommit=True) as db,
    ):
        role = (session.execute("SELECT session_user").fetchone() or ("",))[0]
        db.execute(f"CREATE TABLE late (id int); GRANT SELECT ON late TO {ADMIN} WITH GRANT OPTION")
        try:
            wait_for(lambda: can(server, role, "late", "SELECT"))
            assert session.execute("SELECT count(*) FROM late").fetchone() == (0,)
        finally:
            db.execute("DROP TABLE late")


def test_sessions_come_and_go_without_the_catalog_being_read_again(make: Make) -> None:
    gateway = make()
    with psycopg.connect(gateway.dsn(), autocommit=True):
        pass
    before = gateway.output().count("catalog changed")
    for _ in range(5):
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            db.execute("SELECT 1")
    assert gateway.output().count("catalog changed") == before


def test_what_a_killed_gateway_left_is_swept_at_the_next_start(make: Make, server: Server) -> None:
    gateway = make()
    left = psycopg.connect(gateway.dsn())
    role = names(server, SESSIONS)
    assert len(role) == 1
    gateway.kill()
    assert names(server, SESSIONS) == role
    left.close()
    gateway.start()
    wait_for(lambda: not names(server, SESSIONS))


def test_two_gateways_leave_each_other_alone(make: Make, server: Server) -> None:
    first = make()
    with psycopg.connect(first.dsn(), autocommit=True) as db:
        second = make()
        with psycopg.connect(second.dsn(), autocommit=True) as other:
            other.execute("SELECT count(*) FROM orders")
            assert len(names(server, SESSIONS)) == 2
        wait_for(lambda: len(names(server, SESSIONS)) == 1)
        assert db.execute("UPDATE products SET stock = stock WHERE id = 1").rowcount == 1


def test_no_password_stands_in_a_statement(make: Make, server: Server) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute("ALTER SYSTEM SET log_statement = 'all'")
        db.execute("SELECT pg_reload_conf()")
        try:
            with psycopg.connect(make().dsn()):
                pass
        finally:
            db.execute("ALTER SYSTEM RESET log_statement")
            db.execute("SELECT pg_reload_conf()")
    made = [
        line
        for line in server.cluster.log.read_text().splitlines()
        if "CREATE ROLE" in line and "LOGIN C" in line
    ]
    assert made
    assert all("PASSWORD 'SCRAM-SHA-256$" in line for line in made)


def test_a_wrong_administrator_is_said_and_nobody_gets_in(
    issuer: DevIssuer, server: Server, tmp_path: Path
) -> None:
    extra = options(tmp_path)
    (tmp_path / "admin-password").write_text("wrong")
    gateway = Gateway(issuer, {"shop": server}, target_extra=extra).start()
    try:
        with pytest.raises(psycopg.OperationalError, match="SP1604"):
            psycopg.connect(gateway.dsn())
        assert "no role for a session" in gateway.output()
        (tmp_path / "admin-password").write_text(ADMIN_PASSWORD)  # rotated: no restart
        with psycopg.connect(gateway.dsn()) as db:
            assert db.execute("SELECT 1").fetchone() == (1,)
    finally:
        gateway.stop()


GROUPS_POLICY = """\
version: 1
rules:
  - {name: all read products, allow: [read], relations: ["public.products"]}
  - {name: all restock, allow: [update], relations: ["public.products"]}
  - {name: clerks read orders, subjects: {groups: [clerks]}, allow: [read], relations: ["public.orders"]}
  - {name: auditors only read, subjects: {groups: [auditors]}, deny: [write], relations: ["public.*"]}
"""


def test_a_renewed_token_moves_the_privileges_of_its_session(make: Make, server: Server) -> None:
    gateway = make(GROUPS_POLICY)
    with psycopg.connect(gateway.dsn(token(gateway, groups=[])), autocommit=True) as db:
        role = (db.execute("SELECT session_user").fetchone() or ("",))[0]
        assert not can(server, role, "orders", "SELECT")
        db.execute(f"SET sallyport.token = '{token(gateway, groups=['clerks'])}'".encode())
        assert can(server, role, "orders", "SELECT")
        db.execute("SELECT count(*) FROM orders")
        # What changes later is for the renewed token too.
        gateway.write(
            GROUPS_POLICY.replace(
                'allow: [read], relations: ["public.orders',
                'allow: [read, insert], relations: ["public.orders',
            )
        )
        wait_for(lambda: can(server, role, "orders", "INSERT"))
        with pytest.raises(psycopg.Error, match="SP1611") as refused:
            db.execute(f"SET sallyport.token = '{token(gateway, groups=['auditors'])}'".encode())
        assert "other settings" in (refused.value.diag.message_detail or "")
        assert can(server, role, "orders", "INSERT")
        db.execute(f"SET sallyport.token = '{token(gateway, groups=[])}'".encode())
        assert not can(server, role, "orders", "SELECT")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT count(*) FROM orders")
        assert can(server, role, "products", "UPDATE")


def test_a_token_that_is_locked_while_its_session_is_renewed(
    issuer: DevIssuer, server: Server, tmp_path: Path
) -> None:
    """The database is slow: when the lock is made, no session goes by that token yet."""
    console = free_port()
    roles = {"console": {"listen": f"127.0.0.1:{console}", "roles": {"operator": ["ops"]}}}
    gateway = Gateway(
        issuer, {"shop": server}, policy=GROUPS_POLICY, extra=roles, target_extra=options(tmp_path)
    ).start()
    try:
        with psycopg.connect(gateway.dsn(token(gateway, groups=[])), autocommit=True) as db:
            with psycopg.connect(server.superuser_dsn) as slow:
                slow.execute("LOCK TABLE pg_auth_members IN SHARE MODE")  # it can be read
                fresh = token(gateway, groups=["clerks"], jti="stolen")
                sent = threading.Thread(target=renewing, args=(db, fresh))
                sent.start()
                wait_for(lambda: slow.execute(GRANTING).fetchone() is not None)
                locked = httpx2.post(
                    f"http://127.0.0.1:{console}/api/v1/locks",
                    json={"kind": "token", "name": "stolen", "reason": "in a log"},
                    headers={"Authorization": f"Bearer {gateway.token('olga-operator')}"},
                    trust_env=False,
                )
                assert locked.is_success, locked.text
                slow.rollback()
                sent.join(20)
            with pytest.raises(psycopg.OperationalError):
                db.execute("SELECT count(*) FROM orders")
    finally:
        gateway.stop()


#: The gateway waits for a lock to give privileges, not to read the catalog or to sweep.
GRANTING = (
    "SELECT FROM pg_stat_activity WHERE application_name = 'sallyport roles'"
    " AND wait_event_type = 'Lock' AND query ~ '\\mGRANT\\M'"
)


def renewing(db: psycopg.Connection[Any], fresh: str) -> None:
    with suppress(psycopg.OperationalError):
        db.execute(f"SET sallyport.token = '{fresh}'".encode())


def test_what_another_gateway_left_is_swept_by_the_clock(make: Make, server: Server) -> None:
    """Session roles that nobody can use any more, and then their grant roles; nothing that somebody
    uses.
    """
    database = server.database
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        version = db.info.server_version
    admin = psycopg.conninfo.make_conninfo(
        server.superuser_dsn, user=ADMIN, password=ADMIN_PASSWORD
    )
    password = Secret("a-password-of-the-test")
    used: list[tuple[str, str]] = []
    with psycopg.connect(admin, autocommit=True) as db:
        for content in ("left", "in use"):
            statements = ("GRANT SELECT ON public.products TO ",)
            grants = sql.GrantSet(
                sql.grant_role(database, content),
                statements,
                True,
                frozenset(),
                lambda privileges: [],
            )
            db.execute(sql.create_grants(grants).encode())
            role = sql.session_role("0a0b0c0d", "0e0f00")
            verifier = make_verifier(password)
            create = sql.create_session(
                role, grants.name, verifier, time.time() + 60, {}, "of a test", version
            )
            db.execute(create.encode())
            used.append((role, grants.name))
        (left, left_grants), (live, live_grants) = used
        session = psycopg.connect(
            psycopg.conninfo.make_conninfo(
                server.superuser_dsn, user=live, password=password.reveal()
            )
        )
        for role, _ in used:
            db.execute(f"ALTER ROLE {role} VALID UNTIL '2026-01-01'".encode())
    try:
        make()
        wait_for(
            lambda: (
                left not in names(server, SESSIONS) and left_grants not in names(server, GRANTS)
            ),
            20,
        )
        assert session.execute("SELECT count(*) > 0 FROM products").fetchone() == (True,)
        assert live in names(server, SESSIONS)
        assert live_grants in names(server, GRANTS)
    finally:
        session.close()
        with psycopg.connect(admin, autocommit=True) as db:  # who granted revokes
            db.execute(sql.drop_session(live).encode())
            db.execute(sql.drop_grants(live_grants, version).encode())
