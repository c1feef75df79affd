"""How long the judge takes, in this process: queries of ten and sixty lines at first sight, with
other literals and from the cache; texts that are meant to be too much for it; and large texts that
mean well.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from tests.support.postgres import Server

from sallyport.core.subject import Subject
from sallyport.judge import Judge, ScriptVerdict, SubjectJudge
from sallyport.policy.file.load import load_policy
from sallyport.targets.catalog_loader import load_catalog

_TEN = """\
SELECT c.id, c.name, c.city, o.status, count(DISTINCT o.id) AS orders,
       sum(i.quantity * i.unit_price) AS spent_{0}, max(o.placed_at) AS latest
FROM customers AS c
JOIN orders AS o ON o.customer_id = c.id
LEFT JOIN order_items AS i ON i.order_id = o.id
WHERE o.placed_at >= '2025-01-01' AND o.status IN ('paid', 'shipped')
  AND EXISTS (SELECT 1 FROM payments AS p WHERE p.order_id = o.id AND p.amount > 50)
GROUP BY c.id, c.name, c.city, o.status
HAVING sum(i.quantity) > 2
ORDER BY spent_{0} DESC LIMIT {1}
"""
_SIXTY = (
    "WITH "
    + ",\n".join(
        f"""\
part_{n} AS (
  SELECT c.id, c.name, c.city,
         count(DISTINCT o.id) AS orders,
         sum(i.quantity * i.unit_price) AS spent_{{0}},
         avg(i.unit_price) FILTER (WHERE i.quantity > {n}) AS usual,
         max(o.placed_at) AS latest
  FROM customers AS c
  JOIN orders AS o ON o.customer_id = c.id
  LEFT JOIN order_items AS i ON i.order_id = o.id
  WHERE o.placed_at >= '2025-0{n}-01' AND o.status IN ('paid', 'shipped')
    AND EXISTS (SELECT 1 FROM payments AS p WHERE p.order_id = o.id)
  GROUP BY c.id, c.name, c.city
)"""
        for n in range(1, 5)
    )
    + """
SELECT a.id, a.name, a.city, b.orders AS earlier,
       CASE WHEN a.spent_{0} > b.spent_{0} THEN 'more' ELSE 'less' END AS trend
FROM part_1 AS a
JOIN part_2 AS b ON b.id = a.id
LEFT JOIN part_3 AS c ON c.id = a.id
LEFT JOIN part_4 AS d ON d.id = a.id
WHERE coalesce(c.orders, 0) + coalesce(d.orders, 0) < a.orders
ORDER BY a.spent_{0} DESC, a.latest LIMIT {1}
"""
)
_MEGABYTE = 1_000_000


def _repeated(start: str, part: str, end: str = "", size: int = _MEGABYTE) -> str:
    return start + part * ((size - len(start) - len(end)) // len(part)) + end


def _numbered(
    start: str, part: Callable[[int], str], end: str, count: int, between: str = ","
) -> str:
    return start + between.join(map(part, range(count))) + end


def _rounds(count: int) -> str:
    text = "SELECT id, name, city FROM customers"
    for n in range(count):
        text = (
            f"WITH RECURSIVE c{n} AS (SELECT id, name, city FROM customers UNION ALL SELECT * FROM"
            f" ({text}) AS q UNION ALL SELECT id, city, name FROM c{n}) SELECT * FROM c{n}"
        )
    return text


#: Refused, each for costing too much.
BOMBS = {
    "a chain of operators": _repeated("SELECT 1", "+1"),
    "casts": _repeated("SELECT 1", "::int"),
    "a target list": _repeated("SELECT 1", ",id", " FROM orders"),
    "conditions": _repeated("SELECT 1 FROM orders WHERE id=1", " OR id=id"),
    "parentheses": "SELECT " + "(" * 500_000 + "1" + ")" * 500_000,
    "calls in calls": "SELECT " + "abs(" * 200_000 + "1" + ")" * 200_000,
    "subqueries in subqueries": "SELECT * FROM "
    + "(SELECT * FROM " * 60_000 + "orders" + ")" * 60_000,
    "NOT": _repeated("SELECT ", "NOT ", "true"),
    "unions": _repeated("SELECT 1", " UNION SELECT 1"),
    "joins": _repeated("SELECT 1 FROM orders", " CROSS JOIN orders"),
    "statements": "SELECT 1;" * 100_000,
    "WITH queries": _numbered("WITH ", lambda n: f"c{n} AS (SELECT * FROM orders, c{n - 1})",
    " SELECT 1", 25_000),
    "columns set at once": f"UPDATE orders SET ({'id,' * 100_000}id) = ROW({'1,' * 100_000}1)",
    "stars of stars": _numbered(
        "WITH c AS (SELECT * FROM orders),", lambda n: (
            f"c{n} AS (SELECT x.*, y.* FROM c{n - 1 if n else ''} AS x,"
            f" c{n - 1 if n else ''} AS y)"
        ),
        " SELECT 1", 400
    ),
    "recursion in recursion": _rounds(20),
    "operator characters": "SELECT " + "+-" * 500_000,
}  # fmt: skip

#: Allowed: data that somebody sends as text.
LARGE = {
    "INSERT of 13,000 rows": _numbered(
        "INSERT INTO order_items (order_id, product_id, quantity, unit_price) VALUES ",
        lambda n: f"({n}, {n % 977}, {n % 7}, {n % 100}.50::numeric(10,2))" + " " * 30, "", 13_000
    ),
    "IN list of 100,000": _numbered("SELECT id FROM orders WHERE id IN (",
    lambda n: f"{n + 1_000_000}", ")", 100_000),
    "a literal": "SELECT id FROM orders WHERE status = '" + '{"key": "it''s"}, ' * 50_000 + "'",
    "5,000 statements": "".join(
        f"UPDATE orders SET status = 'paid' WHERE id = {n};\n" for n in range(5_000)
    ),
}  # fmt: skip


def figures(server: Server, policy_file: Path, rounds: int) -> dict[str, float]:
    """By what a table calls them. RuntimeError when what should be allowed is refused, or the
    reverse.
    """
    judge = asyncio.run(_judge(server, policy_file))
    view = judge.subject_judge(
        Subject(id="bench", issuer="bench", groups=frozenset({"claude-postgres"})), ("public",)
    )
    results: dict[str, float] = {}
    for lines, query in (
        ("ten", _TEN),
        ("ten masked", _TEN.replace("c.city", "c.email")),
        ("sixty", _SIXTY),
    ):
        for name, seconds in _query(view, query, rounds).items():
            results[f"judging {lines} lines {name}, µs"] = seconds * 1e6
    results["bombs: worst refusal, ms"] = 1e3 * max(
        _best(view, text, False) for text in BOMBS.values()
    )
    for name, text in LARGE.items():
        results[f"judging {name}, ms"] = 1e3 * _best(view, text, True)
    return results


def _query(view: SubjectJudge, query: str, rounds: int) -> dict[str, float]:
    """Median seconds. The column's name makes a text new, the LIMIT only its literals."""
    samples: dict[str, list[float]] = {
        "at first sight": [],
        "with other literals": [],
        "cached": [],
    }
    for number in range(rounds):
        texts = [query.format(number, limit).encode() for limit in (1, 2, 2)]
        for name, text in zip(samples, texts, strict=True):
            seconds, verdict = _timed(view, text)
            samples[name].append(seconds)
            if verdict.refused >= 0 or verdict.refusal is not None:
                raise RuntimeError(f"the bench's query was refused: {verdict}")
    return {name: statistics.median(values) for name, values in samples.items()}


def _best(view: SubjectJudge, text: str, allowed: bool) -> float:
    """The best of three, so that a busy machine shows less."""
    seconds = []
    for number in range(3):
        taken, verdict = _timed(view, f"{text} -- {number}".encode())
        seconds.append(taken)
        if allowed != (verdict.refused < 0 and verdict.refusal is None):
            raise RuntimeError(
                f"{text[:60]}... should be {'allowed' if allowed else 'refused'}: {verdict.refusal}"
            )
    return min(seconds)


def _timed(view: SubjectJudge, text: bytes) -> tuple[float, ScriptVerdict]:
    started = time.perf_counter()
    verdict = view.judge(text)
    return time.perf_counter() - started, verdict


async def _judge(server: Server, policy_file: Path) -> Judge:
    async with await psycopg.AsyncConnection.connect(server.agent_dsn, autocommit=True) as db:

        async def query(sql: str) -> list[list[str | None]]:
            return _text_rows(db, sql)

        catalog = (await load_catalog(query)).snapshot
    return Judge("shop", load_policy(policy_file), catalog, {}, max_statement_bytes=2 << 20)


def _text_rows(db: psycopg.AsyncConnection, sql: str) -> list[list[str | None]]:
    """The simple protocol's answer as text, as the gateway's own connection gives it."""
    result = db.pgconn.exec_(sql.encode())
    if result.status not in (psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK):
        raise RuntimeError(result.error_message.decode())
    return [
        [value.decode() if (value := result.get_value(row, column)) is not None else None
         for column in range(result.nfields)]
        for row in range(result.ntuples)
    ]  # fmt: skip
