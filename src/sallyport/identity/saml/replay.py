"""Messages of providers that were used: an assertion is good for one sign-in (SAML profiles,
section 4.1.4.5), a request to sign out for one of that.
"""

from __future__ import annotations

from sallyport.core.clock import Clock


class UsedAssertions:
    """Ids, until their assertions run out; in memory. Full means no: an id that is let go early
    could be used again.

    An assertion that was issued before this process started may have been used with the one before
    it: ``started`` tells.
    """

    def __init__(self, clock: Clock, maximum: int = 100_000) -> None:
        self._clock, self._maximum = clock, maximum
        self._ends: dict[tuple[str, str], float] = {}
        self.started = clock.now()

    def use(self, issuer: str, id_: str, ends: float) -> bool:
        """Whether the assertion may be used, which uses it. ends: Unix seconds from which it is
        refused anyway.
        """
        if (issuer, id_) in self._ends and self._ends[issuer, id_] > self._clock.now():
            return False
        if len(self._ends) >= self._maximum:
            now = self._clock.now()
            self._ends = {key: end for key, end in self._ends.items() if end > now}
            if len(self._ends) >= self._maximum:
                return False
        self._ends[issuer, id_] = ends
        return True
