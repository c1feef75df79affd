"""Who is signed in, for all consoles of a store: a browser that a balancer gives to another gateway
stays signed in.

A row has the digest of the cookie, and, sealed under a key that the gateways share, who it is. Who
can write the store but has no key signs nobody in, and reads no claims.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import asdict
from typing import Final, Protocol

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool

from sallyport.core.sealing import SealedBox
from sallyport.core.subject import Subject
from sallyport.web.auth.signin import SignIn

log = structlog.get_logger("sallyport.web")

#: Seconds for which a row is kept beyond its end: clocks of gateways, and rows written late.
_KEPT: Final = 600.0
_MAX_CLOSED: Final = 5_000


class SignInStore(Protocol):
    """Rows for all gateways; times are Unix seconds. Raises RefusedError. Any thread may call
    ``get``.
    """

    def add(self, id_: str, body: bytes, seen: float, until: float) -> None: ...
    def get(self, id_: str) -> tuple[bytes, float] | None: ...
    def touch(self, id_: str, seen: float, until: float) -> None: ...
    def remove(self, id_: str) -> None: ...


class _Body(msgspec.Struct, frozen=True):
    subject: Subject
    started: float
    ends: float | None
    csrf: str


class SharedSignIns:
    """For one event loop. All methods raise RefusedError. ``box``: the same at all gateways of the
    store.
    """

    def __init__(self, store: SignInStore, box: SealedBox) -> None:
        self._store, self._box = store, box
        #: Signed out here, and not yet in the store.
        self._closed: OrderedDict[str, None] = OrderedDict()

    def add(self, digest: str, signin: SignIn, until: float) -> None:
        """until: Unix seconds at which it is over, unless it is touched."""
        subject = asdict(signin.subject)
        body = {
            "subject": subject | {"groups": sorted(signin.subject.groups)},
            "started": signin.started,
            "ends": signin.ends if math.isfinite(signin.ends) else None,
            "csrf": signin.csrf,
        }
        sealed = self._box.close(json.dumps(body).encode(), f"sign-in {digest}")
        self._store.add(digest, sealed, signin.seen, until + _KEPT)

    async def get(self, digest: str) -> SignIn | None:
        """None when there is none, or it was not written by a gateway of this store. Every request
        asks: a store that is slow must not stop the loop.
        """
        self.settle()
        row = await run_in_threadpool(self._store.get, digest)
        if row is None:
            return None
        sealed, seen = row
        try:
            values = json.loads(self._box.open(sealed, f"sign-in {digest}"))
            body = msgspec.convert(values, _Body)
        except (ValueError, msgspec.ValidationError) as error:
            log.warning("a sign-in in the store cannot be used", error=type(error).__name__)
            return None
        ends = math.inf if body.ends is None else body.ends
        return SignIn(body.subject, body.started, seen, ends, csrf=body.csrf)

    def touch(self, digest: str, seen: float, until: float) -> None:
        """Its person was there."""
        self._store.touch(digest, seen, until + _KEPT)

    def remove(self, digest: str) -> None:
        """Its person is signed out, at every gateway; what fails is tried again."""
        self._closed[digest] = None
        while len(self._closed) > _MAX_CLOSED:
            self._closed.popitem(last=False)
        self.settle()

    def settle(self) -> None:
        """Tell the store who signed out while it was away."""
        while self._closed:
            digest = next(iter(self._closed))
            self._store.remove(digest)
            self._closed.pop(digest, None)
