"""Texts that are meant to be too much, and large ones that mean well, from a client: the gateway
lives, its memory stays, others go on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from tests.support.gateway import Gateway
from tests.support.postgres import Server

_SIZE = 1_000_000


def _filled(start: str, part: str, end: str = "") -> str:
    return start + part * ((_SIZE - len(start) - len(end)) // len(part)) + end


def _set_at_once(columns: int) -> str:
    return f"UPDATE orders SET ({'id,' * columns}id) = ROW({'1,' * columns}1)"


def _copies(depth: int) -> str:
    text = "SELECT 1"
    for _ in range(depth):
        text = f"WITH w AS (UPDATE orders SET (id, id) = ({text})) SELECT 1"
    return text


BOMBS = [
    _filled("SELECT 1", "+1"),
    _filled("SELECT ", "NOT ", "true"),
    _filled("SELECT 1", "::int"),
    _filled("SELECT 1", ",1"),
    _filled("SELECT 1", ",*", " FROM orders"),
    _filled("SELECT 1 FROM orders", " NATURAL JOIN orders"),
    _filled("SELECT 1", " UNION SELECT 1"),
    _filled("SELECT 1 FROM orders WHERE id = 1", " OR id = 1"),
    "SELECT " + "(" * (_SIZE // 2) + "1" + ")" * (_SIZE // 2),
    "SELECT " + "(" * _SIZE,
    "SELECT " + "abs(" * (_SIZE // 5) + "1" + ")" * (_SIZE // 5),
    "SELECT " + "ARRAY[" * (_SIZE // 7) + "1" + "]" * (_SIZE // 7),
    "SELECT " + "CASE WHEN true THEN " * (_SIZE // 24) + "1" + " END" * (_SIZE // 24),
    "SELECT * FROM " + "(SELECT * FROM " * (_SIZE // 16) + "orders" + ")" * (_SIZE // 16),
    "SELECT 1;" * (_SIZE // 9),
    "WITH " + ",".join(f"c{n} AS (SELECT * FROM orders, c{n - 1})" for n in range(25_000))
    + " SELECT 1",
    "SELECT " + "+-" * (_SIZE // 2),
    "SELECT " + "/*" * (_SIZE // 2),
    "SELECT '" + "x" * _SIZE,
    _set_at_once(5_500),
    _set_at_once(100_000),
    _copies(40),
    ";" * _SIZE,
    "EXPLAIN " * (_SIZE // 8),
]  # fmt: skip


def test_nothing_that_is_sent_ends_the_gateway(gateway: Gateway) -> None:
    """Twenty times a megabyte of the worst, by both protocols; another session is answered after
    each.
    """
    with psycopg.connect(gateway.dsn(), autocommit=True) as bystander:
        bystander.execute("SELECT 1")
        before = gateway.rss()
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            for number, text in enumerate(BOMBS):
                if number % 2:
                    done = db.pgconn.exec_(text.encode())
                else:
                    done = db.pgconn.prepare(b"", text.encode())
                assert done.status == pq.ExecStatus.FATAL_ERROR, text[:60]
                assert b"SP1105" in done.error_message or b"SP1101" in done.error_message, (
                    done.error_message[:200]
                )
                assert (
                    bystander.execute("SELECT id FROM orders WHERE id = %s", (number,)).fetchall()
                    is not None
                )
            assert db.execute("SELECT 7").fetchone() == (7,)
        # three times as many cost 177 MiB where these cost 160: what is left is not per text
        assert gateway.rss() - before < 220 << 20


def test_damaged_texts_end_in_an_answer(gateway: Gateway) -> None:
    rng = random.Random(17)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for _ in range(60):
            text = bytearray(rng.choice(BOMBS).encode()[: rng.randint(10, 60_000)])
            for _ in range(rng.randint(0, 5)):
                text[rng.randrange(len(text))] = rng.choice(b"()'\"$;,-/*[]1a =\\\xe9")
            done = db.pgconn.exec_(bytes(text))
            assert done.status != pq.ExecStatus.BAD_RESPONSE
            assert db.pgconn.transaction_status == pq.TransactionStatus.IDLE
        assert db.execute("SELECT 7").fetchone() == (7,)


@pytest.fixture
def notes(postgres: Server, gateway: Gateway) -> Iterator[str]:
    """A table that the shop's policy lets agents write."""
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS public.orders_notes")
        db.execute(
            "CREATE TABLE public.orders_notes (id bigint, amount numeric(12,2), note text, at"
            " timestamptz)"
        )
        db.execute("GRANT SELECT, INSERT, UPDATE ON public.orders_notes TO sallyport_agent")
        yield "orders_notes"
        db.execute("DROP TABLE public.orders_notes")


def test_a_megabyte_of_data_arrives_whole(gateway: Gateway, notes: str) -> None:
    """What is not read again is forwarded all the same: every row, every identifier, in the order
    in which it was sent.
    """
    rows = [
        (n * 10**6, n / 4, f"it's note {n} (\\,) -- {{}}" + "x" * 20, "2025-01-01 00:00:00+00")
        for n in range(9_000)
    ]
    values = ", ".join(
        "({}, {}, '{}', '{}'::timestamptz)".format(n, a, t.replace("'", "''"), at)
        for n, a, t, at in rows
    )
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute(f"INSERT INTO {notes} (id, amount, note, at) VALUES {values}".encode())
        received = db.execute(f"SELECT id, note FROM {notes} ORDER BY id").fetchall()
        assert received == [(row[0], row[2]) for row in rows]
        ids = ", ".join(str(n * 10**6) for n in range(5_000, 75_000))
        assert db.execute(
            f"SELECT count(*) FROM {notes} WHERE id IN ({ids})".encode()
        ).fetchone() == (4_000,)
        assert db.execute(
            f"SELECT count(*) FROM {notes} WHERE id = ANY (ARRAY[{ids}])".encode()
        ).fetchone() == (4_000,)
        long = "é" * 400_000
        db.execute(f"UPDATE {notes} SET note = '{long}' WHERE id = 0".encode())
        assert db.execute(f"SELECT note FROM {notes} WHERE id = 0").fetchone() == (long,)


def test_a_seed_file_arrives_whole(gateway: Gateway, notes: str) -> None:
    """Thousands of statements in one message: each has its answer, and the last is as much there as
    the first.
    """
    script = (
        "BEGIN;\n"
        + "".join(
            f"INSERT INTO {notes} (id, note) VALUES ({n}, 'note {n};');\n" for n in range(3_000)
        )
        + "COMMIT;"
    )
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute(script.encode())
        assert db.execute(f"SELECT count(*), sum(id) FROM {notes}").fetchone() == (
            3_000,
            sum(range(3_000)),
        )
        with pytest.raises(psycopg.Error) as refused:
            db.execute(script.replace("COMMIT", "UPDATE customers SET name = 'x'; COMMIT").encode())
        assert "SP10" in str(refused.value)
        db.execute("ROLLBACK")
        assert db.execute(f"SELECT count(*) FROM {notes}").fetchone() == (3_000,)
