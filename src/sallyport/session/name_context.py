"""What names in statements mean at the moment: search_path, the catalog, and the subject's judge
that statements are judged by.

Both can move under a session: by its own statements, whose effect is certain only once the server
has answered, and by those of others. While either is uncertain nothing that resolves names is
forwarded (:mod:`sallyport.session.clearance`).
"""

from __future__ import annotations

from enum import Enum

from sallyport.core.subject import Subject
from sallyport.judge import Judge, SubjectJudge, Verdict
from sallyport.session.pins import Pins
from sallyport.session.states import Question
from sallyport.session.temporary_schema import Listing, TemporarySchema
from sallyport.sql.catalog.snapshot import TemporaryObjects
from sallyport.sql.facts import EffectKind


class SearchPath(Enum):
    """What is known of the server's search_path."""

    KNOWN = 0
    REVERTIBLE = 1  #: it is known, and the end of the transaction may change it back
    UNKNOWN = 2  #: the server must be asked


class Catalog(Enum):
    """How far the catalog that statements are judged by is that of the server."""

    CURRENT = 0
    STALE = 1
    UNREADABLE = 2  #: stale, and it could not be read again either; the next refusal says so


class NameContext:
    """``search_path``: as it was known last. ``ddl_open``: DDL ran and its transaction is not known
    to be over. ``refresh_due``: a transaction with DDL in it has ended; the catalog of all sessions
    is to be read again.

    ``judge``: over the catalog that everybody sees. ``transaction_judge``: over the one that the
    open transaction sees, after DDL in it. ``temporary``: what the session has in its temporary
    schema. ``temporary_judge``: over the catalog with it, where there is something.
    ``subject_judge``: of the judge that is in force, made at ``generation`` of ``judge``.
    """

    __slots__ = (
        "catalog",
        "ddl_open",
        "generation",
        "judge",
        "path",
        "refresh_due",
        "search_path",
        "subject",
        "subject_judge",
        "temporary",
        "temporary_judge",
        "transaction_judge",
    )

    def __init__(self, subject: Subject, judge: Judge, search_path: tuple[str, ...]) -> None:
        self.subject = subject
        self.judge = judge
        self.search_path = search_path
        self.path = SearchPath.KNOWN
        self.catalog = Catalog.CURRENT
        self.ddl_open = False
        self.refresh_due = False
        self.transaction_judge: Judge | None = None
        # an event trigger may run at login
        self.temporary = TemporarySchema(is_due=judge.catalog.event_triggers)
        self.temporary_judge: Judge | None = None
        self.generation = judge.generation
        self.subject_judge: SubjectJudge = judge.subject_judge(subject, search_path)

    @property
    def is_certain(self) -> bool:
        """Whether names mean what :attr:`subject_judge` says, whatever is still on its way; but for
        what the temporary schema may hold.
        """
        return (
            self.path is not SearchPath.UNKNOWN
            and not self.ddl_open
            and self.catalog is Catalog.CURRENT
        )

    @property
    def hides_data(self) -> bool:
        """Whether the subject has masks, by the policy of its last statement or by the one in force
        now: what comes between two statements is read under both.
        """
        if self.subject_judge.has_masks or self.generation == self.judge.generation:
            return self.subject_judge.has_masks
        return bool(self.judge.subject_policy(self.subject).masks)

    @property
    def is_revertible(self) -> bool:
        """Whether the end of the transaction may change what names mean."""
        return (
            self.ddl_open or self.path is not SearchPath.KNOWN or self.transaction_judge is not None
        )

    @property
    def is_settled(self) -> bool:
        """Whether :attr:`subject_judge` is of the policy and catalog in force for everybody."""
        return (
            not self.refresh_due
            and self.transaction_judge is None
            and self.temporary_judge is None
            and self.generation == self.judge.generation
        )

    def bind(self, just_read: bool = False) -> None:
        """Take the policy and catalog in force now. ``just_read``: by them the temporary schema was
        read.
        """
        if self.transaction_judge is not None and self.generation != self.judge.generation:
            self.transaction_judge = self.judge.beside(self.transaction_judge.catalog)
            self.mark_stale()  # what moved for everybody may have moved in this transaction's eyes
        if self.temporary.objects is not None and self.generation != self.judge.generation:
            self.use_temporary()
            if any(r.kind == "v" for r in self.temporary.objects.relations) and not just_read:
                # their definitions were read by the names that were in force then
                self.temporary.mark_changed()
                self.mark_stale()
        self.generation = self.judge.generation
        judge = self.transaction_judge or self.temporary_judge or self.judge
        self.subject_judge = judge.subject_judge(self.subject, self.search_path)
        if judge is not self.judge:
            # Access windows open and close by what the base judge knows of subjects (Judge.tick).
            self.judge.subject_judge(self.subject, self.search_path)

    # -- the catalog -------------------------------------------------------------------------------

    @property
    def leaves_changes(self) -> bool:
        """Whether the session may have changed a schema that nobody has read since."""
        return self.ddl_open or self.refresh_due or self.catalog is not Catalog.CURRENT

    def mark_stale(self) -> None:
        if self.catalog is Catalog.CURRENT:
            self.catalog = Catalog.STALE

    def on_refreshed(self, refreshed: bool, was_asked_for: bool) -> None:
        """The session goes on after a wait. ``refreshed``: the catalog was read again.
        ``was_asked_for``: it was waited for.
        """
        if refreshed:
            self.catalog = Catalog.CURRENT
        elif self.catalog is not Catalog.CURRENT:
            self.catalog = Catalog.UNREADABLE if was_asked_for else Catalog.STALE

    def take_unreadable(self) -> bool:
        """Whether the catalog could not be read: true once."""
        if self.catalog is not Catalog.UNREADABLE:
            return False
        self.catalog = Catalog.STALE
        return True

    def use_transaction_judge(self, judge: Judge) -> None:
        """Judge by ``judge``, which :meth:`Judge.beside` made of the catalog as the open
        transaction sees it, until it ends.
        """
        if self.transaction_judge is not None:
            self.transaction_judge.retire()
        is_current = judge.policy.version == self.judge.policy.version
        self.transaction_judge = judge if is_current else self.judge.beside(judge.catalog)

    def use_temporary(self) -> None:
        """Judge by the session's temporary objects too, beside the catalog that everybody sees."""
        objects = self.temporary.objects or TemporaryObjects()
        if self.temporary_judge is not None:
            self.temporary_judge.retire()
        catalog = self.judge.catalog.with_temporary(objects)
        self.temporary_judge = None if objects.is_empty else self.judge.beside(catalog)

    @property
    def question(self) -> Question | None:
        """What the server is to be asked before anything is judged that looks names up, as far as a
        question suffices.
        """
        if self.path is SearchPath.UNKNOWN:
            return Question.SEARCH_PATH
        is_read_anyway = self.catalog is not Catalog.CURRENT or self.refresh_due
        if self.temporary.must_be_listed and not is_read_anyway:
            return Question.TEMPORARY
        return Question.PINS if self.temporary.is_unchecked else None

    @property
    def code_question(self) -> Question:
        """What is asked behind code that was not read."""
        return Question.PINS if self.question is Question.PINS else Question.TEMPORARY

    def on_temporary_listed(self, listing: str) -> bool:
        """The server listed what the temporary schema holds. True: the subject's judge must be
        taken again. Raises ProtocolError.
        """
        outcome = self.temporary.on_listed(listing)
        if outcome is Listing.CHANGED:
            self.mark_stale()
        if outcome is not Listing.NAMES or self.temporary.objects is None:
            return False
        if self.transaction_judge is not None:
            names = self.temporary.objects.unknown_names
            catalog = self.transaction_judge.catalog.with_unknown_names(names)
            self.use_transaction_judge(self.judge.beside(catalog))
        self.use_temporary()
        return True

    def check_pins(self, pins: Pins, answer: str) -> str:
        """Compare the first line of an answer; gives the rest. As :meth:`Pins.check`."""
        line, _, rest = answer.partition("\n")
        pins.check(line, self.search_path, self.subject_judge.subject_policy)
        self.temporary.is_unchecked = False
        return rest

    def on_temporary_unread(self) -> None:
        """The server could not list it: what names mean is not known."""
        self.catalog = Catalog.UNREADABLE

    def on_transaction_ended(self) -> bool:
        """ReadyForQuery outside any transaction, and nothing is outstanding. True: the subject's
        judge must be taken again.
        """
        self.ddl_open, self.refresh_due = False, True
        if self.temporary.is_read:
            self.mark_stale()
        if self.transaction_judge is None:
            return False
        self.transaction_judge.retire()
        self.transaction_judge = None
        self.mark_stale()
        return True

    # -- statements --------------------------------------------------------------------------------

    def on_forwarded(self, verdict: Verdict) -> None:
        """A statement goes to the server."""
        if verdict.changes_search_path:
            self.path = SearchPath.UNKNOWN
        if verdict.is_ddl or (self.temporary.objects is not None and _discards(verdict)):
            self.ddl_open = True
            self.mark_stale()
        self.temporary.on_forwarded(verdict)

    def on_end_forwarded(self) -> None:
        """A statement that ends the transaction, or a part of it, goes to the server."""
        if self.ddl_open:
            self.mark_stale()
        if self.path is SearchPath.REVERTIBLE:
            self.path = SearchPath.UNKNOWN
        self.temporary.on_end_forwarded()

    def is_moved_by_itself(self, path: tuple[str, ...] | None) -> bool:
        """Whether a search_path that is reported came of code that was not read, and no statement
        that was judged.
        """
        is_known = self.path is not SearchPath.UNKNOWN
        return self.temporary.is_unchecked and is_known and path != self.search_path

    def on_path_reported(self, path: tuple[str, ...] | None) -> None:
        """ParameterStatus of search_path; None: it is not a list of names."""
        if path != self.search_path:
            self.path = SearchPath.UNKNOWN

    def on_probed(self, path: tuple[str, ...], in_transaction: bool) -> bool:
        """The server told its search_path. True: it is another, and the subject's judge must be
        taken again.
        """
        self.path = SearchPath.REVERTIBLE if in_transaction else SearchPath.KNOWN
        if path == self.search_path:
            return False
        self.search_path = path
        return True


def _discards(verdict: Verdict) -> bool:
    return any(e.kind is EffectKind.DISCARD and e.name in ("all", "temp") for e in verdict.effects)
