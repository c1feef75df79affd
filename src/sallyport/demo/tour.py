"""The tour: one session of a real client (psql) through the gateway, beside what the database
itself would say.

:func:`script` is what psql is asked to run; :func:`read` turns its output into one :class:`Reply`
per statement; :data:`STEPS` say what each must look like. Nothing is printed here, and nothing is
believed: a step holds only if its check finds what it must in what came back.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sallyport.demo.account import Install, PostgresError
from sallyport.demo.endings import ending, last_words
from sallyport.demo.postgres import psql
from sallyport.demo.review import Review, Seen

_MARK = "@@sallyport-tour"
#: How the tour shows NULL.
NULL = "∅"

# As many columns as fit into a terminal of 80.
_PEOPLE = "SELECT id, name, email, ssn, birth_date FROM customers ORDER BY id LIMIT 4"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one statement gave: a header and rows, or an error. ``notices``: what came before,
    message and DETAIL of each.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    sqlstate: str = ""
    message: str = ""
    detail: str = ""
    hint: str = ""
    notices: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """The refusal's code (SP1201), "" when this is no refusal."""
        match = re.match(r"\[(SP\d{4})\]", self.message)
        return match.group(1) if match else ""


@dataclass(frozen=True, slots=True)
class Step:
    """title: what to see. sql: the statement. raw: whether to show the database's own answer beside
    it.

    check: given the gateway's reply and the database's (empty unless raw), "" or what is wrong.
    review: what a reviewer does with it while it waits.
    """

    title: str
    sql: str
    check: Callable[[Reply, Reply], str]
    raw: bool = False
    review: Review | None = None


def _masked(reply: Reply, raw: Reply) -> str:
    if reply.columns != raw.columns or len(reply.rows) != len(raw.rows) or not raw.rows:
        return "the masked result has other columns or rows than the real one"
    for seen, real in zip(reply.rows, raw.rows, strict=True):
        if seen[:2] != real[:2]:
            return "a column that is not masked was changed"
        if any(mine == theirs for mine, theirs in zip(seen[2:], real[2:], strict=True)):
            return "a masked column came back as it is"
        if not seen[2].endswith(real[2].rpartition("@")[2][-4:]) or seen[3][-4:] != real[3][-4:]:
            return "the masks are not the ones of the policy"
    return ""


def _computed(reply: Reply, raw: Reply) -> str:
    """The same groups with the same counts, computed from masked values, of which psql was told."""
    if (
        reply.message
        or not raw.rows
        or [row[:2] for row in reply.rows] != [row[:2] for row in raw.rows]
    ):
        return "the answer is not what the masked values give"
    for (*_, masked), (*_, real) in zip(reply.rows, raw.rows, strict=True):
        if masked == real or masked[:4] != real[:4]:
            return "a real value went into the answer"
    told = any(notice.startswith("[SP2001]") for notice in reply.notices)
    return "" if told else "psql was not told that it was computed from masked values"


def _refused(*codes: str) -> Callable[[Reply, Reply], str]:
    def check(reply: Reply, raw: Reply) -> str:
        if reply.rows or not reply.message:
            return "it was not refused"
        if reply.code not in codes or reply.sqlstate != "42501":
            got = f"{reply.code or 'no code'} / {reply.sqlstate or 'no SQLSTATE'}"
            return f"it was refused with {got}, not with {' or '.join(codes)} / 42501"
        return "" if reply.detail else "the refusal has no DETAIL"

    return check


def _ran(reply: Reply, raw: Reply) -> str:
    if reply.message or not reply.rows:
        return "it did not run"
    waited = any("waits for approval" in notice for notice in reply.notices)
    approved = any("approved by dana@example.com" in notice for notice in reply.notices)
    return "" if waited and approved else "psql was not told that it waits and who approved it"


def _denied(reply: Reply, raw: Reply) -> str:
    problem = _refused("SP1402")(reply, raw)
    return problem or ("" if _NO.reason in reply.message else "the agent does not read the reason")


def previewed(step: Step, reply: Reply, seen: Seen | None) -> str:
    """ "" when the reviewer's preview was right: as many rows as came back, or at least some where
    it was denied.
    """
    if seen is None:
        return "no reviewer saw it"
    if seen.rows is None:
        return "the rows it would change were not counted"
    right = seen.rows == len(reply.rows) if reply.rows else seen.rows > 0
    return "" if right else f"the preview said {seen.rows} rows, and it was {len(reply.rows)}"


def _same(reply: Reply, raw: Reply) -> str:
    return "" if reply == raw and raw.rows else "the answer is not the database's own"


_YES = Review(True, "ticket 4711: refunds for the spring outage")
_NO = Review(False, "payments are kept for ten years; export them instead")

STEPS: tuple[Step, ...] = (
    Step("An agent reads customers. Personal data comes back masked.", _PEOPLE, _masked, raw=True),
    Step(
        "A question about masked columns is answered. The database computes with what the masks"
        " show, and the agent is told.",
        "SELECT split_part(email, '@', 2) AS host, count(*), max(birth_date) AS youngest FROM"
        " customers\nWHERE birth_date < '1980-01-01' GROUP BY 1 ORDER BY 1",
        _computed,
        raw=True,
    ),
    Step(
        "For ssn the policy says filter: deny. It may be selected, and nothing else: no guessing,"
        " row by row.",
        "SELECT id, name FROM customers WHERE ssn LIKE '022-43%'",
        _refused("SP1201"),
    ),
    Step(
        "An UPDATE that forgot its WHERE is refused, and the refusal teaches.",
        "UPDATE orders SET status = 'cancelled'",
        _refused("SP1002"),
    ),
    Step("DROP TABLE is refused.", "DROP TABLE customers CASCADE", _refused("SP1001", "SP1002")),
    Step(
        "Ordinary work goes through as it is. (Same session: the refusals above did not break it.)",
        "SELECT status, count(*), sum(total) FROM orders WHERE placed_at > '2026-1-1' GROUP BY 1"
        " ORDER BY 1",
        _same,
        raw=True,
    ),
    Step(
        "This UPDATE waits until a person has seen it. The reviewer approves, and it runs.",
        "UPDATE payments SET amount = 0 WHERE order_id BETWEEN 1 AND 9 RETURNING id, order_id,"
        " amount",
        _ran,
        review=_YES,
    ),
    Step(
        "This DELETE waits too. The reviewer denies it, and the agent reads why.",
        "DELETE FROM payments WHERE paid_at < '2025-01-01'",
        _denied,
        review=_NO,
    ),
)


@dataclass(frozen=True, slots=True)
class Login:
    """Where psql connects. ``password``: the database's, or a token."""

    port: int
    user: str
    password: str = field(repr=False)


def run(client: Install, login: Login, statements: Sequence[str]) -> list[Reply]:
    """Run statements in one psql session. A session that could not even begin gives one error for
    all of them. PostgresError when psql was killed, or failed without saying why.
    """
    done = psql(
        client,
        port=login.port,
        user=login.user,
        password=login.password,
        database="shop",
        script=script(statements),
        arguments=(
            "--csv",
            "--quiet",
            "--set=ON_ERROR_STOP=0",
            "--set=VERBOSITY=verbose",
            f"--pset=null={NULL}",
        ),
    )
    if done.returncode < 0 or (done.returncode and not done.stderr.strip()):
        raise PostgresError(f"psql {ending(done.returncode)}. It said:\n{last_words(done.stderr)}")
    return read(done.stdout, done.stderr, len(statements))


def script(statements: Sequence[str]) -> str:
    """Each statement announced on both of psql's streams, so that either can be cut apart."""
    return "".join(f"\\echo {_MARK}\n\\warn {_MARK}\n{statement};\n" for statement in statements)


def read(output: str, errors: str, count: int) -> list[Reply]:
    """The inverse of :func:`script`: psql's two streams as one reply per statement."""
    outputs, problems = (_pieces(text, count) for text in (output, errors))
    early = errors.split(_MARK)[0].strip()
    if early:
        return [_error(early) for _ in range(count)]
    replies = [_error(bad) if "ERROR:" in bad or "FATAL:" in bad else _table(good)
               for good, bad in zip(outputs, problems, strict=True)]  # fmt: skip
    return [
        replace(reply, notices=_notices(bad)) for reply, bad in zip(replies, problems, strict=True)
    ]


def _notices(text: str) -> tuple[str, ...]:
    notices = re.findall(
        r"^(?:psql: )?(?:.*?: )??NOTICE: +(?:[0-9A-Z]{5}: )?(.*(?:\nDETAIL: +.*)?)", text, re.M
    )
    return tuple(re.sub(r"\nDETAIL: +", "\n", notice) for notice in notices)


def _pieces(text: str, count: int) -> list[str]:
    pieces = [piece.strip("\n") for piece in text.split(f"{_MARK}\n")[1:]]
    return pieces + [""] * (count - len(pieces))


def _table(text: str) -> Reply:
    lines = [tuple(row) for row in csv.reader(io.StringIO(text))]
    return Reply(columns=lines[0], rows=tuple(lines[1:])) if lines else Reply()


def _error(text: str) -> Reply:
    fields = dict(
        re.findall(
            r"^(?:psql: )?(?:.*?: )??(ERROR|FATAL|DETAIL|HINT): +(.*(?:\n(?![A-Z]+(?: \d+)?:).*)*)",
            text,
            re.M,
        )
    )
    message = fields.get("ERROR") or fields.get("FATAL") or text
    coded = re.match(r"([0-9A-Z]{5}): (.*)", message, re.S)
    sqlstate, message = coded.groups() if coded else ("", message)
    return Reply((), (), sqlstate, message, fields.get("DETAIL", ""), fields.get("HINT", ""))
