"""Who is the same person. Used to keep people from approving their own statements, and from
counting twice.

:class:`Identities` turns a subject into *links*: every name that the person is known by. Two
subjects that share a link are taken for one person. Sharing can only ever take permission away, so
doubtful matches count: addresses are compared without case and without the ``+tag`` of their local
part, whether or not the issuer verified them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sallyport.core.subject import Subject


@dataclass(frozen=True, slots=True)
class Identities:
    """claims: claims (dotted for nested ones, ``act.sub``) whose values name the person behind a
    subject: another id, or an address.

    aliases: any name (an address, an id, or ``issuer|id``) to a name for the person.
    """

    claims: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    def links(self, subject: Subject) -> tuple[str, ...]:
        """Every name of this person, and of all who act for them (nobody in a chain of delegation
        approves for it), sorted.
        """
        names = self._names(subject)
        for actor in subject.actors:
            # Of another issuer: ``issuer|id`` (identity/subjects.py). The whole may also be an id.
            issuer, _, name = actor.rpartition("|")
            names |= self._names(Subject(actor, subject.issuer, frozenset()))
            if issuer:
                names |= self._names(Subject(name, issuer, frozenset()))
        return tuple(sorted(names))

    def _names(self, subject: Subject) -> set[str]:
        names = {f"id:{subject.issuer}|{subject.id}"}
        spoken = {subject.id, f"{subject.issuer}|{subject.id}"}
        # A subject whose id is an address is known by that address.
        values = [subject.email, subject.id if "@" in subject.id else ""]
        for claim in self.claims:
            for value in _values(subject.claims, claim):
                names |= {f"claim:{claim}|{_fold(value)}", f"id:{subject.issuer}|{value}"}
                spoken.add(value)
                values.append(value if "@" in value else "")
        for value in filter(None, values):
            names.add(f"mail:{_mailbox(value)}")
            spoken.add(value)
        folded = {_fold(name) for name in spoken} | {
            _mailbox(name) for name in spoken if "@" in name
        }
        for name, person in self.aliases.items():
            if (
                _fold(name) in folded
                or ("@" in name and _mailbox(name) in folded)
                or name in spoken
            ):
                names.add(f"person:{_fold(person)}")
        return names


def same_person(first: Iterable[str], second: Iterable[str]) -> bool:
    """Whether two subjects' links meet."""
    return not set(first).isdisjoint(second)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _mailbox(address: str) -> str:
    local, at, domain = _fold(address).rpartition("@")
    return f"{local.partition('+')[0]}{at}{domain.rstrip('.')}"


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The claim's values as text: a string, a number, or a list of such. A claim whose own name has
    dots wins over a nested one.
    """
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    values = value if isinstance(value, (list, tuple)) else [value]
    return [
        str(v)
        for v in values
        if isinstance(v, (str, int)) and not isinstance(v, bool) and str(v).strip()
    ]
