"""What is measured. Every function runs one workload once through one contender."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
from tests.support.places import scratch_dir
from tests.support.processes import ProcessorTime
from tests.support.psql import client_program

from bench.contenders import Contender

#: A point SELECT of all seven columns, three of them masked.
_POINT = "\\set who random(1, :rows)\nSELECT * FROM people WHERE id = :who;\n"
_ALL = "SELECT * FROM people"
#: pgbench's "TPC-B (sort of)".
_TRANSACTION = """\
\\set aid random(1, 100000)
\\set bid random(1, 10)
\\set tid random(1, 100)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM accounts WHERE aid = :aid;
UPDATE tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, now());
END;
"""


class UnmeasuredError(RuntimeError):
    """A contender gave no figure: too many clients for a machine so busy."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Transactions per second, their average latency in milliseconds, and the processor's time that
    each cost in what stands in between.
    """

    per_second: float
    latency: float
    cpu: ProcessorTime


def point_selects(
    way: Contender, mode: str, clients: int, seconds: float, rows: int, tls: bool = False
) -> Rate:
    """Point SELECTs of all columns; as :func:`pgbench`."""
    return pgbench(way, _POINT, mode, clients, seconds, rows, tls)


def transactions(way: Contender, mode: str, clients: int, seconds: float) -> Rate:
    """pgbench's own transactions; as :func:`pgbench`."""
    return pgbench(way, _TRANSACTION, mode, clients, seconds, 1)


def pgbench(
    way: Contender,
    script: str,
    mode: str,
    clients: int,
    seconds: float,
    rows: int,
    tls: bool = False,
) -> Rate:
    """pgbench with ``--protocol=mode``; RuntimeError with its complaint when a transaction
    fails.
    """
    file = scratch_dir("pgbench") / "point.sql"
    file.write_text(script)
    command = [
        client_program("pgbench", tls=tls), "--no-vacuum", f"--protocol={mode}",
        f"--client={clients}",
        f"--jobs={min(clients, 2)}", f"--time={max(1, round(seconds))}", f"--define=rows={rows}",
        f"--file={file}", way.tls if tls else way.dsn,
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    before = way.cpu()
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, timeout=seconds + 60, check=False
    )
    if done.returncode != 0:
        raise UnmeasuredError(f"pgbench through {way.name} failed: {done.stderr.strip()[-600:]}")
    used = way.cpu().since(before)
    tps, latency, count = (
        re.search(pattern, done.stdout)
        for pattern in (
            r"tps = ([\d.]+)",
            r"latency average = ([\d.]+)",
            r"actually processed: (\d+)",
        )
    )
    if tps is None or latency is None or count is None:
        raise UnmeasuredError(f"pgbench through {way.name} got no answer in time")
    return Rate(float(tps.group(1)), float(latency.group(1)), used.each(int(count.group(1))))


@dataclass(frozen=True, slots=True)
class Bulk:
    """Seconds until the client has every row, and by how many bytes what stands in between grew at
    most.
    """

    seconds: float
    growth: int


def fetch_all(way: Contender, rows: int, sql: str = _ALL) -> Bulk:
    """All rows into libpq's memory (psycopg execute; making Python objects is not counted)."""

    def work(db: psycopg.Connection) -> int:
        return db.execute(sql.encode()).rowcount

    return _bulk(way, work, rows)


def copy_all(way: Contender, rows: int) -> Bulk:
    """COPY TO STDOUT, text format, read and thrown away."""

    def work(db: psycopg.Connection) -> int:
        lines = 0
        with db.cursor().copy(f"COPY ({_ALL}) TO STDOUT") as copy:
            while data := copy.read():
                lines += bytes(data).count(b"\n")
        return lines

    return _bulk(way, work, rows)


def _bulk(way: Contender, work: Callable[[psycopg.Connection], int], rows: int) -> Bulk:
    with psycopg.connect(way.dsn, autocommit=True) as db, _Peak(way) as peak:
        started = time.perf_counter()
        got = work(db)
        seconds = time.perf_counter() - started
    if got != rows:
        raise RuntimeError(f"{way.name} gave {got} rows of {rows}")
    return Bulk(seconds, peak.growth)


class _Peak:
    """Watches a contender's memory while something runs."""

    def __init__(self, way: Contender) -> None:
        self._memory = way.memory
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.growth = 0

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.growth = max(self.growth, self._memory() - self._before)

    def __enter__(self) -> _Peak:
        self._before = self._memory()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class Idle:
    """Bytes of what stands in between, per idle session; and seconds for one login, at eight at
    once.
    """

    bytes_each: float
    login: float


def idle_sessions(way: Contender, count: int) -> Idle:
    """Open ``count`` sessions, let each run one statement, and weigh them."""

    def connect(_: int) -> psycopg.Connection:
        db = psycopg.connect(way.dsn, autocommit=True)
        db.execute("SELECT 1")
        return db

    before = way.memory()
    sessions: list[psycopg.Connection] = []
    started = time.perf_counter()
    try:
        with ThreadPoolExecutor(8) as pool:
            for db in pool.map(connect, range(count)):
                sessions.append(db)
        seconds = time.perf_counter() - started
        time.sleep(1)
        return Idle((way.memory() - before) / count, seconds * 8 / count)
    finally:
        for db in sessions:
            db.close()
