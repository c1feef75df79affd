"""Compares each statement through the gateway with the same on the masked copy."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import psycopg

from tests.differential.answers import (
    WAYS,
    Answer,
    orders_rows,
    run_statement,
    same_rows,
    without_row_types,
)

#: Other plans for the same statement: what they answer differently is not determined by the
#: statement.
VARIANTS = (
    ("enable_hashagg", "enable_hashjoin"),
    ("enable_nestloop", "enable_mergejoin"),
    ("enable_seqscan", "enable_sort"),
    ("enable_indexscan", "enable_bitmapscan", "enable_nestloop"),
)
STATEMENT_TIMEOUT = "15s"
#: Refusals that say nothing of the statement: a recording on a busy disk. Tried again so often, a
#: second apart.
_PASSING = ("SP1801",)
PATIENCE = 10


@dataclass(frozen=True)
class Statement:
    """``origin``: where it is written, or which seed made it."""

    target: str
    origin: str
    text: str


@dataclass(frozen=True)
class Difference:
    statement: Statement
    way: str
    gateway: Answer
    masked: Answer
    why: str

    def __str__(self) -> str:
        head = f"--- {self.statement.origin} ({self.way}): {self.why}"
        return (
            f"{head}\n{self.statement.text}\n  gateway: {self.gateway.shown()}\n  masked copy:"
            f" {self.masked.shown()}"
        )


@dataclass
class Totals:
    """``ran``: statements that run on the masked copy without an error. ``errors``: those with the
    same error on both.
    """

    ran: int = 0
    equal: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    refused_texts: list[tuple[str, Statement, str]] = field(default_factory=list)
    different: list[Difference] = field(default_factory=list)
    undetermined: list[Statement] = field(default_factory=list)

    def line(self) -> str:
        """The totals in a line."""
        refused = ", ".join(f"{code} {n}" for code, n in self.refused.most_common()) or "none"
        errors = ", ".join(f"{code} {n}" for code, n in self.errors.most_common()) or "none"
        return (
            f"ran {self.ran}, equal {self.equal}, different {len(self.different)}, refused"
            f" {sum(self.refused.values())} ({refused}), same error {sum(self.errors.values())}"
            f" ({errors}), undetermined {len(self.undetermined)}"
        )


class Oracle:
    """By target: connection strings of D through the gateway and of M directly, and the row types
    of both.
    """

    def __init__(
        self,
        gateway_dsns: dict[str, str],
        masked_dsns: dict[str, str],
        composites: dict[str, dict[int, int]],
    ) -> None:
        self._dsns = {"gateway": gateway_dsns, "masked": masked_dsns}
        self._sessions: dict[tuple[str, str], psycopg.Connection] = {}
        self._composites = composites
        self.totals = Totals()
        self._number = 0

    def run(self, statements: Iterable[Statement]) -> Totals:
        """Every statement in both formats, and in one more of the ways in turn."""
        for statement in statements:
            self._number += 1
            self._compare(statement, ("text", "binary", WAYS[2 + self._number % (len(WAYS) - 2)]))
        return self.totals

    def close(self) -> None:
        """End all sessions."""
        for session in self._sessions.values():
            session.close()

    def _session(self, side: str, target: str) -> psycopg.Connection:
        session = self._sessions.get((side, target))
        if session is None or session.closed:
            session = psycopg.connect(
                self._dsns[side][target], autocommit=True, prepare_threshold=None
            )
            session.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'".encode())
            self._sessions[side, target] = session
        return session

    def _answer(self, side: str, statement: Statement, way: str) -> Answer:
        for _ in range(PATIENCE):
            answer = run_statement(self._session(side, statement.target), statement.text, way)
            if answer.refusal not in _PASSING:
                break
            time.sleep(1)
        return without_row_types(answer, self._composites[statement.target], way)

    def _compare(self, statement: Statement, ways: Sequence[str]) -> None:
        totals = self.totals
        masked = {way: self._answer("masked", statement, way) for way in ways}
        gateway = {way: self._answer("gateway", statement, way) for way in ways}
        if not masked["text"].error:
            totals.ran += 1
        refused = {
            way: answer
            for way, answer in gateway.items()
            if answer.refusal and not masked[way].error
        }
        if refused:
            way, answer = next(iter(refused.items()))
            code = answer.refusal if len(refused) == len(ways) else f"{answer.refusal} ({way})"
            totals.refused[code] += 1
            totals.refused_texts.append((code, statement, answer.message))
            return
        for way in ways:
            why = self._why(statement, gateway[way], masked[way])
            if why and self._varies(statement, masked[way], why, way):
                if why == "order":  # ties: any order will do
                    continue
                totals.undetermined.append(statement)
                return
            if why:
                totals.different.append(Difference(statement, way, gateway[way], masked[way], why))
                return
        if masked["text"].error:
            totals.errors[masked["text"].error] += 1
        else:
            totals.equal += 1

    def _why(self, statement: Statement, gateway: Answer, masked: Answer) -> str:
        """How they differ; "" when they do not. A refusal will do for an error."""
        if gateway.refusal and masked.error:
            return ""
        if gateway.error != masked.error:
            return "errors"
        if [name for name, _ in gateway.columns] != [name for name, _ in masked.columns]:
            return "column names"
        if gateway.columns != masked.columns:
            return "column types"
        if not same_rows(gateway, masked):
            return "rows"
        if orders_rows(statement.text) and gateway.rows != masked.rows:
            return "order"
        return ""

    def _varies(self, statement: Statement, masked: Answer, why: str, way: str) -> bool:
        """Whether another plan on the masked copy itself differs in this way from the first one."""
        session = self._session("masked", statement.target)
        for variant in VARIANTS:
            for setting in variant:
                session.execute(f"SET {setting} = off".encode())
            answer = self._answer("masked", statement, way)
            for setting in variant:
                session.execute(f"RESET {setting}".encode())
            if self._why(statement, answer, masked) == why:
                return True
        return False
