"""Prepared statements and portals by name, as the server holds them.

SQL-level PREPARE and protocol Parse share one namespace on the server, and so do cursors and portals; so they do here.

Names are kept twice. ``confirmed`` follows the server's replies in order and is exact: it changes only when the server said that a
creation or a close succeeded. ``assumed`` runs ahead of it with what the client pipelined, so that a Bind behind a Parse can be judged
before the Parse was answered. What was assumed when a message was forwarded is compared with what is confirmed when its answer arrives;
where they differ (a Parse that was skipped because of an earlier error, say) the session closes before a row passes under the wrong plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sallyport.judge import Verdict, View

_VOID = 2278


def void_parameters(types: Sequence[int]) -> frozenset[int]:
    """Numbers of the parameters that Parse declares to be of type void: a function is called without them."""
    return (
        frozenset(number for number, type_ in enumerate(types, 1) if type_ == _VOID) if types else frozenset()
    )


@dataclass(slots=True, eq=False)
class Prepared:
    """A prepared statement. ``verdict``: None for an empty one. ``script``: what to judge again when the view moved.

    ``inner``: made by SQL PREPARE, so the verdict is the inner one of the script's statement. ``types``: OIDs of the parameters, as
    Parse declared them (0: the server infers it) and, once it was asked, as the server described them. ``void``: numbers of those that
    were declared as void. ``declared``: the types as Parse declared them, whatever was asked later.
    """

    script: bytes
    verdict: Verdict | None
    view: View
    inner: bool = False
    types: tuple[int, ...] = ()
    void: frozenset[int] = frozenset()
    text: str = ""
    declared: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.text = self.script.decode("utf-8", "replace")


@dataclass(slots=True, eq=False)
class Portal:
    """A bound portal or an SQL cursor. ``program``: compiled from the server's RowDescription, once ``described``."""

    prepared: Prepared
    verdict: Verdict | None
    view: View
    cursor: bool = False
    params: Sequence[bytes | None] = ()
    formats: Sequence[int] = ()
    statement: bytes = b""  # the name it was bound from
    described: bool = False
    approved: bool = False  # a person let this very portal run
    asked: bool = False  # a Describe for it was forwarded or injected
    program: object = None
    ran: object = None  # what its EXECUTE or FETCH named when it first ran: the server keeps those rows
    ran_as: object = None  # the search_path and the columns that its text meant then
    identity: object = field(default_factory=object)  # what stays when it is judged again


def same(one: object, other: object) -> bool:
    """Are these the server's same portal, or statements of the same text judged the same way?"""
    if isinstance(one, Portal) and isinstance(other, Portal):
        return one.identity is other.identity
    if isinstance(one, Prepared) and isinstance(other, Prepared):
        return (one.script, one.view, one.inner, one.void) == (
            other.script,
            other.view,
            other.inner,
            other.void,
        )
    return one is other


T = TypeVar("T")


class Names(Generic[T]):
    """One namespace; see the module docstring."""

    __slots__ = ("_assumed", "confirmed")

    def __init__(self) -> None:
        self.confirmed: dict[bytes, T] = {}
        self._assumed: dict[bytes, T | None] = {}

    def assume(self, name: bytes, value: T | None) -> None:
        """A creation (or, with None, a close) was forwarded."""
        self._assumed[name] = value

    def lookup(self, name: bytes) -> T | None:
        """What the name will mean when the server reads a message forwarded now, if all before it succeeds."""
        if name in self._assumed:
            return self._assumed[name]
        return self.confirmed.get(name)

    def confirm(self, name: bytes, value: T | None) -> None:
        """The server said that the creation (or close) happened."""
        if value is None:
            self.confirmed.pop(name, None)
        else:
            self.confirmed[name] = value

    def settle(self) -> None:
        """Nothing is outstanding any more: only what was confirmed is true."""
        if self._assumed:
            self._assumed.clear()

    def clear(self) -> None:
        self.confirmed.clear()

    def keep(self, which: Callable[[T], bool]) -> None:
        """Forget the confirmed ones that are not among ``which``."""
        for name in [name for name, value in self.confirmed.items() if not which(value)]:
            del self.confirmed[name]

    def assume_all_closed(self) -> None:
        for name in set(self.confirmed) | set(self._assumed):
            self._assumed[name] = None
