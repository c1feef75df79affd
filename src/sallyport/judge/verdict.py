"""What the judge says of a statement and of a script, and the refusals that are its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sallyport.core.errors import Refusal, refuse
from sallyport.masking.plan import MaskPlan
from sallyport.policy.decision import Decision, Outcome
from sallyport.sql.facts import Effect, StatementFacts, TypedParameter

#: Names of relations that a verdict keeps, and so a recording: a partitioned table has thousands.
RELATIONS = 100


@dataclass(slots=True)
class Verdict:
    """What happens to one statement. Made once, shared by every session of the view: never changed after.

    plan: masks of the rows it returns (None: it returns none, and rows that come all the same are withheld).
    inner: of PREPARE and DECLARE, the verdict whose plan EXECUTE and FETCH follow.
    scrub: its errors and notices may quote masked values. opaque: it runs code that was not read (trusted functions,
    triggers), so not even PostgreSQL's own analysis errors are told from raised ones.
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
    decision: Decision | None = None
    # derived once for the hot path
    effects: tuple[Effect, ...] = ()
    changes_search_path: bool = False
    changes_settings: bool = False  # of those that change what a statement means
    unreported_settings: bool = False  # such that PostgreSQL does not report the new value
    is_ddl: bool = False
    resolves_names: bool = True
    typed_parameters: tuple[TypedParameter, ...] = ()  # whose columns are masked
    held: bool = False  # a rule holds it, and nothing else stands against it
    plain: bool = False  # allowed, and without any effect on the session: the hot path
    masked_columns: tuple[str, ...] = ()  # schema.relation.column of what is masked in its rows
    relations: tuple[
        str, ...
    ] = ()  # schema.relation of what it touches, views' relations included; at most RELATIONS
    # RowDescription body -> compiled program; bounded by the machine
    programs: dict[bytes, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ScriptVerdict:
    """Verdicts of a whole simple-query string or Parse text. ``refused``: index of the first statement that does not run, or -1.

    ``refusal`` without statements: the text could not be read at all (syntax error, too long).
    ``plain``: exactly one statement, allowed, with no effect on the session: the hot path.
    """

    sql: bytes
    statements: tuple[Verdict, ...]
    refused: int = -1
    refusal: Refusal | None = None
    plain: bool = False
    seconds: float = 0.0
    count: int = 0  # statements in the text, those behind a refused one included


def internal_refusal() -> Refusal:
    return refuse(
        "SP1804",
        "the gateway failed while judging this statement, so it does not run",
        hint="This is a fault of the gateway; its log says more. A simpler form of the statement may pass.",
    )


AFTER_SEARCH_PATH = refuse(
    "SP1302",
    "search_path was changed earlier in the same message",
    "Names in this statement cannot be resolved before the change is confirmed by the server.",
    "Send SET search_path on its own, and this statement after it.",
)
AFTER_DDL = refuse(
    "SP1102",
    "the catalog was changed earlier in this transaction",
    "This statement came with the change, before the gateway could see what names mean after it.",
    "Send this statement when the answer to the change is there.",
)
