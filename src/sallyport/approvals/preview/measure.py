"""What a held statement would do, measured for its reviewer. The statement itself is never run.

:func:`measure` asks over the gateway's own connection, as the role the statement would run as:
PostgreSQL's plan (EXPLAIN without ANALYZE); the exact number of rows for INSERT, UPDATE, DELETE,
MERGE (by action) and TRUNCATE; locks and dependants for schema changes. Rows are not in it: each
reviewer may see others (:mod:`sallyport.approvals.preview.sampling`), and nothing of them is
stored.

Every question is one simple-query message that begins with :func:`preamble`: one implicit
transaction, read-only, with short timeouts for statement and locks. Nothing that others wait for is
held longer, a failure leaves the connection clean, and questions of others may come between. What
cannot be computed is said with its reason; a server's message is repeated only where it cannot
quote data.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from sallyport.approvals.preview.binding_values import UnreadableError, literals
from sallyport.approvals.preview.counting import count_of
from sallyport.approvals.preview.dependants import CHILDREN, COLUMNS, DEPENDANTS, MENTIONS
from sallyport.approvals.preview.locks import columns_of, locks_of
from sallyport.approvals.states import Preview, plain
from sallyport.core.errors import RefusedError, SallyportError
from sallyport.policy.actions import canonical, is_ddl
from sallyport.session.held import HeldStatement
from sallyport.sql.facts import StatementFacts
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.parse import MAX_LENGTH, parse
from sallyport.sql.utility.settings import MASKED_STARTUP, changes_meaning
from sallyport.wire.sqlstate import condition_words

log = structlog.get_logger("sallyport.approvals")

#: One simple-query message in, the rows of all its statements out, as text. Raises SallyportError,
#: with ``sqlstate`` where there is one.
Query = Callable[[str], Awaitable[Sequence[Sequence[str | None]]]]

#: Milliseconds.
STATEMENT_TIMEOUT: Final = 3000
LOCK_TIMEOUT: Final = 200
#: Dependants that are listed, characters of a plan that are kept.
_LISTED: Final = 100
_PLAN: Final = 200_000
_NAME: Final = "sallyport_preview"
_LET_GO: Final = "SELECT pg_catalog.pg_advisory_unlock_all()"
_PLANNED: Final = frozenset(
    {"select", "insert", "update", "delete", "merge", "create-table-as", "select-into"}
)
_COUNTED: Final = frozenset({"insert", "update", "delete", "merge", "truncate"})
#: Classes of errors whose text names objects and limits, never values (errcodes.txt).
_QUOTABLE: Final = ("42", "53", "54", "55", "57", "25", "0A", "08", "3F")
#: The same once it has run: names may then come from data (``email::regclass``), and people who may
#: not see them read this.
_QUOTABLE_RUN: Final = ("53", "57", "25", "08")


def preamble(
    search_path: Sequence[str], session: Sequence[tuple[str, str]] = (), masked: bool = False
) -> str:
    """Settings of one question, for its own transaction only.

    ``session``: those of the session, which say what constants mean. ``masked``: its text has masks
    in it.
    """
    path = ", ".join(map(quoted, search_path)) or "''"
    settings = {
        "transaction_read_only": "on",
        "statement_timeout": str(STATEMENT_TIMEOUT),
        "lock_timeout": str(LOCK_TIMEOUT),
        "standard_conforming_strings": "on",
        "search_path": path,
    }
    session_settings = {
        name: "'" + value.replace("'", "''") + "'"
        for name, value in session
        if changes_meaning(name) and not name.startswith("default_transaction")
    }
    # Masks of dates are written in ISO, whatever the server's default is.
    pins = MASKED_STARTUP if masked else {}
    all_ = {"DateStyle": "ISO", "row_security": "on", **session_settings, **pins, **settings}
    return "".join(f"SET LOCAL {_written(name)} = {value};\n" for name, value in all_.items())


def _written(name: str) -> str:
    """A custom setting may be called like a word of the grammar (app.user)."""
    return quoted(*name.split(".")) if "." in name else name


@dataclass(slots=True)
class Question:
    """What is asked about one statement, ``sql`` as the target gets it; ``masked``: with masks in
    it.

    ``types``: names of its parameters' types, for PREPARE; None without parameters.
    """

    query: Query
    sql: str
    search_path: Sequence[str]
    settings: Sequence[tuple[str, str]] = ()
    types: Sequence[str] = ()
    arguments: list[str] | None = None
    problems: list[str] = field(default_factory=list)
    masked: bool = False

    async def ask(
        self, what: str, *statements: str, ran: bool = False
    ) -> Sequence[Sequence[str | None]] | None:
        """The rows, or None with the reason among the problems. ``ran``: as in :func:`explain`."""
        try:
            return await self.query(self.message(*statements))
        except (SallyportError, OSError) as error:
            self.problems.append(f"{what} could not be computed: {explain(error, ran)}")
            return None
        finally:
            await self.let_go()

    async def let_go(self) -> None:
        """Give back advisory locks: a statement may take some for its session, and then they
        outlive transaction and failure.
        """
        try:
            await self.query(_LET_GO)
        except (SallyportError, OSError) as error:  # where the connection is lost, so are its locks
            log.info("preview connection lost", reason=explain(error))

    async def rows_of(
        self, what: str, sql: str, prefix: str = ""
    ) -> Sequence[Sequence[str | None]] | None:
        """Run ``prefix`` + statement, with the bind values when there are any."""
        return await self.ask(what, *self.with_values(sql, prefix), ran=not prefix)

    def message(self, *statements: str) -> str:
        """One message that begins with :func:`preamble`. Raises SallyportError unless each of the
        statements is one.
        """
        _check(statements)
        return preamble(self.search_path, self.settings, self.masked) + ";\n".join(
            ("DEALLOCATE ALL", *statements)
        )

    def with_values(self, sql: str, prefix: str = "") -> tuple[str, ...]:
        """The statements that run this one with the bind values."""
        if self.arguments is None:
            return (f"{prefix}{sql}\n",)
        types = f" ({', '.join(self.types)})" if self.types else ""
        call = f"{_NAME}({', '.join(self.arguments)})" if self.arguments else _NAME
        return f"PREPARE {_NAME}{types} AS {sql}\n", f"{prefix}EXECUTE {call}"


async def measure_held(query: Query, held: HeldStatement) -> Preview:
    """The preview of a statement that waits.

    Its plan is without costs where masks are put into it or it writes a relation with masks: the
    planner guesses them, and widths and numbers of rows, by statistics of what is masked, and the
    subject's own EXPLAIN does not show them either. Who reads the preview may have those masks.
    """
    masked = held.sent != held.sql
    return await measure(
        query,
        held.verdict.facts,
        held.sent,
        held.binds,
        held.search_path,
        held.bind_formats,
        held.settings,
        held.types,
        masked,
        costs=not (masked or held.verdict.scrub),
    )


async def measure(
    query: Query,
    facts: StatementFacts,
    sql: str,
    binds: Sequence[bytes | None] | None,
    search_path: Sequence[str],
    bind_formats: Sequence[int] = (),
    settings: Sequence[tuple[str, str]] = (),
    types: Sequence[int] = (),
    masked: bool = False,
    *,
    costs: bool = True,
) -> Preview:
    """The preview of ``sql``, the text as the target gets it, under the session's ``settings``.
    ``masked``: it has masks in it. ``costs``: the plan has them. Takes a few times
    :data:`STATEMENT_TIMEOUT` at most. Raises nothing that :class:`SallyportError` does not cover.
    """
    started = time.monotonic()
    question = Question(query, sql, search_path, settings, masked=masked)
    kind = canonical(facts.kind)
    preview = Preview()
    runs = kind not in _PLANNED
    if kind in _PLANNED and await bind(question, binds, bind_formats, types):
        plan = await _plan(question, costs)
        runs = plan is not None
        preview = replace(preview, plan=plan or "")
    if kind in _COUNTED and runs:
        preview = await _count(question, preview)
    if is_ddl(kind) or kind == "truncate":
        preview = await _schema_change(question, facts, preview)
    if not (kind in _PLANNED or kind in _COUNTED or is_ddl(kind)):
        question.problems.append(f"{kind} cannot be planned before it runs")
    return replace(preview, problems=tuple(question.problems), seconds=time.monotonic() - started)


async def bind(
    question: Question,
    binds: Sequence[bytes | None] | None,
    formats: Sequence[int],
    declared: Sequence[int],
) -> bool:
    """Make the statement's parameters literals, of the types that Parse ``declared`` (OIDs; 0 and
    what is missing are inferred).

    False, with a problem, when that cannot be.
    """
    if not binds:
        return True
    oids = ", ".join(str(int(oid)) for oid in declared)
    named = await question.ask(
        "the types of its parameters",
        "SELECT CASE WHEN t.oid = 0 THEN 'unknown' ELSE pg_catalog.format_type(t.oid, NULL) END"
        f" FROM pg_catalog.unnest(ARRAY[{oids}]::pg_catalog.oid[]) WITH ORDINALITY AS t(oid,"
        " number) ORDER BY t.number",
    )
    if named is None:
        return False
    declared_types = f" ({', '.join(row[0] or '' for row in named)})" if named else ""
    asked = await question.ask(
        "the plan",
        f"PREPARE {_NAME}{declared_types} AS {question.sql}\n",
        "SELECT t.type::pg_catalog.oid, t.type::pg_catalog.text FROM"
        " pg_catalog.pg_prepared_statements s, pg_catalog.unnest(s.parameter_types) WITH"
        f" ORDINALITY AS t(type, number) WHERE s.name = '{_NAME}' ORDER BY t.number",
    )
    if asked is None:
        return False
    try:
        question.arguments = literals(binds, formats, [int(row[0] or 0) for row in asked])
    except UnreadableError as error:
        question.problems.append(f"plan and count could not be computed: {error}")
        return False
    question.types = [row[1] or "" for row in asked]
    return True


async def _plan(question: Question, costs: bool) -> str | None:
    """ "" for one that is too long. None: the statement cannot be planned, so it could not run
    either.
    """
    prefix = f"EXPLAIN (FORMAT JSON, COSTS {'ON' if costs else 'OFF'}) "
    rows = await question.rows_of("the plan", question.sql, prefix)
    if rows is None:
        return None
    text = rows[0][0] if rows and rows[0] else ""
    if text and len(text) > _PLAN:
        question.problems.append("the plan is too long to be shown")
        return ""
    return text or ""


async def _count(question: Question, preview: Preview) -> Preview:
    # a long text is parsed more than once: not while everybody waits
    count = await asyncio.to_thread(count_of, question.sql)
    if count.why:
        question.problems.append(f"the number of rows could not be counted: {count.why}")
        return preview
    rows = await question.rows_of("the number of rows", count.sql) if count.sql else ()
    if rows is None:
        return preview
    if count.note:
        question.problems.append(count.note)
    if count.number is not None:
        return replace(preview, rows=count.number)
    if not count.actions:
        return replace(preview, rows=int(rows[0][0] or 0) if rows and rows[0] else None)
    by_action: Counter[str] = Counter()
    for index, number in rows:
        by_action[count.actions[int(index or 0)]] += int(number or 0)
    del by_action["nothing"]
    lines = tuple(f"{action} {number}" for action, number in sorted(by_action.items()))
    return replace(preview, rows=by_action.total(), actions=lines)


async def _schema_change(question: Question, facts: StatementFacts, preview: Preview) -> Preview:
    locks = locks_of(question.sql)
    oids = ", ".join(str(oid) for oid in sorted({a.relation for a in facts.accesses if a.relation}))
    if not oids:
        return replace(preview, locks=tuple(locks))
    named = await question.ask(
        "what it concerns",
        "SELECT n.nspname || '.' || c.relname,"
        " pg_catalog.pg_size_pretty(pg_catalog.pg_total_relation_size(c.oid)),"
        " greatest(c.reltuples, 0)::pg_catalog.int8 FROM pg_catalog.pg_class c JOIN"
        f" pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid IN ({oids}) ORDER BY 1",
    )
    where = [f"{plain(r[0] or '')} ({r[1]}, about {r[2]} rows)" for r in named or ()]
    lines = [f"{lock} (on {', '.join(where)})" if where else lock for lock in locks]
    children = await question.ask("its partitions and children", CHILDREN.format(oids=oids))
    if lines and children and children[0][0] not in (None, "0"):
        lines.append(
            f"The same on {children[0][0]} partitions or children, unless ONLY says otherwise"
        )
    return replace(preview, locks=tuple(lines), dependants=await _dependants(question, oids))


async def _dependants(question: Question, oids: str) -> tuple[str, ...]:
    columns = ", ".join("'" + name.replace("'", "''") + "'" for name in columns_of(question.sql))
    only = COLUMNS.format(oids=oids, names=columns) if columns else ""
    dependants = await question.ask(
        "what depends on it", DEPENDANTS.format(oids=oids, only=only, maximum=_LISTED + 1)
    )
    named = await question.ask(
        "which functions name it", MENTIONS.format(oids=oids, maximum=_LISTED + 1)
    )
    listed = [plain(row[0] or "", 300) for row in (*(dependants or ()), *(named or ()))]
    if len(listed) > _LISTED:
        listed[_LISTED:] = ["and more"]
    return tuple(listed)


def _check(statements: Sequence[str]) -> None:
    """Each is one statement for PostgreSQL's own grammar, or nothing is sent. Raises
    RefusedError.
    """
    for statement in statements:
        if len(parse(statement.encode(), MAX_LENGTH)) != 1:
            raise SallyportError("it is not one statement")


def explain(error: Exception, ran: bool = False) -> str:
    """Why a question failed, without values: conditions about data give their name only. ``ran``:
    something of the statement's own text ran.
    """
    sqlstate = str(getattr(error, "sqlstate", ""))
    if isinstance(error, RefusedError):
        return error.refusal.message
    if sqlstate == "57014":
        return f"it took longer than {STATEMENT_TIMEOUT / 1000:g} s"
    if sqlstate == "55P03":
        return "somebody holds a lock on it"
    if not sqlstate or sqlstate[:2] in (_QUOTABLE_RUN if ran else _QUOTABLE):
        return plain(str(error), 300)
    return f"{condition_words(sqlstate)} ({sqlstate})"
