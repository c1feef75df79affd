"""What a session's temporary schema holds, and which of it statements of the session may name.

PostgreSQL looks relations and types up there before anywhere else, and every statement of a session
finds what a function or a trigger left there. A relation may be named when a statement that was
judged has made it: it was not there before that statement, and nothing ran since whose effects are
not known (``Verdict.runs_unknown_code``). The names of all others are refused, whatever else has
them. So the schema is listed again after everything that runs such code, before anything that looks
names up is judged.

Source: PostgreSQL, src/backend/catalog/namespace.c (RelnameGetRelid, TypenameGetTypid).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from sallyport.judge import Verdict
from sallyport.sql.catalog.snapshot import TEMPORARY, CatalogSnapshot, TemporaryObjects
from sallyport.sql.names.temporary_listing import Listed, listed

#: CPython makes a new object for each empty one, and every session has three.
_NO_NAMES: frozenset[str] = frozenset()
_NO_RELATIONS: frozenset[int] = frozenset()


class Maker(Enum):
    """Who may have made what is new since the schema was listed last."""

    NOBODY = 0
    JUDGED = 1  #: statements that were judged
    #: one that was judged, which ran code whose effects are not known: only what it names is its
    #: own
    NAMED = 2
    UNKNOWN = 3


class Listing(Enum):
    """What a listing says of the objects that are known."""

    SAME = 0  #: nothing
    NAMES = 1  #: only names that are refused have come or gone
    CHANGED = 2  #: they must be read again


class TemporarySchema:
    """``objects``: those that may be named, and the names that may not; None: there never were any.
    ``is_due``: code whose effects are not known may have run since they were listed or read.
    ``is_changed``: they are not what was read; a listing says no more. ``is_open``: some such code
    has run in the transaction, whose end may run or undo more. ``is_unchecked``: it may have run
    since it was asked what it must not move (:mod:`sallyport.session.pins`).
    """

    __slots__ = (
        "_judged",
        "_maker",
        "_names",
        "_unknown",
        "is_changed",
        "is_due",
        "is_open",
        "is_unchecked",
        "objects",
    )

    def __init__(self, is_due: bool) -> None:
        self.objects: TemporaryObjects | None = None
        self.is_due = is_due
        self.is_changed = self.is_open = False
        self.is_unchecked = is_due
        self._maker = Maker.UNKNOWN if is_due else Maker.NOBODY
        self._names: frozenset[str] = _NO_NAMES
        self._judged: frozenset[int] = _NO_RELATIONS
        self._unknown: frozenset[int] = _NO_RELATIONS

    @property
    def is_read(self) -> bool:
        """Whether a reading of the catalog must include the schema."""
        return self.objects is not None or self.is_due

    @property
    def is_unsettled(self) -> bool:
        """Whether code that was not read may have run and the server was not asked since."""
        return self.is_due or self.is_unchecked

    @property
    def must_precede_end(self) -> bool:
        """Whether the schema must be listed before the transaction ends, which may run code whose
        effects are not known: afterwards nobody could tell what that has made from what the
        session's own statements have.
        """
        return self.is_open and self._maker in (Maker.JUDGED, Maker.NAMED)

    @property
    def must_be_listed(self) -> bool:
        """Whether it has to be listed before anything that looks names up is judged."""
        return self.is_due and not self.is_changed

    # -- statements ------------------------------------------------------------------------------

    def on_forwarded(self, verdict: Verdict) -> None:
        """A statement goes to the server."""
        if verdict.is_ddl:
            self._on_schema_change(verdict)
        if verdict.runs_unknown_code:
            self._mark_due()
            if self._maker is not Maker.NAMED or not verdict.is_ddl:
                self._maker = Maker.UNKNOWN
        elif self.is_open and verdict.facts.kind == "set_constraints":
            self.on_unknown_code()

    def on_unknown_code(self) -> None:
        """Code whose effects are not known may run now."""
        self._mark_due()
        self._maker = Maker.UNKNOWN

    def on_end_forwarded(self) -> None:
        """The transaction, or a part of it, ends: what was deferred runs, or things are undone."""
        if self.is_open:
            self.on_unknown_code()

    def mark_changed(self) -> None:
        """What was read must be read again before anything that looks names up is judged."""
        self.is_due = self.is_changed = True

    def on_transaction_ended(self) -> None:
        """Nothing is outstanding, outside any transaction."""
        self.is_open = False

    def _mark_due(self) -> None:
        self.is_due = self.is_open = self.is_unchecked = True

    def _on_schema_change(self, verdict: Verdict) -> None:
        names = frozenset([n.name for n in verdict.facts.named_objects if n.schema == TEMPORARY])
        if names and self.objects is None:
            self.objects = TemporaryObjects()
        if self._maker is Maker.NAMED:
            self._maker = Maker.UNKNOWN
        elif self._maker is Maker.NOBODY and verdict.runs_unknown_code:
            self._maker, self._names = Maker.NAMED, names
        elif self._maker is Maker.NOBODY:
            self._maker = Maker.JUDGED

    # -- what the server says --------------------------------------------------------------------

    def on_read(self, objects: TemporaryObjects) -> TemporaryObjects:
        """All that the schema holds now; gives what of it may be named. Raises ProtocolError."""
        entries = listed(objects.listing)
        self._attribute(entries)
        self.objects = objects.only(self._judged, self._refused(entries))
        self.is_due = self.is_changed = False
        return self.objects

    def added_to(self, catalog: CatalogSnapshot, read: TemporaryObjects | None) -> CatalogSnapshot:
        """``catalog``, with what may be named of ``read``, read with it. Raises ProtocolError."""
        return catalog if read is None else catalog.with_temporary(self.on_read(read))

    def on_listed(self, text: str) -> Listing:
        """Only the listing was asked for. Raises ProtocolError."""
        before = self.objects or TemporaryObjects()
        if text == before.listing or not (text.strip("[]") or before.listing.strip("[]")):
            self._settle()
            return Listing.SAME
        entries = listed(text)
        self._attribute(entries)
        if self._known(entries) != self._known(listed(before.listing)):
            self.is_due = self.is_changed = True
            return Listing.CHANGED
        self.is_due = False
        names = self._refused(entries)
        self.objects = replace(before.only(self._judged, names), listing=text)
        return Listing.SAME if names == before.unknown_names else Listing.NAMES

    def _settle(self) -> None:
        self.is_due = False
        self._maker, self._names = Maker.NOBODY, frozenset()

    def _attribute(self, entries: Sequence[Listed]) -> None:
        """Say of every new relation whether statements of the session have made it."""
        told = self._judged | self._unknown
        new = [entry for entry in entries if entry.is_own and entry.owner not in told]
        if self._maker is Maker.JUDGED:
            judged = new
        elif self._maker is Maker.NAMED:
            judged = [entry for entry in new if entry.name in self._names]
        else:
            judged = []
        self._judged |= {entry.owner for entry in judged}
        self._unknown |= {entry.owner for entry in new} - self._judged
        self._maker, self._names = Maker.NOBODY, frozenset()

    def _known(self, entries: Sequence[Listed]) -> list[Listed]:
        return [entry for entry in entries if entry.owner in self._judged]

    def _refused(self, entries: Sequence[Listed]) -> frozenset[str]:
        return frozenset([entry.name for entry in entries if entry.owner not in self._judged])
