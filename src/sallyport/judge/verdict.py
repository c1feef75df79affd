"""What the judge says of a statement and of a script, and the refusals that are its own."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from sallyport.core.errors import TELL_OPERATOR, Refusal, refuse
from sallyport.judge.literals import Literals
from sallyport.judge.parameters import ComparedParameter
from sallyport.judge.permit import ParsePermit, RunPermit
from sallyport.masking.plan import MaskPlan
from sallyport.policy.decision import Decision, Outcome
from sallyport.policy.model import FULL_RESULTS
from sallyport.sql.facts import Effect, EffectKind, StatementFacts
from sallyport.sql.rewrite.cuts import Cut, Rewritten
from sallyport.sql.text import template
from sallyport.sql.text.parse import too_deep
from sallyport.wire.backend import notice_response

log = structlog.get_logger("sallyport.judge")

#: Names of relations that a verdict keeps, and so a recording: a partitioned table has thousands.
RELATIONS = 100
#: Names of columns, likewise.
COLUMNS = 200


class ScannedColumn(Struct, frozen=True):
    """An output column that is looked through for instructions. index: from 0. name:
    ``schema.relation.column`` of where it comes from. is_text: its values are nothing but text.
    """

    index: int
    name: str
    is_text: bool


#: What begins or ends a transaction block or a part of one. Two-phase commit is not among it: its
#: identifiers are the session's to check.
_BLOCK_CONTROL = frozenset(
    {
        EffectKind.BEGIN,
        EffectKind.COMMIT,
        EffectKind.ROLLBACK,
        EffectKind.SAVEPOINT,
        EffectKind.RELEASE,
        EffectKind.ROLLBACK_TO,
    }
)


class Verdict(Struct):
    """What happens to one statement. Made once, shared by every session of the view: never changed
    after.

    plan: masks of the rows it returns (None: it returns none, and rows that come all the same are
    withheld). runs_unknown_code: it may run code that was not read, whatever masks there are, and
    so leave anything in the temporary schema. inner: of PREPARE and DECLARE, the verdict whose plan
    EXECUTE and FETCH follow. permit: to run it; where it is held, only to prepare it. None: it does
    not go to the server. scrub: its errors and notices may quote masked values. opaque: it runs
    code that was not read (trusted functions, triggers), so not even PostgreSQL's own analysis
    errors are told from raised ones.
    """

    facts: StatementFacts
    sql: bytes
    refusal: Refusal | None
    outcome: Outcome
    rule: str = ""
    plan: MaskPlan | None = None
    inner: Verdict | None = None
    scrub: bool = False
    opaque: bool = False
    runs_unknown_code: bool = False
    decision: Decision | None = None
    permit: ParsePermit | None = None
    # derived once for the hot path
    effects: tuple[Effect, ...] = ()
    changes_search_path: bool = False
    changes_settings: bool = False  # of those that change what a statement means
    unreported_settings: bool = False  # such that PostgreSQL does not report the new value
    is_ddl: bool = False
    resolves_names: bool = True
    #: it makes something temporary and runs unknown code: told apart before its transaction ends
    needs_block: bool = False
    held: bool = False  # a rule holds it, and nothing else stands against it
    changes: bool = True  # it may change something: its intent is journaled before it is sent
    runs_named: bool = False  # it runs what the session knows by name, which may change something
    plain: bool = False  # allowed, and without any effect on the session: the hot path
    masked_columns: tuple[str, ...] = ()  # schema.relation.column of what is masked in its rows
    relations: tuple[
        str, ...
    ] = ()  # schema.relation of what it touches, views' relations included; at most RELATIONS
    columns: tuple[str, ...] = ()  # schema.relation.column of what it uses; at most COLUMNS
    # what is changed in the script's text before it is sent
    cuts: tuple[Cut, ...] = ()
    sent: bytes = b""  # the statement as it is sent
    compared_parameters: tuple[ComparedParameter, ...] = ()
    literals: Literals | None = None  # how its values are recorded; None: as they are
    #: numbers (from 0) of its output columns that may repeat what is not recorded of its text, so
    #: that they are not recorded either; None: nothing of its rows is
    hidden_outputs: frozenset[int] | None = frozenset()
    results: str = FULL_RESULTS  # how much of its rows is recorded
    hides_rows: bool = False  # its rows are recorded otherwise than the client gets them
    untrusted: tuple[str, ...] = ()  # schema.relation.column of what it reads that is untrusted
    scans: tuple[ScannedColumn, ...] = ()
    notice: bytes = b""  # a NoticeResponse: which masks an expression of the statement saw
    # RowDescription body -> compiled program; bounded by the machine
    programs: dict[bytes, Any] = {}
    # protocol -> what recordings say of it (session.judged)
    records: dict[str, Any] = {}

    @property
    def is_watched(self) -> bool:
        """It reads what is untrusted, or its rows are looked through."""
        return bool(self.untrusted or self.scans)

    @property
    def is_quiet(self) -> bool:
        """It is not watched, runs no code that was not read, and its rows are recorded as they are
        sent.
        """
        return not (self.hides_rows or self.is_watched or self.runs_unknown_code)

    @property
    def is_transaction_control(self) -> bool:
        """It may run, and begins or ends a transaction or a part of one, and no more."""
        moves = self.changes or self.changes_search_path or self.changes_settings
        facts = self.facts
        parameters = facts.setting_parameters or facts.bound_settings or facts.cast_parameters
        is_control = bool(self.effects) and all(e.kind in _BLOCK_CONTROL for e in self.effects)
        return self.refusal is None and is_control and not (moves or parameters)

    @property
    def is_followed(self) -> bool:
        """Whether the session must follow what running it does."""
        moves = self.changes_search_path or self.changes_settings
        return bool(self.effects) or moves or self.runs_unknown_code


class Part(Struct, frozen=True):
    """Where a statement of a script is (bytes), what kind it is, and whether it opens the next
    transaction (AND CHAIN).

    ``is_plain``: it does nothing to the session, so that those behind it mean what they mean before
    it. ``is_own``: the gateway drops something before a statement with CASCADE, which ``drops``:
    has what was dropped, where it was looked at.
    """

    start: int
    end: int
    kind: str
    chains: bool = False
    is_plain: bool = False
    is_own: bool = False
    drops: tuple[str, ...] | None = None


class ScriptVerdict(Struct):
    """Verdicts of a whole simple-query string or Parse text. ``refused``: index of the first
    statement that does not run, or -1.

    ``refusal`` without statements: the text could not be read at all (syntax error, too long).
    ``permit``: for the text as a whole; where its only statement is held, only to prepare it.
    ``plain``: exactly one statement, allowed, with no effect on the session: the hot path.
    ``parts``: every statement, where those behind number ``moves_at`` can be judged only once that
    has run, or number ``ends_at`` ends a transaction (or a part of it), which may take back what
    names mean. () where there is neither.
    """

    sql: bytes
    statements: tuple[Verdict, ...]
    refused: int = -1
    refusal: Refusal | None = None
    plain: bool = False
    seconds: float = 0.0
    count: int = 0  # statements in the text, those behind a refused one included
    rewritten: Rewritten | None = None  # None: the text is sent as it came
    pieces: tuple[bytes | int, ...] | None = None  # of a template: text, and numbers of literals
    permit: ParsePermit | None = None
    parts: tuple[Part, ...] = ()
    moves_at: int = -1
    ends_at: int = -1
    needs_block: bool = False  # of one of its statements
    #: its statements are sent one by one: what one of them reaches by CASCADE is dropped before it,
    #: or one is of two-phase commit, whose identifier gets a prefix
    goes_apart: bool = False
    # what plain traffic needs of it, made when it is first asked (server.plain)
    traffic: Any = None

    @property
    def asks_types(self) -> bool:
        """It is refused, and could be judged otherwise with the types that Parse declares."""
        if self.refused < 0 or not self.statements:
            return False
        return self.statements[self.refused].facts.asks_types

    def sent(self, sql: bytes) -> bytes:
        """What is sent for ``sql``, the text that was judged or, of a template, one that differs
        from it in its literals.
        """
        if self.rewritten is None:
            return sql
        return self.rewritten.text if self.pieces is None else template.filled(self.pieces, sql)

    def rewriting(self, sql: bytes) -> Rewritten | None:
        """How ``sql`` became what was sent for it."""
        if self.rewritten is None or self.pieces is None:
            return self.rewritten
        return Rewritten(sql, template.cuts_in(sql, self.rewritten.cuts))


def cascade_notices(facts: StatementFacts) -> bytes:
    """What PostgreSQL says of each table that TRUNCATE CASCADE reaches (src/backend/commands/
    tablecmds.c, ExecuteTruncateGuts); b"" for none.
    """
    return b"".join(
        notice_response("NOTICE", "00000", f'truncate cascades to table "{emptied.name}"')
        for emptied in facts.truncates
    )


def goes_apart(verdicts: Sequence[Verdict], count: int) -> bool:
    """:attr:`ScriptVerdict.goes_apart` of a script with so many statements."""
    if any(v.facts.drops_first or (v.facts.cascades and n) for n, v in enumerate(verdicts)):
        return True
    kinds = {effect.kind for verdict in verdicts for effect in verdict.effects}
    return count > 1 and EffectKind.TWO_PHASE in kinds


def script_permit(
    sql: bytes, verdicts: Sequence[Verdict], refused: int, count: int
) -> ParsePermit | None:
    """For a text of ``count`` statements with these verdicts. ``refused``: as in
    :class:`ScriptVerdict`.
    """
    if refused < 0:
        return RunPermit(sql)
    return verdicts[0].permit if count == 1 else None


def failure(error: Exception) -> Refusal:
    """The refusal (SP1804, or SP1105 for too deep a text) where judging failed, with one line in
    the log: what and where, no values.
    """
    if isinstance(error, RecursionError):
        log.warning("statement nested too deeply to be judged")
        return too_deep().refusal
    frames = traceback.extract_tb(error.__traceback__)
    where = (
        f"{frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
        if frames
        else ""
    )
    log.error("judge failed", error=type(error).__name__, where=where)
    return internal_refusal()


def internal_refusal() -> Refusal:
    """The refusal when judging failed by a fault of the gateway's own."""
    return refuse(
        "SP1804",
        "the gateway failed while judging this statement, so it does not run",
        hint=f"{TELL_OPERATOR} A simpler form of the statement may pass.",
    )


AFTER_SEARCH_PATH = refuse(
    "SP1302",
    "search_path was changed earlier in the same message",
    "The gateway cannot resolve names in this statement before the server confirms the change.",
    "Send SET search_path by itself, and this statement after it.",
)
EXPLAINS_RAW = refuse(
    "SP1201",
    "EXPLAIN EXECUTE of a statement that reads masked columns is not allowed",
    "The plan of the prepared statement could reveal the size of masked values.",
    "Use EXPLAIN with the statement itself.",
)
EXECUTES_MEASURED = refuse(
    "SP1201",
    "EXPLAIN ANALYZE EXECUTE would reveal the size of masked values",
    "It counts the pages that are read, and the memory that the plan takes.",
    "Use EXPLAIN ANALYZE with the statement itself.",
)
AFTER_UNKNOWN_CODE = refuse(
    "SP1102",
    "code whose effects are not known ran earlier in the same message",
    "A function or trigger may have made temporary relations, which come before all others.",
    "Send this statement when the answer to the one before it is there.",
)
LATE_NAMES = refuse(
    "SP1103",
    "a function that looks names up as it runs stands beside code whose effects are not known",
    "A function or trigger of it may make temporary relations, which come before all others.",
    "Call the functions in statements of their own.",
)
AFTER_DDL = refuse(
    "SP1102",
    "the catalog was changed earlier in this transaction",
    "This statement was sent in the same message or pipeline as a schema change.",
    "Send it again after the schema change has completed.",
)
