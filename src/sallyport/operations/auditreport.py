"""What an auditor asks of a period, gathered in one pass over the record; memory grows with
identities and refusal kinds, not statements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from sallyport.audit import events as ev
from sallyport.audit.actions import RAISE_FINDING
from sallyport.audit.ports import one_line
from sallyport.audit.refusedlogins import REPEATED
from sallyport.audit.verify import Verification
from sallyport.operations.auditcontrols import CONTROLS, Control
from sallyport.operations.auditlog import DECISION, GAP, LOGIN, AuditEvent, event_data
from sallyport.policy.versions import PolicyVersion, diff, unified
from sallyport.store.approvalrecords import RecordedApproval
from sallyport.watch.finding import Finding

#: Rows of one table, characters of one statement that are shown; what is left out is counted.
MOST: Final = 500
_TEXT: Final = 300
_HOUR, _DAY = 3600, 86400
#: Kinds of refused logins that are told apart: anybody can make more.
_MOST_LOGINS: Final = 20 * MOST
#: A plot has so many columns at least, where the period has.
_FEWEST_SPANS: Final = 7


@dataclass(slots=True)
class Access:
    """One identity on one target."""

    subject: str
    issuer: str
    email: str
    agent: str
    target: str
    groups: tuple[str, ...]
    sessions: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    relations: Counter[str] = field(default_factory=Counter)
    first: float = 0.0
    last: float = 0.0


@dataclass(slots=True)
class ColumnReads:
    """A column that came back masked, and to whom: statements by subject."""

    column: str
    readers: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Refused:
    """Refusals of one kind. ``example``: the last one's text, as recorded."""

    subject: str
    target: str
    code: str
    rule: str
    count: int = 0
    first: float = 0.0
    last: float = 0.0
    example: str = ""
    session: str = ""


@dataclass(slots=True)
class LoginsRefused:
    """Logins that were refused for one reason, from one address. ``who``: whom a valid token names,
    or what the client called itself. ``code`` "": of several, which ``reason`` counts.
    """

    address: str
    channel: str
    code: str
    reason: str
    who: str
    target: str
    count: int = 0
    first: float = 0.0
    last: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """``diff``: against the version before it, as ``diff -u`` marks lines. ``is_first``: there is
    none before it.
    """

    version: str
    time: float
    source: str
    filename: str
    owner: str
    diff: str
    is_first: bool


@dataclass(frozen=True, slots=True)
class ActionLine:
    """Something that a person did in console or REST. ``time``: seconds since 1970."""

    time: float
    who: str
    action: str
    object: str
    outcome: str
    reason: str
    details: dict[str, str]
    channel: str
    address: str


@dataclass(frozen=True, slots=True)
class FindingLine:
    """Unusual behaviour that was noticed. done: what followed (notify, hold, end, lock).
    acknowledged: Unix seconds, None until somebody has; by, reason: who, and why.
    """

    id: str
    time: float
    severity: str
    detector: str
    subject: str
    agent: str
    target: str
    session: str
    evidence: str
    done: tuple[str, ...]
    acknowledged: float | None
    by: str
    reason: str
    expected: bool


def finding_line(finding: Finding) -> FindingLine:
    """A finding as the report has it."""
    return FindingLine(
        finding.id,
        finding.at,
        finding.severity.value,
        finding.detector,
        finding.key.subject,
        finding.key.agent,
        finding.key.target,
        finding.session,
        finding.evidence,
        finding.done,
        finding.acknowledged or None,
        finding.by,
        finding.reason,
        finding.expected,
    )


@dataclass(slots=True)
class Integrity:
    """What ``audit verify`` said of every recording, now. ``shredded``: whose key was deleted, so
    that only its chain could be checked. ``problems``: (recording, what).
    """

    recordings: int = 0
    blocks: int = 0
    events: int = 0
    failed: int = 0
    shredded: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class AuditReport:
    """Times are Unix seconds; ``until`` is excluded. ``unmasked``: statements by (subject,
    relation) that read a relation with masked columns and got none of them masked. ``spans``:
    (begin, statements by verdict), each of ``span`` seconds. ``left_out``: how much of a table is
    not shown, by its name.
    """

    since: float
    until: float
    made: float
    sessions: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    span: int = _HOUR
    spans: list[tuple[float, Counter[str]]] = field(default_factory=list)
    access: list[Access] = field(default_factory=list)
    columns: list[ColumnReads] = field(default_factory=list)
    unmasked: list[tuple[str, str, int]] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)
    logins: list[LoginsRefused] = field(default_factory=list)
    logins_refused: int = 0
    approvals: list[RecordedApproval] = field(default_factory=list)
    policies: list[PolicyChange] = field(default_factory=list)
    actions: list[ActionLine] = field(default_factory=list)
    findings: list[FindingLine] = field(default_factory=list)
    gaps: int = 0
    integrity: Integrity = field(default_factory=Integrity)
    configuration: list[tuple[str, str]] = field(default_factory=list)
    controls: tuple[Control, ...] = CONTROLS
    left_out: Counter[str] = field(default_factory=Counter)
    unread: list[tuple[str, str]] = field(default_factory=list)


class Gathering:
    """Adds events to a report."""

    def __init__(self, report: AuditReport) -> None:
        self._report = report
        self._access: dict[tuple[str, str, str, str], Access] = {}
        self._columns: dict[str, ColumnReads] = {}
        self._unmasked: Counter[tuple[str, str]] = Counter()
        self._refused: dict[tuple[str, str, str, str], Refused] = {}
        report.span = _HOUR if report.until - report.since <= 4 * _DAY else _DAY
        self._spans: dict[int, Counter[str]] = {}
        self._logins: dict[tuple[str, ...], LoginsRefused] = {}
        self._session = ""

    def add(self, event: AuditEvent) -> None:
        match event.event:
            case ev.Action() as action:
                self._action(event, action)
            case ev.Statement() as statement:
                self._statement(event, statement)
            case ev.Gap():
                self._report.gaps += event.kind == GAP

    def finish(self) -> None:
        """Sort what was gathered."""
        report = self._report
        report.access = sorted(self._access.values(), key=lambda row: -row.verdicts.total())
        report.columns = sorted(self._columns.values(), key=lambda row: row.column)
        masked = {row.column.rpartition(".")[0] for row in report.columns}
        report.unmasked = [
            (*key, count) for key, count in self._unmasked.most_common() if key[1] in masked
        ]
        report.refusals = sorted(self._refused.values(), key=lambda row: -row.count)
        report.logins = sorted(self._logins.values(), key=lambda row: -row.count)
        if self._spans:
            last = max(self._spans)
            begin = max(int(report.since // report.span), last - _FEWEST_SPANS + 1)
            numbers = range(min(*self._spans, begin), last + 1)
            report.spans = [
                (float(n * report.span), self._spans.get(n, Counter())) for n in numbers
            ]
        for name in ("access", "columns", "unmasked", "refusals", "logins"):
            rows = getattr(report, name)
            report.left_out[name] += max(len(rows) - MOST, 0)
            del rows[MOST:]

    def _login(self, event: AuditEvent, action: ev.Action) -> None:
        details, repeated = action.details, action.name == REPEATED
        count = _number(details.get("count", "")) if repeated else 1
        self._report.logins_refused += count
        reason = "more, which were not recorded one by one" if repeated else action.reason
        who = action.subject.email or action.subject.id or details.get("label", "")
        code, target = details.get("code", ""), details.get("target", "")
        key = (action.address, action.channel, code, reason, who, target)
        if key not in self._logins and len(self._logins) >= _MOST_LOGINS:
            self._report.left_out["logins"] += 1
            return
        row = self._logins.setdefault(key, LoginsRefused(*key, first=event.time))
        row.count += count
        row.last = event.time

    def _action(self, event: AuditEvent, action: ev.Action) -> None:
        if event.kind == LOGIN and action.outcome != ev.DONE:
            self._login(event, action)
            return
        if event.kind == DECISION or action.name.rpartition(".")[2] in ("list", "read", "replay"):
            return  # decisions stand with their approvals; looking on is no change
        if action.name == RAISE_FINDING:
            return  # it stands with the findings; whose it is did not do it
        if len(self._report.actions) >= MOST:
            self._report.left_out["actions"] += 1
            return
        who = action.subject.email or action.subject.id or "nobody"
        self._report.actions.append(
            ActionLine(
                event.time,
                who,
                action.name,
                action.object,
                action.outcome,
                action.reason,
                dict(action.details),
                action.channel,
                action.address,
            )
        )

    def _statement(self, event: AuditEvent, statement: ev.Statement) -> None:
        report, who = self._report, event.subject
        key = (who.id, who.issuer, who.agent, event.login.target)
        access = self._access.get(key)
        if access is None:
            access = Access(
                who.id,
                who.issuer,
                who.email,
                who.agent,
                event.login.target,
                who.groups,
                first=event.time,
            )
            self._access[key] = access
        if event.session != self._session:
            self._session = event.session
            access.sessions += 1
            report.sessions += 1
        access.last = max(access.last, event.time)
        access.first = min(access.first, event.time)
        access.verdicts[statement.outcome] += 1
        report.verdicts[statement.outcome] += 1
        self._spans.setdefault(int(event.time // report.span), Counter())[statement.outcome] += 1
        if statement.outcome == "allow":
            self._allowed(event, statement, access)
        elif statement.outcome == "deny":
            self._deny(event, statement)

    def _allowed(self, event: AuditEvent, statement: ev.Statement, access: Access) -> None:
        rows = event_data(event)["rows"] or 0
        access.rows += rows
        access.relations.update(statement.relations)
        subject = event.subject.email or event.subject.id
        for column in statement.masked:
            self._columns.setdefault(column, ColumnReads(column)).readers[subject] += 1
        if rows and not statement.masked:
            self._unmasked.update((subject, relation) for relation in statement.relations)

    def _deny(self, event: AuditEvent, statement: ev.Statement) -> None:
        self._report.codes[statement.code] += 1
        subject = event.subject.email or event.subject.id
        key = (subject, event.login.target, statement.code, statement.rule)
        refused = self._refused.setdefault(key, Refused(*key, first=event.time))
        refused.count += 1
        refused.last, refused.session = event.time, event.session
        text = one_line(statement.sql)
        refused.example = (
            text if len(text) <= _TEXT else f"{text[:_TEXT]}… ({len(text)} characters)"
        )


def _number(text: str) -> int:
    """Of a recording, which may be damaged: what is no number counts as one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 1


def policy_changes(
    versions: Iterable[PolicyVersion], since: float, until: float
) -> tuple[PolicyVersion | None, list[PolicyChange]]:
    """The policy in force at the end of the period, and what was taken during it. ``versions``:
    oldest first.
    """
    before: PolicyVersion | None = None
    changes = []
    for version in versions:
        if version.loaded >= until:
            break
        if version.loaded >= since:
            lines = [] if before is None else diff(before.text, version.text)
            changes.append(
                PolicyChange(
                    version.version,
                    version.loaded,
                    version.source,
                    version.filename,
                    version.owner,
                    unified(lines),
                    before is None,
                )
            )
        before = version
    return before, changes


def integrity_of(results: Iterable[Verification], is_recording: Callable[[str], bool]) -> Integrity:
    """The verdict on all recordings, and on index and journal beside them."""
    integrity = Integrity()
    for result in results:
        integrity.recordings += is_recording(result.session)
        integrity.blocks += result.blocks
        integrity.events += result.events
        integrity.failed += not result.ok
        integrity.shredded += result.shredded
        integrity.problems += [(result.session, str(problem)) for problem in result.problems][:MOST]
    return integrity
