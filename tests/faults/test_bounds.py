"""Rows and names without end: what is bounded, how the client is told, and what is not bounded."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import backend, frontend
from tests.server.raw import Raw
from tests.support.gateway import Gateway
from tests.support.postgres import Server

#: Larger than what one read from a socket gives, and smaller.
BOUNDS = [1 << 20, 4000]


@pytest.fixture(scope="module", params=BOUNDS)
def bounded(
    request: pytest.FixtureRequest, issuer: DevIssuer, postgres: Server
) -> Iterator[Gateway]:
    """A gateway that masks rows of at most so many bytes."""
    gateway = Gateway(
        issuer, {"shop": postgres}, extra={"limits": {"max_row_bytes": request.param}}
    ).start()
    yield gateway
    gateway.stop()


@pytest.fixture
def db(bounded: Gateway) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(bounded.dsn(), autocommit=True) as connection:
        yield connection
        assert connection.execute("SELECT 7").fetchone() == (7,), "the session goes on"


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("size", [3_990, 5_000, 300_000, 3_000_000])
def test_a_row_without_masks_may_be_long(
    db: psycopg.Connection[tuple[object, ...]], size: int, prepare: bool
) -> None:
    sql = f"SELECT n, repeat('x', {size}), n FROM generate_series(1, 3) AS n"
    rows = db.execute(sql, prepare=prepare).fetchall()
    assert rows == [(n, "x" * size, n) for n in (1, 2, 3)]


def test_a_long_row_is_not_kept_in_memory(
    bounded: Gateway, db: psycopg.Connection[tuple[object, ...]]
) -> None:
    before = bounded.rss()
    row = db.execute("SELECT repeat('x', 200000000)").fetchone()
    assert row is not None
    assert len(str(row[0])) == 200_000_000
    assert bounded.rss() - before < 150 << 20


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("size", [1_500_000, 5_000_000])
def test_a_row_with_masks_may_not(
    db: psycopg.Connection[tuple[object, ...]], size: int, prepare: bool
) -> None:
    short = db.execute("SELECT id, email, 'x' FROM customers", prepare=prepare).fetchall()
    assert len(short) > 10
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="SP1702"):
        db.execute(f"SELECT id, email, repeat('x', {size}) FROM customers", prepare=prepare)
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="SP1702"), db.transaction():
        db.execute(f"SELECT id, email, repeat('x', {size}) FROM customers", prepare=prepare)


def test_copy(db: psycopg.Connection[tuple[object, ...]]) -> None:
    with db.cursor() as cursor:
        with cursor.copy(
            "COPY (SELECT n, repeat('x', 3000000) FROM generate_series(1, 3) AS n) TO STDOUT"
        ) as copy:
            data = b"".join(bytes(piece) for piece in copy)
        assert data == b"".join(b"%d\t%s\n" % (n, b"x" * 3_000_000) for n in (1, 2, 3))
        with cursor.copy(
            "COPY (SELECT email, repeat('x', 3000000) FROM customers LIMIT 2) TO STDOUT"
        ) as copy:
            data = b"".join(bytes(piece) for piece in copy)
        assert [len(line) > 3_000_000 and b"***@" in line for line in data.splitlines()] == [
            True
        ] * 2


def test_a_notice_behind_a_long_row(
    bounded: Gateway, db: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Messages of a pipeline stay whole."""
    with db.pipeline():
        first = db.execute("SELECT repeat('x', 3000000)")
        second = db.execute("SELECT email FROM customers ORDER BY id LIMIT 1")
        assert len(str(first.fetchone())) == 3_000_000 + len("('',)")
        assert "***" in str(second.fetchone())


def test_too_many_prepared_statements(gateway: Gateway) -> None:
    """Those of the protocol and those of PREPARE count together; the session goes on."""
    with Raw(gateway, 60.0) as raw:
        raw.login()
        for begin in range(0, 20_000, 1000):
            raw.send(*(frontend.parse(b"p%d" % n, b"SELECT 1") for n in range(begin, begin + 1000)))
            raw.send(frontend.sync())
            assert not any(message[:1] == b"E" for message in raw.until("Z"))
        refused = [
            raw.send(frontend.parse(b"more", b"SELECT 1"), frontend.sync()).until("Z"),
            raw.send(frontend.query("PREPARE more AS SELECT 1")).until("Z"),
        ]
        for answer in refused:
            assert backend.parse_error_fields(answer[0][5:])["C"] == "54000"
            assert "SP1703" in backend.parse_error_fields(answer[0][5:])["M"]
        raw.send(frontend.query("DEALLOCATE p1")).until("Z")
        answer = raw.send(frontend.query("PREPARE more AS SELECT 1")).until("Z")
        assert answer[0][:1] == b"C"
        answer = raw.send(frontend.parse(b"", b"SELECT 1"), frontend.sync()).until("Z")
        assert answer[0][:1] == b"1"
