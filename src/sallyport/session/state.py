"""The state of one session, below the handlers: components, and the transitions that several
handlers share. No I/O.

Every part that has rules of its own is a component: :class:`~sallyport.session.pipeline.Pipeline`
(what is outstanding), :class:`~sallyport.session.name_context.NameContext` (what names mean),
:class:`~sallyport.session.tracked_settings.TrackedSettings`,
:class:`~sallyport.session.client.input.ClientInput` (what waits, and why),
:class:`~sallyport.session.server.stream.ServerStream`. Handlers import this module; it imports none
of them. :mod:`sallyport.session.machine` dispatches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sallyport.core.errors import Refusal, refuse
from sallyport.core.subject import Subject
from sallyport.judge import Judge, ScriptVerdict, SubjectJudge, UntrustedRead, Verdict
from sallyport.masking.injection import Effort
from sallyport.policy.allowance import Allowance
from sallyport.policy.containment import COLUMN, Containment
from sallyport.session.activity import Activity
from sallyport.session.client.input import Blocked, ClientInput
from sallyport.session.client.series import Series
from sallyport.session.commands import BlockingCommand, CloseSession, Command
from sallyport.session.counters import Counters
from sallyport.session.held import Ruling, WatchHold
from sallyport.session.judged import judged
from sallyport.session.name_context import Catalog, NameContext, SearchPath
from sallyport.session.pins import Pins
from sallyport.session.pipeline import Pipeline
from sallyport.session.ports import JudgedStatement, SessionRecorder
from sallyport.session.recorded import shown_binds, shown_text
from sallyport.session.server.entries import PendingEffect, may_change, untrusted
from sallyport.session.server.stream import ServerStream
from sallyport.session.server.writer import ServerWriter
from sallyport.session.statements import NamespaceTracker, Portal, Prepared
from sallyport.session.states import ClientState, Expect
from sallyport.session.tracked_settings import TrackedSettings
from sallyport.sql.catalog.snapshot import TemporaryObjects
from sallyport.sql.utility.settings import MASKED_STARTUP
from sallyport.wire import backend

_UNKNOWN_PATH = SearchPath.UNKNOWN
_ASKING = frozenset({Expect.PROBE, Expect.ASK})
_CURRENT_CATALOG = Catalog.CURRENT
#: Texts of a session whose description is kept. Readers of a recording remember more
#: (sallyport.audit.replay).
MOST_DESCRIBED: Final = 250


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bounds of one session's messages, in bytes. What may be read is policy's:
    :mod:`sallyport.policy.allowance`.
    """

    max_client_message: int = 64 << 20
    max_server_message: int = 64 << 20


@dataclass(slots=True)
class OpenJudgement:
    """A text whose verdict the session waits for. ``elsewhere``: it is judged on another thread.
    ``failure``: the refusal of it, where that thread failed. ``retried``: for it the catalog was
    read again.
    """

    elsewhere: tuple[SubjectJudge, bytes] | None = None
    failure: ScriptVerdict | None = None
    retried: bytes | None = None


class SessionState:
    """One authenticated client and its own connection to the target, both past their login.

    ``to_client``, ``to_server``, ``commands``: what the owner is to send and to do. ``number``,
    ``running``: of the latest statement, and its text. ``can_hold``: somebody can be asked to
    approve a held statement. ``ruling``: the answer for the held statement that is read next.
    ``id``: of the recording. ``unkept``: containments that must be stored before anything more goes
    to the server. ``series``: the message whose statements are being sent one by one. ``backends``:
    what clients of this gateway were told to be their backend's process id, by the server's.
    """

    __slots__ = (
        "activity",
        "allowance",
        "backends",
        "can_hold",
        "claims",
        "client_state",
        "commands",
        "counters",
        "described",
        "id",
        "input",
        "judgement",
        "lacks_settings",
        "limits",
        "names",
        "number",
        "pins",
        "pipeline",
        "portals",
        "recorder",
        "renewed",
        "ruling",
        "running",
        "scoring",
        "series",
        "settings",
        "statements",
        "stream",
        "to_client",
        "to_server",
        "told_of",
        "transaction_status",
        "unkept",
        "watch_hold",
    )

    def __init__(
        self,
        subject: Subject,
        judge: Judge,
        recorder: SessionRecorder,
        search_path: tuple[str, ...],
        limits: SessionLimits,
        pins: Pins | None = None,
    ) -> None:
        self.recorder = recorder
        self.limits = limits
        self.to_client = bytearray()
        self.to_server = ServerWriter()
        self.commands: list[Command] = []
        self.client_state = ClientState.READY
        self.transaction_status = b"I"
        self.statements: NamespaceTracker[Prepared] = NamespaceTracker()
        self.portals: NamespaceTracker[Portal] = NamespaceTracker()
        self.pipeline = Pipeline()
        self.pins = pins if pins is not None else Pins(MASKED_STARTUP, judge.catalog.role)
        self.names = NameContext(subject, judge, search_path)
        self.settings = TrackedSettings()
        # those that the policy names, as recorded last
        self.claims: Mapping[str, str] = judge.policy.claims_read(subject)
        self.input = ClientInput()
        self.stream = ServerStream()
        self.judgement = OpenJudgement()
        self.id = ""
        self.unkept: list[Containment] = []
        self.described: dict[bytes, bytes] = {}  # by text, see is_new_description
        self.told_of = (0, "")
        self.scoring = (0, Effort(0))
        self.backends: Mapping[int, int] = {}
        self.can_hold = False
        self.ruling: Ruling | None = None
        self.renewed: Subject | Refusal | None = None  # what became of a fresh token
        self.series: Series | None = None
        self.counters = Counters()
        self.activity: Activity | None = None  # None: nobody watches
        self.watch_hold: WatchHold | None = None  # why what comes next waits for a person
        self.number = 0
        self.running = ""
        self.allowance: Allowance | None = None
        self._look_at_pins()
        self._take_bounds()

    # -- what others may see -----------------------------------------------------------------------

    @property
    def blocked(self) -> Blocked:
        """Why the client's next message is not read."""
        reason = self.input.reason
        return Blocked.SERIES if reason is Blocked.NO and self.is_inside_series else reason

    @property
    def holds_answer(self) -> bool:
        """Whether :attr:`to_client` waits until all are judged by what this session changed."""
        waits = self.input.blocked is Blocked.PUBLISH or (
            self.input.blocked is Blocked.PROBE and self.names.refresh_due
        )
        return waits and self.client_state is not ClientState.CLOSED

    def release_answer(self) -> None:
        """It has waited long enough; what the client sends next still waits."""
        if self.input.blocked is Blocked.PUBLISH:
            self.input.blocked = Blocked.REFRESH

    @property
    def is_inside_series(self) -> bool:
        """Whether a message whose statements are sent one by one goes on, and wants nothing of the
        client.
        """
        return self.series is not None and self.client_state is ClientState.READY

    @property
    def client_backlog(self) -> int:
        """Bytes received from the client and not yet handled."""
        return len(self.input.received)

    @property
    def awaits_server(self) -> bool:
        """Whether anything that the client sent is with the server and not answered yet."""
        return self.client_state is not ClientState.CLOSED and any(
            entry.kind not in _ASKING for entry in self.pipeline.entries
        )

    @property
    def is_between_transactions(self) -> bool:
        """Outside any transaction, and the server has answered everything that it was sent."""
        return (
            self.transaction_status == b"I"
            and self.pipeline.is_empty
            and self.series is None
            and self.client_state is ClientState.READY
        )

    @property
    def position(self) -> tuple[int, int, bool]:
        """Differs when the client's next message was forwarded."""
        return self.pipeline.step, self.number, self.pipeline.unsynced

    @property
    def needs_clearance(self) -> bool:
        """Whether anything out of the ordinary may stand between an allowed statement and the
        server (:mod:`clearance`).
        """
        names = self.names
        return (
            self.recorder.failed
            or self.recorder.journal_failed
            or self.recorder.handover_late
            or self.allowance is not None
            or self.watch_hold is not None
            or names.path is _UNKNOWN_PATH
            or names.ddl_open
            or names.catalog is not _CURRENT_CATALOG
            or names.temporary.is_unsettled
            or self.lacks_settings
        )

    @property
    def is_plain(self) -> bool:
        """Nothing is outstanding, buffered or out of the ordinary: plain traffic needs no session
        (:mod:`sallyport.server.plain`).
        """
        return (
            self.client_state is ClientState.READY
            and self.transaction_status in (b"I", b"T")
            and not (self.to_client or self.to_server.pending or self.commands)
            and self.ruling is None
            and self.series is None
            and self.pipeline.is_empty
            and not self.pipeline.approved
            and self.input.is_open
            and self.stream.is_between_answers
            and self.names.is_settled
            and not self.needs_clearance
        )

    # -- what statements are judged by -------------------------------------------------------------

    def rebind(self, just_read: bool = False) -> None:
        """Take the policy and catalog in force now. ``just_read``: see :meth:`NameContext.bind`."""
        before = self.names.subject_judge
        self.names.bind(just_read)
        subject_judge = self.names.subject_judge
        if before.policy_version != subject_judge.policy_version:
            self.recorder.note("policy", f"policy {subject_judge.policy_version} is in force")
            self._tell_claims()
        if before.epoch != subject_judge.epoch:
            self.recorder.note("catalog", f"catalog {subject_judge.epoch} is in force")
        self._look_at_pins()
        self._take_bounds()

    def take_subject(self, subject: Subject) -> None:
        """Go on as ``subject``, who is the same identity with a fresh token: everything from the
        next statement on is judged by its groups. Portals and prepared statements are judged again.
        """
        self.names.subject = subject
        self.rebind()
        self.recorder.note(
            "token", f"renewed; groups: {', '.join(sorted(subject.groups)) or 'none'}"
        )
        self._tell_claims()

    def _tell_claims(self) -> None:
        """Have the claims recorded that the policy names, where they are others than before."""
        claims = self.names.judge.policy.claims_read(self.names.subject)
        if claims != self.claims:
            self.claims = claims
            self.recorder.note("claims", json.dumps(claims, ensure_ascii=False))

    def _look_at_pins(self) -> None:
        """Whether the connection has the settings that the subject's masks need."""
        names = self.names
        self.lacks_settings = names.subject_judge.has_masks and self.pins.lacks(
            names.judge.mask_settings(names.subject)
        )

    def _take_bounds(self) -> None:
        names = self.names
        bounds = names.subject_judge.bounds
        if not bounds.any:
            self.allowance = None
        elif self.allowance is None or self.allowance.bounds != bounds:
            used = (self.counters.rows, self.counters.bytes)
            self.allowance = Allowance(bounds, names.judge.hourly_use(names.subject), *used)

    def use_transaction_catalog(self, judge: Judge) -> None:
        """Until the open transaction ends, judge by the catalog as it sees it."""
        self.names.use_transaction_judge(judge)
        self.rebind()

    @property
    def may_read_temporary(self) -> bool:
        """Whether the session's connection can be asked for its temporary objects: nothing is
        outstanding in it, nor open without a block.
        """
        pipeline, status = self.pipeline, self.transaction_status
        return not pipeline.entries and (
            status == b"T" or (status == b"I" and not pipeline.unsynced)
        )

    def use_temporary(self, objects: TemporaryObjects) -> None:
        """From now on statements are judged with what the session's temporary schema holds, which
        was read. Raises ProtocolError.
        """
        self.names.temporary.on_read(objects)
        self.names.use_temporary()
        self.rebind(just_read=True)

    def on_transaction_ended(self) -> None:
        """ReadyForQuery outside any transaction, and nothing is outstanding."""
        if self.names.on_transaction_ended():
            self.rebind()

    # -- pausing -----------------------------------------------------------------------------------

    def block(self, command: BlockingCommand) -> None:
        """Read nothing more of the client until ``command`` is carried out. Raises RuntimeError
        while another one is: its end would let pass what must wait for this.
        """
        if self.input.awaits_owner:
            raise RuntimeError(f"{command.blocks.name} behind {self.input.blocked.name}")
        self.input.blocked = command.blocks
        self.commands.append(command)

    def hold_input(self) -> None:
        """Forward nothing of the client's until ``release_input`` is called as often: a cancel on
        its way could hit it.
        """
        self.input.holds += 1

    def drain(self) -> None:
        """Read nothing more until every answer is there (the caller returns LATER)."""
        self.input.blocked = Blocked.DRAIN

    def waits_for_answers(self) -> bool:
        """:meth:`drain`, as far as answers come without a further Sync. False: those are there."""
        if not self.pipeline.is_waiting and not self.pipeline.outstanding_steps:
            return False
        self.input.blocked = Blocked.DRAIN if self.pipeline.is_waiting else Blocked.STEP
        return True

    def on_pipeline_end_forwarded(self) -> None:
        """Sync, or a Query in its place, goes to the server: it ends the pipeline's own
        transaction, or the pipeline has failed.
        """
        if self.transaction_status == b"I":
            self.names.on_end_forwarded()

    # -- recording ---------------------------------------------------------------------------------

    def record_statement(
        self,
        sql: bytes,
        verdict: Verdict | None,
        refusal: Refusal | None,
        protocol: str,
        portal: Portal | None = None,
        pending: PendingEffect | None = None,
    ) -> int:
        """Record that a statement was judged; gives its number. ``pending``: what it runs
        by name.
        """
        self.number += 1
        self.counters.statements += 1
        if refusal is not None:
            self.counters.count_refusal(refusal)
        subject_judge = self.names.subject_judge
        self.running = shown_text(subject_judge, verdict, sql, refusal, pending)
        recorded = judged(subject_judge, verdict, refusal, protocol)
        changes = refusal is None and may_change(verdict, pending)
        if portal is None:
            statement = JudgedStatement(self.number, self.running, recorded, changes=changes)
        else:
            values = shown_binds(subject_judge, verdict, portal, refusal)
            statement = JudgedStatement(self.number, self.running, recorded, *values, changes)
        self.recorder.statement(statement)
        if refusal is None:
            self.record_description(portal, self.number)
        if refusal is not None and self.activity is not None:
            self.activity.refused(self.number, refusal.code.id, recorded.relations, sql)
        if refusal is None:
            columns = untrusted(verdict, pending)
            if columns:
                self.contain(columns[0], COLUMN)
        return self.number

    def record_description(self, portal: Portal | None, number: int) -> None:
        """Record once, with the statement that runs it, how a portal's rows were described."""
        if portal is not None and portal.description:
            self.recorder.reply(number, portal.description)
            portal.description = b""

    def is_new_description(self, text: bytes, message: bytes) -> bool:
        """Whether a RowDescription that the client did not ask for is to be recorded: it is another
        than the last one of this text.
        """
        if self.described.get(text) == message:
            return False
        if len(self.described) >= MOST_DESCRIBED:
            self.described.clear()
        self.described[text] = message
        return True

    def contain(self, column: str, cause: str, statement: int = 0) -> None:
        """The subject and its agent read, or are about to read, untrusted text. Every statement
        from now on is judged by that, in every session. ``statement``: its number; 0: the latest's.
        """
        judge = self.names.judge
        seconds, number = judge.policy.contain.seconds, statement or self.number
        read = UntrustedRead(column, judge.target, self.id, number, seconds, cause)
        containment = judge.containments.note_read(self.names.subject, read)
        if containment is not None:
            self.unkept.append(containment)
            self.recorder.note("contained", containment.reason())

    def count_masked(self, columns: tuple[str, ...], rows: int) -> None:
        """Rows came back with these columns masked."""
        masked = self.names.judge.masked
        for column in columns:
            masked[column] += rows

    # -- talking to the client ---------------------------------------------------------------------

    def send_notice(self, text: str, detail: str = "", hint: str = "") -> None:
        """A NOTICE from the gateway, at once."""
        more = {"detail": detail, "hint": hint, "routine": backend.ORIGIN}
        notice = backend.notice_response("NOTICE", "00000", text, **more)
        if self.stream.is_inside_row:
            self.stream.deferred += notice
        else:
            self.to_client += notice
        self.recorder.note("notice", text)

    def violation(self, what: str) -> None:
        """The client broke the protocol: say so and close."""
        self.close(refuse("SP1501", f"protocol violation: {what}"), f"protocol violation: {what}")

    def fault(self, message: str, detail: str) -> None:
        """The gateway and the server disagree, or a plan does not hold: nothing more may pass."""
        self.recorder.note("fault", f"{message}: {detail}")
        self.close(
            refuse(
                "SP1203",
                message,
                "The session ends so that nothing passes without being judged.",
                "Connect again.",
            ),
            f"{message}: {detail}",
        )

    def close(self, refusal: Refusal | None, reason: str) -> None:
        """End the session; with a refusal, the client gets it as FATAL. Complete at most once."""
        if self.client_state is ClientState.CLOSED:
            return
        self.client_state = ClientState.CLOSED
        if refusal is not None:
            message = backend.refusal_error(refusal, "FATAL")
            if not self.stream.is_inside_row:
                self.to_client += message
            self.recorder.reply(0, message)
        self.input.received.clear()
        self.stream.received.clear()
        self.commands.append(CloseSession(reason))
