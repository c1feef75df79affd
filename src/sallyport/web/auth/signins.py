"""Who is signed in: sessions of the console, kept on the server.

A browser holds nothing but a random id (256 bits), of which the server keeps only the SHA-256. A
sign-in ends after ``absolute`` seconds, after ``idle`` seconds without a request, or by signing
out; with the process where no other gateways share the store. Bounded; the oldest goes first.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sallyport.core.clock import Clock
from sallyport.core.errors import RefusedError
from sallyport.core.subject import Subject
from sallyport.web.auth.shared_signins import SharedSignIns
from sallyport.web.auth.signin import SignIn

_MAX_SIGNINS: Final = 5_000
#: Seconds after which other gateways are told that somebody is still there, at most.
_TELL_SECONDS: Final = 60.0
#: Seconds for which a page that refreshes itself does not ask the store.
_CHECK_SECONDS: Final = 5.0


class SignIns:
    """Seconds. For one event loop. ``shared``: those of all gateways of the store; None: there are
    no others. While the store cannot be reached, this gateway goes on with those that it has seen.
    """

    def __init__(
        self, clock: Clock, *, absolute: float, idle: float, shared: SharedSignIns | None = None
    ) -> None:
        self._clock, self._absolute, self._idle = clock, absolute, idle
        self._shared = shared
        self._signins: OrderedDict[str, SignIn] = OrderedDict()
        # names that the store is being asked for, how often; those of them that were signed out
        self._asked: Counter[str] = Counter()
        self._closed: set[str] = set()

    def open(self, subject: Subject, ends: float = math.inf) -> str:
        """Sign somebody in: the new id for the cookie. ends: Unix seconds at which the provider's
        session is over.
        """
        now, id_ = self._clock.now(), secrets.token_urlsafe(32)
        for digest in [d for d, signin in self._signins.items() if self._is_over(signin, now)]:
            del self._signins[digest]
        digest, signin = name_of(id_), SignIn(subject, now, now, ends)
        self._keep(digest, signin)
        self._share(digest, signin)
        return id_

    async def get(self, id_: str, *, touch: bool = True) -> SignIn | None:
        """The sign-in of a cookie, or None when there is none any more. ``touch`` False: nobody did
        anything, a page refreshed itself.
        """
        return await self.by_name(name_of(id_), touch=touch) if id_ else None

    async def by_name(self, name: str, *, touch: bool = False) -> SignIn | None:
        """As :meth:`get`, by what :func:`name_of` says of the cookie."""
        now = self._clock.now()
        signin = await self._current(name, now, touch=touch)
        if signin is None:
            return None
        if self._is_over(signin, now):
            self._close(name)
            return None
        if touch:
            signin.seen = now
            self._tell(name, signin)
        return signin

    def close(self, id_: str) -> None:
        """Sign out, at every gateway of the store."""
        if id_:
            self._close(name_of(id_))

    def close_where(self, is_over: Callable[[Subject], bool]) -> list[Subject]:
        """Sign everybody out of whom that holds and whom this gateway has seen; whom it was."""
        over = {name: s.subject for name, s in self._signins.items() if is_over(s.subject)}
        for name in over:
            self._close(name)
        return list(over.values())

    def __len__(self) -> int:
        return len(self._signins)

    def _is_over(self, signin: SignIn, now: float) -> bool:
        is_idle = now - signin.seen >= self._idle
        return is_idle or now >= signin.ends or now - signin.started >= self._absolute

    def _until(self, signin: SignIn) -> float:
        return min(signin.seen + self._idle, signin.started + self._absolute, signin.ends)

    def _keep(self, name: str, signin: SignIn) -> None:
        self._signins[name] = signin
        while len(self._signins) > _MAX_SIGNINS:
            self._signins.popitem(last=False)

    # -- the store ---------------------------------------------------------------------------------

    async def _current(self, name: str, now: float, *, touch: bool) -> SignIn | None:
        """As all gateways together know it."""
        signin = self._signins.get(name)
        if self._shared is None:
            return signin
        if signin is not None and not touch and 0 <= now - signin.checked < _CHECK_SECONDS:
            return signin
        try:
            stored = await self._stored(self._shared, name)
        except RefusedError:
            return self._signins.get(name)
        signin = self._signins.get(name)
        if stored is None:
            if signin is not None and not signin.is_stored:  # the store was away
                self._share(name, signin)
                return signin
            self._signins.pop(name, None)
            return None
        if signin is None:
            signin = stored
            self._keep(name, signin)
        signin.is_stored, signin.checked = True, now
        signin.told, signin.seen = stored.seen, max(signin.seen, stored.seen)
        return signin

    async def _stored(self, shared: SharedSignIns, name: str) -> SignIn | None:
        """Raises RefusedError. Who signs out while the store is asked is not signed in by its
        answer.
        """
        self._asked[name] += 1
        try:
            stored = await shared.get(name)
            return None if name in self._closed else stored
        finally:
            self._asked[name] -= 1
            if not self._asked[name]:
                del self._asked[name]
                self._closed.discard(name)

    def _share(self, name: str, signin: SignIn) -> None:
        """Tell the store; what fails is tried again with its next request."""
        if self._shared is None:
            return
        try:
            self._shared.add(name, signin, self._until(signin))
        except RefusedError:  # the store logs it
            return
        signin.is_stored, signin.told = True, signin.seen

    def _tell(self, name: str, signin: SignIn) -> None:
        is_due = signin.seen - signin.told >= min(_TELL_SECONDS, self._idle / 4)
        if self._shared is None or not signin.is_stored or not is_due:
            return
        try:
            self._shared.touch(name, signin.seen, self._until(signin))
        except RefusedError:  # the store logs it
            return
        signin.told = signin.seen

    def _close(self, name: str) -> None:
        self._signins.pop(name, None)
        if name in self._asked:
            self._closed.add(name)
        if self._shared is None:
            return
        with suppress(RefusedError):  # the store logs it; it is tried again
            self._shared.remove(name)


def name_of(id_: str) -> str:
    """SHA-256 of a cookie's id, hex: what the server knows it by."""
    return hashlib.sha256(id_.encode("utf-8", "replace")).hexdigest()
