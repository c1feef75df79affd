"""How long the judge takes, in this process: a ten-line query at first sight, and the same again from the
cache.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import psycopg
from tests.support.postgres import Server

from sallyport.core.subject import Subject
from sallyport.judge import Judge
from sallyport.policy.load import load_policy
from sallyport.targets.catalog_loader import load_catalog

_QUERY = """\
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


def times(server: Server, policy_file: Path, rounds: int) -> dict[str, float]:
    """Median seconds by name. RuntimeError when the query is refused."""
    judge = asyncio.run(_judge(server, policy_file))
    subject = Subject(id="bench", issuer="bench", groups=frozenset({"claude-postgres"}))
    view = judge.view(subject, ("public",))
    samples: dict[str, list[float]] = {"at first sight": [], "with other literals": [], "cached": []}
    for number in range(rounds):
        texts = [_QUERY.format(number, limit).encode() for limit in (1, 2, 2)]
        for name, text in zip(samples, texts, strict=True):
            started = time.perf_counter()
            verdict = view.judge(text)
            samples[name].append(time.perf_counter() - started)
            if verdict.refused >= 0 or verdict.refusal is not None:
                raise RuntimeError(f"the bench's query was refused: {verdict}")
    return {name: statistics.median(values) for name, values in samples.items()}


async def _judge(server: Server, policy_file: Path) -> Judge:
    async with await psycopg.AsyncConnection.connect(server.agent_dsn, autocommit=True) as db:

        async def query(sql: str) -> list[list[str | None]]:
            return _text_rows(db, sql)

        catalog = await load_catalog(query)
    return Judge("shop", load_policy(policy_file), catalog, {}, max_statement_bytes=1 << 20)


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
