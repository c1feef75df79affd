"""Prepared statements and portals by name, as the server holds them.

SQL-level PREPARE and protocol Parse share one namespace on the server, and so do cursors and
portals; so they do here.

Names are kept twice. ``confirmed`` follows the server's replies in order and is exact: it changes
only when the server said that a creation or a close succeeded. ``assumed`` runs ahead of it with
what the client pipelined, so that a Bind behind a Parse can be judged before the Parse was
answered. What fails in extended query takes everything up to Sync with it, and a failing script the
rest of itself: inside such a *step* what was assumed can be relied on. In a later step a name that
was created anew may still mean what it meant before (a Parse of a name that is taken, or one that
was skipped): it is *ambiguous*, and nothing runs by it until the answers are there. For what is
left, what was assumed when a message was forwarded is compared with what is confirmed when its
answer arrives; where they differ the session closes before a row passes under the wrong plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sallyport.core.errors import refuse
from sallyport.core.secret import Secret
from sallyport.judge import ParsePermit, RunPermit, ScriptVerdict, SubjectJudge, Verdict


@dataclass(slots=True, eq=False)
class Prepared:
    """A prepared statement. ``verdict``: None for an empty one. ``script``: what to judge again
    when the subject's judge moved.

    ``inner``: made by SQL PREPARE, so the verdict is the inner one of the script's statement.
    ``types``: OIDs of the parameters, as Parse declared them (0: the server infers it) and, once it
    was asked, as the server described them. ``declared``: the types as Parse declared them,
    whatever was asked later. ``script_verdict``: of Parse, the verdict on its text.
    """

    script: bytes
    verdict: Verdict | None
    subject_judge: SubjectJudge
    inner: bool = False
    types: tuple[int, ...] = ()
    text: str = ""
    declared: tuple[int, ...] = ()
    script_verdict: ScriptVerdict | None = None
    sent: bytes = b""
    traffic: Any = None  # as ScriptVerdict.traffic
    token: Secret | None = None  # what its Execute renews the session with

    def __post_init__(self) -> None:
        self.text = self.script.decode("utf-8", "replace")
        if self.script_verdict is not None:
            self.sent = self.script_verdict.sent(self.script)
        elif not self.sent:
            self.sent = self.script

    def permit(self, verdict: Verdict | None) -> ParsePermit | None:
        """The judge's permit for it. ``verdict``: as it was judged last; None for an empty one."""
        if verdict is not None:
            return verdict.permit
        return self.script_verdict.permit if self.script_verdict is not None else None


@dataclass(slots=True, eq=False)
class Portal:
    """A bound portal or an SQL cursor. ``program``: compiled from the server's RowDescription, once
    ``described``. ``hold``: declared WITH HOLD. ``committed``: in a transaction that has ended.
    ``in_savepoint``: after a SAVEPOINT of the transaction. ``description``: the RowDescription,
    until a statement that runs it is recorded.
    """

    prepared: Prepared
    verdict: Verdict | None
    subject_judge: SubjectJudge
    params: Sequence[bytes | None] = ()
    formats: Sequence[int] = ()
    statement: bytes = b""  # the name it was bound from
    in_savepoint: bool = False
    hold: bool = False
    committed: bool = False
    described: bool = False
    approval: RunPermit | None = None  # people let this very portal run
    asked: bool = False  # a Describe for it was forwarded or injected
    program: object = None
    description: bytes = b""
    # what its EXECUTE or FETCH named when it first ran: the server keeps those rows
    ran: object = None
    ran_as: object = None  # the search_path and the columns that its text meant then
    identity: object = field(default_factory=object)  # what stays when it is judged again


def same(first: object, second: object) -> bool:
    """Are these the server's same portal, or statements of the same text judged the same way?"""
    if isinstance(first, Portal) and isinstance(second, Portal):
        return first.identity is second.identity
    if isinstance(first, Prepared) and isinstance(second, Prepared):
        return _meaning(first) == _meaning(second)
    return first is second


def _meaning(prepared: Prepared) -> tuple[object, ...]:
    return prepared.script, prepared.subject_judge, prepared.inner, declared(prepared.declared)


def declared(types: Sequence[int]) -> tuple[int, ...]:
    """Without zeros at the end: a type that is not given, and one that the server shall infer, are
    the same.
    """
    type_oids = list(types)
    while type_oids and not type_oids[-1]:
        type_oids.pop()
    return tuple(type_oids)


T = TypeVar("T")

#: Prepared statements of one session, and portals or cursors: those of the protocol and those of
#: SQL.
MAX_NAMES = 20_000
TOO_MANY = refuse(
    "SP1703",
    f"too many prepared statements or cursors are open: {MAX_NAMES:,} is the limit for each",
    "The gateway keeps the verdict of each in memory.",
    "Close those that are no longer needed (DEALLOCATE, CLOSE, or the driver's cache size).",
)


class NamespaceTracker(Generic[T]):
    """One namespace; see the module docstring."""

    __slots__ = ("_assumed", "_before", "_new", "confirmed")

    def __init__(self) -> None:
        self.confirmed: dict[bytes, T] = {}
        self._assumed: dict[bytes, tuple[T | None, int]] = {}
        self._new: dict[
            bytes, None
        ] = {}  # a set, and smaller while it is empty: assumed to be created, and not confirmed
        self._before: dict[
            bytes, list[T]
        ] = {}  # what was assumed of a name earlier, and may be what it means

    def assume(self, name: bytes, value: T | None, step: int) -> None:
        """A creation (or, with None, a close) was forwarded, in this step."""
        earlier = self._assumed.get(name)
        if earlier is not None and earlier[0] is not None:
            self._before.setdefault(name, []).append(earlier[0])
        self._assumed[name] = value, step
        if value is not None and name not in self.confirmed:
            self._new[name] = None

    def is_ambiguous(self, name: bytes, step: int) -> bool:
        """Could the name mean something else than :meth:`lookup` says, for a message of this step:
        would that still be read if a creation failed?
        """
        value, since = self._assumed.get(name, (None, step))
        if since == step:
            return False
        candidates = (self.confirmed.get(name), *self._before.get(name, ()))
        return any(candidate is not None and not same(candidate, value) for candidate in candidates)

    def lookup(self, name: bytes) -> T | None:
        """What the name will mean when the server reads a message forwarded now, if all before it
        succeeds.
        """
        if name in self._assumed:
            return self._assumed[name][0]
        return self.confirmed.get(name)

    def is_full(self, name: bytes) -> bool:
        """Whether there are so many names that this one may not be created; the unnamed one always
        may.
        """
        if len(self.confirmed) + len(self._new) < MAX_NAMES:
            return False
        return bool(name) and name not in self.confirmed

    def confirm(self, name: bytes, value: T | None) -> None:
        """The server said that the creation (or close) happened."""
        self._new.pop(name, None)
        if value is None:
            self.confirmed.pop(name, None)
        else:
            self.confirmed[name] = value

    def settle(self) -> None:
        """Nothing is outstanding any more: only what was confirmed is true."""
        if self._assumed:
            self._assumed.clear()
            self._before.clear()
            self._new.clear()

    def settle_before(self, step: int) -> None:
        """Nothing of the steps before this one is outstanding: of what was assumed in them only
        what was confirmed is true.
        """
        answered = [name for name, (_, since) in self._assumed.items() if since < step]
        for name in answered:
            del self._assumed[name]
            self._before.pop(name, None)
            self._new.pop(name, None)

    def clear(self) -> None:
        self.confirmed.clear()

    def keep(self, which: Callable[[T], bool]) -> None:
        """Forget the confirmed ones that are not among ``which``."""
        for name in [name for name, value in self.confirmed.items() if not which(value)]:
            del self.confirmed[name]

    def assume_kept(self, which: Callable[[T], bool], step: int) -> None:
        """What was forwarded closes all others than these, and than the unnamed one."""
        for name in set(self.confirmed) | set(self._assumed):
            value = self.lookup(name)
            if name and value is not None and not which(value):
                self.assume(name, None, step)

    def assume_all_closed(self, step: int) -> None:
        for name in set(self.confirmed) | set(self._assumed):
            self.assume(name, None, step)
