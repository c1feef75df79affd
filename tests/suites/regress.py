"""PostgreSQL's own regression statements, one at a time, directly and through a gateway with the
allow-all policy; what differs is printed by reason.

python -m tests.suites.regress ~/src/postgres --pg 18
python -m tests.suites.regress ~/src/postgres --pg 18 --files boolean,int4 --json found.json

``--pg`` should be the version of the checkout. Both runs use one role without other rights, which
owns the database, so what needs a superuser fails in both. What the gateway refuses outside a
transaction is then done past it, so that the statements behind it meet the same tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import pq

from sallyport.demo.issuer import DevIssuer
from tests.suites.__main__ import DATABASE, POLICY, ROLE, as_role, fresh_database, wait_for_login
from tests.suites.outcomes import Outcome
from tests.suites.psqlscript import Statement, statements
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import start_server

_FIRST = "test_setup"
#: A statement that runs longer is given up, in both runs.
_TIMEOUT = "20s"
#: OIDs of what a run makes itself begin here, and differ.
_OWN_OIDS = 16_384
_SAME, _DIFFERENT_ROWS = "same", "different result"
_UNEXPLAINED = ("another error:", "another message", _DIFFERENT_ROWS)
#: Characters of an answer in the list of differences.
_SHOWN = 2_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one message: a description per result, in a form that compares.
    ``code``, ``error``: of the error that ended it, if one did.
    """

    results: tuple[tuple[object, ...], ...]
    code: str = ""
    error: str = ""

    @property
    def refusal(self) -> str:
        """The reason's line, when the gateway refused; else ""."""
        return Outcome("failed", self.error).reason if self.error.startswith("[SP") else ""


class Session:
    """One connection of libpq that says statements as psql does."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._db: pq.abc.PGconn = self._connect()

    def _connect(self) -> pq.abc.PGconn:
        db = pq.PGconn.connect(self._dsn.encode())
        if db.status != pq.ConnStatus.OK:
            raise ConnectionError(db.error_message.decode(errors="replace"))
        db.notice_handler = lambda result: None
        return db

    def close(self) -> None:
        self._db.finish()

    @property
    def in_transaction(self) -> bool:
        return self._db.transaction_status != pq.TransactionStatus.IDLE

    def reconnect(self) -> None:
        """As ``\\c`` does, and after a lost connection."""
        self.close()
        self._db = self._connect()

    def say(self, statement: Statement) -> Answer:
        """Send it as one simple Query and read everything. A lost connection is an answer, too."""
        try:
            self._db.send_query(statement.text.encode())
            return self._answer(statement)
        except psycopg.OperationalError as error:
            self.reconnect()
            return Answer((), "08006", f"connection lost: {error}")

    def _answer(self, statement: Statement) -> Answer:
        results: list[tuple[object, ...]] = []
        code = error = ""
        while (result := self._db.get_result()) is not None:
            if result.status == pq.ExecStatus.COPY_IN:
                self._feed(statement.data)
            elif result.status == pq.ExecStatus.COPY_OUT:
                results.append(("COPY", *sorted(self._copied())))
            elif result.status == pq.ExecStatus.FATAL_ERROR:
                code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
                message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
                error = message.decode(errors="replace")
            else:
                results.append(_described(result, statement.is_ordered))
        if self._db.status != pq.ConnStatus.OK:
            self.reconnect()
        return Answer(tuple(results), code, error)

    def _feed(self, data: bytes) -> None:
        for start in range(0, len(data), 65_536):
            self._db.put_copy_data(data[start : start + 65_536])
        self._db.put_copy_end()

    def _copied(self) -> Iterator[bytes]:
        while True:
            size, data = self._db.get_copy_data(0)
            if size <= 0:
                return
            yield bytes(data)


def _described(result: pq.abc.PGresult, is_ordered: bool) -> tuple[object, ...]:
    columns = tuple(
        (result.fname(i), oid if (oid := result.ftype(i)) < _OWN_OIDS else 0)
        for i in range(result.nfields)
    )
    rows = [
        tuple(result.get_value(row, i) for i in range(result.nfields))
        for row in range(result.ntuples)
    ]
    if not is_ordered:
        rows.sort(key=repr)
    return (result.command_status, columns, tuple(rows))


def reason(direct: Answer, through: Answer, refused: str) -> str:
    """Why the answers differ, or :data:`_SAME`. ``refused``: an earlier refusal of this file."""
    if direct == through:
        return _SAME
    if through.refusal and direct.code:
        same = "the same SQLSTATE" if direct.code == through.code else "another SQLSTATE"
        return f"an error directly, too, with {same}"
    if through.refusal:
        return through.refusal
    if not direct.code and not through.code:
        return f"{_DIFFERENT_ROWS} after a refusal" if refused else _DIFFERENT_ROWS
    if refused:
        return "another error after a refusal"
    if direct.code == through.code:
        return "another message of the same error"
    return f"another error: {direct.code or 'none'} and {through.code or 'none'}"


def main() -> int:
    """Exit status 1 when an answer differs that no refusal explains, 2 for wrong use."""
    options = _options()
    tests = Path(options.checkout).expanduser().resolve() / "src" / "test" / "regress"
    if not (tests / "sql").is_dir():
        print(f"error: {tests / 'sql'} is no directory; name a checkout", file=sys.stderr)
        return 2
    names = [*options.files.split(",")] if options.files else _scheduled(tests)
    findings = Findings()
    deadline = time.monotonic() + 60 * options.minutes
    with ExitStack() as stack:
        places = _places(options.pg, stack)
        for name in dict.fromkeys((_FIRST, *names)):
            if time.monotonic() > deadline:
                findings.left.append(name)
                continue
            script = list(statements(tests, name))
            findings.add(name, script, *(place.run(script) for place in places))
            print(f"{name}: {len(script)}", file=sys.stderr, flush=True)
    findings.report()
    if options.json:
        Path(options.json).write_text(json.dumps(findings.listed, indent=1), encoding="utf-8")
    return int(findings.unexplained > 0)


def _scheduled(tests: Path) -> list[str]:
    """The files in the order in which PostgreSQL runs them, then those that it does not."""
    lines = (tests / "parallel_schedule").read_text(encoding="utf-8").splitlines()
    names = [name for line in lines if line.startswith("test:") for name in line.split()[1:]]
    there = {path.stem for path in (tests / "sql").glob("*.sql")}
    return [name for name in names if name in there] + sorted(there - set(names))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.suites.regress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", help="a directory with PostgreSQL's sources")
    parser.add_argument("--pg", default="18", help="PostgreSQL (18)")
    parser.add_argument("--files", default="", help="names in src/test/regress/sql, with commas")
    parser.add_argument("--json", default="", metavar="FILE", help="write every difference")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no file after these")
    return parser.parse_args()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a script is said. ``past``: past the gateway, for what it refuses."""

    dsn: str
    past: str = ""

    def run(self, script: list[Statement]) -> list[Answer]:
        """The answers, in order; sessions of its own for each script."""
        session = Session(self.dsn)
        past = Session(self.past) if self.past else None
        try:
            answers = []
            for statement in script:
                if statement.reconnects:
                    session.reconnect()
                else:
                    answers.append(_answer_of(session, past, statement))
            return answers
        finally:
            session.close()
            if past is not None:
                past.close()


def _answer_of(session: Session, past: Session | None, statement: Statement) -> Answer:
    was_open = session.in_transaction
    answer = session.say(statement)
    if past is not None and answer.refusal and not was_open:
        past.say(statement)
    return answer


def _places(version: str, stack: ExitStack) -> tuple[Place, Place, Place]:
    """Direct, direct once more, and through a gateway: a server of its own for each."""
    servers = []
    for _ in range(3):
        server = start_server(version)
        stack.callback(server.stop)
        fresh_database(server, "")
        with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
            db.execute(f"ALTER ROLE {ROLE} SET statement_timeout = '{_TIMEOUT}'")
        servers.append(as_role(server, DATABASE))
    issuer = stack.enter_context(DevIssuer(lifetime=86_400.0))
    gateway = Gateway(issuer, {DATABASE: servers[2]}, POLICY)
    stack.callback(gateway.stop)
    gateway.start()
    wait_for_login(gateway)
    dsn = gateway.dsn(gateway.token(AGENT), target=DATABASE)
    return (
        Place(servers[0].agent_dsn),
        Place(servers[1].agent_dsn),
        Place(dsn, servers[2].agent_dsn),
    )


@dataclass(slots=True)
class Findings:
    """What was compared. ``left``: files for which no time was."""

    reasons: Counter[str] = field(default_factory=Counter)
    listed: list[dict[str, object]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unsteady: int = 0

    def add(
        self,
        name: str,
        script: list[Statement],
        direct: list[Answer],
        again: list[Answer],
        through: list[Answer],
    ) -> None:
        """One file's answers."""
        refused = ""
        sent = [statement for statement in script if not statement.reconnects]
        for statement, first, second, there in zip(sent, direct, again, through, strict=True):
            if first != second:
                self.unsteady += 1
                continue
            why = reason(first, there, refused)
            self.reasons[why] += 1
            refused = refused or there.refusal
            if why != _SAME:
                self.listed.append(
                    {
                        "file": name,
                        "line": statement.line,
                        "text": statement.text,
                        "reason": why,
                        "direct": repr(first)[:_SHOWN],
                        "through": repr(there)[:_SHOWN],
                    }
                )

    @property
    def unexplained(self) -> int:
        """Answers that differ without a refusal."""
        return sum(n for why, n in self.reasons.items() if why.startswith(_UNEXPLAINED))

    def report(self) -> None:
        """Print the counts, the most frequent reason first."""
        compared, alike = self.reasons.total(), self.reasons[_SAME]
        print(f"{compared:,} statements, {alike:,} alike ({100 * alike / max(compared, 1):.1f} %)")
        print(f"left out: {self.unsteady:,} to which two direct runs answer differently")
        if self.left:
            print(f"no time for {', '.join(self.left)}")
        for why, number in self.reasons.most_common():
            if why != _SAME:
                print(f"{number:6,}  {why}")


if __name__ == "__main__":
    sys.exit(main())
